"""Model directories by the id that they have on the Hugging Face Hub.

Belongs here: telling an id from a folder, fetching what a backbone reads. Does not: reading it
(`model.language.directory`).
"""

import os
import re
from pathlib import Path

_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model"]
"""Weights, configuration, vocabularies. No pickle and no Python file."""
_UNWANTED = ["*/*"]
"""Folders in a repository hold the same model again in other formats."""


def is_hub_id(name: str | os.PathLike[str]) -> bool:
    """Say whether a name reads as `owner/model` and is no folder here, nor names a GGUF file."""
    place = Path(name)
    return _ID.fullmatch(os.fspath(name)) is not None and place.suffix.lower() != ".gguf" and not place.is_dir()


def fetch_model(name: str) -> Path:
    """Give the folder of a model of the Hub: from the local cache, downloaded first where need be.

    Raises
    ------
    OSError
        If it is not in the cache and cannot be downloaded.
    """
    # Here, since it costs time to import, and a model in a folder needs none of it.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except (OSError, ValueError) as error:
        raise OSError(
            f"{name} is no folder here, and as a model of the Hugging Face Hub it can neither be found in the local "
            f"cache nor be downloaded ({str(error).splitlines()[0]}); give the folder of a model, or, with access to "
            "the network, unset HF_HUB_OFFLINE and, where the model asks for it, `hf auth login`"
        ) from error
