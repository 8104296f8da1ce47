"""Run a probe: representation by head by seed, each score kept as soon as it is known.

    from model.probes.run import run_probe
    run_probe(ProbeRequest(task=Path("t.tsv"), features=("kmer:5", "hf:FOLDER"), heads=("ridge",), out=Path("probe")))

Belongs here: the list of fits, what is done already, carrying them out. Does not: one fit (`model.probes.heads`), the
table (`model.probes.results.table`), the page (`model.probes.results.report`).

Stopped or killed, the same command goes on; it may name more representations, heads or seeds.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from catalog.runtime.documents import read_object
from catalog.runtime.files import write_atomic
from catalog.runtime.locations import required_path
from catalog.runtime.tables import write_table
from model.probes.attribution.figures import attribution_html
from model.probes.attribution.run import Explained, explain, require_explicable
from model.probes.features import FeaturePlan, Features, plan_features
from model.probes.heads import (
    DEVIATIONS,
    Fitted,
    HeadSpec,
    form_of,
    is_random,
    require_pieces,
    require_suited,
    some_of,
    version_of,
)
from model.probes.kept import keep_arrays, read_arrays, save_head
from model.probes.representations import representations
from model.probes.request import Preset, ProbeRequest
from model.probes.results.report import write_probe_report
from model.probes.results.table import CONSTANT, Result, curve_table, score_table, target_table
from model.probes.task import Task, read_task

Progress = Callable[[int, int], None]
_CODE_VERSION = 1
"""Raise it with every change that changes a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a probe found."""

    out: str
    table: pl.DataFrame
    """A row a representation and head: scores, spreads, the difference to one-hot, cost."""
    notes: tuple[str, ...]
    fitted: int
    """Fits of this run."""
    was_there: int
    """Fits of earlier runs."""


class Fit(NamedTuple):
    """One fit to do, and the features that it reads."""

    plan: FeaturePlan
    spec: HeadSpec

    @property
    def digest(self) -> str:
        """What decides it, in short."""
        decisive = [self.plan.name, self.spec.head, self.spec.preset, self.spec.seed, self.spec.share]
        if (version := version_of(self.spec.head)) > 1:  # those of the first have none in their name
            decisive.append(version)
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:24]

    def found_in(self, out: Path) -> Path:
        """Name the file of its predictions, in the folder of a run."""
        return out / "fits" / f"{self.digest}.npz"

    def head_in(self, out: Path) -> Path:
        """Name the file of its head."""
        label = self.plan.name.rpartition("-")[0]
        return out / "heads" / f"{label}-{self.spec.head}-seed{self.spec.seed}-{self.digest[:8]}.safetensors"

    def is_in(self, out: Path) -> bool:
        """Whether it is done; heads of the learning curve are not kept."""
        return self.found_in(out).exists() and (self.spec.share < 1 or self.head_in(out).exists())


def run_probe(
    request: ProbeRequest, *, progress: Progress | None = None, stage: Callable[[str], None] = lambda name: None
) -> ProbeReport:
    """Compute the features of a task, fit all heads, and write the table and the page.

    Raises
    ------
    TableError, FastaError, ValueError
        If the input does not fit, before anything is computed.
    """
    stage(f"reading {request.task}")
    task = read_task(request)
    for head in request.heads:
        require_suited(head, task)
    require_explicable(task, request)
    out = required_path(request.out)
    stage("making the extractors")
    fits = _fits(
        request, task, out if request.cache is None else required_path(request.cache), own=request.cache is None
    )
    _begin(out, task, request)
    done, was_there = _carry_out(fits, task, out, progress=progress, stage=stage)
    results = [_constant(task, request.preset), *done]
    stage("drawing test rows")
    table = score_table(task, [result for result in results if result.share == 1], draws=request.draws)
    curve = curve_table(task, results)
    heads = [
        Explained(fit.plan, fit.spec.head, fit.head_in(out))
        for fit in fits
        if fit.spec.seed == 0 and fit.spec.share == 1
    ]
    found = explain(heads, task, request, out, progress=progress, stage=stage)
    notes = (*_notes(task, [fit.plan for fit in fits], request.preset), *found.notes)
    write_table(table, out / "scores.tsv")
    write_table(target_table(task, [result for result in results if result.share == 1]), out / "targets.tsv")
    write_table(curve, out / "curve.tsv")
    stage("writing the page")
    write_probe_report(
        out,
        task=task,
        request=request,
        table=table,
        curve=curve,
        notes=notes,
        explained=attribution_html(found, out, target=task.target_names[0]),
    )
    return ProbeReport(out=str(out), table=table, notes=notes, fitted=len(fits) - was_there, was_there=was_there)


def _fits(request: ProbeRequest, task: Task, folder: Path, *, own: bool) -> list[Fit]:
    """List the fits, those of one table of features in turn."""
    place = folder / "features" if own else folder
    found = []
    for representation in representations(request.features, request.settings):
        for form in sorted({form_of(head) for head in request.heads}):
            plan = plan_features(
                task,
                representation,
                form,
                folder=place,
                resolution=request.resolution,
                dtype=request.dtype,
                device=request.device,
            )
            for head in request.heads:
                if form_of(head) == form:
                    require_pieces(head, representation.label, plan.bins, task)
                    found += [Fit(plan, spec) for spec in _specs(request, task, head, representation.extractor)]
    return found


def _specs(request: ProbeRequest, task: Task, head: str, extractor: str) -> list[HeadSpec]:
    if head == "ridge" and task.is_binary:
        head = "logistic"
    runs = [(seed, 1.0) for seed in range(request.seeds if is_random(head) else 1)]
    runs += [(0, share) for share in sorted(request.fractions) if share < 1 and _is_enough(task, share)]
    return [
        HeadSpec(
            head=head, representation=extractor, preset=request.preset, seed=seed, share=share, device=request.device
        )
        for seed, share in runs
    ]


def _is_enough(task: Task, share: float) -> bool:
    """Whether each target varies among a share of the training rows."""
    targets = task.targets[some_of(task.rows(0), share)]
    return all(len(set(column[~np.isnan(column)])) > 1 for column in targets.T)


def _begin(out: Path, task: Task, request: ProbeRequest) -> None:
    """Note what decides all scores of the folder; a ValueError if it was begun with another task."""
    digest = hashlib.sha256(task.targets.tobytes() + task.parts.tobytes())
    for sequence in task.with_context(0):
        digest.update(b"%d:" % len(sequence) + sequence)
    key = {"version": _CODE_VERSION, "task": digest.hexdigest(), "metric": task.metric, "preset": request.preset}
    path = out / "probe.json"
    if path.exists():
        found = read_object(path, mend=f"remove {out}")
        if changed := [name for name in key if found.get(name) != key[name]]:
            raise ValueError(
                f"{out} was begun with another {', '.join(changed)}: give that again to go on, or name another folder "
                "with `out=`"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(key).encode())


def _carry_out(
    fits: list[Fit],
    task: Task,
    out: Path,
    *,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> tuple[list[Result], int]:
    found, was_there = [], 0
    held: tuple[FeaturePlan, Features] | None = None
    for fit in fits:
        if held is None or held[0] is not fit.plan:
            held = fit.plan, fit.plan.compute(progress=progress, stage=stage)
        if fit.is_in(out):
            was_there += 1
        else:
            stage(f"{fit.spec.head} on {fit.plan.representation.label}, seed {fit.spec.seed}, {fit.spec.share:.0%}")
            _write(fit, fit.spec.fit(task, held[1].values), task, out)
        found.append(_result(fit, held[1], fit.found_in(out)))
    return found, was_there


def _write(fit: Fit, fitted: Fitted, task: Task, out: Path) -> None:
    """Keep a fit: its head first, since its predictions say that it is done."""
    if fit.spec.share == 1:
        told = {
            "representation": fit.plan.representation.label,
            "fingerprint": fit.plan.extractor.fingerprint,
            "seed": fit.spec.seed,
            "target_names": task.target_names,
        }
        save_head(fit.head_in(out), fitted.head, told)
    found = {"chosen": fitted.chosen, "seconds": fitted.seconds}
    keep_arrays(fit.found_in(out), predictions=fitted.predictions, told=np.array(json.dumps(found)))


def _result(fit: Fit, features: Features, path: Path) -> Result:
    kept = read_arrays(path)
    told = json.loads(str(kept["told"]))
    return Result(
        representation=fit.plan.representation.label,
        is_control=fit.plan.representation.is_control,
        head=fit.spec.head,
        seed=fit.spec.seed,
        share=fit.spec.share,
        predictions=kept["predictions"],
        reads_bp=fit.plan.extractor.input_length,
        numbers=int(np.prod(features.values.shape[1:])),
        bytes=features.bytes,
        feature_seconds=features.seconds,
        fit_seconds=told["seconds"],
    )


def _constant(task: Task, preset: Preset) -> Result:
    """Predict the mean of the training rows, whatever the sequence is."""
    mean = np.nanmean(task.targets[task.rows(0)], axis=0)
    return Result(
        representation=CONSTANT,
        is_control=True,
        head="mean",
        seed=0,
        share=1.0,
        predictions=np.tile(mean, (len(task.rows(2)), 1)),
    )


def _notes(task: Task, plans: list[FeaturePlan], preset: Preset) -> tuple[str, ...]:
    """Tell what a reader must know of the scores."""
    notes = list(DEVIATIONS) if preset == "paper" else []
    for plan in {plan.name: plan for plan in plans}.values():
        reads = plan.extractor.input_length
        if task.places is None and reads > plan.bins.bin_size and reads > task.length:
            notes.append(
                f"{plan.representation.label} reads {reads:,} bp, and rows have at most {task.length:,}: N around them"
            )
        if licence := plan.extractor.licence.strip():
            notes.append(f"{plan.representation.label}: licence {licence}")
    return tuple(dict.fromkeys(notes))
