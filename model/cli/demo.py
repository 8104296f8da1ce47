"""The demo: the whole pipeline on a simulated genome, by the commands that a user runs.

Belongs here: which commands, in which order, and what their results are gathered into. Does not: any step that the
commands do not have (whoever has a FASTA, a gene table and targets can paste the same lines with those), its report
(`model.cli.demo_report`).
"""

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from builders.source import calls_made
from catalog.runtime.files import write_atomic
from featurestore.cli.main import main
from model.cli.demo_report import write_demo_report
from model.evaluation.figures import Paired
from model.evaluation.page import differences_table, results_table
from model.language.directory import check_files, find_model
from model.runs.request import UNTRAINED

CONTEXTS = (51, 101, 251)
"""Bins a window: 209 kb, 414 kb and 1,028 kb."""
_READS_CONTEXT, _NO_CONTEXT = ("gta-best", "ridge-exponential"), "ridge-centre"
_AT_EVERY_CONTEXT = (*_READS_CONTEXT, _NO_CONTEXT)
_AT_THE_LONGEST = ("gta-paper", "gta-no-llm")
_SHOWN, _CONTROL_MODEL = "gta-best", "gta-no-llm"
_SHORTER = {"gta-paper": ["--epochs", 5]}
"""Settings of models that would take the demo too long: a third of the epochs."""
Size = Literal["full", "tiny"]
_CONTIGS: dict[Size, int] = {"full": 6, "tiny": 4}
_TINY = ("--n-genes", "60", "--n-contigs", "4", "--contig-length", "1300000")
SHORT_WAY = """
import featurestore
from loaders import WindowDataset

store = featurestore.open({store!r})
window = store["motif"].window("sim1", 1_000_000, n_bins=251)
print(window.values.shape, window.starts[:2], window.residual)

windows = WindowDataset(store, "motif", contigs="sim1", centres=[600_000, 1_000_000], n_bins=251)
print(windows[0].shape)
windows.n_bins = 101  # another context length: nothing is recomputed
print(windows[0].shape)
"""
"""What a user of a store types first, a statement a line; the README has the same lines."""


class DemoFailed(RuntimeError):
    """A command of the demo did not succeed."""


def run_demo(out: Path, *, seed: int = 0, size: Size = "full", backbone: str = UNTRAINED) -> str:
    """Simulate, build once, swap the context length, then train and evaluate from that one store; write a report.

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
    _walk_the_short_way(store, run.seconds)
    run("verify", "verify", store, "--crc", "--recompute", 20, "--fasta", genome / "genome.fa")
    run("seal", "seal", store, "--quick")
    run("explorer", "explorer", store, "--genes", genome / "genes.tsv")
    print(f"\nIn a browser, from another terminal:\n\n    {_line('serve', store)}\n", flush=True)
    calls = calls_made()
    results = _train_and_evaluate(run, store, tables, out / "models", seed=seed, size=size, backbone=backbone)
    predictions = out / "predictions.parquet"
    shown = _folder(out / "models", _SHOWN, CONTEXTS[-1])
    run("predict", "predict", shown, "--store", store, *tables, "--out", predictions)
    again = run.json("build again", *build)
    written = {"simulate": genome, "build": store, "train": out / "models", "predict": predictions}

    report: dict[str, Any] = {
        "size": size,
        "seed": seed,
        "backbone": backbone,
        "shown": {"model": _SHOWN, "n_bins": CONTEXTS[-1]},
        "results": results,
        "differences": [paired._asdict() for paired in _differences(results, out / "models")],
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
    write_demo_report(out, report, store=store, genome=genome, predictions=predictions)
    apart = differences_table(_differences(results, out / "models"))
    look = _line("serve", store, "--model", shown, "--annotations", genome / "annotations.tsv")
    return (
        f"{results_table(results)}\n\n{apart}\n\n{out / 'report.html'}\n{out / 'report.json'}\n\n"
        f"Genes, context lengths and what {_SHOWN} predicts of them, in a browser:\n\n    {look}"
    )


def _walk_the_short_way(store: Path, seconds: Mapping[str, float]) -> None:
    """Print the lines that read windows of two lengths from the store, and what they print."""
    before, names = calls_made(), dict[str, Any]()
    print(f"\nThe store is built, {sum(seconds.values()):.0f} s after the start. In Python:\n")
    for line in SHORT_WAY.format(store=str(store)).strip().splitlines():
        print(f">>> {line}" if line else "", flush=True)
        exec(line, names)  # noqa: S102  # the lines that were printed, so that they cannot differ from what ran
    print(f"\nExtractor calls since the build: {calls_made() - before}.")
    print("That is all that a model of yours needs. Next, models that read this store are trained and compared.\n")


class _Commands:
    """Runs commands in this process, through the same door as the shell's, and keeps what they were and took."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, *words: object) -> str:
        argv = [str(word) for word in words]
        line = _line(*argv)
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


def _line(*words: object) -> str:
    """Spell a command as a user types it."""
    return shlex.join(["featurestore", *(str(word) for word in words)])


def _train_and_evaluate(
    run: _Commands, store: Path, tables: list[object], models: Path, *, seed: int, size: Size, backbone: str
) -> list[dict[str, Any]]:
    """Train and score every model at its context lengths; the last contig is tested on, the one before validated."""
    last = _CONTIGS[size]
    held_out = ["--test-contigs", f"sim{last}", "--validation-contigs", f"sim{last - 1}"]
    pairs = [(model, n_bins) for n_bins in CONTEXTS[:-1] for model in _AT_EVERY_CONTEXT]
    pairs += [(model, CONTEXTS[-1]) for model in (*_AT_THE_LONGEST, *_AT_EVERY_CONTEXT)]
    results = []
    for model, n_bins in pairs:
        folder = _folder(models, model, n_bins)
        quick = ["--epochs", 1] if size == "tiny" and model.startswith("gta") else _SHORTER.get(model, [])
        options = ["--model", model, "--n-bins", n_bins, "--seed", seed, "--out", folder]
        options += ["--backbone", backbone] if backbone != UNTRAINED and model.startswith("gta") else []
        run("train", "train", store, *tables, *held_out, *options, *quick)
        beside = [word for other in _compared(model, n_bins) for word in ("--beside", _folder(models, *other))]
        results.append(run.json("evaluate", "evaluate", folder, "--store", store, *tables, *beside, "--json"))
    return results


def _folder(models: Path, model: str, n_bins: int) -> Path:
    return models / f"{model}-{n_bins}"


def _compared(model: str, n_bins: int) -> list[tuple[str, int]]:
    """Say which models, at which context lengths, one is compared with on the same draws."""
    if n_bins != CONTEXTS[-1] or model not in _READS_CONTEXT:
        return []
    control = [(_CONTROL_MODEL, n_bins)] if model == _SHOWN else []
    return [*((model, shorter) for shorter in CONTEXTS[:-1]), *control]


def _differences(results: list[dict[str, Any]], models: Path) -> list[Paired]:
    """Give what longer contexts are ahead of shorter ones by, then models of that of the TSS's bin, and the control."""
    contexts, others = [], []
    for row in (row for row in results if row["n_bins"] == CONTEXTS[-1]):
        leads = {score["model"]: score["lead"] for score in row["beside"] if score["lead"]["value"] is not None}
        for model, n_bins in _compared(row["model"], row["n_bins"]):
            if lead := leads.get(str(_folder(models, model, n_bins))):
                if model == row["model"]:
                    contexts.append(Paired(f"{model}: {row['n_bins']} - {n_bins} bins", **lead))
                else:
                    others.append(Paired(f"{row['model']} - {model}", **lead))
        if row["model"] in (_SHOWN, _CONTROL_MODEL) and (lead := leads.get(_NO_CONTEXT)):
            others.append(Paired(f"{row['model']} - {_NO_CONTEXT}", **lead))
    return contexts + others


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
