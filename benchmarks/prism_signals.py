"""What does Prism gain from measured signals, and from adjusting for background? Real data first, then a known truth.

    python benchmarks/prism_signals.py chromoformer    # 100 genes, 7 histone marks, 1 to 40 kb, a chromosome left out
    python benchmarks/prism_signals.py baskerville     # CAGE of 384-bp windows from sequence and other cells' DNase
    python benchmarks/prism_signals.py gm12878         # chr22's genes, accessibility, Geuvadis; a fifth left out
    python benchmarks/prism_signals.py simulated       # a confounder whose link to expression turns round in the test
    python benchmarks/prism_signals.py show            # tables and docs/figures/prism_signals.png, from the JSON

Needs the extras `build`, `model` and `tracks`. `--shared` says where the folders of real data lie. Every score is put
into the JSON as soon as it is known; the same command goes on where one was stopped. Everything goes through a store:
bigWig tracks and, where there is one, the sequence.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.machine import machine, versions  # noqa: E402
from benchmarks.prism_data import Files, baskerville, chromoformer, gm12878, simulated  # noqa: E402
from benchmarks.prism_figure import draw  # noqa: E402
from builders.request import BuildRequest  # noqa: E402
from builders.run import run_build  # noqa: E402
from builders.tracks import TrackRequest  # noqa: E402
from catalog import read_gene_table, read_targets  # noqa: E402
from loaders import GeneDataset, signal_gene_dataset  # noqa: E402
from model.evaluation.metrics import bootstrap  # noqa: E402
from model.predictors.build import build_predictor, default_training  # noqa: E402
from model.predictors.factory import factory_of  # noqa: E402
from model.predictors.torch_predictor import TorchPredictor  # noqa: E402
from model.runs.signals import genes_with_signals  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "prism_signals.json"
FIGURE = ROOT / "docs" / "figures" / "prism_signals.png"
POSITIONS = 250
"""Of the trunk, in Chromoformer's windows: a longer window is averaged over more bases a position."""
PLAIN = {"n_states": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One model, fitted once to each fold, or once where there is one."""

    part: str
    label: str
    context: int
    """Bases of a window (bp)."""
    seed: int = 0
    model: str = "prism-best"
    config: Mapping[str, Any] = field(default_factory=dict)
    """Changes of its `PrismConfig`."""

    @property
    def key(self) -> str:
        """Name of its scores in the JSON."""
        return f"{self.part}, {self.label}, {self.context} bp, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One data set: its models, windows, seeds and training."""

    models: Mapping[str, Mapping[str, Any]]
    """Changes of `prism-best`, by what a table calls them."""
    contexts: Sequence[int]
    seeds: Sequence[int]
    training: Mapping[str, Any]
    folds: Sequence[tuple[str, ...]]
    """Groups of genes that are the test, a fold each."""
    validation: str | None
    """Group that chooses the epoch; None for a fifth of the training genes."""
    has_sequence: bool = True

    def trials(self, part: str) -> Iterator[Trial]:
        """List what is fitted: all models of one context before the next."""
        for seed in self.seeds:
            for context in self.contexts:
                for label, config in self.models.items():
                    yield Trial(part=part, label=label, context=context, seed=seed, config=config)
                if seed == self.seeds[0]:
                    yield Trial(part=part, label="ridge", context=context, model="prism-ridge")


_HEAD = ("bp", "model", "prediction", "Spearman", "2 sd of test genes", "Pearson", "MSE", "lead over concatenated")
_CONTROLS = {
    "concatenated": PLAIN,
    "sequence only": PLAIN | {"signals": ()},
    "signals only": PLAIN | {"sequence": False},
}
PARTS = {
    "chromoformer": Part(
        models={
            "prism": {"sequence": False, "readout": "all"},
            "concatenated": PLAIN | {"sequence": False, "readout": "all"},
            "gru": PLAIN | {"sequence": False, "readout": "all", "trunk": "gru"},
            "only H3K27ac": PLAIN | {"sequence": False, "readout": "all", "signals": ("H3K27ac",)},
            "only H3K36me3": PLAIN | {"sequence": False, "readout": "all", "signals": ("H3K36me3",)},
        },
        contexts=(1000, 2000, 5000, 10_000, 20_000, 40_000),
        seeds=(0, 1, 2),
        training={"epochs": 30},
        folds=(("chr1",), ("chr6",), ("chr5",), ("chr14",), ("chr8", "chrY")),
        validation=None,
        has_sequence=False,
    ),
    "baskerville": Part(
        models={"prism": {}, **_CONTROLS},
        contexts=(2000,),
        seeds=(0, 1, 2),
        training={"epochs": 4},
        folds=(("test",),),
        validation="valid",
    ),
    "gm12878": Part(
        models={
            "prism": {"sequence": False, "readout": "all"},
            "concatenated": PLAIN | {"sequence": False, "readout": "all"},
        },
        contexts=(2000, 10_000),
        seeds=(0, 1, 2),
        training={"epochs": 30},
        folds=(("fifth 1",), ("fifth 2",), ("fifth 3",), ("fifth 4",), ("fifth 5",)),
        validation=None,
        has_sequence=False,
    ),
    "simulated": Part(
        models={
            "prism": {},
            "prism, gates on the background": {"gate": ("background",)},
            "prism, a dictionary of 8 states": {"states": "dictionary", "n_states": 8},
            **_CONTROLS,
            "only activity": PLAIN | {"sequence": False, "signals": ("activity",)},
            "only background": PLAIN | {"sequence": False, "signals": ("background",)},
        },
        contexts=(1024,),
        seeds=(0, 1, 2, 3, 4),
        training={"epochs": 10},
        folds=(("flipped",),),
        validation="validation",
    ),
}


def files_of(part: str, shared: Path, work: Path) -> Files:
    """Write the files of a data set, as a user would bring them."""
    if part == "simulated":
        return simulated(work / part)
    if part == "chromoformer":
        return chromoformer(shared / "chromoformer_demo", work / part)
    if part == "gm12878":
        return gm12878(shared, work / part)
    return baskerville(shared / "baskerville_tiny_hg38", work / part)


def stored(part: str, files: Files, work: Path) -> Path:
    """Build the store of a data set: its tracks, and its sequence."""
    store = work / f"{part}.store"
    bin_size = 32 if part in ("baskerville", "simulated") else 1
    tracks = {name: str(path) for name, path in files.tracks.items()}
    sequence = BuildRequest(fasta=str(files.genome), extractor="bases", bin_size=1, dtype="uint8", workers=1)
    for request in (sequence, TrackRequest(tracks=tracks, bin_size=bin_size, workers=1)):
        run_build(str(store), request)
    return store


def dataset(trial: Trial, part: Part, store: Path, files: Files) -> GeneDataset:
    """Join the genes to the signals around them."""
    genes = signal_gene_dataset(
        str(store),
        read_gene_table(files.genes).genes,
        targets=read_targets(files.targets),
        signals=("tracks",),
        sequence="sequence" if part.has_sequence else None,
        length=trial.context,
    )
    return genes_with_signals(genes)


def fold_of(part: Part, files: Files, genes: GeneDataset, test: tuple[str, ...], seed: int) -> list[GeneDataset]:
    """Divide the genes into training, validation and test."""
    group = [files.groups[gene] for gene in genes.gene_ids]
    left = [gene for gene, name in zip(genes.gene_ids, group, strict=True) if name not in test]
    if part.validation is None:
        drawn = np.random.default_rng(seed).permutation(len(left))[: len(left) // 5]
        chosen = {left[place] for place in drawn.tolist()}
    else:
        chosen = {gene for gene in left if files.groups[gene] == part.validation}
    parts = (
        [gene for gene in left if gene not in chosen],
        [gene for gene in left if gene in chosen],
        [gene for gene, name in zip(genes.gene_ids, group, strict=True) if name in test],
    )
    return [genes.subset(part) for part in parts]


def fitted(trial: Trial, part: Part, genes: GeneDataset, folds: list[GeneDataset]) -> dict[str, NDArray[np.float32]]:
    """Fit a model, and predict the test genes each way that it can."""
    training, config = default_training(trial.model), factory_of(trial.model).config
    if config is not None:
        changes = dict(trial.config)
        if part.has_sequence is False:
            changes["pool"] = max(1, trial.context // POSITIONS)
        config = replace(config, **changes)
    predictor = build_predictor(
        trial.model,
        n_bins=trial.context,
        channel_names=genes.channel_names,
        config=config,
        training=None if training is None else replace(training, seed=trial.seed, **part.training),
    )
    predictor.fit(folds[0], folds[1])
    predicted = {"observational": predictor.predict(folds[2])}
    if isinstance(predictor, TorchPredictor):
        predicted |= predictor.alternatives(folds[2])
    return predicted


def score(trial: Trial, part: Part, store: Path, files: Files, work: Path) -> dict[str, Any]:
    """Fit a model to each fold, and score the predictions of all test genes together."""
    started = time.perf_counter()
    genes = dataset(trial, part, store, files)
    observed: list[NDArray[np.float64]] = []
    predicted: dict[str, list[NDArray[np.float32]]] = {}
    for test in part.folds:
        folds = fold_of(part, files, genes, test, trial.seed)
        observed.append(np.log1p(folds[2].targets.numpy().astype(np.float64)))
        for name, values in fitted(trial, part, genes, folds).items():
            predicted.setdefault(name, []).append(values)
    truth = np.concatenate(observed)
    folder = work / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"seconds": time.perf_counter() - started, "n_test": len(truth)}
    for name, parts in predicted.items():
        values = np.concatenate(parts)
        np.save(folder / f"{trial.key}, {name}.npy".replace("/", "-"), np.stack([values, truth]))
        estimate = bootstrap(values[None], truth).spearman.estimate(0)
        found[name] = {
            "spearman": float(estimate.value),
            "two_sd": float(estimate.two_sd),
            "pearson": float(np.corrcoef(values, truth)[0, 1]),
            "mse": float(np.mean((values - truth) ** 2)),
        }
    return found


def leads(part: str, work: Path) -> dict[str, Any]:
    """Compare Prism's two predictions with the plain model, seed by seed, on the same draws of test genes."""
    found: dict[str, Any] = {}
    for trial in PARTS[part].trials(part):
        if not trial.label.startswith("prism"):
            continue
        plain = replace(trial, label="concatenated")
        for name in ("observational", "do"):
            one, other = (
                work / "predictions" / f"{key}, {which}.npy"
                for key, which in ((trial.key, name), (plain.key, "observational"))
            )
            if one.exists() and other.exists():
                (first, truth), (second, _) = np.load(one), np.load(other)
                difference = bootstrap(np.stack([first, second]), truth).spearman.difference(0, 1)
                found[f"{trial.key}, {name}"] = {"value": difference.value, "two_sd": difference.two_sd}
    return found


def show(results: Mapping[str, Any]) -> str:
    """Write a table for each part: the mean over the seeds, and their standard deviation."""
    tables = []
    for name, part in PARTS.items():
        rows = [
            _row(results, name, part, label, context, which)
            for context in part.contexts
            for label in (*part.models, "ridge")
            for which in ("observational", "do")
        ]
        known = [row for row in rows if row]
        if known:
            tables.append("\n".join([f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|", *known]))
    return "\n\n".join(tables)


def _row(results: Mapping[str, Any], name: str, part: Part, label: str, context: int, which: str) -> str | None:
    trials = [one for one in part.trials(name) if (one.label, one.context) == (label, context)]
    fits = [results["scores"][one.key].get(which) for one in trials if one.key in results["scores"]]
    fits = [one for one in fits if one is not None]
    if not fits or (label == "ridge" and which == "do"):
        return None
    ahead = [results["leads"].get(f"{one.key}, {which}") for one in trials]
    ahead = [one for one in ahead if one]
    value, error = (np.mean([one[key] for one in ahead]) if ahead else 0.0 for key in ("value", "two_sd"))
    lead = f"{value:+.3f} ± {error:.3f}" if ahead else ""
    cells = [_spread([one[key] for one in fits]) for key in ("spearman", "pearson", "mse")]
    two_sd = f"{np.mean([one['two_sd'] for one in fits]):.3f}"
    return f"| {context:,} | {label} | {which} | {cells[0]} | {two_sd} | {cells[1]} | {cells[2]} | {lead} |"


def _spread(values: Sequence[float]) -> str:
    spread = f" (sd {np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def read_results(path: Path) -> dict[str, Any]:
    """Read what earlier runs found."""
    return {"scores": {}, "leads": {}} | (json.loads(path.read_text()) if path.exists() else {})


def record(path: Path, section: str, found: Mapping[str, Any]) -> None:
    """Add results to the file, in one step."""
    results = read_results(path)
    results[section] |= found
    results |= {"machine": machine(), "versions": versions("numpy", "torch", "lightning")}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=(*PARTS, "show"))
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared/data", help="folder of real data")
    parser.add_argument("--work", type=Path, default=Path("prism-signals"), help="folder for stores")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.part == "show":
        results = read_results(args.out)
        print(show(results))
        marks, confounded = PARTS["chromoformer"], PARTS["simulated"]
        names = [*confounded.models, "ridge"]
        draw(results["scores"], FIGURE, contexts=marks.contexts, simulated=names, seeds=confounded.seeds)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    part, files = PARTS[args.part], files_of(args.part, args.shared, args.work)
    store = stored(args.part, files, args.work)
    for trial in part.trials(args.part):
        if trial.key in read_results(args.out)["scores"]:
            continue
        found = score(trial, part, store, files, args.work)
        record(args.out, "scores", {trial.key: found})
        print(f"{trial.key}: {found['observational']['spearman']:.3f} ({found['seconds']:.0f} s)", flush=True)
    record(args.out, "leads", leads(args.part, args.work))


if __name__ == "__main__":
    main()
