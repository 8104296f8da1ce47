"""The root of a store: its format and its assembly.

Belongs here: reading and checking the root's document, and the attributes of any group. Does not: feature sets
(`featurestore.format.declarations`), writing documents (`featurestore.format.metadata`).
"""

from typing import Any

from pydantic import ValidationError

from catalog import Assembly
from catalog.runtime.documents import parse_object
from featurestore.format import layout
from featurestore.format.declarations import NotAStore
from featurestore.format.metadata import GROUP, MAX_CONSOLIDATED_BYTES, is_whole
from featurestore.objects.objects import Objects


def read_assembly(objects: Objects) -> Assembly:
    """Read the assembly of a store (one request); the errors of `root_description`."""
    description = root_description(objects)
    try:
        return Assembly.model_validate(description.get("assembly"))
    except ValidationError as error:
        raise NotAStore(
            f"{objects.location}/{GROUP} has a damaged description of its assembly ({error.errors()[0]['msg']}); "
            f"{_mend(objects, GROUP)}"
        ) from error


def root_description(objects: Objects) -> dict[str, Any]:
    """Read and check the root's description of the store: format and assembly (one request).

    Raises
    ------
    FileNotFoundError
        If there is no store.
    NotAStore
        If it is no feature store, damaged, or of a format that this version does not know.
    """
    where = objects.location
    attributes = group_attributes(objects, "")
    if attributes is None:
        raise FileNotFoundError(f"no store at {where}; `featurestore build {where} --fasta ...` makes one")
    document = attributes.get("featurestore")
    if not isinstance(document, dict):
        raise NotAStore(f"{where} is a Zarr group, but no feature store: its attributes lack 'featurestore'")
    if not is_whole(document):
        raise NotAStore(f"{where}/{GROUP} is damaged: its digest is that of another; {_mend(objects, GROUP)}")
    if document.get("format") not in layout.FORMATS:
        raise NotAStore(
            f"{where} has format {document.get('format')!r}; this version reads formats "
            f"{' and '.join(map(str, layout.FORMATS))}: use the version of genomic-featurestore that wrote it"
        )
    return document


def group_attributes(objects: Objects, path: str) -> dict[str, Any] | None:
    """Read the attributes of a Zarr v3 group; None if there is none (one request, no event loop).

    Raises
    ------
    NotAStore
        If it is not a Zarr v3 group.
    """
    key = f"{path}/{GROUP}" if path else GROUP
    where = f"{objects.location}/{key}"
    try:
        data = objects.get(key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    mend = _mend(objects, key)
    document = parse_object(data, where=where, mend=mend, raises=NotAStore, max_bytes=MAX_CONSOLIDATED_BYTES)
    if document.get("node_type") != "group" or document.get("zarr_format") != 3:
        raise NotAStore(f"{where} does not describe a group of Zarr version 3; {mend}")
    attributes = document.get("attributes", {})
    return attributes if isinstance(attributes, dict) else {}


def _mend(objects: Objects, key: str) -> str:
    if key != GROUP:
        return f"`featurestore repair {objects.location}` writes it anew"
    return (
        f"put that of a copy there, or remove {objects.location}/{GROUP} and build with the same FASTA: that makes it"
    )
