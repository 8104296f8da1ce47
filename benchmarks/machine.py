"""What a benchmark ran on, for its JSON."""

import importlib.metadata
import os
import platform
from pathlib import Path


def machine() -> dict[str, object]:
    """Describe the machine as far as speed depends on it, with its load at this moment."""
    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": names[0].partition(": ")[2] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "memory": next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), ""),
        "system": platform.platform(),
    }


def versions(*names: str) -> dict[str, str]:
    """Give the versions of Python and of some distributions."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
