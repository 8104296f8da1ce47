"""Which device a model runs on, in which arithmetic, and how much memory the machine has free.

Belongs here: from `auto`, `cpu` or `cuda` to a device, from the name of a precision to a dtype, tensors sent there,
free memory as the operating system and the container tell. Does not: several devices (`model.training.fit`), what a
precision means in a language model (`model.language.arithmetic`), dividing memory (`model.language.prefixes.budgets`,
`model.training.micro_batch`).
"""

import os
from pathlib import Path

import torch
from torch import Tensor

PRECISIONS = ("fp32", "bf16", "fp16")
_EARLIER = {"float32": "fp32", "bfloat16": "bf16"}
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
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


def available_bytes() -> int:
    """Give the memory that new allocations can use without swapping (bytes), within the limit of a container."""
    return max(0, min(_of_machine(), _of_container()))


def _of_machine() -> int:
    if _MEMINFO.exists():
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    # Where the system does not tell what is free, half of what there is: macOS, for one.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _of_container() -> int:
    """Give what the limit of a control group (version 2) leaves; a container's `/proc/meminfo` is the machine's."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        figures = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return _UNLIMITED
    # Cached files count as used there, and give way.
    return _UNLIMITED if limit == "max" else int(limit) - used + int(figures.get("inactive_file", 0))
