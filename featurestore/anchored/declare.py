"""What a store says of its anchored arrays, and making room for one.

Belongs here: declaring, finding and describing them. Does not: what they are (`featurestore.anchored.layout`), reading
windows (`featurestore.anchored.reader`).
"""

import json
from collections.abc import Sequence
from typing import Any

from catalog import FeatureSet
from catalog.genes.anchors import Anchor
from featurestore.anchored.layout import DESCRIPTION, Anchored, AnchorLayout, anchored_documents
from featurestore.format import layout
from featurestore.format.commits import NotBuilt
from featurestore.format.declarations import NotAStore
from featurestore.format.metadata import DIGEST, GROUP, is_group, is_whole, without_consolidated
from featurestore.store import Store


class AnchorsMismatch(ValueError):
    """Anchors of another table, or another number of bins, below a name that is taken."""


def declare_anchored(store: Store, wanted: AnchorLayout, anchors: Sequence[Anchor]) -> AnchorLayout:
    """Make room for an anchored array; what is there already is kept. A sealed store that lacks something is unsealed.

    Returns
    -------
    The layout as the store has it: its shards may be of another size.

    Raises
    ------
    AnchorsMismatch
        If the name is taken by other anchors, or by another number of bins.
    """
    array = wanted
    documents = anchored_documents(wanted, anchors)
    present = present_anchored(store, wanted)
    if present is None:
        store.unseal()
        values = f"{wanted.path}/values/{GROUP}"
        # Of several builders at one time, the one whose array this is decides what the others must agree with.
        if not store.objects.create(values, documents[values]):
            present = present_anchored(store, wanted)
    if present is not None:
        array = AnchorLayout(wanted.feature_set, present)
        documents = anchored_documents(array, anchors)
    absent = [key for key, data in documents.items() if not _is_there(store, key, data)]
    if absent:
        store.unseal()
    group = f"{array.path}/{GROUP}"
    for key in sorted(absent, key=lambda key: key == group):  # last: readers then find the rest
        store.objects.put(key, documents[key])
    return array


def present_anchored(store: Store, wanted: AnchorLayout) -> Anchored | None:
    """Read what is there below the name of a wanted array.

    Raises
    ------
    AnchorsMismatch
        If it is of other anchors, or has another number of bins.
    """
    present, asked = read_anchored(store, wanted.feature_set.name, wanted.anchored.anchors), wanted.anchored
    if present is None:
        return None
    taken = f"{store.url} already has anchors {present.anchors!r} for {present.feature_set!r}"
    if (present.n_anchors, present.table) != (asked.n_anchors, asked.table):
        raise AnchorsMismatch(
            f"{taken} from another table: {present.n_anchors:,} anchors, and this one has {asked.n_anchors:,} on the "
            "contigs chosen; give the table and the contigs that they were begun with, or another `name=`"
        )
    if present.n_bins != asked.n_bins:
        raise AnchorsMismatch(
            f"{taken} with {present.n_bins} bins, not {asked.n_bins}; give another `name=`, or read windows of any "
            f"smaller odd number of bins from those {present.n_bins}"
        )
    return present


def read_anchored(store: Store, feature_set: str, anchors: str) -> Anchored | None:
    """Read what an anchored array holds, or None if there is none of that name.

    Raises
    ------
    NotAStore
        If there is one, but neither of the two objects that say so can be read.
    """
    path = layout.anchored_path(feature_set, anchors)
    there = False
    for key in (f"{path}/{GROUP}", f"{path}/values/{GROUP}"):
        try:
            data = store.objects.get(key)
        except FileNotFoundError:
            continue
        there = True
        found = _described(data)
        if found is not None:
            return found
    if there:
        raise NotAStore(
            f"{store.url}/{path} has a damaged description; put {GROUP} or values/{GROUP} of a copy there, or build "
            "under another `name=`"
        )
    return None


def anchored_layout(store: Store, feature_set: FeatureSet, anchors: str) -> AnchorLayout:
    """Read the layout of an anchored array.

    Raises
    ------
    NotBuilt
        If there is none of that name; the message lists those there are.
    """
    found = read_anchored(store, feature_set.name, anchors)
    if found is None:
        there = anchored_names(store, feature_set.name)
        raise NotBuilt(
            f"{store.url} has no anchors {anchors!r} for {feature_set.name!r}; it has {', '.join(there) or 'none'}. "
            f"{build_command(store, feature_set, anchors)} builds them"
        )
    return AnchorLayout(feature_set, found)


def anchored_names(store: Store, feature_set: str) -> list[str]:
    """List the anchored arrays of a feature set."""
    return store.objects.folders(f"{layout.ANCHORED}/{feature_set}")


def build_command(store: Store, feature_set: FeatureSet, anchors: str, n_bins: int | None = None) -> str:
    """Write the command that builds an anchored array."""
    bins = "" if n_bins is None else f" --n-bins {n_bins}"
    return (
        f"`featurestore build-anchors {store.url} --anchors TABLE --name {anchors}{bins} "
        f"--fasta {store.assembly.name}.fa --extractor {feature_set.extractor}`"
    )


def _described(data: bytes) -> Anchored | None:
    """Read a description out of a group's or an array's object, or give None if it is not as it was written."""
    try:
        document: Any = json.loads(data)["attributes"][DESCRIPTION]
        if not is_whole(document):
            return None
        return Anchored.model_validate({name: value for name, value in document.items() if name != DIGEST})
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _is_there(store: Store, key: str, data: bytes) -> bool:
    try:
        found = store.objects.get(key)
    except FileNotFoundError:
        return False
    return (without_consolidated(found) if is_group(key, found) else found) == data
