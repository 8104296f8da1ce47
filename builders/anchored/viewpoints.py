"""Viewpoints of genes, such as the Hi-C contacts of their promoters, as an anchored array.

Belongs here: from a table to committed shards. Does not: reading the table (`builders.anchored.viewpoint_table`),
windows of what depends on the position alone (`builders.anchored.run_anchors`).

The table is small (18,377 genes of 2,000 bins are 150 MB as float32), so that it is written from this process, shard by
shard; a second run writes what is missing.
"""

import hashlib
import json
import platform
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.anchored.viewpoint_request import ViewpointRequest
from builders.anchored.viewpoint_table import ViewpointTable, read_viewpoints
from builders.execution.shard import versions
from catalog import Assembly, Channel, FeatureSet
from catalog.genes.anchors import read_anchors
from catalog.runtime.tables import TableError, listed
from catalog.runtime.weight_files import sha256_of_file
from catalog.value_type import Values, value_type
from featurestore import Origin, Store, create, open_store, write_shard
from featurestore.anchored.declare import declare_anchored, present_anchored
from featurestore.anchored.layout import AnchorLayout, describe_anchored
from featurestore.format import layout

MAKER = "viewpoints"
"""What the feature set says that it was made by."""
_SHARD_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewpointReport:
    """What a build of viewpoints did."""

    genes: int
    """Anchors of the array."""
    masked_genes: int
    """Genes without any number; masked."""
    masked_bins: int
    """Bins without a number, of all genes; masked."""
    left_out: int
    """Rows of the table whose genes are not among the anchors."""
    shards: int
    built: int
    """Shards that this run wrote."""
    bytes: int
    """Size of the objects that this run wrote (bytes)."""

    def to_json(self) -> dict[str, object]:
        """Give the figures as plain JSON."""
        return asdict(self)


def build_viewpoints(store_url: str, request: ViewpointRequest) -> ViewpointReport:
    """Write viewpoints into a store. Idempotent: a second run writes only what is missing.

    Raises
    ------
    FileNotFoundError, TableError
        If a table cannot be read, has a gene twice, or lacks one where missing ones are refused.
    AssemblyMismatch, FingerprintMismatch, AnchorsMismatch, ValueError
        If the input does not fit the store; nothing is written then.
    """
    store, assembly = _store_and_assembly(store_url, request)
    anchors = read_anchors(request.anchors, assembly)
    names = [anchor.name for anchor in anchors]
    table = read_viewpoints(request.table)
    values, is_measured = _windows(table, names, request)
    described = _described(request)
    bins = described.value_type.encode(
        values.reshape(-1, values.shape[2]), where=str(request.table), channels=described.channel_names
    )
    (array,) = describe_anchored(
        [described],
        anchors,
        name=request.name,
        n_bins=values.shape[1],
        assembly=assembly.digest,
        shard_anchors=max(1, _SHARD_BYTES // values[0].nbytes),
    )
    if store is not None and described.name in store.feature_sets():
        store.agreed(described)
        present_anchored(store, array)
    into = store or create(store_url, assembly, storage_options=request.storage_options)
    into.declare(described, ())
    array = declare_anchored(into, array, anchors)
    built, size = _write(into, array, bins)
    return ViewpointReport(
        genes=len(names),
        masked_genes=int((~is_measured.any(axis=1)).sum()),
        masked_bins=int((~is_measured).sum()),
        left_out=len(table.without(names)),
        shards=array.n_shards,
        built=built,
        bytes=size,
    )


def _store_and_assembly(store_url: str, request: ViewpointRequest) -> tuple[Store | None, Assembly]:
    given = None
    if request.fasta is not None:
        given = Assembly.from_fasta(request.fasta, storage_options=request.fasta_options)
    try:
        store = open_store(store_url, storage_options=request.storage_options)
    except FileNotFoundError:
        if given is None:
            raise ValueError(
                f"{store_url} does not exist yet; give the genome that the store is for, `fasta=FILE`"
            ) from None
        return None, given
    if given is not None:
        store.require_assembly(given)
    return store, store.assembly


def _windows(
    table: ViewpointTable, names: Sequence[str], request: ViewpointRequest
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Lay the rows of the genes out as windows.

    Returns
    -------
    Values `(genes, bins, channels)`, bins odd, and where they were measured `(genes, bins)`.

    Raises
    ------
    TableError
        If a gene or a bin is missing and that is refused, or no gene is in the table.
    ValueError
        If a value is negative and its logarithm is asked for.
    """
    rows = table.rows_of(names)
    is_strict = request.missing == "refuse"
    absent = [name for name, row in zip(names, rows, strict=True) if np.isnan(row).all()]
    if len(absent) == len(names):
        raise TableError(
            f"{request.table} has no number for any of the {len(names):,} genes of {request.anchors}: it has "
            f"{listed(table.genes)}, and they are {listed(names)}; give both the same kind of ids"
        )
    if is_strict and np.isnan(rows).any():
        lacking = absent or [name for name, row in zip(names, rows, strict=True) if np.isnan(row).any()]
        raise TableError(
            f"{request.table} lacks numbers for {len(lacking):,} of {len(names):,} genes: {listed(lacking)}; add them, "
            'leave the genes out of `anchors=`, or give `missing="mask"`'
        )
    if rows.shape[1] % 2 == 0:
        if is_strict:
            raise TableError(
                f"{request.table} has {rows.shape[1]:,} bins, an even number, so that none is centred on the start "
                'site; give one more, or `missing="mask"`, which adds a masked one at the end'
            )
        rows = np.pad(rows, ((0, 0), (0, 1)), constant_values=np.nan)
    is_measured = ~np.isnan(rows)
    rows[~is_measured] = 0
    if request.transform == "log10":
        if rows.min() < 0:
            gene = names[int(rows.min(axis=1).argmin())]
            raise ValueError(
                f"{request.table} has {rows.min():g} for gene {gene}, and log10(x + 1) is of contacts, which are not "
                'negative; give `transform="none"`'
            )
        rows = np.log10(rows + 1)
    channels = [rows] if is_strict else [rows, is_measured]
    return np.stack(channels, axis=2).astype(np.float32), is_measured


def _described(request: ViewpointRequest) -> FeatureSet:
    digest = sha256_of_file(request.table)
    options: dict[str, Any] = {name: getattr(request, name) for name in ("bin_size", "transform", "missing", "channel")}
    made_of = [MAKER, 1, digest, sorted(options.items())]
    meaning = "log10(x + 1)" if request.transform == "log10" else ""
    channels = [Channel(name=request.channel, description=meaning)]
    if request.missing == "mask":
        channels.append(Channel(name=f"{request.channel}.measured", description="1 where there is a number, else 0"))
    item_bytes = value_type(request.dtype).item_bytes
    chunk = layout.chunk_bins(len(channels), item_bytes, bin_size=request.bin_size)
    return FeatureSet(
        name=request.feature_set,
        extractor=MAKER,
        fingerprint=hashlib.sha256(json.dumps(made_of).encode()).hexdigest(),
        channels=tuple(channels),
        bin_size=request.bin_size,
        offsets=(0,),
        pad=(0.0,) * len(channels),
        chunk_bins=chunk,
        shard_bins=layout.shard_bins(len(channels), 1 << 25, item_bytes, bin_size=request.bin_size),
        dtype=request.dtype,
        licence=request.licence,
        citation=request.citation,
        options=options | {"table": str(request.table), "sha256": digest},
    )


def _write(store: Store, array: AnchorLayout, bins: Values) -> tuple[int, int]:
    """Write the shards that are not committed, of bins `(anchors * bins, channels)`; give their number and size."""
    built, size = 0, 0
    origin = Origin(run=uuid.uuid4().hex[:12], device=f"cpu {platform.machine()}", seconds=0.0, versions=versions())
    committed = store.commits(array.key).shards().get(layout.ANCHORS, set())
    for shard in range(array.n_shards):
        if (0, shard) in committed:
            continue
        store.unseal()
        some = bins[slice(*array.shard_span(0, shard))]
        commit = write_shard(store.objects, array, some, contig=layout.ANCHORS, phase=0, shard=shard, origin=origin)
        built, size = built + 1, size + commit.size
    return built, size
