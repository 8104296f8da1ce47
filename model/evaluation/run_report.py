"""The page of one run: what it scored beside its controls, how it learned, what it read and what that cost.

Belongs here: figures and HTML from scores, predictions and the status of a build. Does not: these numbers
(`model.runs.scores`, `featurestore.upkeep.status`), pages and figures in general (`model.evaluation.page`,
`model.evaluation.figures`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from featurestore.upkeep.status import PhaseStatus
from model.evaluation.figures import COLOURS, STYLE, Paired, paired_differences, predicted_against_observed
from model.evaluation.metrics import Estimate, bootstrap_spearman
from model.evaluation.page import commands_html, differences_html, figure_html, table_html, write_page
from model.evaluation.resampling import drawn

MOST_TASKS = 6
"""Tasks that are drawn."""
MOST_CONTIGS = 40
"""Contigs of a build that are drawn."""
_FEWEST = 3
"""Genes that a rank correlation takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What the page shows."""

    scores: Mapping[str, Any]
    """As `model.runs.scores.evaluate` gives them."""
    predictions: pl.DataFrame
    """As `model.runs.scores.Evaluated` has them."""
    draws: int
    """Bootstrap draws of the scores."""
    curves: Mapping[str, pl.DataFrame]
    """`metrics.csv` of the run or of each member, by name; none of a closed form."""
    built: Sequence[PhaseStatus]
    """The contigs and phases of what it read."""
    lengths: Mapping[str, int]
    """Of the contigs (bp)."""
    cost: Mapping[str, str]
    """What was spent on what, as text."""
    notes: Sequence[str] = ()
    """What a reader must know before quoting a number."""
    commands: Sequence[str] = ()
    """The lines that make it all again."""


def write_run_report(path: Path, report: RunReport) -> Path:
    """Write the page: one HTML file, with its pictures in it."""
    scores = report.scores
    over = drawn(report.draws, scores["resample"], scores["n_resampled"])
    differences = _differences(scores)
    body = [
        f"<h2>Scores on {scores['n_test']:,} genes ({scores['subset']})</h2>",
        _scores_html(scores),
        f"<p>± 2 sd of {over}. Pearson, MSE and MAE are of log(1 + expression).</p>",
        figure_html(paired_differences(differences), _APART) if differences else "",
        differences_html(differences),
        *_scatters(report),
        "<h2>By contig</h2>",
        *_by_contig_html(report),
        "<h2>Learning</h2>" if report.curves else "",
        figure_html(learning_curves(report.curves), _LEARNING) if report.curves else "",
        "<h2>What was built</h2>",
        *_built_html(report),
        "<h2>Cost</h2>",
        table_html(["what", "how much"], [[name, value] for name, value in report.cost.items()]),
        "<h2>Do it again</h2>",
        commands_html(report.commands),
    ]
    lead = f"{scores['model']} on windows of {scores['n_bins']:,} bins around each TSS ({scores['subset']} genes)."
    return write_page(path, title=f"Run of {scores['model']}", lead=lead, notes=report.notes, body="\n".join(body))


_APART = (
    "By how much the run is ahead of each, on the same genes and draws; where the bar (two standard deviations) "
    "reaches 0 it is grey, and the two cannot be told apart."
)
_LEARNING = (
    "Errors of the standardised target and rank correlation by epoch; the line marks the least validation error."
)


def _differences(scores: Mapping[str, Any]) -> list[Paired]:
    return [
        Paired(f"{scores['model']} - {_labelled(scores, other)}", **other["lead"])
        for other in scores["beside"]
        if other["lead"]["value"] is not None
    ]


def _labelled(scores: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Name another model; one beside it, given by its folder, by the folder's name where no other is called so."""
    names = [Path(each["model"]).name for each in scores["beside"]]
    name = Path(other["model"]).name
    return (name if names.count(name) == 1 else other["model"]) + (
        "" if other["n_bins"] == scores["n_bins"] else f" at {other['n_bins']} bins"
    )


def _scores_html(scores: Mapping[str, Any]) -> str:
    head = ["model", "Spearman", "± 2 sd", "Pearson", "MSE", "MAE"]
    names = ("spearman", "two_sd", "pearson", "mse", "mae")
    rows = [(scores["model"] + (" (mean of tasks)" if "tasks" in scores else ""), scores)]
    rows += list(scores.get("tasks", {}).items())
    rows += [(_labelled(scores, other), other) for other in scores["beside"]]
    return table_html(head, [[label, *(_figure(row[name]) for name in names)] for label, row in rows], best=0)


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _pairs(report: RunReport) -> dict[str, pl.DataFrame]:
    """Give contig, prediction and observed of the genes that were measured, by task."""
    tasks = list(report.scores.get("tasks", [""]))
    return {
        task: report.predictions.select(
            "contig",
            pl.col(f"prediction {task}".strip()).alias("prediction"),
            pl.col(f"observed {task}".strip()).alias("observed"),
        ).drop_nulls()
        for task in tasks
    }


def _scatters(report: RunReport) -> list[str]:
    pairs, found = _pairs(report), []
    for task, frame in list(pairs.items())[:MOST_TASKS]:
        title = " ".join(filter(None, (report.scores["model"], task)))
        figure = predicted_against_observed(frame["prediction"].to_numpy(), frame["observed"].to_numpy(), title=title)
        found.append(figure_html(figure, f"{frame.height:,} genes, {report.scores['subset']}. The line is equality."))
    if len(pairs) > MOST_TASKS:
        found.append(f"<p>{MOST_TASKS} of {len(pairs):,} tasks are drawn.</p>")
    return found


def scores_by_contig(frame: pl.DataFrame, *, draws: int) -> dict[str, tuple[int, Estimate]]:
    """Score the genes of each contig by themselves: how many there are, and Spearman with its spread.

    Contigs with fewer than three genes, or without ranks, are left out; the order is that of their names, numbers as
    numbers.
    """
    found = {}
    for contig in sorted(frame["contig"].unique(), key=_in_order):
        genes = frame.filter(pl.col("contig") == contig)
        x, y = genes["prediction"].to_numpy(), genes["observed"].to_numpy()
        if genes.height >= _FEWEST and np.ptp(x) > 0 and np.ptp(y) > 0:
            found[contig] = (genes.height, bootstrap_spearman(x, y, draws=draws))
    return found


def _in_order(contig: str) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, contig))
    return (int(digits[:9]) if digits else 1 << 30), contig


def _by_contig_html(report: RunReport) -> list[str]:
    pairs = _pairs(report)
    task, frame = next(iter(pairs.items()))
    found = scores_by_contig(frame, draws=report.draws)
    if not found:
        return [f"<p>No contig has {_FEWEST} genes with ranks.</p>"]
    rows = [[contig, f"{n:,}", f"{s.value:.3f}", f"{s.two_sd:.3f}"] for contig, (n, s) in found.items()]
    whole = None if "tasks" in report.scores else report.scores["spearman"]
    caption = (
        f"Spearman on the genes of each contig by itself{f', {task}' if task else ''}; bars are two standard "
        "deviations over drawn genes. Few genes make a wide bar: a contig that lies apart is one whose bar says so."
    )
    figure = figure_html(contig_scores(found, whole), caption)
    return [figure, table_html(["contig", "genes", "Spearman", "± 2 sd"], rows)]


def contig_scores(found: Mapping[str, tuple[int, Estimate]], whole: float | None) -> Figure:
    """Draw what `scores_by_contig` gives, with a line at the score of all genes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(4.0, 1.5 + 0.35 * len(found)), 3.2), layout="constrained")
        axes = figure.add_subplot()
        values = [estimate.value for _, estimate in found.values()]
        spreads = [estimate.two_sd for _, estimate in found.values()]
        axes.errorbar(range(len(found)), values, yerr=spreads, fmt="o", markersize=5, capsize=2, color=COLOURS[0])
        if whole is not None:
            axes.axhline(whole, color=COLOURS[1], linewidth=1, label="all genes")
            axes.legend(fontsize=8)
        labels = [f"{contig}\n{n:,}" for contig, (n, _) in found.items()]
        axes.set_xticks(range(len(found)), labels, fontsize=7, rotation=45 if len(found) > 8 else 0)
        axes.set(ylabel="Spearman (± 2 sd)", xlabel="contig, genes")
        axes.grid(axis="y", color="0.9")
        return figure


def learning_curves(curves: Mapping[str, pl.DataFrame]) -> Figure:
    """Draw errors and rank correlation by epoch, a colour a member."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        errors, ranks = figure.subplots(1, 2)
        for number, (name, frame) in enumerate(curves.items()):
            colour, epochs = COLOURS[number % len(COLOURS)], (frame["epoch"] + 1).to_numpy()
            member = f"{name}, " if len(curves) > 1 else ""
            errors.plot(epochs, frame["train_mse"], "--", color=colour, linewidth=1.2, label=f"{member}training")
            errors.plot(epochs, frame["validation_mse"], "o-", color=colour, markersize=3, label=f"{member}validation")
            ranks.plot(epochs, frame["validation_spearman"], "o-", color=colour, markersize=3)
            if frame["validation_mse"].is_not_nan().any():
                best = int(np.nanargmin(frame["validation_mse"].to_numpy()))
                for axes in (errors, ranks):
                    axes.axvline(epochs[best], color=colour, linewidth=0.8, linestyle=":")
        errors.set(xlabel="epoch", ylabel="mean squared error")
        ranks.set(xlabel="epoch", ylabel="Spearman, validation genes")
        for axes in (errors, ranks):
            axes.grid(axis="y", color="0.9")
            axes.xaxis.get_major_locator().set_params(integer=True)
        errors.legend(fontsize=7)
        return figure


def _built_html(report: RunReport) -> list[str]:
    if not report.built:
        return ["<p>The store was not looked at.</p>"]
    shards, committed = (sum(getattr(row, name) for row in report.built) for name in ("shards", "committed"))
    failed = sum(row.failed for row in report.built)
    said = f"{committed:,} of {shards:,} shards are committed" + (f", {failed:,} failed" if failed else "") + "."
    contigs = len({row.contig for row in report.built})
    more = f" The {MOST_CONTIGS} longest of {contigs:,} contigs are drawn." if contigs > MOST_CONTIGS else ""
    caption = f"{said} A bar a phase of each contig, as long as it is; hatched is not built, red has failed.{more}"
    return [figure_html(build_map(report.built, report.lengths), caption)]


def build_map(built: Sequence[PhaseStatus], lengths: Mapping[str, int]) -> Figure:
    """Draw how much of each contig and phase is built: a group of bars a contig, a bar a phase of each set.

    Anchored arrays and overlays have bars of their own, by their names.
    """
    by_contig: dict[str, list[PhaseStatus]] = {}
    for row in built:
        by_contig.setdefault(row.contig, []).append(row)
    longest = sorted(by_contig, key=lambda contig: -lengths.get(contig, 0))[:MOST_CONTIGS]
    shown = [contig for contig in by_contig if contig in longest]
    lanes = [(contig, row) for contig in shown for row in by_contig[contig]]
    phases = list(dict.fromkeys((row.feature_set, row.offset) for _, row in lanes))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.16 * len(lanes)), layout="constrained")
        axes = figure.add_subplot()
        for place, (contig, row) in enumerate(lanes):
            length = lengths.get(contig, max(lengths.values(), default=1)) / 1e6
            share, failed = (count / max(row.shards, 1) for count in (row.committed, row.failed))
            colour = COLOURS[(0, 2, 3, 5)[phases.index((row.feature_set, row.offset)) % 4]]
            axes.barh(place, length, color="white", edgecolor="0.6", hatch="////", linewidth=0.5, height=0.75)
            axes.barh(place, length * share, color=colour, height=0.75)
            axes.barh(place, length * failed, left=length * share, color=COLOURS[1], height=0.75)
            axes.text(length, place, f" {share:.0%}", va="center", fontsize=6.5)
        labels = [f"{contig} {row.feature_set} +{row.offset:,}" for contig, row in lanes]
        axes.set_yticks(range(len(lanes)), labels, fontsize=6.5)
        axes.set(xlabel="length of the contig (Mb)", ylim=(len(lanes) - 0.4, -0.6))
        return figure
