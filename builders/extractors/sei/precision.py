"""The arithmetic that Sei can be computed in, and how far each lies from float64.

Belongs here: names, what they set in torch, measured errors. Does not: the computing
(`builders.extractors.sei.inference`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch

PRECISIONS = ("fp32", "tf32", "bf16")

ERROR_SOURCE = "benchmarks/results/sei_forward.json"
"""Where the errors below were measured: random weights by the golden rule, six sequences, mean of both strands."""
MEASURED_ERRORS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "fp32": {"profiles_max": 1.8e-06, "profiles_mean": 1.4e-07, "classes_max": 1.9e-06, "classes_mean": 3.5e-07},
        "tf32": {"profiles_max": 1.4e-03, "profiles_mean": 1.1e-04, "classes_max": 5.0e-04, "classes_mean": 1.2e-04},
        "bf16": {"profiles_max": 1.3e-02, "profiles_mean": 1.1e-03, "classes_max": 6.6e-03, "classes_mean": 1.3e-03},
    }
)
"""Absolute error against float64. That of `tf32` was emulated on a CPU, which rounds the operands in the same way."""
TOLERANCES: Mapping[str, float] = MappingProxyType({"fp32": 2e-3, "tf32": 1e-2, "bf16": 5e-2})
"""Largest difference between two devices, as a share of a channel's largest value; float16 has 5e-4 in itself."""


def round_to_tf32_(x: torch.Tensor) -> torch.Tensor:
    """Round float32 to the 10 bits of mantissa that TF32 keeps, to nearest, in place.

    Tensor cores cut the rest off, and what is always cut is a bias: emulated over the whole network, profiles are off
    by 9e-3 with operands cut, by 6e-4 with operands rounded before.
    """
    x.view(torch.int32).add_(0x1000).bitwise_and_(~0x1FFF)
    return x


def checked_precision(precision: str, device_type: str | None = None) -> str:
    """Pass on a precision that the kind of device, if it is known yet, has.

    Raises
    ------
    ValueError
        If there is no such precision, or it is TF32 and the device a CPU.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"sei computes in {', '.join(PRECISIONS)}, not {precision!r}; use precision='fp32'")
    if precision == "tf32" and device_type == "cpu":
        raise ValueError(
            "tf32 is arithmetic of NVIDIA GPUs, and the device is a CPU; use precision='fp32', or 'bf16' for speed"
        )
    return precision


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Let float32 mean what `precision` says for convolutions and products on a GPU, as long as the block lasts.

    Left alone, cuDNN convolves in TF32 (10 bits of mantissa) and cuBLAS multiplies in float32.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
