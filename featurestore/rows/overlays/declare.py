"""Declaring and deleting the overlays of a store.

Belongs here: the order in which their objects are written and removed. Does not: what they are
(`featurestore.rows.overlays.layout`), reading them (`featurestore.rows.overlays.describe`).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from catalog import FeatureSet
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.manifest import is_written, unseal
from featurestore.format.metadata import GROUP
from featurestore.objects.objects import Objects
from featurestore.rows.overlays.describe import OverlayMismatch, read_folder
from featurestore.rows.overlays.layout import Overlay, OverlayLayout, Touched, contig_documents, overlay_documents

Bins = Mapping[str, tuple[Touched, NDArray[np.int64]]]
"""What is touched of each contig, with its table `(phase, row)`."""


def require_agreement(objects: Objects, overlay: Overlay) -> Overlay | None:
    """Read the overlay that the store has under the name of a wanted one; None if there is none.

    Raises
    ------
    OverlayMismatch
        If it is of other variants, rules, phases or weights.
    """
    present = read_folder(objects, overlay.feature_set, overlay.folder)
    if present is None or present == overlay:
        return present
    names = [name for name in Overlay.model_fields if getattr(present, name) != getattr(overlay, name)]
    raise OverlayMismatch(
        f"{objects.location} already has an overlay {overlay.name!r} of {overlay.feature_set!r} with other "
        f"{', '.join(names)}; give what it was begun with, or `featurestore delete-overlay` first"
    )


def declare_overlay(objects: Objects, feature_set: FeatureSet, overlay: Overlay, bins: Bins) -> None:
    """Declare an overlay on some contigs: idempotent, and safe for concurrent builders of the same overlay.

    A sealed store that lacks something is unsealed.

    Raises
    ------
    OverlayMismatch
        If the name is taken by an overlay of other variants, rules or weights.
    """
    require_agreement(objects, overlay)
    of_overlay = overlay_documents(overlay)
    by_contig = [
        contig_documents(OverlayLayout.of(feature_set, overlay, touched), touched, table)
        for touched, table in bins.values()
    ]
    for documents in (of_overlay, *by_contig):
        absent = [key for key, data in documents.items() if not is_written(objects, key, data)]
        if not absent:
            continue
        unseal(objects)
        # The group comes last: with its description readers find the rest.
        last = min((key for key in documents if key.endswith(f"/{GROUP}")), key=len)
        if documents is of_overlay:
            last = f"{layout.overlay_path(overlay.feature_set, overlay.folder)}/{GROUP}"
        for key in sorted(absent, key=lambda key: key == last):
            # Of several builders the first to describe the overlay decides what the others must agree with.
            if not objects.create(key, documents[key]) and not is_written(objects, key, documents[key]):
                require_agreement(objects, overlay)
                objects.put(key, documents[key])


def delete_overlay(objects: Objects, feature_set: str, name: str) -> int:
    """Delete an overlay; give the number of its objects. Interrupted, it goes on when it is called again.

    Its description goes first, so that no reader begins with it, then the commit records, then the values. A sealed
    store is unsealed.
    """
    folder = layout.overlay_folder(name)
    path, array = layout.overlay_path(feature_set, folder), ArrayKey(feature_set, overlay=folder)
    logs = (f"{layout.COMMITS}/{array}", f"{layout.FAILURES}/{array}")
    values = [key for key, _ in objects.walk(path)]
    records = [key for log in logs for key, _ in objects.walk(log)]
    if not values and not records:
        return 0
    unseal(objects)
    group = f"{path}/{GROUP}"
    keys = [*(key for key in values if key == group), *records, *(key for key in values if key != group)]
    for key in keys:
        objects.delete(key)
    for folder in (path.rpartition("/")[0], layout.OVERLAYS):  # their groups hold nothing else
        above = f"{folder}/{GROUP}"
        if [key for key, _ in objects.walk(folder)] == [above]:
            objects.delete(above)
    return len(keys)
