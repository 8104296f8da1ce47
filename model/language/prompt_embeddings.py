"""Prompt embeddings: one pooled vector a prompt from a frozen language model, cached on disk.

Belongs here: running prompts through a backbone, pooling its tokens, the cache. Does not: loading a model
(`model.language.backbone`), what is learned from the vectors (`benchmarks.prompt_only`).
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from catalog.runtime.files import replacing
from catalog.runtime.locations import required_path
from catalog.runtime.tables import listed
from model.device import choose_device
from model.language.arithmetic import Arithmetic
from model.language.backbone import Backbone
from model.language.directory import BackboneError, model_digest, quiet_transformers
from model.language.gguf_files.source import is_gguf
from model.language.loading import LanguageSettings, load_backbone

Pooling = Literal["mean", "last"]

_VERSION = 3
"""Of the vectors in a cache. Those of 1 were read without the scale that Gemma and its kin give their embeddings, those
of 2 from long prompts without their last line."""
_BATCH_TOKENS = {"cpu": 1024, "cuda": 1 << 16}
"""Tokens of a batch, padding included. On a CPU more make it slower: activations no longer stay in cache."""

_log = logging.getLogger(__name__)


class PromptEmbeddings(NamedTuple):
    """Vectors of prompts."""

    values: NDArray[np.float32]
    """Shape `(prompts, width)`."""
    tokens: NDArray[np.int64]
    """Tokens of each prompt, its marks of beginning and end included, before it was cut; shape `(prompts,)`."""
    seconds: NDArray[np.float64]
    """Wall and CPU seconds of reading the prompts, whenever that was; shape `(2,)`."""


def embed_prompts(
    prompts: Sequence[str],
    backbone_dir: str | os.PathLike[str],
    *,
    pooling: Pooling = "mean",
    max_tokens: int = 256,
    precision: str = "fp32",
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> PromptEmbeddings:
    """Read each prompt with a frozen model and pool the last hidden states of its tokens.

    Equal prompts are read once, in batches of like length. A causal model's last token has seen the whole
    prompt (`pooling="last"`); an encoder's tokens all have, and the mean is usual.

    Parameters
    ----------
    backbone_dir
        A Hugging Face model directory (`model.language.backbone.Backbone`): an encoder or a causal model.
    pooling
        `mean` over the tokens, or the `last` one.
    max_tokens
        Longer prompts are cut (`model.language.prompt_lengths.truncated_rows`).
    precision
        `fp32` or `bf16`: twice as fast on a CPU with AVX512-BF16.
    device
        `auto`, `cpu` or `cuda`.
    cache
        Folder for the vectors. They are found again by a hash of the model's weights and tokenizer
        (`Backbone.digest`), the options and the prompts; the model is not loaded then. None keeps nothing.

    Raises
    ------
    BackboneError
        If the directory cannot serve as a backbone.
    ValueError
        If an option is none of these, there is no prompt, or a prompt has no tokens.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling must be 'mean' (over all tokens) or 'last' (the last token), got {pooling!r}")
    arithmetic = Arithmetic(precision)
    if max_tokens < 1 or not prompts:
        raise ValueError(
            f"embedding takes at least 1 prompt and 1 token of each; got {len(prompts)} prompts and "
            f"max_tokens={max_tokens}"
        )
    directory = required_path(backbone_dir)
    if not directory.is_dir() and not is_gguf(directory):
        raise BackboneError(
            f"there is no model directory at {directory}; give the folder that `save_pretrained` or `hf download` "
            "wrote, or a GGUF file"
        )
    options: dict[str, object] = {
        "pooling": pooling,
        "max_tokens": max_tokens,
        "precision": arithmetic.identity.replace("torch.", ""),
    }
    distinct = list(dict.fromkeys(prompts))
    place = {prompt: index for index, prompt in enumerate(distinct)}
    rows = [place[prompt] for prompt in prompts]
    kept = None if cache is None else _kept_at(required_path(cache), directory, options, distinct)
    found = None if kept is None else _read(kept, len(distinct))
    if found is None:
        wanted = LanguageSettings(max_positions=max_tokens, precision=precision)
        backbone = load_backbone(directory, wanted).to(choose_device(device))
        found = _embed(backbone, distinct, pooling)
        if kept is not None:
            _write(kept, found, options | {"backbone": backbone.directory.name, "prompts": len(distinct)})
    return PromptEmbeddings(found.values[rows], found.tokens[rows], found.seconds)


@torch.inference_mode()
def _embed(backbone: Backbone, prompts: Sequence[str], pooling: Pooling) -> PromptEmbeddings:
    wall, cpu = time.perf_counter(), time.process_time()
    with quiet_transformers():  # which would warn of each prompt longer than the model's positions
        lengths = np.array([len(ids) for ids in backbone.tokenizer(list(prompts))["input_ids"]], dtype=np.int64)
    empty = np.flatnonzero(lengths == 0)
    if empty.size:
        raise ValueError(
            f"{empty.size} prompts have no tokens: {listed([repr(prompts[index]) for index in empty.tolist()])}; "
            "leave them out"
        )
    if (lengths > backbone.positions).any():
        _log.info(
            "%d of %d prompts cut to %d tokens", (lengths > backbone.positions).sum(), len(prompts), backbone.positions
        )
    values = np.empty((len(prompts), backbone.width), dtype=np.float32)
    budget = _BATCH_TOKENS[backbone.embeddings.device.type]
    for batch in _batches(np.minimum(lengths, backbone.positions), budget):
        tokens = backbone.encode_prompts([prompts[index] for index in batch], 0)
        hidden = backbone.run(backbone.embed(tokens.ids), tokens.mask).last_hidden_state
        values[batch] = _pooled(hidden.float(), tokens.mask, pooling).cpu().numpy()
    seconds = np.array([time.perf_counter() - wall, time.process_time() - cpu])
    return PromptEmbeddings(values, lengths, seconds)


def _batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Group indices by length into batches of at most `budget` tokens, padding included, or of one prompt."""
    order = np.argsort(lengths, kind="stable")
    first = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - first) > budget:
            yield order[first:end]
            first = end


def _pooled(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "last":  # prompts are padded on the left
        return hidden[:, -1]
    weight = mask.to(hidden.dtype)[..., None]
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def _kept_at(cache: Path, backbone: Path, options: dict[str, object], prompts: Sequence[str]) -> Path:
    key = [_VERSION, model_digest(backbone), options, list(prompts)]
    return cache / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.safetensors"


def _read(path: Path, n_prompts: int) -> PromptEmbeddings | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            metadata, arrays = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        found = PromptEmbeddings(**arrays)
        if metadata.get("digest") != _digest(found):
            raise ValueError("its digest is another one")
    except (SafetensorError, TypeError, ValueError) as error:
        _log.warning("%s is damaged (%s): the prompts are read again", path, error)
        return None
    return found if len(found.values) == len(found.tokens) == n_prompts else None


def _write(path: Path, found: PromptEmbeddings, about: dict[str, object]) -> None:
    """Write whole or not at all; what the vectors are stands as JSON in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        save_file(found._asdict(), partial, metadata={"embeddings": json.dumps(about), "digest": _digest(found)})


def _digest(found: PromptEmbeddings) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in found)).hexdigest()
