"""Explain the heads of a probe: maps of test rows, their agreement, and what motifs add.

Belongs here: which rows, which maps, what is done already, files. Does not: one map (`model.probes.attribution.maps`),
figures (`model.probes.attribution.figures`).

A map is kept as soon as it is known, so that a stopped run goes on.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from builders.attribution.regions import LETTERS, codes_of
from builders.extractors.base import MaskedExtractor
from builders.extractors.sequence import UNKNOWN
from catalog.runtime.tables import write_table
from model.probes.attribution.agreement import Map, agreement_table
from model.probes.attribution.maps import by_base, feature_weight, method_of, standing
from model.probes.attribution.motifs import Backgrounds, backgrounds_of, differences, effect_rows
from model.probes.attribution.sequence_model import SequenceModel
from model.probes.features import FeaturePlan
from model.probes.kept import keep_arrays, load_head, read_arrays
from model.probes.request import ProbeRequest
from model.probes.task import Task

Progress = Callable[[int, int], None]
_CODE_VERSION = 1
"""Raise it with every change that changes a map."""
_MOST_NUMBERS = 1 << 27
"""Scores of one head that are held at a time: 512 MiB."""


class Explained(NamedTuple):
    """A head that was fitted to all training rows with the first seed."""

    plan: FeaturePlan
    head: str
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributions:
    """What was found of all heads."""

    maps: tuple[Map, ...]
    onehot: NDArray[np.bool_]
    """Bases of the explained rows, `(rows, length, 4)`."""
    agreement: pl.DataFrame
    importance: pl.DataFrame
    notes: tuple[str, ...]


def require_explicable(task: Task, request: ProbeRequest) -> None:
    """Refuse, with a ValueError, what would fail after long work: too many rows, or a motif that has no room."""
    numbers = request.explain * task.length * 4 * len(task.target_names)
    if numbers > _MOST_NUMBERS:
        raise ValueError(
            f"`explain=` of {request.explain:,} rows of {task.length:,} bases are {numbers:,} scores a head, and at "
            f"most {_MOST_NUMBERS:,} are kept; explain fewer rows, or name fewer `targets=`"
        )
    shortest = min(len(task.sequences[row].strip(b"N")) for row in highest(task))
    for motif in request.motifs or ():
        if len(motif) > shortest:
            raise ValueError(
                f"`motifs=` has {motif}, of {len(motif)} bases, and a test row has {shortest}; name shorter motifs"
            )


def highest(task: Task) -> NDArray[np.int64]:
    """Give the test rows whose first target is known, the highest first."""
    rows = task.rows(2)
    first = task.targets[rows, 0]
    order: NDArray[np.int64] = rows[np.argsort(-first, kind="stable")][: int((~np.isnan(first)).sum())]
    return order


def explain(
    heads: Sequence[Explained],
    task: Task,
    request: ProbeRequest,
    out: Path,
    *,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> Attributions:
    """Make all maps and effects of motifs, and write `agreement.tsv` and `importance.tsv`."""
    rows = highest(task)[: request.explain]
    maps, notes = _maps(heads, rows, out, progress=progress, stage=stage) if len(rows) else ([], [])
    agreement = agreement_table(maps, task.target_names)
    importance = _importance(heads, task, request, out, stage=stage) if request.motifs else pl.DataFrame()
    for table, name in ((agreement, "agreement.tsv"), (importance, "importance.tsv")):
        if table.height:
            write_table(table, out / name)
    return Attributions(
        maps=tuple(maps),
        onehot=_onehot(_with_context(task, rows, 0)),
        agreement=agreement,
        importance=importance,
        notes=tuple(notes),
    )


def _maps(
    heads: Sequence[Explained],
    rows: NDArray[np.int64],
    out: Path,
    *,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> tuple[list[Map], list[str]]:
    """Make the maps of all heads, then those of entropy; and what to note of them."""
    maps, notes = [], []
    entropies: dict[str, Map | None] = {}
    for one in heads:
        model, label = SequenceModel(one.plan, load_head(one.file)), one.plan.representation.label
        maps.append(_map(one, model, rows, out, progress=progress, stage=stage))
        if label not in entropies:
            entropies[label], note = _entropy(one.plan, rows, out, progress=progress, stage=stage)
            notes += note
        if (entropy := entropies[label]) is not None and one.plan.form == "along":
            maps.append(_product(one, model, rows, entropy))
    return maps + [entropy for entropy in entropies.values() if entropy is not None], notes


def _importance(
    heads: Sequence[Explained], task: Task, request: ProbeRequest, out: Path, *, stage: Callable[[str], None]
) -> pl.DataFrame:
    """Put motifs into the same shuffles for all heads: a row a head, motif and target."""
    motifs = request.motifs or ()
    shuffles = backgrounds_of(task.sequences, highest(task), count=request.backgrounds, length=task.length)
    table = []
    for one in heads:
        label = one.plan.representation.label
        stage(f"motifs in {request.backgrounds:,} shuffles: {one.head} on {label}")
        found = _effects(one, SequenceModel(one.plan, load_head(one.file)), shuffles, motifs, out)
        table += [
            {"representation": label, "head": one.head} | row for row in effect_rows(found, motifs, task.target_names)
        ]
    return pl.DataFrame(table, infer_schema_length=None)


def _with_context(task: Task, rows: NDArray[np.int64], context_bp: int) -> NDArray[np.uint8]:
    """Read rows with what lies around them, N past the end of a shorter one: `(rows, length + 2 * context_bp)`."""
    some = replace(
        task,
        sequences=tuple(task.sequences[row] for row in rows),
        places=None if task.places is None else tuple(task.places[row] for row in rows),
        strands=None if task.strands is None else tuple(task.strands[row] for row in rows),
    )
    length = task.length + 2 * context_bp
    found = np.full((len(rows), length), UNKNOWN, dtype=np.uint8)
    for number, sequence in enumerate(some.with_context(context_bp)):
        found[number, : len(sequence)] = np.frombuffer(sequence, dtype=np.uint8)
    return found


def _onehot(sequences: NDArray[np.uint8]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = codes_of(sequences)[:, :, None] == np.arange(len(LETTERS))
    return found


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Read arrays that were kept, or make and keep them."""
    if not path.exists():
        keep_arrays(path, **make())
    return read_arrays(path)


def _place(out: Path, name: str, *decisive: Any) -> Path:
    digest = hashlib.sha256(json.dumps([_CODE_VERSION, *decisive]).encode()).hexdigest()[:8]
    return out / "attributions" / f"{name}-{digest}.npz"


def _map(
    one: Explained,
    model: SequenceModel,
    rows: NDArray[np.int64],
    out: Path,
    *,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> Map:
    label, method = one.plan.representation.label, method_of(one.plan)

    def make() -> dict[str, Any]:
        stage(f"explaining {len(rows):,} rows by {method}: {one.head} on {label}")
        sequences = _with_context(model.plan.task, rows, model.context_bp)
        values = []
        for sequence in sequences:
            values.append(by_base(model, sequence))
            if progress is not None:
                progress(len(values), len(rows))
        own = sequences[:, model.context_bp : model.context_bp + model.length]
        return {"rows": rows, "values": np.stack(values), "onehot": _onehot(own), "method": np.array(method)}

    kept = _kept(_place(out, one.file.stem, rows.tolist()), make)
    return Map(label, one.head, method, standing(kept["values"], kept["onehot"]))


def _entropy(
    plan: FeaturePlan,
    rows: NDArray[np.int64],
    out: Path,
    *,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> tuple[Map | None, list[str]]:
    """Give how far the entropy of each base's token lies below the largest of its row; and why there is none."""
    extractor, label = plan.extractor, plan.representation.label
    if not isinstance(extractor, MaskedExtractor) or plan.representation.settings.get("random_seed") is not None:
        return None, []

    def make() -> dict[str, Any]:
        stage(f"entropy of {len(rows):,} rows: {label}")
        context = extractor.context_bp if plan.task.places is not None else 0
        found = []
        for sequence in _with_context(plan.task, rows, context):
            values = extractor.masked_entropy(sequence)[context : context + plan.task.length]
            values[codes_of(sequence[context : context + plan.task.length]) == len(LETTERS)] = np.nan
            found.append(values.astype(np.float32))
            if progress is not None:
                progress(len(found), len(rows))
        return {"rows": rows, "values": np.stack(found)}

    place = _place(out, f"{plan.name}-entropy", rows.tolist())
    try:
        entropy = _kept(place, make)["values"]
    except ValueError as error:  # such as a model without a head: the other maps are there all the same
        return None, [f"{label} has no map of entropy: {error}"]
    return Map(label, "", "entropy", (np.nanmax(entropy, axis=1, keepdims=True) - entropy)[:, :, None]), []


def _product(one: Explained, model: SequenceModel, rows: NDArray[np.int64], entropy: Map) -> Map:
    """Multiply the entropy of each base by the length of the head's gradient by its features."""
    weights = np.stack(
        [feature_weight(model, sequence) for sequence in _with_context(model.plan.task, rows, model.context_bp)]
    )
    return Map(one.plan.representation.label, one.head, "product", entropy.values * weights)


def _effects(
    one: Explained, model: SequenceModel, shuffles: Backgrounds, motifs: Sequence[str], out: Path
) -> NDArray[np.float64]:
    def make() -> dict[str, Any]:
        around = _with_context(model.plan.task, shuffles.rows, model.context_bp)
        return {"differences": differences(model, shuffles, around, motifs), "motifs": np.array(motifs)}

    decisive = (shuffles.rows.tolist(), list(motifs))
    return _kept(_place(out, f"{one.file.stem}-motifs", *decisive), make)["differences"]
