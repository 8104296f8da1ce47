"""JSON documents: parsed within limits of size and depth, with errors that name the document and the mend.

Belongs here: the one reader of JSON that was written elsewhere. Does not: what a document means (the models and
dataclasses that describe it), writing files (`catalog.runtime.files`).
"""

import json
import os
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 26
"""Largest document that is parsed, unless its reader says otherwise (bytes)."""
_MAX_DEPTH = 64
"""Deepest nesting: ours have ten levels at the most, and Python's own recursion ends near a thousand."""


class DamagedDocument(ValueError):
    """A JSON document that cannot be read."""


def parse_json(
    data: bytes | str,
    *,
    where: str,
    mend: str,
    raises: type[ValueError] = DamagedDocument,
    max_bytes: int = MAX_BYTES,
    strict: bool = True,
) -> Any:
    """Parse a document of any kind.

    Parameters
    ----------
    where, mend
        For errors: the document's path or URL, and what to do about it.
    raises
        Class of the errors.
    max_bytes
        Largest document that is parsed (bytes).
    strict
        Whether control characters inside strings are refused.

    Raises
    ------
    ValueError
        Of the class `raises`, if it is too large, no JSON, or nested too deeply.
    """
    if len(data) > max_bytes:
        raise raises(f"{where} has {len(data):,} bytes, and at most {max_bytes:,} are read; {mend}")
    try:
        document = json.loads(data, strict=strict)
    except RecursionError:
        raise raises(f"{where} is nested more than {_MAX_DEPTH} levels deep; {mend}") from None
    except ValueError as error:
        raise raises(f"{where} is no JSON ({error}); {mend}") from error
    if _is_deep(document):
        raise raises(f"{where} is nested more than {_MAX_DEPTH} levels deep; {mend}")
    return document


def parse_object(
    data: bytes | str,
    *,
    where: str,
    mend: str,
    raises: type[ValueError] = DamagedDocument,
    max_bytes: int = MAX_BYTES,
) -> dict[str, Any]:
    """Parse a document that is a JSON object; otherwise like `parse_json`."""
    document = parse_json(data, where=where, mend=mend, raises=raises, max_bytes=max_bytes)
    if not isinstance(document, dict):
        raise raises(f"{where} is no JSON object, but a {_KINDS.get(type(document), 'number')}; {mend}")
    return document


def read_object(
    path: str | os.PathLike[str],
    *,
    mend: str,
    raises: type[ValueError] = DamagedDocument,
    max_bytes: int = MAX_BYTES,
) -> dict[str, Any]:
    """Read a file that is a JSON object; otherwise like `parse_json`, and OSError if it cannot be read."""
    with Path(path).open("rb") as file:
        data = file.read(max_bytes + 1)
    return parse_object(data, where=os.fspath(path), mend=mend, raises=raises, max_bytes=max_bytes)


_KINDS: dict[type, str] = {list: "list", str: "text", bool: "boolean", type(None): "null"}


def _is_deep(document: Any) -> bool:
    """Tell whether lists and objects are nested beyond the limit; level by level, since recursion would fail too."""
    level = [document]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True
