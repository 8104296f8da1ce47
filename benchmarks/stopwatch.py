"""Wall and processor seconds of the parts of a benchmark."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Times parts by name, and prints each to stderr as it ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        """`wall` and `cpu` by part (s)."""

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Time a part."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        self.seconds[part] = taken
        print(f"  {part}: {taken['wall']:.1f} s, {taken['cpu']:.1f} s of CPU", file=sys.stderr)
