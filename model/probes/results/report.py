"""The page of a probe: its table, bars by representation and head, the learning curve, and what it cost.

Belongs here: figures and HTML from tables. Does not: numbers (`model.probes.results.table`), pages in general
(`model.evaluation.page`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from model.evaluation.figures import COLOURS, STYLE, save
from model.evaluation.page import picture_html, table_html, write_page
from model.probes.request import ProbeRequest
from model.probes.results.scores import sign_of
from model.probes.task import Task

_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def write_probe_report(
    out: Path,
    *,
    task: Task,
    request: ProbeRequest,
    table: pl.DataFrame,
    curve: pl.DataFrame,
    notes: Sequence[str],
    explained: str = "",
) -> Path:
    """Write `report.html`, and its figures as PNG in `figures`; `explained` is HTML of what heads read."""
    pictures = [
        (
            save(bars(table, task.metric), out / "figures" / "scores.png"),
            "Test score by representation and head; bars are two standard deviations over bootstrap draws of the test "
            "rows. Controls are hatched.",
        )
    ]
    if curve["train"].n_unique() > 1:
        picture = save(learning_curve(curve, task.metric), out / "figures" / "curve.png")
        pictures.append((picture, "Test score by number of training rows, first seed; axis of rows is logarithmic."))
    counts = [f"{len(task.rows(part)):,} {name}" for part, name in enumerate(("training", "validation", "test"))]
    lead = (
        f"{len(task.parts):,} sequences of up to {task.length:,} bp, {len(task.target_names):,} targets: "
        f"{', '.join(counts)} rows. Choices were made on validation rows; the test rows were read once, after them."
    )
    body = "\n".join(
        [
            "<h2>Scores</h2>",
            _scores_html(table, task.metric),
            *(picture_html(path, caption) for path, caption in pictures),
            explained,
            "<h2>Cost</h2>",
            _cost_html(table),
            "<h2>Do it again</h2>",
            f"<p>featurestore probe of {len(request.features)} representations; tables: scores.tsv, targets.tsv, "
            "curve.tsv, and of what heads read agreement.tsv, importance.tsv; predictions of each fit: fits; fitted "
            "heads: heads; maps: attributions.</p>",
        ]
    )
    return write_page(
        out / "report.html", title=f"Probe of {Path(request.task).name}", lead=lead, notes=notes, body=body
    )


def _scores_html(table: pl.DataFrame, metric: str) -> str:
    others = [
        name for name in ("pearson", "spearman", "mse", "auroc", "aupr") if name in table.columns and name != metric
    ]
    head = ["representation", "head", metric, "± 2 sd", "sd over seeds", "less one-hot", "± 2 sd", "better in", *others]
    rows = [
        [
            row["representation"],
            row["head"],
            _figure(row[metric]),
            _figure(row["two_sd"]),
            "" if row["sd_seeds"] is None else f"{row['sd_seeds']:.3f} of {row['seeds']}",
            _figure(row["difference"], sign=True),
            _figure(row["difference_two_sd"]),
            "" if row["share_better"] is None else f"{row['share_better']:.0%}",
            *(_figure(row[name]) for name in others),
        ]
        for row in table.iter_rows(named=True)
    ]
    scores = np.nan_to_num(sign_of(metric) * table[metric].to_numpy(), nan=-np.inf)  # type: ignore[arg-type]  # one of Metric
    return table_html(head, rows, best=int(np.argmax(scores)))


def _cost_html(table: pl.DataFrame) -> str:
    head = ["representation", "head", "numbers a row", "reads (bp)", "stored (bytes)", "features (s)", "a fit (s)"]
    columns = ("representation", "head", "numbers", "reads_bp", "bytes", "feature_seconds", "fit_seconds")
    return table_html(head, [[_plain(value) for value in row] for row in table.select(columns).iter_rows()])


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if isinstance(value, float) else str(value)


def _figure(value: float | None, *, sign: bool = False) -> str:
    if value is None or np.isnan(value):
        return ""
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def bars(table: pl.DataFrame, metric: str) -> Figure:
    """Draw the scores: a group of bars a representation, a colour a head."""
    names = list(dict.fromkeys(table["representation"].to_list()))
    heads = list(dict.fromkeys(table["head"].to_list()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, 1.6 + 0.5 * len(names) * max(1, len(heads) - 1)), 3.8), layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / max(1, len(heads) - 1)
        for row in table.iter_rows(named=True):
            if row[metric] is None or np.isnan(row[metric]):
                continue
            place = [head for head in heads if head != "mean"].index(row["head"]) if row["head"] != "mean" else 0
            axes.bar(
                names.index(row["representation"]) + (place + 0.5) * width - 0.4,
                row[metric],
                width * 0.92,
                yerr=row["two_sd"],
                color=COLOURS[heads.index(row["head"]) % len(COLOURS)],
                hatch="//" if row["control"] else None,
                edgecolor="white",
                error_kw={"linewidth": 1},
                label=row["head"],
            )
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set(ylabel=f"{metric} on test rows", xlim=(-0.6, len(names) - 0.4))
        axes.axhline(0, color="0.6", linewidth=0.8)
        handles, labels = axes.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))
        axes.legend(shown.values(), shown.keys(), loc="center left", bbox_to_anchor=(1, 0.5))
        return figure


def learning_curve(curve: pl.DataFrame, metric: str) -> Figure:
    """Draw the score against the number of training rows: a colour a representation, a mark a head."""
    names = curve["representation"].unique(maintain_order=True).to_list()
    heads = curve["head"].unique(maintain_order=True).to_list()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for name in names:
            for head in heads:
                rows = curve.filter((pl.col("representation") == name) & (pl.col("head") == head))
                if rows.height:
                    axes.plot(
                        rows["train"].to_list(),
                        rows[metric].to_list(),
                        marker=_MARKS[heads.index(head) % len(_MARKS)],
                        linewidth=1.2,
                        markersize=4,
                        color=COLOURS[names.index(name) % len(COLOURS)],
                        label=f"{name}, {head}",
                    )
        axes.set_xscale("log")
        axes.set(xlabel="training rows", ylabel=f"{metric} on test rows")
        axes.grid(axis="y", color="0.9")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        return figure
