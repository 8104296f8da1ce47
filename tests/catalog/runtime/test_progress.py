"""How progress looks: one rate, and the time left once it can be known."""

import io
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.runtime import progress
from catalog.runtime.progress import Pace, bar


class Clock:
    """A clock that is set by hand (s)."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    workers=st.integers(1, 64),
    shards=st.integers(1, 300),
    shard_s=st.floats(3, 1000),
    looks=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_whenever_a_time_is_told_the_whole_is_within_twice_what_it_takes(
    workers: int, shards: int, shard_s: float, looks: list[float]
) -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    ends = [shard_s * (1 + shard // workers) for shard in range(shards)]
    events = sorted([*((end, True) for end in ends), *((look * ends[-1], False) for look in looks)], reverse=True)
    done = 0
    while events:
        clock.now, is_end = events.pop()
        if is_end:
            done += 1
            pace.count(done, shards)
        elif (rate := pace.rate()) is not None:
            told = clock.now + (shards - done) / rate
            assert ends[-1] / 2 <= told * 1.001
            assert told <= ends[-1] * 2.001
    clock.now = max(ends[-1], 2.0)
    assert pace.rate() is None or pace.rate() == pytest.approx(shards / clock.now)


def test_no_time_is_told_while_the_first_wave_is_coming_back() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    clock.now = 16.0
    pace.count(1, 64)
    assert pace.text("bins") == "1 of 64 bins (2%)"
    clock.now = 24.0
    pace.count(32, 64)
    assert pace.text("bins") == "32 of 64 bins (50%), 1.33 bins/s, 24 s left"
    clock.now = 48.0
    pace.count(64, 64)
    clock.now = 60.0  # the workers end
    assert pace.text("bins") == "64 of 64 bins (100%), 1.33 bins/s"


def test_what_was_there_before_makes_no_rate() -> None:
    clock = Clock()
    pace = Pace(clock=clock, resumes=True)
    pace.count(900, 1000)
    clock.now = 10.0
    assert pace.rate() is None
    pace.count(950, 1000)
    clock.now = 25.0
    assert pace.rate() == 2.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(4, "4 s"), (99, "99 s"), (130, "2 min"), (7200, "2 h 0 min"), (100_000, "27 h 47 min")]
)
def test_a_time_is_told_with_what_matters_of_it(seconds: int, words: str) -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    clock.now = 10.0
    pace.count(10, 20)
    clock.now = 20.0
    pace.count(20, 20 + seconds)  # one a second
    assert pace.text("bins").endswith(f", 1 bins/s, {words} left")


def test_without_a_terminal_a_stage_that_lasts_is_named_and_its_figures_follow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_NAMED_AFTER_S", 0.05)
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with bar("build", unit="bins") as shown:
        shown.stage("a short one")
        shown.stage("starting workers")
        time.sleep(0.2)
        shown.stage("computing 3 shards")
        shown(1, 3)
    assert capsys.readouterr().err.splitlines() == ["build: starting workers", "build: 1 of 3 bins (33%)"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_stage_is_shown_as_it_is_written_and_nothing_is_left_of_the_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with bar("build", unit="bins") as shown:
        shown.stage("reading q[/h] :dna: [old].fa")
        shown.stage("computing 3 shards")
        shown(1, 3)
    text = terminal.getvalue()
    assert "build: reading q[/h] :dna: [old].fa" in text
    assert "1 of 3 bins (33%)" in text
    assert text.rstrip("\n").endswith("\x1b[2K"), "the line of the bar is erased"
