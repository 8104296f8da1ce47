"""What the preset `best` of Prism is chosen by: one setting changed at a time, on measured histone marks.

    python benchmarks/prism_choice.py --data promoters_100x7x40000_float16.npz --meta demo_meta.csv

The data are the 100 genes of Chromoformer's demo (dohlee/chromoformer): seven marks by base around the TSS, and
expression in RPKM. There is no sequence and there are no covariates, so this says how signals are best read.
Five folds of 20 genes: each model learns from 64 genes, 16 choose its epoch, and the 20 are scored; a score is over all
100. Bases are averaged by twenty before the trunk (`pool=20`), in every row.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine, versions  # noqa: E402
from catalog.runtime.settings import plain_settings  # noqa: E402
from model.evaluation.metrics import bootstrap  # noqa: E402
from model.networks.prism.config import PRESETS  # noqa: E402
from model.networks.prism.features import InputNames, SignalFeatures  # noqa: E402
from model.predictors.build import build_predictor  # noqa: E402
from model.runs.settings import split_settings  # noqa: E402
from model.testing.signal_genes import TinySignalGenes  # noqa: E402
from model.training.config import PRISM_RECIPES  # noqa: E402

MARKS = ("H3K4me1", "H3K4me3", "H3K9me3", "H3K27me3", "H3K36me3", "H3K27ac", "H3K9ac")
CHANGES: dict[str, dict[str, object]] = {
    "best": {},
    "signals raw, as in paper": {"signal_transform": "raw", "standardise_signals": False},
    "signals standardised alone": {"signal_transform": "raw"},
    "no states": {"n_states": 0},
    "rate 5e-3": {"learning_rate": 5e-3},
    "target log10, as in paper": {"target_unit": "log10"},
    "a dictionary of states": {"states": "dictionary"},
}


def read(data: Path, meta: Path, length: int) -> TinySignalGenes:
    """Read the middle of the windows, turned along each gene."""
    table = pl.read_csv(meta)
    signals = torch.from_numpy(np.load(data)["x"].astype(np.float32)).mT
    start = (signals.shape[1] - length) // 2
    signals = signals[:, start : start + length]
    minus = torch.from_numpy((table["strand"] == "-").to_numpy())
    signals[minus] = signals[minus].flip(1)
    unknown = torch.full(signals.shape[:2], 4, dtype=torch.uint8)
    expression = torch.tensor(table["expression"].to_list())
    given = SignalFeatures(unknown, signals.contiguous(), torch.zeros(len(signals), 0))
    return TinySignalGenes(given, expression, names=InputNames(MARKS, ()))


def scored(genes: TinySignalGenes, name: str, changes: dict[str, object], *, seed: int, folds: int = 5) -> Any:
    """Predict every gene by the model of its fold."""
    order = np.random.default_rng(0).permutation(len(genes))
    predicted = np.empty(len(genes))
    for held_out in np.array_split(order, folds):
        rest = [place for place in order if place not in set(held_out)]
        train, stop, test = (
            genes.subset([genes.gene_ids[place] for place in places]) for places in (rest[16:], rest[:16], held_out)
        )
        options: dict[str, Any] = {"n_bins": genes.n_bins, "channel_names": genes.channel_names}
        if name != "prism-ridge":
            base = replace(PRESETS["best"], pool=20, sequence=False)
            recipe = replace(PRISM_RECIPES["best"], seed=seed, device="cpu")
            config, training = split_settings(base, recipe, changes)
            options |= {"config": config, "training": training}
        predictor = build_predictor(name, **options)
        predictor.fit(train, stop)
        by_id = dict(zip(test.gene_ids, predictor.predict(test), strict=True))
        for place in held_out:
            predicted[place] = by_id[genes.gene_ids[place]]
    return predicted


def written(asked: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the document of some rows."""
    return {
        "length_bp": asked.length,
        "seeds": asked.seeds,
        "best": plain_settings(replace(PRESETS["best"], pool=20, sequence=False)),
        "training": PRISM_RECIPES["best"].to_json(),
        "rows": rows,
        "machine": machine(),
        "versions": versions("torch", "numpy"),
    }


def main() -> None:
    """Score every change, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    parser.add_argument("--length", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/prism_choice.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    genes = read(asked.data, asked.meta, asked.length)
    observed = np.log1p(genes.targets.numpy())
    rows: list[dict[str, Any]] = []
    for label, changes in {"ridge": {}, **CHANGES}.items():
        started = time.perf_counter()
        name = "prism-ridge" if label == "ridge" else "prism-best"
        seeds = range(1 if label == "ridge" else asked.seeds)
        found = np.mean([scored(genes, name, changes, seed=seed) for seed in seeds], axis=0)
        scores = bootstrap(found[None], observed, draws=1000)
        rows.append(
            {
                "change": label,
                "settings": changes,
                "spearman": scores.spearman.estimate(0).value,
                "two_sd": scores.spearman.estimate(0).two_sd,
                "mse": scores.mse.estimate(0).value,
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
        print(
            f"{label:28} Spearman {rows[-1]['spearman']:.3f} ± {rows[-1]['two_sd']:.3f}  MSE {rows[-1]['mse']:.3f}  "
            f"{rows[-1]['seconds']:.0f} s",
            flush=True,
        )
        # After every row, so that a run that is stopped leaves those it has.
        asked.out.write_text(json.dumps(written(asked, rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
