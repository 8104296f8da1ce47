"""Features of the rows of a task: computed once into an anchored array, read from a local mirror of it.

Belongs here: the store of a task's rows, and the table that heads read. Does not: heads (`model.probes.heads`), which
bins (`model.probes.representations`).

Each row is a contig of a small genome of its own, with an anchor; a build of anchored windows computes them, shard by
shard, and goes on where it was stopped. A folder is named by what decides its values: the sequences, and the
fingerprint of the extractor.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import featurestore
from builders.anchored.run_anchors import run_anchor_build
from builders.extractors.base import Extractor
from builders.request import AnchorRequest
from catalog.runtime.documents import read_object
from catalog.runtime.files import replacing, write_atomic
from catalog.value_type import Dtype
from featurestore.anchored.reader import AnchoredReader, open_anchored
from featurestore.format import layout as store_layout
from model.probes.representations import Form, Layout, Representation
from model.probes.task import Task

Progress = Callable[[int, int], None]
Stage = Callable[[str], None]
_ANCHORS = "rows"
_SHARDS = 32
"""About so many shards: a build that is killed loses one of them."""
_CHUNK = 64 << 20
"""Bytes that are copied to the mirror at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of all rows of a task, in its order."""

    values: NDArray[np.floating]
    """Shape `(rows, pieces, channels)`: a map of the mirror."""
    bytes: int
    """Of the anchored array, as it is stored."""
    seconds: float
    """Spent computing it, whenever that was (s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """Features that are to be: the extractor is made, and nothing computed."""

    task: Task
    representation: Representation
    form: Form
    bins: Layout
    extractor: Extractor
    place: Path
    """Folder of these features alone."""
    dtype: Dtype
    device: str

    @property
    def name(self) -> str:
        """What the values are decided by, in short."""
        return self.place.name

    @property
    def context_bp(self) -> int:
        """Bases of the genome that are read on either side of a row (bp); of sequences alone there are none."""
        return _context_bp(self.task, self.extractor)

    def compute(self, *, progress: Progress | None = None, stage: Stage = lambda name: None) -> Features:
        """Compute what is missing, and open them; the errors are those of `run_anchor_build`."""
        if not (self.place / "made.json").exists():
            _build(self, progress=progress, stage=stage)
        made = read_object(self.place / "made.json", mend=f"remove {self.place}")
        return Features(
            values=np.load(self.place / "mirror.npy", mmap_mode="r"), bytes=made["bytes"], seconds=made["seconds"]
        )


def plan_features(
    task: Task,
    representation: Representation,
    form: Form,
    *,
    folder: Path,
    resolution: int = 1,
    dtype: Dtype = "float16",
    device: str = "auto",
) -> FeaturePlan:
    """Make the extractor for the rows of a task, and find the folder of its features in that of all.

    Raises
    ------
    ValueError
        If the extractor cannot be made, or does not suit the rows.
    """
    bins = representation.layout(form, length=task.length, resolution=resolution)
    extractor = representation.make(bins, device=device)
    place = folder / _folder_name(task, representation, bins, extractor, dtype)
    return FeaturePlan(
        task=task,
        representation=representation,
        form=form,
        bins=bins,
        extractor=extractor,
        place=place,
        dtype=dtype,
        device=device,
    )


def _folder_name(task: Task, representation: Representation, bins: Layout, extractor: Extractor, dtype: Dtype) -> str:
    digest = hashlib.sha256()
    for sequence in task.with_context(_context_bp(task, extractor)):
        digest.update(b"%d:" % len(sequence) + sequence)
    decisive = [extractor.fingerprint, bins.bin_size, bins.n_bins, bins.pieces, dtype, sorted(extractor.channels)]
    digest.update(json.dumps(decisive).encode())
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', representation.label)[:40]}-{digest.hexdigest()[:16]}"


def _context_bp(task: Task, extractor: Extractor) -> int:
    """Give the bases that are read on either side of a row; of rows that are sequences alone there are none."""
    return 0 if task.places is None else extractor.input_length


def _build(plan: FeaturePlan, *, progress: Progress | None, stage: Stage) -> None:
    place, bins, rows = plan.place, plan.bins, len(plan.task.sequences)
    place.mkdir(parents=True, exist_ok=True)
    _write_rows(plan.task, place, context_bp=plan.context_bp, centre=bins.centre)
    request = AnchorRequest(
        anchors=place / "anchors.tsv",
        name=_ANCHORS,
        n_bins=bins.n_bins,
        fasta=str(place / "rows.fa"),
        extractor=plan.representation.extractor,
        settings=bins.settings,
        bin_size=bins.bin_size,
        dtype=plan.dtype,
        device=plan.device,
        shard_anchors=max(16, -(-rows // _SHARDS)),
    )
    url = str(place / "features.store")

    def told(name: str) -> None:
        stage(f"{plan.representation.label}: {name}")

    run_anchor_build(url, request, progress=progress, stage=told, in_process=True)
    store = featurestore.open(url)
    readers = [open_anchored(store, name, _ANCHORS) for name in plan.extractor.channels]
    told("copying to the mirror")
    _write_mirror(readers, bins, place / "mirror.npy", n_rows=rows)
    written = [_written(reader) for reader in readers]
    made = {"bytes": sum(size for size, _ in written), "seconds": max(seconds for _, seconds in written)}
    write_atomic(place / "made.json", json.dumps(made).encode())


def _write_rows(task: Task, place: Path, *, context_bp: int, centre: int) -> None:
    """Write each row as a contig, and its anchor; equally long, N past the end of a shorter row."""
    length = max(task.length, centre + 1) + 2 * context_bp
    if not (place / "anchors.tsv").exists():
        with replacing(place / "rows.fa") as partial, partial.open("wb") as file:
            for number, sequence in enumerate(task.with_context(context_bp)):
                file.write(b">r%08d\n%s\n" % (number, sequence.ljust(length, b"N")))
        lines = [f"r{number:08d}\tr{number:08d}\t{context_bp + centre}\n" for number in range(len(task.sequences))]
        write_atomic(place / "anchors.tsv", ("name\tcontig\tposition\n" + "".join(lines)).encode())


def _write_mirror(readers: list[AnchoredReader], bins: Layout, path: Path, *, n_rows: int) -> None:
    """Copy the windows of all rows into one table, the channels of all feature sets side by side."""
    of_each = [len(reader.channel_names) * bins.n_bins for reader in readers]
    item = readers[0].feature_set.value_type.item_bytes
    step = max(1, _CHUNK // (item * sum(of_each)))
    numbers = [reader.numbers_of([f"r{row:08d}" for row in range(n_rows)]) for reader in readers]
    with replacing(path) as partial:
        table = None
        for first in range(0, n_rows, step):
            rows = slice(first, min(first + step, n_rows))
            read = [reader.numbered(places[rows], bins.n_bins) for reader, places in zip(readers, numbers, strict=True)]
            cut = [_pieces(values, bins) for values in read]
            if table is None:
                shape = (n_rows, bins.pieces, sum(values.shape[2] for values in cut))
                table = np.lib.format.open_memmap(partial, mode="w+", dtype=cut[0].dtype, shape=shape)
            table[rows] = np.concatenate(cut, axis=2)
        assert table is not None
        table.flush()


def _pieces(values: NDArray[np.floating], bins: Layout) -> NDArray[np.floating]:
    """Lay the pieces of one bin along the sequence, or cut off the bin too many."""
    if bins.n_bins == 1:
        return values.reshape(len(values), bins.pieces, -1)
    return values[:, : bins.pieces]


def _written(reader: AnchoredReader) -> tuple[int, float]:
    """Give the bytes of an array's shards, and the seconds that they took."""
    commits = reader.store.commits(reader.layout.key)
    found = [
        commits.read(store_layout.ANCHORS, phase, shard)
        for phase, shard in sorted(commits.shards()[store_layout.ANCHORS])
    ]
    there = [commit for commit in found if commit is not None]
    return sum(commit.size for commit in there), sum(commit.seconds for commit in there)
