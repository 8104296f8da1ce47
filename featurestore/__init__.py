"""Features of a genome on disk or in an object store: written once, read in windows of any length.

>>> import featurestore
>>> store = featurestore.open("genome.store")  # doctest: +SKIP
>>> store["motif"].window("chr1", 1_000_000, n_bins=251).values.shape  # doctest: +SKIP
(251, 28)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featurestore.anchored.declare import AnchorsMismatch
    from featurestore.anchored.reader import AnchoredReader, UnknownAnchor, open_anchored
    from featurestore.distribution.version import __version__
    from featurestore.format.commits import Commit, CommitConflict, CommitLog, DamagedRecord, NotBuilt
    from featurestore.format.declarations import NotAStore
    from featurestore.format.failures import Failure, FailureLog
    from featurestore.format.layout import ContigLayout
    from featurestore.format.manifest import Manifest
    from featurestore.format.writer import Origin, write_shard
    from featurestore.objects.errors import StoreUnavailable
    from featurestore.objects.objects import Objects, StorageOptions, connect
    from featurestore.reader import FeatureReader, parse_place
    from featurestore.rows.row_requests import RowRequest
    from featurestore.rows.source import DamagedChunk, HeldRowSource, RowSource, ZarrRows, read_rows
    from featurestore.rows.tensorstore_source import TensorStoreRows
    from featurestore.rows.windows import Window, Windows
    from featurestore.store import FingerprintMismatch, Store, create, open_store
    from featurestore.upkeep.diff import Difference, diff
    from featurestore.upkeep.registry_file import (
        RegistryLocked,
        add_store,
        default_place,
        describe,
        read_registry,
        update_registry,
    )
    from featurestore.upkeep.seal import NotSealed, seal
    from featurestore.upkeep.shard_copies import DamagedShard
    from featurestore.upkeep.status import StoreStatus, last_run_speed, status_of
    from featurestore.upkeep.transfer import CopyReport, copy
    from featurestore.upkeep.verification.findings import Fault, Verification
    from featurestore.upkeep.verify import Repair, repair, verify
    from featurestore.web.client import RemoteReader, RemoteStore
    from featurestore.web.client import open_store as open

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
    "RemoteReader",
    "RemoteStore",
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
    "__version__",
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
    "open_store",
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

_DOOR = {
    "__version__": "featurestore.distribution.version",
    "AnchoredReader": "featurestore.anchored.reader",
    "FeatureReader": "featurestore.reader",
    "NotBuilt": "featurestore.format.commits",
    "Store": "featurestore.store",
    "Window": "featurestore.rows.windows",
    "Windows": "featurestore.rows.windows",
    "copy": "featurestore.upkeep.transfer",
    "create": "featurestore.store",
    "diff": "featurestore.upkeep.diff",
    "open": "featurestore.web.client:open_store",
    "open_anchored": "featurestore.anchored.reader",
    "repair": "featurestore.upkeep.verify",
    "seal": "featurestore.upkeep.seal",
    "status_of": "featurestore.upkeep.status",
    "verify": "featurestore.upkeep.verify",
}
"""Shown by `dir()` and tab completion."""
_MORE = {
    "AnchorsMismatch": "featurestore.anchored.declare",
    "Commit": "featurestore.format.commits",
    "CommitConflict": "featurestore.format.commits",
    "CommitLog": "featurestore.format.commits",
    "ContigLayout": "featurestore.format.layout",
    "CopyReport": "featurestore.upkeep.transfer",
    "DamagedChunk": "featurestore.rows.source",
    "DamagedRecord": "featurestore.format.commits",
    "DamagedShard": "featurestore.upkeep.shard_copies",
    "Difference": "featurestore.upkeep.diff",
    "Failure": "featurestore.format.failures",
    "FailureLog": "featurestore.format.failures",
    "Fault": "featurestore.upkeep.verification.findings",
    "FingerprintMismatch": "featurestore.store",
    "HeldRowSource": "featurestore.rows.source",
    "Manifest": "featurestore.format.manifest",
    "NotAStore": "featurestore.format.declarations",
    "NotSealed": "featurestore.upkeep.seal",
    "Objects": "featurestore.objects.objects",
    "Origin": "featurestore.format.writer",
    "RegistryLocked": "featurestore.upkeep.registry_file",
    "RemoteReader": "featurestore.web.client",
    "RemoteStore": "featurestore.web.client",
    "Repair": "featurestore.upkeep.verify",
    "RowRequest": "featurestore.rows.row_requests",
    "RowSource": "featurestore.rows.source",
    "StorageOptions": "featurestore.objects.objects",
    "StoreStatus": "featurestore.upkeep.status",
    "StoreUnavailable": "featurestore.objects.errors",
    "TensorStoreRows": "featurestore.rows.tensorstore_source",
    "UnknownAnchor": "featurestore.anchored.reader",
    "Verification": "featurestore.upkeep.verification.findings",
    "ZarrRows": "featurestore.rows.source",
    "add_store": "featurestore.upkeep.registry_file",
    "connect": "featurestore.objects.objects",
    "default_place": "featurestore.upkeep.registry_file",
    "describe": "featurestore.upkeep.registry_file",
    "last_run_speed": "featurestore.upkeep.status",
    "open_store": "featurestore.store",
    "parse_place": "featurestore.reader",
    "read_registry": "featurestore.upkeep.registry_file",
    "read_rows": "featurestore.rows.source",
    "update_registry": "featurestore.upkeep.registry_file",
    "write_shard": "featurestore.format.writer",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    from featurestore.distribution.siblings import require_own

    require_own("catalog")

    from catalog.runtime.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, door=_DOOR, more=_MORE)
