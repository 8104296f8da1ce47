"""Progress of long work on stderr: a bar on a terminal, lines elsewhere.

Belongs here: how progress looks, and when a rate and the time left are known. Does not: what is counted.

There is one rate, by the clock on the wall since the stage began. Work in parallel comes back in waves: when the first
of eight shards is done, seven are nearly so, and the rate would be an eighth of the true one. So neither a rate nor the
time left is shown before half as long again as the first part took.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

_LINE_EVERY_S = 15.0
_NAMED_AFTER_S = 5.0
"""A stage that lasts longer is named where there is no terminal."""
_LEAST_S = 2.0


@dataclass(slots=True)
class Pace:
    """Figures of one stage: how much is done, how fast, and how long the rest takes."""

    clock: Callable[[], float] = time.monotonic
    resumes: bool = False
    """Whether the first count is of earlier work, which tells nothing of the rate."""
    done: int = 0
    total: int | None = None
    _began: float = field(init=False)
    _before: int = 0
    _first_s: float | None = None
    _whole_s: float | None = None

    def __post_init__(self) -> None:
        self._began = self.clock()

    def count(self, done: int, total: int) -> None:
        """Note the count so far, and the total."""
        if self.total is None and self.resumes:
            self._before = done
        self.done, self.total = done, total
        if self._first_s is None and done > self._before:
            self._first_s = self._elapsed_s()
        if done >= total:
            self._whole_s = self._elapsed_s()

    def rate(self) -> float | None:
        """Return the units a second; None while they cannot be known."""
        elapsed_s = self._elapsed_s()
        if self._first_s is None or elapsed_s < max(1.5 * self._first_s, _LEAST_S):
            return None
        return (self.done - self._before) / elapsed_s

    def text(self, unit: str) -> str:
        """Describe the figures in one line."""
        if self.total is None:
            return ""
        parts = [f"{self.done:,} of {self.total:,} {unit} ({self.done / max(self.total, 1):.0%})"]
        if rate := self.rate():
            parts += [f"{in_figures(rate)} {unit}/s"]
            parts += [f"{_in_words((self.total - self.done) / rate)} left"] if self.done < self.total else []
        return ", ".join(parts)

    def _elapsed_s(self) -> float:
        return self.clock() - self._began if self._whole_s is None else self._whole_s


class Meter:
    """Shows the stages of one command; called with the count so far and the total, it shows those of the stage.

    Parameters
    ----------
    show
        Shows the name of the stage and its figures.
    unit
        What is counted.
    resumes
        As in `Pace`.
    """

    def __init__(self, show: Callable[[str, Pace], None], *, unit: str, resumes: bool = False) -> None:
        self._show = show
        self._resumes = resumes
        self._stage = ""
        self.unit = unit
        self.pace = Pace(resumes=resumes)

    def stage(self, name: str) -> None:
        """Begin another stage."""
        self._stage, self.pace = name, Pace(resumes=self._resumes)
        self._show(name, self.pace)

    def __call__(self, done: int, total: int) -> None:
        """Show the count so far, of the stage."""
        self.pace.count(done, total)
        self._show(self._stage, self.pace)


@contextmanager
def bar(name: str, *, unit: str, resumes: bool = False) -> Iterator[Meter]:
    """Show progress on stderr while the block runs.

    On a terminal: a bar, which is gone when the block ends. Elsewhere: the name of a stage that lasts, and its figures
    every 15 seconds.

    Parameters
    ----------
    name
        Of the command.
    unit, resumes
        As for `Meter`.
    """
    with _on_terminal(name, unit) if sys.stderr.isatty() else _in_lines(name, unit) as show:
        yield Meter(show, unit=unit, resumes=resumes)


@contextmanager
def _on_terminal(name: str, unit: str) -> Iterator[Callable[[str, Pace], None]]:
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), _Figures(unit))
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(name, total=None, pace=None)

        def show(stage: str, pace: Pace) -> None:
            nonlocal task
            if pace.total is None:  # a task that has a total cannot lose it
                shown.remove_task(task)
                task = shown.add_task(f"{name}: {stage}", total=None, pace=pace)
            else:
                shown.update(task, completed=pace.done, total=pace.total, pace=pace)

        yield show


class _Figures(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._unit = unit

    def render(self, task: Task) -> Text:
        pace: Pace | None = task.fields["pace"]
        return Text("" if pace is None else pace.text(self._unit))


@contextmanager
def _in_lines(name: str, unit: str) -> Iterator[Callable[[str, Pace], None]]:
    last = time.monotonic()
    naming: threading.Timer | None = None

    def say(text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    def show(stage: str, pace: Pace) -> None:
        nonlocal last, naming
        if pace.total is None:
            if naming is not None:
                naming.cancel()
            naming = threading.Timer(_NAMED_AFTER_S, say, [stage])
            naming.daemon = True
            naming.start()
        elif time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            say(pace.text(unit))

    try:
        yield show
    finally:
        if naming is not None:
            naming.cancel()


def in_figures(rate: float) -> str:
    """Format a rate with three figures, or without decimals."""
    return f"{rate:,.3g}" if rate < 1000 else f"{rate:,.0f}"


def _in_words(seconds: float) -> str:
    """Format a time, with what matters of its size."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
