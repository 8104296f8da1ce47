"""How much memory each tier of the KV cache may take.

Belongs here: budgets that are given, checked, and those that are measured. Does not: filling them
(`model.language.prefixes.tiers`).
"""

import torch

from model.device import available_bytes

_UNMEASURED_BYTES = 2 << 30
"""Of a GPU's memory, until a step has shown what training takes."""
_MARGIN = 0.1
"""Of a GPU's memory, left to fragments and to whoever else uses it."""


def checked_bytes(gigabytes: float | None, *, name: str, device: torch.device) -> int | None:
    """Turn a budget into bytes; None for one that is to be measured.

    Parameters
    ----------
    gigabytes
        GB, as given.
    name
        Of the parameter, for errors.
    device
        Whose memory it is.

    Raises
    ------
    ValueError
        If it is negative, or more than is free.
    """
    if gigabytes is None:
        return None
    if not 0 <= gigabytes < float("inf"):
        raise ValueError(f"`{name}=` counts GB from 0, got {gigabytes}")
    free = free_bytes(device)
    if gigabytes * 1e9 > free:
        whose = "in memory" if device.type == "cpu" else f"on {device}"
        raise ValueError(
            f"`{name}={gigabytes:g}` is more than the {free / 1e9:.1f} GB that are free {whose}; give less, or leave "
            "it out for a part of what is free"
        )
    return round(gigabytes * 1e9)


def free_bytes(device: torch.device) -> int:
    """Give the memory that is free on a device: the machine's own for a CPU."""
    if device.type == "cpu":
        return available_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    # What torch keeps of the device without using it.
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def device_bytes(device: torch.device) -> int:
    """Give the budget on the device before a step was measured."""
    if device.type == "cpu":
        return available_bytes() // 2
    return min(_UNMEASURED_BYTES, free_bytes(device) // 4)


def host_bytes(device: torch.device) -> int:
    """Give the budget of memory on the host: half of what is free, shared by the processes of a training.

    Of a CPU there is none: the host's memory is the device's.
    """
    if device.type == "cpu":
        return 0
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    return available_bytes() // 2 // processes


def measured_bytes(device: torch.device, *, held: int, staged: int) -> int:
    """Give the budget on a GPU once a step has been measured: what is free at its peak, less a margin.

    Parameters
    ----------
    held
        Bytes that the tier holds already.
    staged
        Bytes that prefetched batches, and batches of longer prompts than those of that step, take beside it.
    """
    free, total = torch.cuda.mem_get_info(device)
    unused = free + torch.cuda.memory_reserved(device) - torch.cuda.max_memory_allocated(device)
    return max(held, held + int(unused - _MARGIN * total) - staged)
