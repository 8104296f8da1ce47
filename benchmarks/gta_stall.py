"""How long training waits for its loader: batches of windows held in memory, against the steps that use them.

    python benchmarks/gta_stall.py                 # writes benchmarks/results/gta_stall.json

Needs the extras `build` and `model`. A genome of 2,000 genes is simulated and its features computed once (`--work`
keeps them). A step is prediction, squared error, gradients and AdamW for 16 genes at 251 bins, prompts read before. The
share is the time spent waiting for batches, of the whole; nothing is prefetched.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.gta_learning import prepared  # noqa: E402
from benchmarks.gta_trials import Trial  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from loaders import data_loader  # noqa: E402
from model.predictors.torch_predictor import TorchPredictor  # noqa: E402
from model.training.fit import standardise  # noqa: E402
from model.training.lightning_module import make_optimiser  # noqa: E402
from model.training.targets import masked_mse  # noqa: E402

MODELS = ("gta-best", "gta-paper", "gta-no-llm")
STEPS, WARM_UP = 60, 5


def stall(model_name: str, work: Path) -> dict[str, float]:
    """Train for some steps; give seconds spent waiting and at work."""
    trial = Trial(label=model_name, model=model_name, genes=2000)
    predictor, genes, split = prepared(trial, work)
    assert isinstance(predictor, TorchPredictor)
    model, train = predictor.model, genes.subset(split.train)
    standardise(model, train, predictor.training.batch_size)
    optimiser, schedule = make_optimiser(model.train(), predictor.training, n_genes=len(train))
    with torch.no_grad():
        for batch in data_loader(train):
            model(batch.features, batch.prompts)  # so that the prefix cache has read all prompts
    waited = worked = 0.0
    batches = iter(data_loader(train, batch_size=predictor.training.batch_size, shuffle=True))
    for step in range(STEPS + WARM_UP):
        waiting = time.perf_counter()
        batch = next(batches)
        had = time.perf_counter()
        loss = masked_mse(model(batch.features, batch.prompts), model.standardise_target(batch.targets))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step >= WARM_UP:
            waited, worked = waited + had - waiting, worked + time.perf_counter() - had
    return {"waited_s": waited, "worked_s": worked, "stall_share": waited / (waited + worked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("gta-learning"), help="folder for the genome and its store")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gta_stall.json")
    args = parser.parse_args()
    found = {}
    for name in MODELS:
        found[name] = stall(name, args.work)
        print(f"{name}: waits {found[name]['stall_share']:.2%} of the time", flush=True)
    report = {"machine": machine(), "versions": versions("torch", "numpy", "transformers"), "stall": found}
    args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
