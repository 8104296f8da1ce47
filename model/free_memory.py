"""How much memory is free.

Belongs here: the machine's memory, as the operating system and the container tell. Does not: dividing it
(`model.language.prefixes.budgets`, `model.training.micro_batch`).
"""

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60


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
