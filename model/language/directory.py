"""A Hugging Face model as a folder: found, checked, hashed, loaded without running any code of its own.

Belongs here: files and Transformers' loaders. Does not: what a loaded model does (`model.language.backbone`), the Hub
(`model.language.hub`).
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from catalog.runtime.locations import required_path
from catalog.runtime.weight_files import cut_short, refuse_pointer
from model.language.hub import fetch_model, is_hub_id

UNTRAINED_MARK = "featurestore_untrained"
"""Attribute of `config.json` that says: these weights are random, made on the spot."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "vocab.bpe")
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16
_TAKE = "use a causal model (Llama, Mistral, Qwen, GPT-2, ...) or an encoder (BERT, ...)"


class BackboneError(ValueError):
    """A model directory that cannot serve as a backbone, or input that does not fit into one."""


def directory_digest(directory: Path) -> str:
    """Hash a model directory; see `model.language.backbone.Backbone.digest`."""
    total = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix == ".json" or path.name in _TOKENIZER_FILES:
            total.update(f"{path.name}\n".encode() + path.read_bytes())
        elif path.suffix == ".safetensors":
            size = path.stat().st_size
            total.update(f"{path.name}\n{size}\n".encode())
            with path.open("rb") as file:
                for sample in range(_SAMPLES):
                    file.seek(max(size - _SAMPLE_BYTES, 0) * sample // (_SAMPLES - 1))
                    total.update(file.read(_SAMPLE_BYTES))
    return total.hexdigest()


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loading reports and bars of Transformers off the terminal: blocks that we cut off are no news."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated there
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated there


def find_directory(directory: str | os.PathLike[str]) -> Path:
    """Give a folder as it is, and of a Hub id the folder that it was downloaded into."""
    if not is_hub_id(directory):
        return required_path(directory).resolve()
    try:
        return fetch_model(os.fspath(directory))
    except OSError as error:
        raise BackboneError(str(error)) from error


def check_files(directory: Path) -> None:
    """Refuse, with a BackboneError, a folder without a configuration, safetensors weights or a tokenizer."""
    if not (directory / "config.json").is_file():
        raise BackboneError(
            f"{directory} is no Hugging Face model directory: it has no config.json; give the folder that "
            "`save_pretrained` or `hf download` wrote"
        )
    if not any(directory.glob("*.safetensors")):
        pickled = sorted(path.name for path in directory.glob("*.bin"))
        found = f"only {pickled[0]}, a pickle, which may run code" if pickled else "none"
        raise BackboneError(
            f"{directory} has no weights in safetensors (found {found}); download the .safetensors files too, or "
            "convert once where you trust the file: AutoModel.from_pretrained(...).save_pretrained(...)"
        )
    try:
        for path in (*directory.glob("*.safetensors"), *directory.glob("tokenizer*")):
            refuse_pointer(path)
    except ValueError as error:
        raise BackboneError(str(error)) from error
    if not any((directory / name).is_file() for name in _TOKENIZER_FILES):
        raise BackboneError(
            f"{directory} has no tokenizer (looked for {', '.join(_TOKENIZER_FILES)}); copy the tokenizer files of the "
            "model into it"
        )


def load_model(directory: Path, max_layers: int | None, dtype: torch.dtype) -> Any:
    """Load the first blocks, frozen and in evaluation mode; only these are read from disk.

    Raises
    ------
    BackboneError
        If it is no model of a kind that Transformers knows by itself, not a language model alone, or not whole.
    """
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # Transformers runs into errors of any kind on a configuration that is none
            raise BackboneError(
                f"{directory} holds a model that Transformers does not know without running code from the directory: "
                f"{_first_line(error)}"
            ) from error
        _check_kind(directory, config)
        if max_layers is not None and max_layers < config.num_hidden_layers:
            if max_layers < 1:
                raise BackboneError(f"a backbone keeps at least 1 block, got max_layers={max_layers}")
            # Newer configurations name the kind of each block; the two must agree before either is read.
            if vars(config).get("layer_types"):
                config.layer_types = config.layer_types[:max_layers]
            config.num_hidden_layers = max_layers
        try:
            model, report = AutoModel.from_pretrained(
                directory,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except Exception as error:  # of Transformers, safetensors, libraries of quantisation, ...
            raise _not_loaded(directory, config, error) from error
    # A pooler (BERT) sits after the hidden states, which are all that is used here.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        reads_text = config.model_type in {**MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, **MODEL_FOR_MASKED_LM_MAPPING_NAMES}
        raise BackboneError(
            f"the weights in {directory} ({config.model_type}) lack {len(missing)} tensors that its config.json asks "
            f"for ({missing[0]}, ...); {'download all of its .safetensors files again' if reads_text else _TAKE}"
        )
    return model.eval().requires_grad_(False)


def refused(directory: Path, config: Any, error: Exception) -> BackboneError:
    """Make the error of a model that was loaded, but does not read embeddings as a language model does."""
    return BackboneError(
        f"{directory} holds a {config.model_type}, which does not serve as a backbone: {_first_line(error)}; {_TAKE}"
    )


def _check_kind(directory: Path, config: Any) -> None:
    """Refuse what is no language model alone, before its weights are read."""
    kind = config.model_type
    if config.is_encoder_decoder:
        raise BackboneError(f"{directory} holds an encoder-decoder ({kind}); {_TAKE}")
    if _is_multimodal(config):
        raise BackboneError(
            f"{directory} holds a multimodal model ({kind}); take a release of its language model alone, or save that "
            "once: AutoModel.from_pretrained(...).language_model.save_pretrained(FOLDER), with the tokenizer's files"
        )
    for name in ("num_hidden_layers", "hidden_size"):
        if not isinstance(getattr(config, name, None), int):
            raise BackboneError(f"{directory} holds no language model: its config.json ({kind}) has no {name}; {_TAKE}")


def _is_multimodal(config: Any) -> bool:
    try:
        return config.get_text_config() is not config
    except ValueError:  # it holds several
        return True


def _not_loaded(directory: Path, config: Any, error: Exception) -> BackboneError:
    """Say why weights cannot be loaded, and what to take instead."""
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                continue
        except SafetensorError as fault:
            return BackboneError(cut_short(path, fault))
    reason = f"the weights in {directory} cannot be loaded: {_first_line(error)}"
    if getattr(config, "quantization_config", None):
        return BackboneError(f"{reason}; they are quantised: take the release of the model that is not")
    if getattr(config, "_attn_implementation", None) not in (None, "eager", "sdpa"):
        return BackboneError(f"{reason}; take `attn_implementation` out of its config.json, or set it to sdpa")
    return BackboneError(f"{reason}; download all of its files again, or take another model")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_tokenizer(directory: Path) -> Any:
    """Load the tokenizer; a BackboneError says why it cannot be."""
    with quiet_transformers():
        try:
            return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the tokenizers library raises bare ones
            raise BackboneError(
                f"the tokenizer in {directory} cannot be loaded: {_first_line(error)}; copy the model's tokenizer.json "
                "into it"
            ) from error
