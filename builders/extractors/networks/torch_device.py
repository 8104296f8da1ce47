"""The device that a network runs on, by the name that the options give.

Needs torch alone.
"""

import torch


def usable_device(name: str) -> torch.device:
    """Give the device of a name: `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one.

    Raises
    ------
    ValueError
        If this machine, or this build of torch, has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, _, index = name.partition(":")
    if name != "cpu" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name} is not available: torch finds {torch.cuda.device_count()} GPUs; use device='cpu', or "
            "check the driver, CUDA_VISIBLE_DEVICES, and that this torch is a CUDA build"
        )
    return torch.device(name)
