"""Declaring and finding the anchored arrays of a store.

Belongs here: declaring, finding and describing them. Does not: what they are (`featurestore.anchored.layout`), reading
windows (`featurestore.anchored.reader`).
"""

from collections.abc import Sequence
from typing import Any

from catalog import FeatureSet
from catalog.genes.anchors import Anchor
from catalog.runtime.documents import parse_object
from featurestore.anchored.layout import DESCRIPTION, Anchored, AnchorLayout, anchored_documents
from featurestore.format import layout
from featurestore.format.build_commands import anchored_command
from featurestore.format.commits import NotBuilt
from featurestore.format.declarations import NotAStore
from featurestore.format.manifest import is_written
from featurestore.format.metadata import DIGEST, GROUP, is_whole
from featurestore.store import Store


class AnchorsMismatch(ValueError):
    """The name is taken by an anchored array of another table, or of another number of bins."""


def declare_anchored(store: Store, wanted: AnchorLayout, anchors: Sequence[Anchor]) -> AnchorLayout:
    """Declare an anchored array: idempotent, and safe for concurrent builders. Changing a sealed store unseals it.

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
        # Of several concurrent builders, the first to create the array decides what the others must agree with.
        if not store.objects.create(values, documents[values]):
            present = present_anchored(store, wanted)
    if present is not None:
        array = AnchorLayout(wanted.feature_set, present)
        documents = anchored_documents(array, anchors)
    absent = [key for key, data in documents.items() if not is_written(store.objects, key, data)]
    if absent:
        store.unseal()
    group = f"{array.path}/{GROUP}"
    for key in sorted(absent, key=lambda key: key == group):  # last: readers then find the rest
        store.objects.put(key, documents[key])
    return array


def present_anchored(store: Store, wanted: AnchorLayout) -> Anchored | None:
    """Read the array that the store has under the name of a wanted one; None if there is none.

    Raises
    ------
    AnchorsMismatch
        If it is of other anchors, or has another number of bins.
    """
    present, requested = read_anchored(store, wanted.feature_set.name, wanted.anchored.anchors), wanted.anchored
    if present is None:
        return None
    taken = f"{store.url} already has anchors {present.anchors!r} for {present.feature_set!r}"
    if (present.n_anchors, present.table) != (requested.n_anchors, requested.table):
        raise AnchorsMismatch(
            f"{taken} from another table: {present.n_anchors:,} anchors, and this one has {requested.n_anchors:,} on "
            "the contigs chosen; give the table and the contigs that they were begun with, or another `name=`"
        )
    if present.n_bins != requested.n_bins:
        raise AnchorsMismatch(
            f"{taken} with {present.n_bins} bins, not {requested.n_bins}; give another `name=`, or read windows of any "
            f"smaller odd number of bins from those {present.n_bins}"
        )
    return present


def read_anchored(store: Store, feature_set: str, anchors: str) -> Anchored | None:
    """Read the description of an anchored array; None if there is none of that name.

    Raises
    ------
    NotAStore
        If both copies of its description are damaged.
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
        If there is none of that name; the message lists the existing ones.
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
    return anchored_command(store.url, store.assembly, feature_set, anchors, n_bins)


def _described(data: bytes) -> Anchored | None:
    """Parse a description from the metadata of a group or array; None if it is damaged."""
    try:
        document: Any = parse_object(data, where=GROUP, mend="put that of a copy there")["attributes"][DESCRIPTION]
        if not is_whole(document):
            return None
        return Anchored.model_validate({name: value for name, value in document.items() if name != DIGEST})
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
