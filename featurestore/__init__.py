"""Features of a genome on disk or in an object store: written once, read in windows of any length.

>>> import featurestore
>>> store = featurestore.open("genome.store")  # doctest: +SKIP
>>> store["motif"].window("chr1", 1_000_000, n_bins=251).values.shape  # doctest: +SKIP
(251, 28)
"""

from featurestore.anchored_declarations import AnchorsMismatch
from featurestore.anchored_reader import AnchoredReader, UnknownAnchor, open_anchored
from featurestore.commits import Commit, CommitConflict, CommitLog, DamagedRecord, NotBuilt
from featurestore.declarations import NotAStore
from featurestore.describe import RegistryLocked, add_store, default_place, describe, read_registry, update_registry
from featurestore.diff import Difference, diff
from featurestore.failures import Failure, FailureLog
from featurestore.findings import Fault, Verification
from featurestore.layout import ContigLayout
from featurestore.manifest import Manifest
from featurestore.reader import FeatureReader, Window, Windows, parse_place
from featurestore.remote import Objects, StorageOptions, connect
from featurestore.retry import StoreUnavailable
from featurestore.rows import DamagedChunk, HeldRowSource, RowSource, ZarrRows, read_rows
from featurestore.seal import NotSealed, seal
from featurestore.status import StoreStatus, last_run_speed, status_of
from featurestore.store import FingerprintMismatch, Store, create
from featurestore.store import open_store as open
from featurestore.stretches import RowRequest
from featurestore.tensorstore_rows import TensorStoreRows
from featurestore.transfer import CopyReport, DamagedShard, copy
from featurestore.verify import Repair, repair, verify
from featurestore.writer import Origin, write_shard

__all__ = [
    "AnchoredReader",
    "AnchorsMismatch",
    "Commit",
    "CommitConflict",
    "CommitLog",
    "ContigLayout",
    "CopyReport",
    "DamagedChunk",
    "DamagedRecord",
    "DamagedShard",
    "Difference",
    "Failure",
    "FailureLog",
    "Fault",
    "FeatureReader",
    "FingerprintMismatch",
    "HeldRowSource",
    "Manifest",
    "NotAStore",
    "NotBuilt",
    "NotSealed",
    "Objects",
    "Origin",
    "RegistryLocked",
    "Repair",
    "RowRequest",
    "RowSource",
    "StorageOptions",
    "Store",
    "StoreStatus",
    "StoreUnavailable",
    "TensorStoreRows",
    "UnknownAnchor",
    "Verification",
    "Window",
    "Windows",
    "ZarrRows",
    "add_store",
    "connect",
    "copy",
    "create",
    "default_place",
    "describe",
    "diff",
    "last_run_speed",
    "open",
    "open_anchored",
    "parse_place",
    "read_registry",
    "read_rows",
    "repair",
    "seal",
    "status_of",
    "update_registry",
    "verify",
    "write_shard",
]
