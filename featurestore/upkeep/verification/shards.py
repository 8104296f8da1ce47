"""Shards against their commit records.

Belongs here: one record and its shard. Does not: which shards may be there, all other objects
(`featurestore.upkeep.verify`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import Commit, DamagedRecord
from featurestore.format.layout import ArrayLayout
from featurestore.format.manifest import SealedObject
from featurestore.objects.errors import LinkInStore
from featurestore.store import Store
from featurestore.upkeep.verification.findings import Fault


class CheckedRecord(NamedTuple):
    """Result of checking one commit record and its shard."""

    record: str
    shard: str | None
    """Key of the shard; None if the record cannot be read."""
    sealed: SealedObject | None
    """As committed."""
    fault: Fault | None


class ShardCheck:
    """Checks of the shards of a store.

    Parameters
    ----------
    listing
        Size of every object (bytes).
    planned
        Layout of the array of each shard that may be there, by array and key.
    crc
        Also read every shard, to compare checksums.
    """

    def __init__(
        self,
        store: Store,
        listing: Mapping[str, int],
        planned: Mapping[ArrayKey, Mapping[str, ArrayLayout]],
        *,
        crc: bool,
    ) -> None:
        self._store = store
        self._objects = store.objects
        self._listing = listing
        self._planned = planned
        self._crc = crc

    def of_record(self, record: str) -> CheckedRecord:
        """Check what a record says, and that its shard is there and whole."""
        array = ArrayKey.of(record.split("/")[1])
        try:
            commit = self._store.commits(array).load(record, self._listing[record])
        except DamagedRecord as error:
            mend = "`featurestore repair`, then build again"
            return CheckedRecord(record, None, None, Fault(record, str(error), mend, (record,)))
        key = layout.shard_key(array, commit.contig, commit.phase, commit.shard)
        what = self._wrong_with(commit, key)
        if what is None:
            return CheckedRecord(record, key, SealedObject(commit.size, commit.sha256), None)
        mend = f"`featurestore repair` removes it and {record}, then build again"
        return CheckedRecord(record, key, None, Fault(key, what, mend, (record, key)))

    def _wrong_with(self, commit: Commit, key: str) -> str | None:
        if not self._belongs(commit, key):
            return "its record is that of another assembly, extractor or division into shards"
        size = self._listing.get(key)
        if size is None and (size := self._size_now(key)) is None:
            return "is committed but not there"
        if size != commit.size:
            return f"has {size} bytes, its record says {commit.size}"
        if not self._crc:
            return None
        data = self._objects.get(key)
        if not commit.is_of(data):
            return "its bytes are not those that were committed"
        return None

    def _size_now(self, key: str) -> int | None:
        """Request an object again: a running build may have written it during the listing."""
        try:
            return len(self._objects.get(key))
        except (FileNotFoundError, LinkInStore):
            return None

    def _belongs(self, commit: Commit, key: str) -> bool:
        array = self._planned[ArrayKey.of(commit.feature_set)].get(key)
        if array is None or commit.fingerprint != array.feature_set.fingerprint:
            return False
        return (commit.first_bin, commit.first_bin + commit.n_bins) == array.shard_span(commit.phase, commit.shard)
