"""What goes wrong inside a process of the crash suite: it dies where it is told to, or its clock is wrong.

    export CRASH_FOLDER=crash PYTHONPATH=tests
    featurestore build s --fasta g.fa --extractor crash_points:Composition.from_options
    python -m crash_points seal s

Belongs here: what runs inside the processes of a build. Does not: starting, killing and judging them (`crash_builds`).

The program knows nothing of this. A worker that makes the extractor has every request to the store watched from then
on, through the class that `featurestore.connect` gives. A request has a point before and one after it, such as
`before create shard` or `after create record`; the orders in `$CRASH_FOLDER/orders.json` say at which one to die.
"""

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, tzinfo
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import builders.execution.shard
import featurestore.format.commits
from builders.extractors.base import ExtractorOptions
from builders.testing import CompositionExtractor, CompositionSettings
from featurestore import Objects, connect
from featurestore.format import layout

FOLDER = "CRASH_FOLDER"
"""Environment variable: the folder of the orders and of what is noted, outside the store."""

BEFORE_WRITE = "before create shard"
AFTER_WRITE = "after create shard"
REWRITING = "after delete shard"
AFTER_COMMIT = "after create record"
COMPUTING = "computing"
ANY_REQUEST = "before *"

Victim = Literal["self", "parent", "group"]
Poison = Literal["refuse", "die", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What is to go wrong; read anew at every point, so that they may change under a running build."""

    point: str = ""
    """Where to die; a pattern as of a shell, and empty for nowhere."""
    passing: int = 1
    """At which passing of the point, counted in each process."""
    deaths: int = 1
    """How often, all processes together."""
    victim: Victim = "self"
    """Who dies: this process; the one that started it, so that this one is left an orphan; all that were started."""
    pause: float = 0.0
    """Slept in each call of the extractor (s)."""
    hold: bool = False
    """Whether calls of the extractor wait until the orders are others."""
    poison: Poison = "refuse"
    """What a sequence that holds an X does: it is an error, it kills the process, nothing."""
    salted: bool = False
    """Whether each process computes values of its own."""
    clock: float = 0.0
    """How far this machine's clock is ahead (s); read once."""

    def give(self, folder: Path) -> None:
        """Give the orders to all processes of a folder, and let each die once more."""
        for death in folder.glob("death-*"):
            death.unlink()
        new = folder / "orders.new"
        new.write_text(json.dumps(asdict(self)))
        new.replace(folder / "orders.json")

    @classmethod
    def read(cls) -> "Orders":
        """Read what the orders of this process are now."""
        return cls(**json.loads((_folder() / "orders.json").read_text()))


class Composition(CompositionExtractor):
    """The extractor of `builders.testing`, with its fingerprint and its values, in a process that may die of it."""

    batch_size = 64

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: CompositionSettings) -> "Composition":
        """Make one, and watch what this process does from now on."""
        arm()
        return cls(options.bin_size, settings.precision)

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        orders = Orders.read()
        if orders.hold:
            note(did="hold")
        while orders.hold:
            time.sleep(0.005)
            orders = Orders.read()
        time.sleep(orders.pause)
        reach(COMPUTING)
        holds_x = sequence == ord("X")
        if holds_x.any() and orders.poison == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if orders.poison == "none":
            sequence = np.where(holds_x, np.uint8(ord("N")), sequence)
        features = super().__call__(sequence)
        if orders.salted:
            features = {name: values + os.getpid() % 1999 for name, values in features.items()}
        return features


@cache
def arm() -> None:
    """Watch every request of this process that changes a store, and set its clock wrong."""
    with tempfile.TemporaryDirectory() as folder:
        kind = type(connect(folder))
    for name in ("create", "put", "delete"):
        setattr(kind, name, _watched(name, getattr(kind, name)))
    ahead = Orders.read().clock
    if ahead:
        _set_clock(ahead)


def reach(point: str) -> None:
    """Pass a point, or die there."""
    orders = Orders.read()
    if not fnmatch(point, orders.point):
        return
    _passed[orders.point] += 1
    if _passed[orders.point] < orders.passing:
        return
    for number in range(orders.deaths):
        try:
            (_folder() / f"death-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        _die(orders.victim)
        return


def note(**event: object) -> None:
    """Append a line to the notes; it is on the disk when this returns."""
    line = json.dumps(event | {"process": os.getpid()}) + "\n"
    handle = os.open(_folder() / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode())  # one write, so that lines of several processes do not mix
        os.fsync(handle)
    finally:
        os.close(handle)


_passed: Counter[str] = Counter()


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _die(victim: Victim) -> None:
    if victim == "group":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    else:
        os.kill(os.getppid() if victim == "parent" else os.getpid(), signal.SIGKILL)


def _watched(name: str, request: Callable[..., Any]) -> Callable[..., Any]:
    def watched(self: Objects, key: str, *data: bytes) -> Any:
        kind = "record" if key.startswith(f"{layout.COMMITS}/") else "shard" if "/values/c/" in key else "document"
        if (name, kind) == ("create", "shard"):
            note(did="compute", key=key)
        reach(f"before {name} {kind}")
        answer = request(self, key, *data)
        if (name, kind, answer) == ("create", "record", True):
            note(did="commit", key=key, sha256=hashlib.sha256(data[0]).hexdigest())
        reach(f"after {name} {kind}")
        return answer

    return watched


def _set_clock(ahead: float) -> None:
    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # as those who call it read it
            return datetime.now(tz) + timedelta(seconds=ahead)

    # Only where the program reads the clock: that of Dask stays right.
    vars(featurestore.format.commits).update(datetime=Skewed)
    skewed = SimpleNamespace(time=lambda: time.time() + ahead, perf_counter=time.perf_counter)
    vars(builders.execution.shard).update(time=skewed)


if __name__ == "__main__":
    from featurestore.cli.main import main

    arm()
    sys.exit(main())
