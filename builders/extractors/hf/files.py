"""The folder of a Hugging Face model: found, checked, hashed, loaded.

Belongs here: files and Transformers' loaders. Does not: tokens (`builders.extractors.hf.tokens`), what is made of
hidden states (`builders.extractors.hf.extractor`).

No code of a model is run unless that is asked for, and no pickle that could run any: safetensors, or
`torch.load(weights_only=True)`, which Transformers calls for other files.
"""

import hashlib
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from catalog.runtime.locations import required_path
from catalog.runtime.weight_files import fetch_model, is_hub_id, refuse_pointer, sha256_of_file

PICKLES = ("pytorch_model*.bin",)
CODE = ("*.py",)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_READ = (".safetensors", ".bin", ".json", ".txt", ".model", ".py")
_MOST_CARD_BYTES = 1 << 20
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class HfModelError(ValueError):
    """A model that cannot serve as an extractor."""


class Place(NamedTuple):
    """Where a model lies."""

    folder: Path
    commit: str | None
    """Of the Hub; None for a folder that was given."""


def find_model(name: str, *, revision: str | None, trusted: bool) -> Place:
    """Find the folder of a model, fetched from the Hub where its id is given.

    Raises
    ------
    OSError
        If there is no such folder, or the model cannot be fetched.
    HfModelError
        If the folder holds no model, or one that cannot be run without its own code.
    """
    if is_hub_id(name):
        folder = fetch_model(name, revision=revision, more=PICKLES + (CODE if trusted else ()))
        commit = folder.name if _COMMIT.fullmatch(folder.name) else None
    else:
        if revision is not None:
            raise HfModelError(f"`revision=` is of a model on the Hub, and {name} is a folder; leave it out")
        folder, commit = required_path(name), None
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json; give the folder of a Hugging Face model, or its id")
    for path in folder.iterdir():
        if path.suffix in (".safetensors", ".bin"):
            refuse_pointer(path)
    return Place(folder, commit)


def digest_of(folder: Path) -> str:
    """Hash everything that decides values: weights, configuration, tokenizer, and code where there is any."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _READ:
            total.update(f"{path.name} {sha256_of_file(path)}\n".encode())
    return total.hexdigest()


def licence_of(folder: Path) -> str | None:
    """Read the licence that the model's card states; None where it states none."""
    card = folder / "README.md"
    if not card.is_file() or card.stat().st_size > _MOST_CARD_BYTES:
        return None
    head = card.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    found = re.search(r"^licen[sc]e:\s*(\S.*)$", head, re.MULTILINE) if head.startswith("---") else None
    return found.group(1).strip() if found else None


def load_config(folder: Path, *, trusted: bool) -> Any:
    """Read the configuration.

    Raises
    ------
    HfModelError
        If the model cannot be run without its own code and that was not allowed, or it is no stack of blocks.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted, local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        raise HfModelError(f"{folder}: {_first_line(error)}; {_own_code(folder)}") from error
    if getattr(config, "auto_map", None) and not trusted:
        raise HfModelError(f"{folder}: {_own_code(folder)}")
    if getattr(config, "is_encoder_decoder", False):
        raise HfModelError(f"{folder} is an encoder with a decoder, and hidden states of one stack are read")
    for name in ("num_hidden_layers", "hidden_size"):
        if not isinstance(getattr(config, name, None), int):
            raise HfModelError(f"{folder}: its config.json states no {name}; expected a stack of blocks")
    return config


def load_tokenizer(folder: Path, *, trusted: bool) -> Any:
    """Load the tokenizer; HfModelError if there is none."""
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted, local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        raise HfModelError(f"{folder} has no tokenizer that can be read: {_first_line(error)}") from error


def load_model(
    folder: Path, config: Any, *, layer: int, precision: str, trusted: bool, random_seed: int | None = None
) -> nn.Module:
    """Load the model for inference on the CPU, without the blocks that are not needed.

    Parameters
    ----------
    layer
        Whose hidden states are read, 0 to the number of blocks.
    random_seed
        Of random weights in place of the model's own; None for those.

    Raises
    ------
    HfModelError
        If the weights are missing or damaged, or some of them are not finite.
    """
    if random_seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_seed)
            model = AutoModel.from_config(config, trust_remote_code=trusted)  # type: ignore[no-untyped-call]
        return _ready(model.to(DTYPES[precision]), config, layer)
    own = getattr(config, "auto_map", None) or {}
    loaders = {"AutoModel": AutoModel, "AutoModelForMaskedLM": AutoModelForMaskedLM}
    loaders["AutoModelForCausalLM"] = AutoModelForCausalLM
    loader = next((made for name, made in loaders.items() if name in own), AutoModel)
    model = read_weights(
        loader,
        folder,
        config,
        what="the model",
        precision=precision,
        trusted=trusted,
        spared=("pooler", "lm_head"),
    )
    return _ready(model, config, layer)


def read_weights(
    loader: Any, folder: Path, config: Any, *, what: str, precision: str, trusted: bool, spared: Sequence[str]
) -> nn.Module:
    """Load a model on the CPU with all its weights.

    Parameters
    ----------
    loader
        One of the auto classes of Transformers.
    what
        It loads, in words.
    spared
        Parts of names whose weights may be missing, since nothing reads them.

    Raises
    ------
    HfModelError
        If the weights are missing or damaged, or some of them are not finite.
    """
    try:
        with _no_bars():
            model, report = loader.from_pretrained(
                folder,
                config=config,
                dtype=DTYPES[precision],
                trust_remote_code=trusted,
                local_files_only=True,
                output_loading_info=True,
            )
    except (ValueError, OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise HfModelError(f"{folder} has no weights that can be read: {_first_line(error)}") from error
    lost = sorted(name for name in report["missing_keys"] if not any(part in name for part in spared))
    if lost:
        raise HfModelError(
            f"{folder} lacks {len(lost)} weights of {what} ({', '.join(lost[:3])}), which would be random; give the "
            "whole model"
        )
    found: nn.Module = model
    spoiled = [name for name, value in found.named_parameters() if not torch.isfinite(value).all()]
    if spoiled:
        raise HfModelError(f"{folder} holds NaN or infinite weights in {', '.join(spoiled[:3])}; fetch it again")
    return found


def _ready(model: nn.Module, config: Any, layer: int) -> nn.Module:
    blocks = int(config.num_hidden_layers)
    stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == blocks]
    if layer < blocks - 1 and len(stacks) == 1:
        # One more block is kept: hidden states after the last one may come from the final norm.
        del stacks[0][layer + 1 :]
    return model.eval().requires_grad_(False)


def last_is_output(config: Any, *, trusted: bool) -> bool | None:
    """Tell whether the last hidden states are what the model gives in the end, after a final norm if it has one.

    Asked of a model without weights. None where it does not run without.
    """
    try:
        with torch.device("meta"), torch.inference_mode():
            model = AutoModel.from_config(config, trust_remote_code=trusted)  # type: ignore[no-untyped-call]
            output = model(input_ids=torch.zeros((1, 4), dtype=torch.int64), output_hidden_states=True)
        return output.hidden_states[-1] is output[0]
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, LookupError):
        return None


def most_tokens(config: Any, tokenizer: Any, at_most: int) -> int:
    """Give the longest input (tokens) that the model says it takes, and `at_most` where it says more or nothing."""
    positions = getattr(config, "max_position_embeddings", None) or at_most
    if getattr(config, "position_embedding_type", None) == "absolute" and config.model_type in ("esm", "roberta"):
        positions -= (config.pad_token_id or 0) + 1  # those that count from behind the padding
    said = getattr(tokenizer, "model_max_length", None) or at_most
    return int(min(positions, said, at_most))


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the progress bars of Transformers out of those of a build."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated there
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated there


def _own_code(folder: Path) -> str:
    return (
        "it needs Python code that comes with it, which is not run unasked: read it, then set "
        f"trust_remote_code=true ({folder.name})"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300] or type(error).__name__
