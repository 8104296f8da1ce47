"""A language model as a folder or a GGUF file: found, checked, hashed, loaded without running any code of its own.

Belongs here: files and Transformers' loaders. Does not: what a loaded model does (`model.language.backbone`), the Hub
(`catalog.runtime.weight_files`), what is particular to GGUF (`model.language.gguf_files`).
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
from catalog.runtime.weight_files import cut_short, fetch_model, is_hub_id, refuse_pointer
from model.language.gguf_files.header import GgufError, GgufHeader
from model.language.gguf_files.source import (
    SMOLLM2,
    check_gguf,
    check_size,
    handed_over,
    is_gguf,
    packaged_model,
    scale_positions,
    weight_options,
)

UNTRAINED_MARK = "featurestore_untrained"
"""Attribute of `config.json` that says: these weights are random, made on the spot."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "vocab.bpe")
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16
_TAKE = "use a causal model (Llama, Mistral, Qwen, GPT-2, ...) or an encoder (BERT, ...)"


class BackboneError(ValueError):
    """A model that cannot serve as a backbone, or input that does not fit into one."""


def model_digest(place: Path) -> str:
    """Hash a model directory or GGUF file; see `model.language.backbone.Backbone.digest`."""
    total = hashlib.sha256()
    if is_gguf(place):
        # Settings and tokenizer are in the header.
        with place.open("rb") as file:
            total.update(file.read(check_gguf(place).n_bytes))
        _add_samples(total, place)
        return total.hexdigest()
    for path in sorted(place.iterdir()):
        if path.suffix == ".json" or path.name in _TOKENIZER_FILES:
            total.update(f"{path.name}\n".encode() + path.read_bytes())
        elif path.suffix == ".safetensors":
            total.update(f"{path.name}\n".encode())
            _add_samples(total, path)
    return total.hexdigest()


def _add_samples(total: Any, path: Path) -> None:
    """Add the size of a file and what stands in places of it, evenly spread."""
    size = path.stat().st_size
    total.update(f"{size}\n".encode())
    with path.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek(max(size - _SAMPLE_BYTES, 0) * sample // (_SAMPLES - 1))
            total.update(file.read(_SAMPLE_BYTES))


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


def find_model(place: str | os.PathLike[str]) -> Path:
    """Give a folder or a GGUF file as it is, and of a name where it lies: of `smollm2`, or of an id of the Hub.

    A Hub's model is downloaded first where need be.
    """
    try:
        if os.fspath(place) == SMOLLM2 and not Path(place).exists():
            return packaged_model()
        return fetch_model(os.fspath(place)) if is_hub_id(place) else required_path(place).resolve()
    except OSError as error:
        raise BackboneError(str(error)) from error


def check_files(place: Path) -> None:
    """Refuse a GGUF file that does not serve, or a folder without configuration, safetensors weights or tokenizer.

    Raises
    ------
    BackboneError
        If so.
    """
    if is_gguf(place):
        _checked(place)
    else:
        _check_directory(place)


def _checked(path: Path) -> GgufHeader:
    try:
        return check_gguf(path)
    except GgufError as error:
        raise BackboneError(str(error)) from error


def _check_directory(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        file = next(iter(sorted(directory.glob("*.gguf"))), None)
        instead = "" if file is None else f", or a GGUF file by its own name ({file})"
        raise BackboneError(
            f"{directory} is no Hugging Face model directory: it has no config.json; give the folder that "
            f"`save_pretrained` or `hf download` wrote{instead}"
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


def load_model(place: Path, max_layers: int | None, dtype: torch.dtype | str) -> Any:
    """Load the first blocks, frozen and in evaluation mode; only these are kept in memory.

    Of a folder only these are read, as `dtype`, or as they are stored if that is `auto`; of a GGUF file every tensor
    is, one after the other, and what is kept is float32.

    Raises
    ------
    BackboneError
        If it is no model of a kind that Transformers knows by itself, not a language model alone, or not whole.
    """
    header = _checked(place) if is_gguf(place) else None
    with quiet_transformers(), _source(place) as (folder, options):
        config = _load_config(place, folder, options)
        _check_kind(place, config)
        _cut(config, max_layers)
        try:
            if header is not None:
                check_size(place, header, _count_parameters(config))
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=dtype if header is None else torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **(options | ({"use_safetensors": True} if header is None else weight_options())),
            )
            if header is not None:
                scale_positions(model, place, header)
        except GgufError as error:
            raise BackboneError(str(error)) from error
        except Exception as error:  # of Transformers, safetensors, libraries of quantisation, ...
            raise _not_loaded(place, config, error) from error
    _check_whole(place, config, report)
    return model.eval().requires_grad_(False)


@contextlib.contextmanager
def _source(place: Path) -> Iterator[tuple[str | Path, dict[str, Any]]]:
    """Give the folder and the options by which Transformers reads a model."""
    if not is_gguf(place):
        yield place, {}
        return
    with handed_over(place) as source:
        yield source


def _load_config(place: Path, folder: str | Path, options: dict[str, Any]) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # Transformers runs into errors of any kind on a configuration that is none
        how = "from GGUF; take its release in safetensors" if options else "without running code from the directory"
        raise BackboneError(
            f"{place} holds a model that Transformers does not know {how}: {_first_line(error)}"
        ) from error


def _cut(config: Any, max_layers: int | None) -> None:
    """Have a configuration ask for the first blocks alone."""
    if max_layers is None or max_layers >= config.num_hidden_layers:
        return
    if max_layers < 1:
        raise BackboneError(f"a backbone keeps at least 1 block, got max_layers={max_layers}")
    # Newer configurations name the kind of each block; the two must agree before either is read.
    if vars(config).get("layer_types"):
        config.layer_types = config.layer_types[:max_layers]
    config.num_hidden_layers = max_layers


def _count_parameters(config: Any) -> int:
    """Count the weights of a model without making them."""
    with torch.device("meta"):
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]  # not annotated there
    return sum(weight.numel() for weight in model.parameters())


def _check_whole(place: Path, config: Any, report: dict[str, Any]) -> None:
    # A pooler (BERT) sits after the hidden states, which are all that is used here.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if not missing:
        return
    reads_text = config.model_type in {**MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, **MODEL_FOR_MASKED_LM_MAPPING_NAMES}
    asks, again = ("its config.json asks", "download all of its .safetensors files again")
    if is_gguf(place):
        asks, again = ("its settings ask", "download it again, or take its release in safetensors")
    raise BackboneError(
        f"the weights in {place} ({config.model_type}) lack {len(missing)} tensors that {asks} for ({missing[0]}, "
        f"...); {again if reads_text else _TAKE}"
    )


def refused(directory: Path, config: Any, error: Exception, *, precision: str) -> BackboneError:
    """Make the error of a model that was loaded, but does not read embeddings as a language model does."""
    how = "" if precision == "fp32" else f" in {precision} (some families serve only in fp32)"
    return BackboneError(
        f"{directory} holds a {config.model_type}, which does not serve as a backbone{how}: {_first_line(error)}; "
        f"{_TAKE}"
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
    if is_gguf(directory):
        return BackboneError(
            f"the weights in {directory} cannot be loaded: {_first_line(error)}; take a release of the model in F16, "
            "Q8_0 or Q4_K_M, or in safetensors"
        )
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


def load_tokenizer(place: Path) -> Any:
    """Load the tokenizer; a BackboneError says why it cannot be."""
    with quiet_transformers(), _source(place) as (folder, options):
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
        except Exception as error:  # the tokenizers library raises bare ones
            mend = "take another release of the model" if options else "copy the model's tokenizer.json into it"
            raise BackboneError(f"the tokenizer in {place} cannot be loaded: {_first_line(error)}; {mend}") from error
