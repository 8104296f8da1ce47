"""Features of a genome on disk or in an object store: written once, read in windows of any length.

>>> import featurestore
>>> store = featurestore.open("genome.store")  # doctest: +SKIP
>>> store["motif"].window("chr1", 1_000_000, n_bins=251).values.shape  # doctest: +SKIP
(251, 28)
"""

from catalog.retry import StoreUnavailable
from featurestore.anchored.declare import AnchorsMismatch
from featurestore.anchored.reader import AnchoredReader, UnknownAnchor, open_anchored
from featurestore.format.commits import Commit, CommitConflict, CommitLog, DamagedRecord, NotBuilt
from featurestore.format.declarations import NotAStore
from featurestore.format.failures import Failure, FailureLog
from featurestore.format.layout import ContigLayout
from featurestore.format.manifest import Manifest
from featurestore.format.writer import Origin, write_shard
from featurestore.objects.objects import Objects, StorageOptions, connect
from featurestore.reader import FeatureReader, Window, Windows, parse_place
from featurestore.rows.row_requests import RowRequest
from featurestore.rows.source import DamagedChunk, HeldRowSource, RowSource, ZarrRows, read_rows
from featurestore.rows.tensorstore_source import TensorStoreRows
from featurestore.store import FingerprintMismatch, Store, create
from featurestore.store import open_store as open
from featurestore.upkeep.diff import Difference, diff
from featurestore.upkeep.findings import Fault, Verification
from featurestore.upkeep.registry_file import (
    RegistryLocked,
    add_store,
    default_place,
    describe,
    read_registry,
    update_registry,
)
from featurestore.upkeep.seal import NotSealed, seal
from featurestore.upkeep.status import StoreStatus, last_run_speed, status_of
from featurestore.upkeep.transfer import CopyReport, DamagedShard, copy
from featurestore.upkeep.verify import Repair, repair, verify

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
