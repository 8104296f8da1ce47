"""Finding the overlays of a store and what they say of themselves.

Belongs here: reading descriptions and tables of bins. Does not: what they are (`featurestore.rows.overlays.layout`),
writing them (`featurestore.rows.overlays.declare`), rows (`featurestore.rows.overlays.rows`).
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from catalog import Assembly, FeatureSet
from featurestore.format import layout
from featurestore.format.commits import NotBuilt
from featurestore.format.declarations import NotAStore
from featurestore.format.metadata import DIGEST, GROUP, is_whole
from featurestore.format.root import group_attributes
from featurestore.objects.objects import Objects
from featurestore.rows.overlays.layout import (
    DESCRIPTION,
    NO_BIN,
    Overlay,
    OverlayLayout,
    Touched,
    contig_documents,
    overlay_documents,
    table_digest,
)
from featurestore.rows.source import DamagedChunk

Model = TypeVar("Model", bound=BaseModel)


class OverlayMismatch(ValueError):
    """An overlay of other variants, other rules or another extractor."""


def overlay_names(objects: Objects, feature_set: str) -> list[str]:
    """List the overlays of a feature set by name, such as `NA12878/1`."""
    folders = objects.folders(f"{layout.OVERLAYS}/{feature_set}")
    found = (read_folder(objects, feature_set, folder) for folder in folders)
    return [overlay.name for overlay in found if overlay is not None]


def read_folder(objects: Objects, feature_set: str, folder: str) -> Overlay | None:
    """Read the description of an overlay by its folder; None if there is none.

    Raises
    ------
    NotAStore
        If it is damaged, or that of another overlay.
    """
    path = layout.overlay_path(feature_set, folder)
    found = _described(objects, path, Overlay)
    if found is not None and (found.feature_set, _folder_of(found)) != (feature_set, folder):
        raise NotAStore(f"{objects.location}/{path} has the description of {found.feature_set} {found.name}; {_MEND}")
    return found


def _folder_of(overlay: Overlay) -> str | None:
    try:
        return overlay.folder
    except ValueError:  # a name that makes no folder
        return None


def find_overlay(objects: Objects, feature_set: FeatureSet, name: str) -> Overlay:
    """Read the description of an overlay of a feature set, by the overlay's name.

    Raises
    ------
    ValueError
        If the name is not `SAMPLE/HAPLOTYPE`.
    NotBuilt
        If there is none of that name; the message lists those there are.
    OverlayMismatch
        If the set was built anew since, with another extractor.
    """
    found = read_folder(objects, feature_set.name, layout.overlay_folder(name))
    if found is None:
        there = ", ".join(overlay_names(objects, feature_set.name)) or "none"
        raise NotBuilt(
            f"{objects.location} has no overlay {name!r} of {feature_set.name!r}; it has {there}. "
            f"{build_command(objects, feature_set.name, name)} builds it"
        )
    if found.extractor != feature_set.fingerprint:
        raise OverlayMismatch(
            f"the overlay {name!r} of {feature_set.name!r} in {objects.location} was made by another extractor than "
            "the set is now, or with other weights: `featurestore delete-overlay`, then build it again"
        )
    return found


def build_command(objects: Objects, feature_set: str, name: str) -> str:
    """Write the command that builds an overlay."""
    sample, _, haplotype = name.rpartition("/")
    return (
        f"`featurestore build-overlay {objects.location} --feature-set {feature_set} --vcf VCF --fasta FASTA "
        f"--sample {sample} --haplotype {haplotype}`"
    )


def read_touched(objects: Objects, overlay: Overlay, contig: str) -> Touched | None:
    """Read what an overlay says of its bins on a contig; None if it was not built there."""
    path = f"{layout.overlay_path(overlay.feature_set, overlay.folder)}/{layout.contig_key(contig)}"
    found = _described(objects, path, Touched)
    if found is not None and (
        found.contig != contig or len(found.rows) != len(overlay.offsets) or min(found.rows, default=0) < 0
    ):
        raise NotAStore(f"{objects.location}/{path} has the description of another contig, or other phases; {_MEND}")
    return found


def read_bins(
    objects: Objects, assembly: Assembly, feature_set: FeatureSet, overlay: Overlay, touched: Touched
) -> NDArray[np.int64]:
    """Read the table of touched bins of a contig, `(phase, row)`; DamagedChunk if it is damaged."""
    most = feature_set.grid.max_bins(assembly.lengths[touched.contig])
    shape = len(touched.rows), touched.n_rows
    path = f"{layout.overlay_path(overlay.feature_set, overlay.folder)}/{layout.contig_key(touched.contig)}/bin"
    if not touched.n_rows:
        return np.empty(shape, dtype=np.int64)
    try:
        if touched.n_rows > most:
            raise ValueError("it claims more bins than the contig has")
        array: Any = zarr.open_array(objects.zarr(read_only=True), path=path, mode="r", zarr_format=3)
        if not array.shape == array.chunks == shape:
            raise ValueError(f"it has shape {array.shape}, not {shape}")
        table = np.asarray(array[...], dtype=np.int64)
    except (ValueError, ArithmeticError, RuntimeError, LookupError, TypeError, FileNotFoundError) as error:
        raise DamagedChunk(f"{objects.location}/{path} cannot be read ({error}); {_MEND}") from error
    if table_digest(table) != touched.table or not _is_a_table(table, touched, most):
        raise DamagedChunk(f"{objects.location}/{path} is not the table that was written; {_MEND}")
    return table


class WholeOverlay(NamedTuple):
    """All that an overlay says of itself."""

    overlay: Overlay
    touched: dict[str, tuple[Touched, NDArray[np.int64]]]
    """Of each contig that it is declared on, with the table of bins."""
    arrays: dict[str, OverlayLayout]
    documents: dict[str, bytes]
    """Its metadata objects as they should be."""


def read_whole(objects: Objects, assembly: Assembly, feature_set: FeatureSet, folder: str) -> WholeOverlay | None:
    """Read an overlay on every contig that it is declared on; None if there is none.

    Raises
    ------
    NotAStore, DamagedChunk
        If something of it is damaged.
    OverlayMismatch
        If the set was built anew since, with another extractor.
    """
    found = read_folder(objects, feature_set.name, folder)
    if found is None:
        return None
    overlay = find_overlay(objects, feature_set, found.name)
    there = set(objects.folders(layout.overlay_path(feature_set.name, folder)))
    touched: dict[str, tuple[Touched, NDArray[np.int64]]] = {}
    for contig in assembly.lengths:
        if layout.contig_key(contig) in there and (of_contig := read_touched(objects, overlay, contig)) is not None:
            touched[contig] = of_contig, read_bins(objects, assembly, feature_set, overlay, of_contig)
    arrays = {contig: OverlayLayout.of(feature_set, overlay, made) for contig, (made, _) in touched.items()}
    documents = overlay_documents(overlay)
    for contig, (made, table) in touched.items():
        documents |= contig_documents(arrays[contig], made, table)
    return WholeOverlay(overlay, touched, arrays, documents)


_MEND = "`featurestore delete-overlay`, then build it again"


def _is_a_table(table: NDArray[np.int64], touched: Touched, most: int) -> bool:
    parts = [(row[:n], row[n:]) for row, n in zip(table, touched.rows, strict=True)]
    return all(
        bool((np.diff(bins, prepend=-1) > 0).all() and (bins < most).all() and (rest == NO_BIN).all())
        for bins, rest in parts
    )


def _described(objects: Objects, path: str, model: type[Model]) -> Model | None:
    attributes = group_attributes(objects, path)
    if attributes is None:
        return None
    document = attributes.get(DESCRIPTION)
    where = f"{objects.location}/{path}/{GROUP}"
    if not isinstance(document, dict) or DIGEST not in document or not is_whole(document):
        raise NotAStore(f"{where} has a damaged description of an overlay; {_MEND}")
    try:
        return model.model_validate({name: value for name, value in document.items() if name != DIGEST})
    except ValidationError as error:
        raise NotAStore(
            f"{where} has a damaged description of an overlay ({error.error_count()} faults); {_MEND}"
        ) from (error)
