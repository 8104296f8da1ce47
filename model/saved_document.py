"""JSON documents of saved models and runs, each with a digest of itself.

Belongs here: writing one, and reading it unless it was damaged or changed. Does not: what stands in it
(`model.predictors.checkpoint`, `model.runs.folder`, `model.training.resume`), parsing (`catalog.runtime.documents`).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.runtime.documents import read_object
from catalog.runtime.files import write_atomic
from featurestore.format.metadata import DIGEST, is_whole, signed


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document with its digest, whole or not at all; NaN, which JSON lacks, is a ValueError."""
    plain = json.loads(json.dumps(document, allow_nan=False))
    text = json.dumps(signed(plain), indent=1)
    write_atomic(path, f"{text}\n".encode())


def read_document(path: Path, *, mend: str, raises: type[ValueError]) -> dict[str, Any]:
    """Read a document; one of an earlier version has no digest, and is taken as it is.

    Raises
    ------
    ValueError
        Of the class `raises`, if it is no JSON object, or was changed since it was written.
    OSError
        If it cannot be read.
    """
    document = read_object(path, mend=mend, raises=raises)
    if not is_whole(document):
        raise raises(
            f"{path} was damaged or changed after it was written (its digest is another one); {mend}, or, if the "
            f'change is meant, take "{DIGEST}" out of it'
        )
    document.pop(DIGEST, None)
    return document


def file_digest(path: Path) -> str:
    """Hash a whole file (SHA-256, hexadecimal)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
