"""Which device a model runs on.

Belongs here: from `auto`, `cpu` or `cuda` to a device. Does not: several devices (`model.training.fit`).
"""

import torch


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device.

    Raises
    ------
    ValueError
        If CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device is available; use device='cpu', or 'auto' to take a GPU only if there is one")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
