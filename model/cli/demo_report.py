"""The report of the demo: its figures, its notes and its page.

Belongs here: what is shown of what the demo found. Does not: the commands of the demo (`model.cli.demo`), figures and
pages in general (`model.evaluation.figures`, `model.evaluation.page`).
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import featurestore
from catalog import read_genes
from featurestore.reader import FeatureReader
from model.evaluation.figures import Paired, predicted_against_observed, save, scores_by_context
from model.evaluation.page import write_report
from model.evaluation.window_figure import window_heatmap
from model.runs.request import UNTRAINED

_SIMULATED = (
    "Everything here is simulated: a genome with a planted grammar (simulation.json says which), made-up genes and "
    "made-up annotations. The scores compare models on that grammar; they say nothing about real genes."
)
_STAND_IN = (
    "The language model is untrained: a small transformer with random weights, made on the spot because no pretrained "
    "one can be shipped."
)
_CONTROL = (
    "gta-no-llm is the same model without it; the difference between the two is what the frozen transformer adds here."
)


def write_demo_report(out: Path, report: dict[str, Any], *, store: Path, genome: Path, predictions: Path) -> None:
    """Write `report.html` and its figures.

    Parameters
    ----------
    report
        What `report.json` says.
    predictions
        Those of the model that `report["shown"]` names, as `featurestore predict` writes them.
    """
    results, figures = report["results"], out / "figures"
    reader = featurestore.open(str(store))["motif"]
    frame = pl.read_parquet(predictions, glob=False).filter(pl.col("subset") == "test")
    differences = [Paired(**paired) for paired in report["differences"]]
    context = scores_by_context(results, differences, bin_size=reader.feature_set.bin_size)
    scatter, locus = _scatter(report, frame), _locus(reader, genome, frame, report["shown"]["n_bins"])
    pictures = [
        (save(context, figures / "scores_by_context.png"), _CONTEXT),
        (save(scatter, figures / "predicted_against_observed.png"), "Held-out genes of the simulated genome."),
        (save(locus, figures / "features_around_a_gene.png"), _LOCUS),
    ]
    for figure, name in ((scatter, "predicted_against_observed"), (locus, "features_around_a_gene")):
        save(figure, figures / f"{name}.svg")
    write_report(
        out / "report.html",
        title="From a genome to gene expression, on a simulated genome",
        lead="Features were computed once; every model and every context length below read them from that one store.",
        notes=_notes(report),
        results=results,
        differences=differences,
        figures=pictures,
        facts=_facts(report),
        commands=report["commands"],
    )


def _notes(report: dict[str, Any]) -> tuple[str, ...]:
    frozen = f"The language model of GTA is {report['backbone']}, frozen, its first blocks."
    model = f"{_STAND_IN if report['backbone'] == UNTRAINED else frozen} {_CONTROL}"
    tiny = ("This is the tiny demo: its scores mean nothing.",) if report["size"] == "tiny" else ()
    return _SIMULATED, model, *tiny


def _scatter(report: dict[str, Any], frame: pl.DataFrame) -> Figure:
    shown = next(row for row in report["results"] if report["shown"].items() <= row.items())
    return predicted_against_observed(
        frame["prediction"].to_numpy(),
        np.log1p(frame["target"].to_numpy()),
        title=f"{shown['model']}, {shown['n_bins']} bins: Spearman {shown['spearman']:.3f}",
    )


def _locus(reader: FeatureReader, genome: Path, frame: pl.DataFrame, n_bins: int) -> Figure:
    """Draw the window of a held-out gene, with the genes around it and the planted enhancers marked."""
    reach = n_bins // 2 * reader.feature_set.bin_size
    gene, marks = _gene_with_most_enhancers(genome, frame, reader.assembly.lengths, reach)
    window = reader.window(gene["contig"], gene["tss"], n_bins=n_bins)
    return window_heatmap(
        window.values,
        window.starts,
        bin_size=reader.feature_set.bin_size,
        channel_names=reader.channel_names,
        title=f"{gene['symbol']}, {gene['contig']}:{gene['tss']:,} ({gene['strand']})",
        centre=gene["tss"],
        marks=marks,
        genes=read_genes(genome / "genes.tsv").filter(pl.col("contig") == gene["contig"]),
        contig_length=reader.assembly.lengths[gene["contig"]],
    )


def _facts(report: dict[str, Any]) -> dict[str, str]:
    return {
        "extractor calls during the build": f"{report['extractor_calls_in_build']:,}",
        "extractor calls after the build": f"{report['extractor_calls_after_build']:,}",
        **{
            name: f"{stage['seconds']:,.1f} s" + (f", {stage['bytes']:,} bytes" if stage["bytes"] else "")
            for name, stage in report["stages"].items()
        },
        "versions": ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    }


_CONTEXT = (
    "Left: Spearman on held-out genes against the bins read around each TSS. Right: what more context, the bins around "
    "that of the TSS (which ridge-centre reads alone) and the language model add, on the same genes and the same 5,000 "
    "draws; where the bar reaches 0 it is grey, and the two cannot be told apart. Bars are two standard deviations."
)
_LOCUS = (
    "Features of one gene's window, each channel on its own scale. The line is the TSS, arrows are strands of genes, "
    "triangles the planted enhancers that act on the gene and those that do not match its promoter."
)


def _gene_with_most_enhancers(
    genome: Path, frame: pl.DataFrame, lengths: dict[str, int], reach: int
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Choose the held-out gene on which most planted enhancers act, with the enhancers within `reach` bp of it.

    A gene whose whole window lies on its contig comes first.
    """
    truth = pl.read_parquet(genome / "truth.parquet", glob=False)
    gene = (
        truth.filter(pl.col("gene_id").is_in(frame["gene_id"].implode()))
        .with_columns(
            acting=pl.col("acting_enhancers").list.len(),
            whole=(pl.col("tss") >= reach) & (pl.col("tss") + reach < pl.col("contig").replace_strict(lengths)),
        )
        .sort("whole", "acting", "gene_id", descending=[True, True, False])
        .join(frame.select("gene_id", "symbol"), on="gene_id", maintain_order="left")
        .row(0, named=True)
    )
    enhancers = truth.filter(
        (pl.col("element") == "enhancer")
        & (pl.col("contig") == gene["contig"])
        & ((pl.col("start") - gene["tss"]).abs() < reach)
    ).with_columns(acts=pl.col("element_id").is_in(gene["acting_enhancers"]))
    return gene, {
        "acting enhancers": enhancers.filter("acts")["start"].to_list(),
        "others": enhancers.filter(~pl.col("acts"))["start"].to_list(),
    }
