"""What a causal language model makes of prompts after each of several blocks, in one pass.

Belongs here: vectors by block and by pooling. Does not: the regression on them (`benchmarks.prompt_only`), vectors of
the last block alone (`model.language.prompt_embeddings`).
"""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.language.backbone import Backbone

Layers = dict[str, NDArray[np.float32]]
"""Vectors `(prompts, width)` by what they are, such as `8 blocks, mean`."""
_BATCH_TOKENS = 4096


def embed_layers(
    prompts: Sequence[str], place: str | Path, *, layers: Sequence[int], max_tokens: int, precision: str, cache: Path
) -> Layers:
    """Give the mean over tokens and the last token of each prompt after so many blocks and the final norm.

    Parameters
    ----------
    place
        Language model of the Llama family, as `Backbone` takes it.
    layers
        Blocks after which a vector is taken; what a backbone of so many blocks gives. 0: the embeddings, no norm.
    max_tokens
        Longer prompts are cut.
    cache
        Folder that keeps the vectors.
    """
    backbone = Backbone(place, max_layers=max(layers), max_positions=max_tokens, precision=precision)
    made_by = [backbone.digest, list(layers), max_tokens, backbone.arithmetic.identity, list(prompts)]
    kept = cache / f"layers-{hashlib.sha256(json.dumps(made_by).encode()).hexdigest()}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as there:
            return {name: there[name] for name in _names(layers)}
    found = _embed(backbone, prompts, layers)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(kept, **found)
    return found


def _names(layers: Sequence[int]) -> list[str]:
    # The embedding of the last token alone is the same for all prompts that end alike.
    return [
        f"{number} blocks, {pooling}" for number in layers for pooling in (("mean", "last") if number else ("mean",))
    ]


@torch.inference_mode()
def _embed(backbone: Backbone, prompts: Sequence[str], layers: Sequence[int]) -> Layers:
    after: dict[int, Tensor] = {}

    def keep(number: int) -> None:
        def hook(_module: object, _given: object, given_on: Tensor | tuple[Tensor, ...]) -> None:
            after[number] = backbone.model.norm(given_on if isinstance(given_on, Tensor) else given_on[0]).float()

        backbone.model.layers[number - 1].register_forward_hook(hook)

    for number in layers:
        if number:
            keep(number)
    rows = backbone.token_rows(prompts, 0)
    order = np.argsort([len(row) for row in rows], kind="stable")
    found = {name: np.empty((len(prompts), backbone.width), np.float32) for name in _names(layers)}
    first, started = 0, time.perf_counter()
    while first < len(order):
        size = max(1, _BATCH_TOKENS // len(rows[order[min(first + 63, len(order) - 1)]]))
        batch = order[first : first + size]
        tokens = backbone.pad([rows[index] for index in batch])
        after[0] = backbone.embed(tokens.ids)
        backbone.run(after[0], tokens.mask)
        weight = tokens.mask[..., None].float()
        for number in layers:
            found[f"{number} blocks, mean"][batch] = ((after[number] * weight).sum(1) / weight.sum(1)).numpy()
            if number:
                found[f"{number} blocks, last"][batch] = after[number][:, -1].numpy()
        first += len(batch)
        print(f"\r{first:,} of {len(order):,} prompts, {time.perf_counter() - started:.0f} s", end="", flush=True)
    print()
    return found
