"""What the page of a run is gathered from, for `featurestore evaluate RUN --report PAGE`.

Belongs here: reading the run's learning curve, the state of the store and what it all cost. Does not: the page
(`model.evaluation.run_report`), scores (`model.runs.scores`).
"""

from collections.abc import Sequence
from pathlib import Path

from featurestore.format.build_commands import grid_command
from featurestore.store import Store, open_store
from featurestore.upkeep.status import PhaseStatus, Work, status_of
from model.evaluation.run_report import RunReport, write_run_report
from model.runs.folder import Run, learning_curves
from model.runs.genes import sets_in
from model.runs.scores import WHAT_CONTROLS_TELL, Evaluated, missing_controls

_OTHER_GENES = "Scored are genes that the run was trained on: these scores say nothing of new genes."


def report_run(
    path: Path, run: Run, found: Evaluated, *, store: str, draws: int, seconds: float, command: str = ""
) -> Path:
    """Write the page of a run: scores, differences, learning curve, the build, cost and commands.

    Parameters
    ----------
    path
        HTML file to write.
    found
        Of `model.runs.scores.evaluate_genes`.
    store
        The store that the run reads; its commit records are read, a small object a shard.
    draws
        Bootstrap draws of the scores.
    seconds
        That the evaluation took.
    command
        The line that evaluates; empty for none.
    """
    opened = open_store(store)
    names = _sets_of(run, opened)
    status = status_of(opened)
    built = [row for row in status.phases if _is_of(row.feature_set, names)]
    work = [item for item in status.work if _is_of(item.feature_set, names)]
    report = RunReport(
        scores=found.scores,
        predictions=found.predictions,
        draws=draws,
        curves=learning_curves(run),
        built=built,
        lengths=opened.assembly.lengths,
        cost=_cost(run, built, work, seconds),
        notes=_notes(opened, names, found),
        commands=[line for line in (*_build_lines(opened, names), run.command, command) if line],
    )
    return write_run_report(path, report)


def _sets_of(run: Run, store: Store) -> list[str]:
    """List the feature sets that a run reads, its signals and the bases beside them too."""
    signals = run.signals
    read = sets_in(run.feature_set) if signals is None else [*signals.sets, signals.sequence]
    there = store.feature_sets()
    return [name for name in dict.fromkeys(read) if name in there]


def _is_of(array: str, names: Sequence[str]) -> bool:
    """Tell whether an array, of the grid, around anchors or of an overlay, is of one of these sets."""
    return array.split("@")[0].split("+")[0] in names


def _notes(store: Store, names: Sequence[str], found: Evaluated) -> list[str]:
    licences = {name: store.feature_set(name).licence.strip() for name in names}
    notes = [f"Licence of {name}, which the predictions rest on: {text}" for name, text in licences.items() if text]
    scores = found.scores
    if scores["subset"] not in ("test", "validation"):
        notes.insert(0, _OTHER_GENES)
    elif scores["n_sharing_bases"]:
        notes.append(
            f"{scores['n_sharing_bases']:,} of {scores['n_test']:,} genes have windows that share bases with those of "
            "training genes."
        )
    if lacking := missing_controls(scores):
        notes.append(f"No score stands here of {', '.join(lacking)}: {WHAT_CONTROLS_TELL}.")
    return notes


def _cost(run: Run, built: Sequence[PhaseStatus], work: Sequence[Work], seconds: float) -> dict[str, str]:
    bins = sum(row.bins for row in built)
    computing = sum(row.bins / row.bins_per_second for row in built if row.bins_per_second)
    cost = {"bins built": f"{bins:,}"}
    if computing:
        workers = {(item.worker, item.device) for item in work}
        devices = ", ".join(sorted({device for _, device in workers}))
        cost["computing features"] = f"{_time(computing)} of {len(workers):,} workers ({devices})"
    summary = run.summary
    if summary:
        cost["training"] = f"{_time(summary['seconds'])} for {summary['n_train']:,} genes"
        cost["trained parameters"] = f"{summary['trainable_parameters']:,}"
        cost["genes"] = (
            f"{summary['n_train']:,} training, {summary['n_validation']:,} validation, {summary['n_test']:,} test"
        )
    return cost | {"this evaluation": _time(seconds)}


def _time(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 3600:,.2f} h"


def _build_lines(store: Store, names: Sequence[str]) -> list[str]:
    lines = []
    for name in names:
        described = store.feature_set(name)
        contigs = store.contigs(name)
        command = grid_command(store.url, store.assembly, described, contigs=contigs, offsets=described.offsets)
        lines.append(command.strip("`"))
    return lines
