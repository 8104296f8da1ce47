"""What the stored bytes of an array mean: its own document must say what follows from the store's description.

Belongs here: that comparison, before the first bytes are decoded, and the refusal of links among them. Does not: the
documents themselves (`featurestore.format.metadata`), comparing every object of a store (`featurestore.upkeep.verify`).

`zarr.json` of an array has no digest. Its type, byte order, codecs and chunks, edited or damaged, would turn the same
bytes into other values, and chunks keep their checksums.
"""

from collections.abc import Mapping
from typing import Any

import zarr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from catalog.runtime.documents import parse_object
from featurestore.format.declarations import NotAStore
from featurestore.format.layout import ArrayLayout
from featurestore.format.metadata import GROUP, array_settings, digest_of
from featurestore.objects.errors import link_error
from featurestore.objects.objects import Objects

_MEANINGLESS = {"shape", "attributes"}
"""Fields that change no value: the shape is compared on its own, since a build that adds phases enlarges it."""


def check_array(objects: Objects, array: ArrayLayout, path: str) -> None:
    """Check that the document of an array says what the store's description does (one small request).

    Parameters
    ----------
    path
        Of the array.

    Raises
    ------
    NotAStore
        If the document is damaged, missing, or says something else.
    LinkInStore
        If an object of the array is a link.
    """
    if links := objects.links(path):
        raise link_error(f"{objects.location}/{links[0]}")
    where = f"{objects.location}/{path}/{GROUP}"
    mend = f"`featurestore repair {objects.location}` writes it anew"
    try:
        data = objects.get(f"{path}/{GROUP}")
    except FileNotFoundError:
        raise NotAStore(f"{where} is not there; {mend}") from None
    document = parse_object(data, where=where, mend=mend, raises=NotAStore)
    expected = array_document(array)
    if digest_of(_meaning(document)) != digest_of(_meaning(expected)):
        names = [*expected, *document]
        name = next(name for name in names if name not in _MEANINGLESS and _differs(name, document, expected))
        raise NotAStore(
            f"{where} says something else of {array.key} than its description does: {name} is "
            f"{str(document.get(name))[:200]}, not {str(expected.get(name))[:200]}; {mend}"
        )
    if not _holds(document.get("shape"), expected["shape"]):
        raise NotAStore(
            f"{where} has the shape {str(document.get('shape'))[:200]}, and {array.key} has {expected['shape']}; {mend}"
        )


def array_document(array: ArrayLayout) -> dict[str, Any]:
    """Make the document of an array, as zarr writes it."""
    kept: dict[str, Buffer] = {}
    zarr.create_array(MemoryStore(kept), **array_settings(array))
    return parse_object(kept[GROUP].to_bytes(), where=GROUP, mend="")


def _meaning(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _MEANINGLESS}


def _differs(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # By digest, to which 1, 1.0 and true are three things.
    return digest_of([one.get(name)]) != digest_of([other.get(name)])


def _holds(shape: Any, expected: list[int]) -> bool:
    """Tell whether an array of a shape holds one of the expected shape, channels alike."""
    return (
        isinstance(shape, list)
        and len(shape) == len(expected)
        and all(type(size) is int and least <= size < 1 << 60 for size, least in zip(shape, expected, strict=True))
        and shape[-1] == expected[-1]
    )
