"""The verbs that probe representations.

    featurestore probe --task t.tsv --features kmer:5,hf:FOLDER --heads ridge,cnn --seeds 5 --out probe
    featurestore zero-shot --scores scores.parquet --effects effects.tsv --out zero_shot.tsv

Belongs here: options. Does not: logic that a Python user could not call.
"""

import json

import typer

from catalog.runtime.progress import bar
from featurestore.cli.derived import takes
from featurestore.cli.options import AsJson
from model.probes.request import ProbeRequest, ZeroShotRequest

app = typer.Typer(rich_markup_mode=None)


@app.command()
@takes(ProbeRequest)
def probe(request: ProbeRequest, as_json: AsJson = False) -> None:
    """Say what representations of sequence are worth on a measured task, beside one-hot and composition.

    Features are computed once and kept; each score is kept as soon as it is known, so that the same command goes on
    where it was stopped, and may name more representations, heads or seeds. Writes report.html, scores.tsv, targets.tsv
    and curve.tsv, and fitted heads; with --explain and --motifs also maps of bases, agreement.tsv and importance.tsv.
    """
    from model.probes.run import run_probe

    with bar("probe", unit="steps") as shown:
        report = run_probe(request, progress=shown, stage=shown.stage)
    if as_json:
        print(json.dumps({"out": report.out, "scores": report.table.to_dicts(), "notes": report.notes}, indent=1))
        return
    metric = report.table.columns[3]
    print(
        f"{'representation':<30} {'head':<9} {metric:>9} {'2 sd':>7} {'seeds sd':>9} {'less one-hot':>13} {'2 sd':>7}"
    )
    for row in report.table.iter_rows(named=True):
        figures = [row[name] for name in (metric, "two_sd", "sd_seeds", "difference", "difference_two_sd")]
        shown_figures = ["-" if value is None or value != value else f"{value:.3f}" for value in figures]
        print("{:<30} {:<9} {:>9} {:>7} {:>9} {:>13} {:>7}".format(row["representation"], row["head"], *shown_figures))
    for note in report.notes:
        print(note)
    print(f"{report.out}/report.html: {report.fitted:,} fits, {report.was_there:,} were there")


@app.command()
@takes(ZeroShotRequest)
def zero_shot(request: ZeroShotRequest, as_json: AsJson = False) -> None:
    """Compare scores of variants, of no training, with the sizes of measured effects, by element."""
    from model.probes.zero_shot import best_first, zero_shot

    found = zero_shot(request)
    if as_json:
        print(json.dumps(found.to_dicts(), indent=1))
        return
    for element, score, variants, pearson, spearman in best_first(found):
        print(f"{element:<16} {score:<28} {variants:>6,} variants, Pearson {pearson:+.3f}, Spearman {spearman:+.3f}")
    print(request.out)
