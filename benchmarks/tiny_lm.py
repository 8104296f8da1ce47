"""A small DNA language model, trained on real human sequence on a CPU, so that `--extractor hf` has real weights.

    python benchmarks/tiny_lm.py --data shared/data --out tiny-lm
    featurestore build genome.store --fasta genome.fa --extractor hf --set model=tiny-lm --bin-size 128

A GPT-NeoX (Black et al. 2022) of 3 blocks with a token a base, predicting the next base from up to 255 before it. It
learns from the 45 training windows of Baskerville's example set (131,072 bp of hg38 each), and is scored on its 10 test
windows: bits per base, beside Markov chains of several orders fitted to the same training windows. Both strands are
learned from, by both. Bases that are N are neither predicted nor counted.

`--steps` and `--seed` decide the weights, up to the rounding of a machine; a stopped run begins again.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine, versions
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

RESULT = Path(__file__).parent / "results" / "tiny_lm.json"
LENGTH = 256
"""Bases of a training example, and the most that a prediction looks back."""
BATCH = 16
ORDERS = (1, 3, 5, 8)
"""Bases before it that a Markov chain reads: 5 is the chain of 5-mers."""
UNKNOWN = 4
WORDS = [*"ACGTN", "<pad>", "<unk>"]
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)


def read_windows(data: Path) -> dict[str, NDArray[np.uint8]]:
    """Read the windows by their part: codes 0 to 3 for A, C, G, T, and 4 for N; shape `(windows, 131072)`, uint8."""
    folder = data / "baskerville_tiny_hg38"
    sequence = np.load(folder / "baskerville_tiny_hg38.npz")["seq"]
    parts = np.array([line.split()[3] for line in (folder / "sequences.bed").read_text().splitlines()])
    return {part: sequence[parts == part] for part in ("train", "valid", "test")}


def both_strands(windows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the reverse complement of each window."""
    return np.concatenate([windows, _COMPLEMENT[windows[:, ::-1]]])


def markov_bits(train: NDArray[np.uint8], test: NDArray[np.uint8], order: int) -> float:
    """Score a Markov chain with one pseudocount a base: bits per base of the test windows."""
    contexts, bases = _words(both_strands(train), order)
    counts = np.ones((4**order, 4))
    np.add.at(counts, (contexts, bases), 1)
    chances = counts / counts.sum(axis=1, keepdims=True)
    contexts, bases = _words(test, order)
    return float(-np.log2(chances[contexts, bases]).mean())


def _words(windows: NDArray[np.uint8], order: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Give each base with a whole context, and the number of that context."""
    length = windows.shape[1] - order
    numbers = np.zeros((len(windows), length), dtype=np.int64)
    is_known = windows[:, order:] != UNKNOWN
    for place in range(order):
        letters = windows[:, place : place + length]
        numbers = numbers * 4 + letters
        is_known &= letters != UNKNOWN
    return numbers[is_known], windows[:, order:][is_known]


def new_model(seed: int) -> GPTNeoXForCausalLM:
    """Make the network; 0.6 million parameters."""
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=len(WORDS),
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=LENGTH,
        use_parallel_residual=True,
        rotary_pct=0.5,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPTNeoXForCausalLM(config)


def loss_of(model: GPTNeoXForCausalLM, codes: torch.Tensor) -> torch.Tensor:
    """Give the negative log-likelihood of each known base but the first of an example (nats)."""
    logits = model(input_ids=codes[:, :-1], use_cache=False).logits[..., :4]
    wanted = codes[:, 1:]
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), wanted.clamp(max=3), reduction="none")
    return losses[wanted != UNKNOWN]


def train(model: GPTNeoXForCausalLM, windows: NDArray[np.uint8], steps: int, seed: int) -> float:
    """Train on random pieces of both strands; give the seconds."""
    flat = torch.from_numpy(both_strands(windows)).long()
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps, pct_start=0.05)
    began, recent = time.perf_counter(), []
    for step in range(steps):
        rows = rng.integers(len(flat), size=BATCH)
        starts = rng.integers(flat.shape[1] - LENGTH, size=BATCH)
        batch = torch.stack([flat[row, start : start + LENGTH] for row, start in zip(rows, starts, strict=True)])
        loss = loss_of(model, batch).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append(loss.item() / math.log(2))
        if (step + 1) % 100 == 0:
            seconds = time.perf_counter() - began
            print(f"step {step + 1}: {np.mean(recent[-100:]):.4f} bits, {seconds:.0f} s", flush=True)
    return time.perf_counter() - began


@torch.inference_mode()
def model_bits(model: GPTNeoXForCausalLM, windows: NDArray[np.uint8]) -> float:
    """Score the second half of every example, so that each base has at least 128 before it: bits per base."""
    half = LENGTH // 2
    codes = torch.from_numpy(windows).long()
    pieces = codes.unfold(1, LENGTH, half).reshape(-1, LENGTH)
    total, count = 0.0, 0
    for batch in pieces.split(64):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits[:, half - 1 :, :4]
        wanted = batch[:, half:]
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), wanted.clamp(max=3), reduction="none")
        total += losses[wanted != UNKNOWN].sum().item()
        count += int((wanted != UNKNOWN).sum())
    return total / count / math.log(2)


def save(model: GPTNeoXForCausalLM, out: Path) -> int:
    """Write a Hugging Face directory; give its bytes."""
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<pad>").save_pretrained(out)
    model.save_pretrained(out)
    return sum(path.stat().st_size for path in out.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with baskerville_tiny_hg38")
    parser.add_argument("--out", type=Path, required=True, help="Hugging Face directory to write")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    windows = read_windows(given.data)
    chains = {str(order): markov_bits(windows["train"], windows["test"], order) for order in ORDERS}
    print("Markov chains, bits per base by order:", {order: round(bits, 4) for order, bits in chains.items()})
    model = new_model(given.seed)
    untrained = model_bits(model, windows["test"])
    seconds = train(model, windows["train"], given.steps, given.seed)
    model.eval()
    found = {
        "bits_per_base": {
            "markov_by_order": chains,
            "untrained": untrained,
            "trained": model_bits(model, windows["test"]),
            "trained_on_validation_windows": model_bits(model, windows["valid"]),
        },
        "parameters": sum(one.numel() for one in model.parameters()),
        "steps": given.steps,
        "bases_seen": given.steps * BATCH * LENGTH,
        "training_bases": int((windows["train"] != UNKNOWN).sum()),
        "seed": given.seed,
        "training_seconds": seconds,
        "bytes": save(model, given.out),
        "machine": machine(),
        "versions": versions("torch", "transformers"),
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
