"""Progress of long work: a bar on a terminal, occasional lines elsewhere.

Belongs here: how progress looks. Does not: what is counted.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_LINE_EVERY_S = 15.0


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:,.0f} {self._unit}/s" if rate else f"- {self._unit}/s")


@contextmanager
def bar(name: str, *, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress on stderr; yields a function that takes the count so far and the total.

    On a terminal: a bar with units/s and the time left. Elsewhere: a line every 15 seconds with the same figures.
    """
    if sys.stderr.isatty():
        columns = (
            TextColumn(name),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            _Rate(unit),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as shown:
            task = shown.add_task(name, total=None)
            yield lambda done, total: shown.update(task, completed=done, total=total)
        return
    started = last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _LINE_EVERY_S or not done:
            return
        last = now
        rate = done / (now - started)
        left = (total - done) / rate
        print(f"{name}: {done:,} of {total:,} {unit}, {rate:,.0f} {unit}/s, {left:,.0f} s left", file=sys.stderr)

    yield line
