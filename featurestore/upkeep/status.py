"""Build status of a store: progress, workers, speed, and failures.

Belongs here: statistics of commit records and failure notes. Does not: whether shards are intact
(`featurestore.upkeep.verify`).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from catalog import FeatureSet
from featurestore.anchored.declare import anchored_names, read_anchored
from featurestore.anchored.layout import AnchorLayout
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import Commit, DamagedRecord
from featurestore.format.failures import Failure, FailureLog
from featurestore.rows.overlays.describe import read_whole
from featurestore.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStatus:
    """One phase of one contig, or one anchored array."""

    feature_set: str
    """Its name; of an anchored array `<set>@<anchors>`, with `anchors` for the contig; of an overlay
    `<set>+<sample>+<haplotype>`."""
    contig: str
    offset: int
    """Of the phase (bp)."""
    shards: int
    committed: int
    failed: int
    """Shards that failed to build."""
    bins: int
    """Bins committed."""
    bins_per_second: float
    """Of one worker, while its extractor computes; 0 if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work of one worker for one feature set in one run."""

    feature_set: str
    run: str
    worker: str
    device: str
    shards: int
    bins: int
    began: datetime
    ended: datetime
    """When its last shard was committed, by the worker's clock."""

    @property
    def bins_per_second(self) -> float:
        """Bins over the time from its first shard to its last."""
        return speed([self])


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Build status of a store."""

    phases: list[PhaseStatus]
    work: list[Work]
    """Latest last."""
    failures: list[Failure]
    """Failed shards that are still not committed."""
    damaged: list[str]
    """Errors of records that cannot be read; `featurestore repair` removes these records."""

    @property
    def is_complete(self) -> bool:
        """Whether every shard of every declared contig and phase is committed."""
        return bool(self.phases) and not self.damaged and all(row.committed == row.shards for row in self.phases)

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain JSON."""
        work = [
            asdict(item)
            | {"began": item.began.isoformat(), "ended": item.ended.isoformat()}
            | {"bins_per_second": item.bins_per_second}
            for item in self.work
        ]
        return {
            "complete": self.is_complete,
            "contigs": [asdict(row) for row in self.phases],
            "work": work,
            "failures": [failure.model_dump(mode="json") for failure in self.failures],
            "damaged": self.damaged,
        }


def status_of(store: Store) -> StoreStatus:
    """Read every commit record and failure note of a store: one small object a shard, several read concurrently."""
    found = StoreStatus([], [], [], [])
    for name in store.feature_sets():
        feature_set = store.feature_set(name)
        _add_log(store, ArrayKey(name), _grid_of(store, feature_set), found)
        for anchors in anchored_names(store, name):
            held = read_anchored(store, name, anchors)
            if held is not None:
                array = AnchorLayout(feature_set, held)
                _add_log(store, array.key, [_Part(layout.ANCHORS, 0, 0, array.n_shards)], found)
        for overlay in store.overlays(name):
            folder = layout.overlay_folder(overlay)
            _add_log(store, ArrayKey(name, overlay=folder), _parts_of_overlay(store, feature_set, folder), found)
    found.work.sort(key=lambda item: item.ended)
    return found


def work_of(commits: Iterable[Commit]) -> list[Work]:
    """Aggregate commit records by run and worker, latest last."""
    groups: dict[tuple[str, str, str, str], list[Commit]] = {}
    for commit in commits:
        groups.setdefault((commit.feature_set, commit.run, commit.worker, commit.device), []).append(commit)
    work = [
        Work(
            feature_set=feature_set,
            run=run,
            worker=worker,
            device=device,
            shards=len(made),
            bins=sum(commit.n_bins for commit in made),
            began=min(commit.finished - timedelta(seconds=commit.seconds) for commit in made),
            ended=max(commit.finished for commit in made),
        )
        for (feature_set, run, worker, device), made in groups.items()
    ]
    return sorted(work, key=lambda item: item.ended)


def speed(work: Iterable[Work]) -> float:
    """Return the bins/s of concurrent work; 0 if its times do not determine it."""
    chosen = list(work)
    if not chosen:
        return 0.0
    seconds = (max(item.ended for item in chosen) - min(item.began for item in chosen)).total_seconds()
    return sum(item.bins for item in chosen) / seconds if seconds > 0 else 0.0


def last_run_speed(store: Store, feature_set: str) -> float:
    """Return the bins/s of the latest run, all workers included; 0 if nothing is committed."""
    work = work_of(store.commits(feature_set).records())
    return speed(item for item in work if item.run == work[-1].run)


class _Part(NamedTuple):
    contig: str
    phase: int
    offset: int
    shards: int


def _grid_of(store: Store, feature_set: FeatureSet) -> list[_Part]:
    lengths = store.assembly.lengths
    shapes = {contig: layout.ContigLayout(feature_set, lengths[contig]) for contig in store.contigs(feature_set.name)}
    return [
        _Part(contig, phase, offset, shape.n_shards(phase))
        for contig, shape in shapes.items()
        for phase, offset in enumerate(feature_set.offsets)
    ]


def _parts_of_overlay(store: Store, feature_set: FeatureSet, folder: str) -> list[_Part]:
    whole = read_whole(store.objects, store.assembly, feature_set, folder)
    return [
        _Part(contig, phase, offset, array.n_shards(phase))
        for contig, array in (whole.arrays.items() if whole is not None else ())
        for phase, offset in enumerate(whole.overlay.offsets if whole is not None else ())
    ]


def _add_log(store: Store, array: ArrayKey, parts: Iterable[_Part], found: StoreStatus) -> None:
    made: dict[tuple[str, int], list[Commit]] = {}
    for record in store.commits(array).readable():
        if isinstance(record, DamagedRecord):
            found.damaged.append(str(record))
        else:
            made.setdefault((record.contig, record.phase), []).append(record)
    committed = {(commit.contig, commit.phase, commit.shard) for commits in made.values() for commit in commits}
    failures = [
        note for note in FailureLog(store.objects, array) if (note.contig, note.phase, note.shard) not in committed
    ]
    found.failures.extend(failures)
    found.work.extend(work_of(commit for commits in made.values() for commit in commits))
    for contig, phase, offset, shards in parts:
        here = made.get((contig, phase), [])
        seconds = sum(commit.seconds for commit in here)
        bins = sum(commit.n_bins for commit in here)
        found.phases.append(
            PhaseStatus(
                feature_set=str(array),
                contig=contig,
                offset=offset,
                shards=shards,
                committed=len(here),
                failed=sum((note.contig, note.phase) == (contig, phase) for note in failures),
                bins=bins,
                bins_per_second=bins / seconds if seconds else 0.0,
            )
        )
