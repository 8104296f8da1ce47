"""Overlays of a feature set: the bins of one haplotype that differ from the reference.

Belongs here: what an overlay is, its layout and its metadata objects, pure. Does not: writing and finding those
(`featurestore.rows.overlays.declare`, `featurestore.rows.overlays.describe`), reading rows
(`featurestore.rows.overlays.rows`), which bins differ (`builders.overlays`).

Bin j of a haplotype is the extractor on the haplotype's bases around the lifted centre of bin j. It is stored where a
variant lies within the bin's input; elsewhere the reference's bin is the same.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from catalog import FeatureSet
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.metadata import GROUP, array_settings, digest_of, signed

DESCRIPTION = "overlay"
"""Attribute with the description: of the overlay on its group, of its bins on the group of each contig."""
NO_BIN = -1
"""In the table of bins, after the last of a phase."""


class Overlay(BaseModel):
    """Description of an overlay: everything that decides its values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature_set: str
    extractor: str
    """Fingerprint of the feature set."""
    assembly: str
    """Digest of the assembly."""
    sample: str = Field(min_length=1)
    haplotype: int = Field(ge=1, le=99)
    variants: str
    """Digest of the sample's variants, as read from the VCF."""
    rules: dict[str, str | int]
    """How genotypes become sequence."""
    offsets: tuple[int, ...]
    """Phases that it covers (bp)."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Alleles of the haplotype that were applied, and that were not, by reason."""

    @property
    def name(self) -> str:
        """Its name, such as `NA12878/1`."""
        return f"{self.sample}/{self.haplotype}"

    @property
    def folder(self) -> str:
        """Its folder, such as `NA12878+1`."""
        return layout.overlay_folder(self.name)

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the values, for commit records."""
        return digest_of(self.model_dump(mode="json", exclude={"counts", "offsets"}))


class Touched(BaseModel):
    """Description of the bins of an overlay on one contig."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contig: str
    rows: tuple[int, ...]
    """Bins of each phase that differ from the reference."""
    table: str
    """Digest of their numbers."""

    @property
    def n_rows(self) -> int:
        """Rows of the array: those of the phase with the most."""
        return max(self.rows, default=0)


@dataclass(frozen=True, slots=True)
class OverlayLayout:
    """The array of an overlay on one contig. Its rows are the touched bins of each phase, ascending."""

    feature_set: FeatureSet
    """As the set has it, but with the overlay's fingerprint, which commit records name."""
    folder: str
    """Of the overlay."""
    rows: tuple[int, ...]
    """Of each phase."""

    @classmethod
    def of(cls, feature_set: FeatureSet, overlay: Overlay, touched: Touched) -> "OverlayLayout":
        """Lay out one contig of an overlay of a feature set."""
        named = feature_set.model_copy(update={"fingerprint": overlay.fingerprint})
        return cls(named, overlay.folder, touched.rows)

    @property
    def key(self) -> ArrayKey:
        """Address."""
        return ArrayKey(self.feature_set.name, overlay=self.folder)

    @property
    def dimensions(self) -> tuple[str, str, str]:
        """Names of the axes."""
        return "phase", "row", "channel"

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(phase, row, channel)`."""
        return len(self.rows), max(self.rows, default=0), len(self.feature_set.channels)

    @property
    def shard_bins(self) -> int:
        """Rows a shard: no more than there are."""
        chunk = self.feature_set.chunk_bins
        return min(self.feature_set.shard_bins, -(-self.shape[1] // chunk) * chunk)

    @property
    def shard_shape(self) -> tuple[int, int, int]:
        """`(phase, row, channel)` of one object."""
        return 1, self.shard_bins, len(self.feature_set.channels)

    @property
    def chunk_shape(self) -> tuple[int, int, int]:
        """`(phase, row, channel)` of one inner chunk."""
        return 1, self.feature_set.chunk_bins, len(self.feature_set.channels)

    def n_shards(self, phase: int) -> int:
        """Shards of one phase."""
        return -(-self.rows[phase] // self.shard_bins) if self.rows[phase] else 0

    def shard_span(self, phase: int, shard: int) -> tuple[int, int]:
        """Rows `[first, end)` that one shard holds."""
        first = shard * self.shard_bins
        return first, min(first + self.shard_bins, self.rows[phase])

    def block(self, n_bins: int) -> tuple[int, int]:
        """Shape `(phase, row)` of the first `n_bins` rows of a shard."""
        return 1, n_bins

    def shards(self) -> set[tuple[int, int]]:
        """List every `(phase, shard)`."""
        return {(phase, shard) for phase in range(len(self.rows)) for shard in range(self.n_shards(phase))}


def touched_of(contig: str, bins: list[NDArray[np.int64]]) -> tuple[Touched, NDArray[np.int64]]:
    """Describe the touched bins of a contig, and lay them out as one table.

    Parameters
    ----------
    bins
        Of each phase, ascending.

    Returns
    -------
    The description, and the table `(phase, row)`, with `NO_BIN` after the last of a phase.
    """
    rows = tuple(map(len, bins))
    table = np.full((len(bins), max(rows, default=0)), NO_BIN, dtype="<i8")
    for phase, found in enumerate(bins):
        table[phase, : len(found)] = found
    return Touched(contig=contig, rows=rows, table=table_digest(table)), table


def table_digest(table: NDArray[np.int64]) -> str:
    """Digest a table of bins."""
    return hashlib.sha256(np.ascontiguousarray(table, dtype="<i8").tobytes()).hexdigest()


def overlay_documents(overlay: Overlay) -> dict[str, bytes]:
    """Encode the groups down to that of an overlay, which has its description."""
    described: dict[str, Any] = {DESCRIPTION: signed(overlay.model_dump(mode="json"))}
    kept: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(kept), attributes=described)
    above: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(above))
    path = layout.overlay_path(overlay.feature_set, overlay.folder)
    documents = {f"{folder}/{GROUP}": above[GROUP] for folder in (layout.OVERLAYS, path.rpartition("/")[0])}
    return {key: bytes(data.to_bytes()) for key, data in (documents | {f"{path}/{GROUP}": kept[GROUP]}).items()}


def contig_documents(array: OverlayLayout, touched: Touched, table: NDArray[np.int64]) -> dict[str, bytes]:
    """Encode the metadata objects of one contig: its group and, where a bin is touched, the table and the array."""
    described: dict[str, Any] = {DESCRIPTION: signed(touched.model_dump(mode="json"))}
    kept: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(kept), attributes=described)
    if touched.n_rows:
        config: Any = {"write_empty_chunks": True}
        bins = group.create_array(
            "bin",
            shape=table.shape,
            chunks=table.shape,
            dtype="int64",
            fill_value=NO_BIN,
            compressors=[Crc32cCodec()],
            dimension_names=["phase", "row"],
            config=config,
        )
        bins[...] = table
        group.create_array("values", **array_settings(array))
    path = f"{layout.overlay_path(array.feature_set.name, array.folder)}/{layout.contig_key(touched.contig)}"
    return {f"{path}/{key}": bytes(data.to_bytes()) for key, data in kept.items()}
