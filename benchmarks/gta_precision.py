"""What 16 bits cost GTA: the error of predictions against float32, beside what genes differ by, and the time of a step.

    python benchmarks/gta_precision.py                  # writes benchmarks/results/gta_precision.json
    python benchmarks/gta_precision.py --device cuda    # Llama-3-8B shapes, writes gta_precision_cuda.json

`benchmarks/gta_step.py` prints the same beside its other figures. Four arithmetics of one frozen Llama, whose weights
are random and lie in bfloat16, so that none of them rounds weights:

    fp32              everything in float32: the reference
    bf16 throughout   the residual stream, norms and rotary positions in bfloat16 too: what `bf16` was once
    bf16, fp16        products in 16 bits, the rest in float32 (`model.language.arithmetic`)

The spread is the standard deviation over genes of the float32 prediction, the error the root mean square over genes.
They are given for the model before training, where tokens differ least, and for its hidden states too: the readout of
`paper` keeps the bins of the largest logits, so that the slightest error may exchange one bin for another.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gta_step import SHAPES, Shape, Trial, in_turns, load, prompts_of, write_llama  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from model.language.arithmetic import Arithmetic  # noqa: E402
from model.language.backbone import Backbone  # noqa: E402
from model.language.prefixes.cache import PrefixCache  # noqa: E402

THROUGHOUT = "bf16 throughout"
PRECISIONS = ("fp32", THROUGHOUT, "bf16", "fp16")
PRESETS = ("paper", "paper-positions")


class Throughout(Arithmetic):
    """All of a model in bfloat16."""

    def __init__(self) -> None:
        super().__init__("bf16")

    def prepare(self, model: Any) -> None:
        """Put all weights into bfloat16."""
        for weight in model.parameters():
            weight.data = weight.data.to(self.products)

    def context(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Leave autocast out."""
        return contextlib.nullcontext()

    def run(self, model: Any, embedded: Tensor, options: dict[str, Any]) -> Any:
        """Start the residual stream in bfloat16."""
        return model(inputs_embeds=embedded.to(self.products), **options)


def backbone_in(precision: str, directory: Path, shape: Shape, n_bins: int, device: str) -> Backbone:
    backbone = load(
        directory,
        replace(shape, precision="fp32" if precision == THROUGHOUT else precision),
        n_bins,
        device,
        shape.blocks,
    )
    if precision == THROUGHOUT:
        backbone.arithmetic = Throughout()
        backbone.arithmetic.prepare(backbone.model)
    return backbone


def precisions(directory: Path, shape: Shape, n_bins: int, device: str) -> dict[str, Any]:
    """Measure errors and times of every arithmetic for windows of `n_bins`; print them."""
    prompts = prompts_of(shape.batch, 2 * shape.prompt)
    read: dict[tuple[str, str, bool], tuple[Tensor, Tensor]] = {}
    steps: dict[str, Callable[[], object]] = {}
    for precision in PRECISIONS:
        backbone = backbone_in(precision, directory, shape, n_bins, device)
        cache = PrefixCache(backbone)
        for preset in PRESETS:
            trial = Trial(backbone, shape, n_bins, preset=preset, prompts=prompts)
            for cached in (False, True):
                trial.model.prefix_cache = cache if cached else None
                read[precision, preset, cached] = predictions_and_states(trial)
            # A CPU has no products in float16 of its own.
            if preset == PRESETS[0] and (device == "cuda" or precision != "fp16"):
                steps[precision] = lambda trial=trial: trial.step(range(shape.batch))  # type: ignore[misc]
    errors = [
        {"precision": precision, "preset": preset, "cached": cached} | errors_of(found, read["fp32", preset, False])
        for (precision, preset, cached), found in read.items()
    ]
    times = in_turns(steps, shape.rounds)
    cost = {
        name: {key: taken[key] / times[THROUGHOUT][key] for key in ("wall_s", "processor_s")}
        for name, taken in times.items()
    }
    found = {"n_bins": n_bins, "errors": errors, "times": times, "cost_against_throughout": cost}
    print_precisions(found)
    return found


@torch.no_grad()
def predictions_and_states(trial: Trial) -> tuple[Tensor, Tensor]:
    """Give the predictions `(genes,)`, and hidden states of the bins `(genes, bins, width)`."""
    kept: list[Tensor] = []
    backbone = trial.model.backbone
    assert backbone is not None
    hook = backbone.model.register_forward_hook(lambda _module, _given, found: kept.append(found.last_hidden_state))
    trial.model.eval()
    predicted = trial.model(trial.features, trial.prompts).flatten().float().cpu()
    trial.model.train()
    hook.remove()
    return predicted, kept[-1][:, -trial.features.shape[1] :].float().cpu()


def errors_of(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> dict[str, float]:
    (predicted, states), (reference, whole) = found, expected
    spread = float(reference.std())
    error = float((predicted - reference).square().mean().sqrt())
    between_genes = float((whole - whole.mean(dim=0)).norm())
    return {
        "spread": spread,
        "error": error,
        "error_of_spread": error / spread,
        "states_error_of_spread": float((states - whole).norm()) / between_genes,
        "states_spread_of_size": between_genes / float(whole.norm()),
    }


def print_precisions(found: dict[str, Any]) -> None:
    for row in found["errors"]:
        where = "cached" if row["cached"] else "plain "
        print(
            f"N = {found['n_bins']:3} {row['preset']:15} {row['precision']:15} {where}: error {row['error']:.1e} of a "
            f"spread of {row['spread']:.1e} between genes = {row['error_of_spread']:.3f}; hidden states "
            f"{row['states_error_of_spread']:.3f} of a spread of {row['states_spread_of_size']:.3f} of their size"
        )
    for name, cost in found["cost_against_throughout"].items():
        print(
            f"N = {found['n_bins']:3} a cached step in {name}: {found['times'][name]['wall_s']:.3f} s, "
            f"{cost['wall_s']:.2f}x of {THROUGHOUT} (processor {cost['processor_s']:.2f}x)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="a small model, two rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads on the CPU (all)")
    parser.add_argument("--out", type=Path, default=None, help="JSON (benchmarks/results/gta_precision.json)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name = "quick" if args.quick else args.device
    shape = replace(SHAPES[name], blocks_on_disk=SHAPES[name].blocks, precision="bf16")
    if name == "cpu":  # products in float16 take a CPU many times as long; errors depend little on either
        shape = replace(shape, prompt=60, batch=8, rounds=3)
    started = machine()
    with tempfile.TemporaryDirectory() as folder:
        write_llama(Path(folder), shape, args.device)
        lengths = shape.bins if args.device == "cuda" else shape.bins[-1:]
        rows = [precisions(Path(folder), shape, n_bins, args.device) for n_bins in lengths]
    suffix = {"cpu": "", "quick": "_quick", "cuda": "_cuda"}[name]
    out = args.out or ROOT / "benchmarks" / "results" / f"gta_precision{suffix}.json"
    report = {
        "machine": started | {"gpu": torch.cuda.get_device_name() if args.device == "cuda" else None},
        "versions": versions("torch", "transformers", "numpy"),
        "sizes": {key: getattr(shape, key) for key in Shape.__dataclass_fields__} | {"threads": args.threads},
        "precisions": rows,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
