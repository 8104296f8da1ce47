"""The demo: the whole pipeline on a simulated genome, by the commands that a user runs.

Belongs here: which commands, in which order, and what their results are gathered into. Does not: any step that the
commands do not have; whoever has a FASTA, a gene table and targets can paste the same lines with those.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import shlex
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

import featurestore
from builders.source import calls_made
from catalog.runtime.files import write_atomic
from featurestore.cli.main import main
from featurestore.reader import FeatureReader
from model.evaluation.figures import predicted_against_observed, save, score_against_context, window_heatmap
from model.evaluation.page import results_table, write_report
from model.language.directory import check_files, find_model
from model.runs.request import UNTRAINED

CONTEXTS = (51, 101, 251)
"""Bins a window: 209 kb, 414 kb and 1,028 kb."""
_AT_EVERY_CONTEXT = ("gta-best", "ridge-exponential", "ridge-centre")
_AT_THE_LONGEST = ("gta-paper", "gta-no-llm")
_SHORTER = {"gta-paper": ["--epochs", 5]}
"""Settings of models that would take the demo too long: a third of the epochs."""
Size = Literal["full", "tiny"]
_CONTIGS: dict[Size, int] = {"full": 6, "tiny": 4}
_TINY = ("--n-genes", "60", "--n-contigs", "4", "--contig-length", "1300000")
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


class DemoFailed(RuntimeError):
    """A command of the demo did not succeed."""


def run_demo(out: Path, *, seed: int = 0, size: Size = "full", backbone: str = UNTRAINED) -> str:
    """Simulate, build once, train and evaluate every model from that one store, and write a report.

    Parameters
    ----------
    out
        Folder; what is there from an earlier demo is used where a command can go on from it.
    size
        `tiny` shows in half a minute that all runs, with scores that mean nothing.
    backbone
        Language model of GTA, as `train` takes it.

    Returns
    -------
    The table of scores, as text. `report.json` and `report.html` in `out` hold the rest.

    Raises
    ------
    DemoFailed
        If a command exits with an error.
    BackboneError
        If the language model is not there, before anything is made.
    """
    if backbone != UNTRAINED:
        check_files(find_model(backbone))
    out.mkdir(parents=True, exist_ok=True)
    run = _Commands()
    genome, store = out / "genome", out / "genome.store"
    tables: list[object] = ["--genes", genome / "genes.tsv", "--targets", genome / "targets.tsv"]
    tables += ["--annotations", genome / "annotations.tsv"]

    run("simulate", "simulate", genome, "--seed", seed, *(_TINY if size == "tiny" else ()))
    build = ["build", store, "--fasta", genome / "genome.fa", "--extractor", "motif", "--offsets", "0,2048", "--json"]
    built = run.json("build", *build)
    run("verify", "verify", store, "--crc", "--recompute", 20, "--fasta", genome / "genome.fa")
    run("seal", "seal", store, "--quick")
    calls = calls_made()
    results = _train_and_evaluate(run, store, tables, out / "models", seed=seed, size=size, backbone=backbone)
    predictions = out / "predictions.parquet"
    shown = out / "models" / f"gta-best-{CONTEXTS[-1]}"
    run("predict", "predict", shown, "--store", store, *tables, "--out", predictions)
    again = run.json("build again", *build)
    written = {"simulate": genome, "build": store, "train": out / "models", "predict": predictions}

    report: dict[str, Any] = {
        "size": size,
        "seed": seed,
        "backbone": backbone,
        "results": results,
        "extractor_calls_in_build": built["extractor_calls"],
        "extractor_calls_after_build": again["extractor_calls"] + calls_made() - calls,
        "stages": {
            name: {"seconds": round(seconds, 2), "bytes": _size(written.get(name))}
            for name, seconds in run.seconds.items()
        },
        "bins_per_second": round(built["bins_per_second"], 1),
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "system": platform.system()},
        "versions": _versions(),
        "commands": run.lines,
    }
    write_atomic(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    _write_page(out, report, store=store, genome=genome, predictions=predictions)
    return f"{results_table(results)}\n\n{out / 'report.html'}\n{out / 'report.json'}"


class _Commands:
    """Runs commands in this process, through the same door as the shell's, and keeps what they were and took."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, *words: object) -> str:
        argv = [str(word) for word in words]
        line = shlex.join(["featurestore", *argv])
        self.lines.append(line)
        print(f"$ {line}", flush=True)
        started = time.perf_counter()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = main(argv)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        if "--json" not in argv:
            print(printed.getvalue(), end="", flush=True)
        if status != 0:
            raise DemoFailed(f"`{line}` ended with status {status}; run it by itself to see more")
        return printed.getvalue()

    def json(self, stage: str, *words: object) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self(stage, *words))
        return document


def _train_and_evaluate(
    run: _Commands, store: Path, tables: list[object], models: Path, *, seed: int, size: Size, backbone: str
) -> list[dict[str, Any]]:
    """Train and score every model at its context lengths; the last contig is tested on, the one before validated."""
    last = _CONTIGS[size]
    held_out = ["--test-contigs", f"sim{last}", "--validation-contigs", f"sim{last - 1}"]
    pairs = [(model, n_bins) for n_bins in CONTEXTS for model in _AT_EVERY_CONTEXT]
    pairs += [(model, CONTEXTS[-1]) for model in _AT_THE_LONGEST]
    results = []
    for model, n_bins in pairs:
        folder = models / f"{model}-{n_bins}"
        quick = ["--epochs", 1] if size == "tiny" and model.startswith("gta") else _SHORTER.get(model, [])
        options = ["--model", model, "--n-bins", n_bins, "--seed", seed, "--out", folder]
        options += ["--backbone", backbone] if backbone != UNTRAINED and model.startswith("gta") else []
        run("train", "train", store, *tables, *held_out, *options, *quick)
        results.append(run.json("evaluate", "evaluate", folder, "--store", store, *tables, "--json"))
    return results


def _write_page(out: Path, report: dict[str, Any], *, store: Path, genome: Path, predictions: Path) -> None:
    results, figures = report["results"], out / "figures"
    reader = featurestore.open(str(store))["motif"]
    frame = pl.read_parquet(predictions, glob=False).filter(pl.col("subset") == "test")
    context = score_against_context(results, bin_size=reader.feature_set.bin_size)
    scatter, locus = _scatter(results, frame), _locus(reader, genome, frame)
    pictures = [
        (save(context, figures / "score_against_context.png"), _CONTEXT),
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
        figures=pictures,
        facts=_facts(report),
        commands=report["commands"],
    )


def _notes(report: dict[str, Any]) -> tuple[str, ...]:
    frozen = f"The language model of GTA is {report['backbone']}, frozen, its first blocks."
    model = f"{_STAND_IN if report['backbone'] == UNTRAINED else frozen} {_CONTROL}"
    tiny = ("This is the tiny demo: its scores mean nothing.",) if report["size"] == "tiny" else ()
    return _SIMULATED, model, *tiny


def _scatter(results: list[dict[str, Any]], frame: pl.DataFrame) -> Figure:
    best = next(row for row in results if row["model"] == "gta-best" and row["n_bins"] == CONTEXTS[-1])
    return predicted_against_observed(
        frame["prediction"].to_numpy(),
        np.log1p(frame["target"].to_numpy()),
        title=f"gta-best, {best['n_bins']} bins: Spearman {best['spearman']:.3f}",
    )


def _locus(reader: FeatureReader, genome: Path, frame: pl.DataFrame) -> Figure:
    """Draw the window of a held-out gene, with the planted enhancers marked."""
    gene, marks = _gene_with_most_enhancers(genome, frame, reader.assembly.lengths)
    window = reader.window(gene["contig"], gene["tss"], n_bins=CONTEXTS[-1])
    return window_heatmap(
        window.values,
        window.starts,
        bin_size=reader.feature_set.bin_size,
        channel_names=reader.channel_names,
        title=f"{gene['symbol']}, {gene['contig']}:{gene['tss']:,} ({gene['strand']})",
        centre=gene["tss"],
        marks=marks,
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
    "Spearman on held-out genes against the bins read around each TSS; bars are two standard deviations of 5,000 draws."
)
_LOCUS = (
    "Features of one gene's window, each channel on its own scale; the line is the TSS, triangles are the planted "
    "enhancers that act on it and those that do not match its promoter."
)


def _gene_with_most_enhancers(
    genome: Path, frame: pl.DataFrame, lengths: dict[str, int]
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Choose the held-out gene on which most planted enhancers act, with the enhancers in reach of its window.

    A gene whose whole window lies on its contig comes first.
    """
    truth = pl.read_parquet(genome / "truth.parquet", glob=False)
    reach = CONTEXTS[-1] // 2 * 4096
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


def _size(path: Path | None) -> int:
    """Bytes that a stage left on disk; 0 for one that writes nothing."""
    if path is None:
        return 0
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def _versions() -> dict[str, str]:
    names = (
        "genomic-featurestore",
        "numpy",
        "zarr",
        "tensorstore",
        "dask",
        "polars",
        "torch",
        "transformers",
        "lightning",
    )
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}
