"""The tables of `docs/gta.md`, from what `gta_learning.py` found."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.gta_trials import (
    CHANGE_SEEDS,
    CURVE,
    CURVE_COMPARED,
    PARTS,
    SIZES,
    Pair,
    Part,
    Trial,
    of_choice,
    of_curve,
)
from benchmarks.gta_variants import PAPER_VARIANTS, VARIANTS

Results = dict[str, Any]
PLATEAU = 0.5
"""A fit has left the plateau if it has at least this share of what ridge on the TSS's bin reaches."""


def show(results: Results, seeds: int) -> str:
    """Write all tables, one after the other."""
    made = (
        *(
            table
            for part in PARTS.values()
            for table in (scores_table(results, part, seeds), lead_table(results, part, seeds))
        ),
        choice_table(results),
        changes_table(results),
        knock_out_table(results),
        found_table(results),
        curve_table(results),
        curve_lead_table(results),
    )
    return "\n\n".join(filter(None, made))


def scores_table(results: Results, part: Part, seeds: int) -> str:
    """Score each model, once all have a fit: mean of the genomes and fits, and twice their standard deviation."""
    between_what = ["genomes"] * (part.genomes is None) + ["fits"] * (part.fits > 1)
    spread = f"2 sd between {' and '.join(between_what)}"
    head = ["model", "bins", "Spearman, mean", spread, "2 sd of test genes"]
    head += ["fits off the plateau"] * (part.fits > 1)
    if not all(any(trial.key in results["scores"] for trial in part.of(row, seeds)) for row in part.rows):
        return ""
    cells = []
    for row in part.rows:
        wanted = part.of(row, seeds)
        known = [results["scores"][trial.key] for trial in wanted if trial.key in results["scores"]]
        note = ", informative prompts" * row.informative
        note += "" if len(known) == len(wanted) else f" ({len(known)} of {len(wanted)} fits)"
        if any(one["spearman"] is None for one in known):
            cells.append([row.label + note, row.n_bins, "constant", ""])
            continue
        values = [one["spearman"] for one in known]
        between = f"{2 * np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        two_sd = np.mean([one["two_sd"] for one in known])
        cells.append([row.label + note, row.n_bins, f"{np.mean(values):.3f}", between, f"{two_sd:.3f}"])
        if part.fits > 1:
            cells[-1].append(_off_the_plateau(results, wanted))
    return _markdown(head, cells)


def _off_the_plateau(results: Results, fits: Sequence[Trial]) -> str:
    off = []
    for fit in fits:
        known = results["scores"].get(fit.key)
        centre = replace(fit, label="ridge-centre", n_bins=251, fit=0, informative=False)
        reached = results["scores"].get(centre.key)
        if known and reached:
            off.append(known["spearman"] >= PLATEAU * reached["spearman"])
    return f"{sum(off)} of {len(off)}"


def lead_table(results: Results, part: Part, seeds: int) -> str:
    """Say how far models are ahead of others on the same test genes."""
    head = ("ahead", "of", "by, mean", "2 sd of test genes, paired", "beyond that on")
    cells = []
    for one, other in part.compared:
        both = zip(part.of(one, seeds), part.of(other, seeds), strict=True)
        found = [results["paired"].get(Pair(*fits).key) for fits in both]
        known = [one for one in found if one]
        if not known:
            continue
        beyond = sum(one["value"] > one["two_sd"] for one in known)
        cells.append(
            [
                *(f"{row.label}, {row.n_bins} bins{', informative prompts' * row.informative}" for row in (one, other)),
                f"{np.mean([one['value'] for one in known]):+.3f}",
                f"{np.mean([one['two_sd'] for one in known]):.3f}",
                f"{beyond} of {len(known)}",
            ]
        )
    return _markdown(head, cells)


def choice_table(results: Results) -> str:
    """Score each variant of the paper's model on the validation genes of the genomes that it is chosen on."""
    cells = []
    for label in PAPER_VARIANTS:
        found = [results["scores"].get(trial.key) for trial in of_choice(label)]
        if any(found):
            cells.append([label, *(f"{one['validation_spearman']:.3f}" if one else "" for one in found)])
    return _markdown(("model, 51 bins", *(f"genome {seed}, validation" for seed in CHANGE_SEEDS)), cells)


def changes_table(results: Results) -> str:
    """Score each change of the model."""
    cells = []
    for label, variant in VARIANTS.items():
        scores = [
            results["scores"].get(Trial(label=label, model=variant.model, seed=seed).key) for seed in CHANGE_SEEDS
        ]
        if any(scores):
            cells.append([label, *(f"{one['spearman']:.3f}" if one else "" for one in scores)])
    return _markdown(("model", *(f"genome {seed}" for seed in CHANGE_SEEDS)), cells)


def knock_out_table(results: Results) -> str:
    """Say what hiding an enhancer does to predictions, by its distance: means of the genomes."""
    found = [one["knock_out"] for one in results["explain"].values()]
    if not found:
        return ""
    cells = [
        [
            f"{band[0]['from_bp'] // 1000} to {band[0]['to_bp'] // 1000} kb",
            *(_mean(one[which]["mean"] for one in band) for which in ("acting", "others")),
            _mean(one["planted"] for one in band),
        ]
        for band in zip(*(one["by_distance"] for one in found), strict=True)
    ]
    whole = ["all", *(_mean(one[which]["mean"] for one in found) for which in ("acting", "others_as_near")), ""]
    head = ("distance", "enhancers that act on the gene", "of the other kind, as near", "planted, of those that act")
    return _markdown(head, [*cells, whole])


def found_table(results: Results) -> str:
    """Say how well enhancers are told from other bins, by what is done with the model."""
    found = list(results["explain"].values())
    if not found:
        return ""
    rows = {
        "hidden one at a time: those that act against those of the other kind as near": (
            one["knock_out"]["auroc_acting_against_others"] for one in found
        ),
        "what a bin adds to the sums: bins with an enhancer that acts against empty ones": (
            one["bins"]["selected_bins_auroc_acting_enhancers"] for one in found
        ),
        "the same, bins with one of the other kind": (
            one["bins"]["selected_bins_auroc_enhancers_of_the_other_kind"] for one in found
        ),
        "attention of one head to one prototype: bins with any enhancer against empty ones": (
            one["bins"]["attention_auroc_enhancers"] for one in found
        ),
    }
    cells = []
    for label, values in rows.items():
        known = list(values)
        cells.append([label, f"{np.mean(known):.3f}", f"{min(known):.3f} to {max(known):.3f}"])
    return _markdown(("asked", f"AUROC, mean of {_genomes(len(found))}", "least and largest"), cells)


def curve_table(results: Results) -> str:
    """Score by the number of training genes, at human density."""
    cells = []
    for size in SIZES:
        scores = [results["scores"].get(of_curve(model, size).key) for model in CURVE]
        if any(scores):
            cells.append([f"{size:,}", *(f"{one['spearman']:.3f}" if one else "" for one in scores)])
    return _markdown(("training genes", *CURVE), cells)


def curve_lead_table(results: Results) -> str:
    """Say how far models are ahead by the number of training genes."""
    cells = []
    for size in SIZES:
        found = [results["paired"].get(Pair(*(of_curve(model, size) for model in both)).key) for both in CURVE_COMPARED]
        if any(found):
            cells.append([f"{size:,}", *(f"{one['value']:+.3f} ± {one['two_sd']:.3f}" if one else "" for one in found)])
    return _markdown(("training genes", *(f"{first} over {second}" for first, second in CURVE_COMPARED)), cells)


def _genomes(count: int) -> str:
    return f"{count} genome{'s' if count > 1 else ''}"


def _mean(values: Iterable[float]) -> str:
    return f"{np.mean(list(values)):+.3f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
