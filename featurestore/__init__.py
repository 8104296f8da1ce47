"""Features of a genome on disk or in an object store: written once, read in windows of any length.

>>> import featurestore
>>> store = featurestore.open("genome.store")  # doctest: +SKIP
>>> store["motif"].window("chr1", 1_000_000, n_bins=251).values.shape  # doctest: +SKIP
(251, 28)
"""

from featurestore.commits import Commit, CommitConflict, CommitLog, DamagedRecord, NotBuilt
from featurestore.layout import ContigLayout
from featurestore.reader import FeatureReader, Window, Windows, parse_place
from featurestore.remote import Objects, StorageOptions, connect
from featurestore.rows import DamagedChunk, MemoryRows, RowRequest, RowSource, TensorStoreRows, ZarrRows
from featurestore.store import FingerprintMismatch, NotAStore, Store, create
from featurestore.store import open_store as open
from featurestore.verify import Fault, Verification, repair, verify
from featurestore.writer import Origin, write_shard

__all__ = [
    "Commit",
    "CommitConflict",
    "CommitLog",
    "ContigLayout",
    "DamagedChunk",
    "DamagedRecord",
    "Fault",
    "FeatureReader",
    "FingerprintMismatch",
    "MemoryRows",
    "NotAStore",
    "NotBuilt",
    "Objects",
    "Origin",
    "RowRequest",
    "RowSource",
    "StorageOptions",
    "Store",
    "TensorStoreRows",
    "Verification",
    "Window",
    "Windows",
    "ZarrRows",
    "connect",
    "create",
    "open",
    "parse_place",
    "repair",
    "verify",
    "write_shard",
]
