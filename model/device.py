"""Which device a model runs on, and in which arithmetic.

Belongs here: from `auto`, `cpu` or `cuda` to a device, from the name of a precision to a dtype, tensors sent there.
Does not: several devices (`model.training.fit`), what a precision means in a language model
(`model.language.arithmetic`).
"""

import torch
from torch import Tensor

PRECISIONS = ("fp32", "bf16", "fp16")
_EARLIER = {"float32": "fp32", "bfloat16": "bf16"}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def precision_name(name: str) -> str:
    """Give today's name of a precision: earlier versions wrote `float32` and `bfloat16`, in saved runs too."""
    return _EARLIER.get(name, name)


def choose_dtype(precision: str) -> torch.dtype:
    """Turn `fp32`, `bf16` or `fp16` into a dtype.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    name = precision_name(precision)
    if name not in _DTYPES:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}; got {precision!r}")
    return _DTYPES[name]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device.

    A copy from pageable memory to a GPU waits for all that the GPU has still to do; from pinned memory it is queued.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device.

    Raises
    ------
    ValueError
        If CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "no CUDA device is available; use `device='cpu'`, or `device='auto'` to take a GPU only if there is one"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
