"""Layout of a store on disk (formats 1 and 2): keys, shapes, and sizes of chunks and shards.

Belongs here: pure functions. Does not: any reading or writing.

    zarr.json                                        the assembly and the format
    features/<set>/zarr.json                         the feature set
    features/<set>/{channel,offset}                  coordinates; in xarray's DataTree every contig inherits `channel`
    features/<set>/<contig>/values                   (phase, bin, channel); NaN where nothing was built, 255 if uint8
    features/<set>/<contig>/{phase,bin,channel}      coordinates for plain xarray; by `seal` (`format.coordinates`)
    anchored/<set>/<anchors>/zarr.json               which anchors, how many bins around each
    anchored/<set>/<anchors>/{anchor,contig,...}     coordinates: the table of anchors
    anchored/<set>/<anchors>/values                  (anchor, bin, channel)
    overlays/<set>/<sample>+<haplotype>/zarr.json    whose genome, which variants, by which rules
    overlays/<set>/<overlay>/<contig>/bin            (phase, row): the bins that differ from the reference, -1 for none
    overlays/<set>/<overlay>/<contig>/values         (phase, row, channel)
    commits/<set>/<contig>/<phase>-<shard>.json      exists only for a completely written shard
    failures/<set>/<contig>/<phase>-<shard>.json     why a shard could not be built, until it is
    declared/<set>/<number>.json                     the feature set as builders agreed on it; the newest is valid
    explorer.json                                    what a web page must know of it; by `seal`
    catalog.json, croissant.json, README.md          what the store is, to catalogs, machines and people; by `seal`
    MANIFEST.json                                    every object with its hash; written last, by `seal`

The key of an anchored array is `<set>@<anchors>` (`featurestore.format.array_key`), for example in its commit records,
which have `anchors` in place of the contig, and phase 0. That of an overlay is `<set>+<sample>+<haplotype>`.

Format 2 adds value types: the description of a feature set may have a `dtype` of `float32` or `uint8`; a set without
one is float16, as in format 1. The root says 1 until just before a set of another type is declared, then 2: a reader of
format 1 reads every float16 store, and refuses the others by their format.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from catalog import FeatureSet
from featurestore.format.array_key import ArrayKey

FORMATS = (1, 2)
"""Formats that this version reads and writes; a store has the lowest that holds its sets."""
FEATURES = "features"
COMMITS = "commits"
FAILURES = "failures"
ANCHORED = "anchored"
OVERLAYS = "overlays"
ANCHORS = "anchors"
"""In place of the contig in the records of anchored arrays."""
DIMENSIONS = ("phase", "bin", "channel")

MAX_SHARDS = 1 << 21
"""Most shards of a feature set: twice as many objects as a manifest lists."""
_MAX_SHARD_BYTES = 256 << 20
_MAX_CHUNK_BYTES = 512 << 10
_GROWN_CHUNK_BYTES = 64 << 10
"""A window of small bins has many of them: its chunks grow up to this, which a disk or a network reads at once."""
_GROWN_CHUNK_BASES = 256 * 4096
_MAX_NAME_BYTES = 255
"""Of a file or folder, on all common file systems."""
_MAX_OVERLAY_BYTES = 150
"""Of its folder: that of its commit records has the name of the feature set before it."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")
_TAKEN = {"offset", "channel", "zarr.json"}
_COMMIT = re.compile(rf"^{COMMITS}/[^/]+/(?P<contig>[^/]+)/(?P<phase>\d+)-(?P<shard>\d+)\.json$")


def format_of(feature_set: FeatureSet) -> int:
    """Return the lowest format that can hold a feature set."""
    return 1 if feature_set.dtype == "float16" else 2


def most_shards(feature_set: FeatureSet, lengths: Iterable[int]) -> int:
    """Count the shards of a set on contigs of some lengths (bp), as if all phases had as many as the longest."""
    arrays = (ContigLayout(feature_set, length) for length in lengths)
    return len(feature_set.offsets) * sum(-(-array.shape[1] // array.shard_bins) for array in arrays)


def chunk_bins(n_channels: int, item_bytes: int = 2, *, bin_size: int = 4096, most: int | None = None) -> int:
    """Choose the bins of an inner chunk: a power of two, of at least 16.

    Of bins of 4,096 bp and more, 256, or fewer so that a chunk has at most 512 KiB. Of smaller bins more, while a chunk
    has at most 64 KiB and spans no more bases: 65,536 of one byte at 1 bp, 8,192 of three float16 values.

    Parameters
    ----------
    bin_size
        Bases a bin (bp).
    most
        Bins beyond which it does not grow: a shard that is wanted smaller.
    """
    bins, row_bytes = 256, n_channels * item_bytes
    while bins > 16 and bins * row_bytes > _MAX_CHUNK_BYTES:
        bins //= 2
    limit = min(_GROWN_CHUNK_BYTES // row_bytes, _GROWN_CHUNK_BASES // bin_size)
    limit = limit if most is None else min(limit, most)
    while 2 * bins <= limit:
        bins *= 2
    return bins


def shard_bins(n_channels: int, wanted: int, item_bytes: int = 2, *, bin_size: int = 4096) -> int:
    """Round the wanted bins of a shard down to whole chunks and 256 MB, but at least to one chunk."""
    chunk = chunk_bins(n_channels, item_bytes, bin_size=bin_size, most=wanted)
    most = _MAX_SHARD_BYTES // (n_channels * item_bytes)
    return max(chunk, min(wanted, most) // chunk * chunk)


def contig_key(contig: str) -> str:
    """Escape a contig's name as a folder name: unusual characters become `=` and two hexadecimal digits a byte.

    (`HLA-A*01:01` is `HLA-A=2A01=3A01`: object stores rewrite `%` and some file systems refuse `:`.)
    """
    key = _UNSAFE.sub(_escaped, contig)
    # Names with another meaning in that folder.
    return key if key.strip(".") and key not in _TAKEN else _escaped(key[0]) + key[1:]


def require_contig_keys(contigs: Iterable[str]) -> None:
    """Check that a folder can be called after each contig.

    Raises
    ------
    ValueError
        If the folder of one would have a longer name than file systems allow.
    """
    for contig in contigs:
        length = len(contig_key(contig))
        if length > _MAX_NAME_BYTES:
            raise ValueError(
                f"the contig {contig[:40]!r}... has a name of {len(contig)} characters; the name of its folder in a "
                f"store would have {length} bytes, and {_MAX_NAME_BYTES} is the most: shorten it in the FASTA, or "
                "leave the contig out: name the others by `contigs=`"
            )


def _escaped(text: re.Match[str] | str) -> str:
    found = text if isinstance(text, str) else text[0]
    return "".join(f"={byte:02X}" for byte in found.encode())


def set_path(feature_set: str) -> str:
    """Path of a feature set's group."""
    return f"{FEATURES}/{feature_set}"


def contig_path(feature_set: str, contig: str) -> str:
    """Path of the group of one contig."""
    return f"{FEATURES}/{feature_set}/{contig_key(contig)}"


def anchored_path(feature_set: str, anchors: str) -> str:
    """Path of the group of an anchored array."""
    return f"{ANCHORED}/{feature_set}/{anchors}"


def overlay_folder(overlay: str) -> str:
    """Give the folder of an overlay by its name, `NA12878/1`: sample and haplotype.

    Raises
    ------
    ValueError
        If the name is not `SAMPLE/HAPLOTYPE`, or a folder would have a longer name than file systems allow.
    """
    sample, _, haplotype = overlay.rpartition("/")
    if not sample or re.fullmatch("[1-9][0-9]?", haplotype) is None:
        raise ValueError(f"an overlay is named SAMPLE/HAPLOTYPE, as in NA12878/1; got {overlay[:80]!r}")
    folder = f"{contig_key(sample)}+{haplotype}"
    if len(folder) > _MAX_OVERLAY_BYTES:
        raise ValueError(f"the sample {sample[:40]!r}... has too long a name for a folder; rename it in the VCF")
    return folder


def overlay_path(feature_set: str, folder: str) -> str:
    """Path of the group of an overlay."""
    return f"{OVERLAYS}/{feature_set}/{folder}"


def values_path(array: ArrayKey | str, contig: str) -> str:
    """Path of the array of one contig, or of an anchored array, which has all its contigs in one."""
    key = ArrayKey.of(array)
    if key.anchors is not None:
        return f"{anchored_path(key.feature_set, key.anchors)}/values"
    if key.overlay is not None:
        return f"{overlay_path(key.feature_set, key.overlay)}/{contig_key(contig)}/values"
    return f"{contig_path(key.feature_set, contig)}/values"


def shard_key(array: ArrayKey | str, contig: str, phase: int, shard: int) -> str:
    """Key of one shard object, as Zarr's default chunk key encoding writes it."""
    chunk = f"{shard}/0/0" if ArrayKey.of(array).is_anchored else f"{phase}/{shard}/0"
    return f"{values_path(array, contig)}/c/{chunk}"


def commit_key(array: ArrayKey | str, contig: str, phase: int, shard: int) -> str:
    """Key of the commit record of a shard."""
    return f"{COMMITS}/{array}/{contig_key(contig)}/{phase}-{shard}.json"


def failure_key(array: ArrayKey | str, contig: str, phase: int, shard: int) -> str:
    """Key of the failure note of a shard."""
    return f"{FAILURES}/{array}/{contig_key(contig)}/{phase}-{shard}.json"


def parse_commit_key(key: str) -> tuple[str, int, int] | None:
    """Parse a commit record's key into the contig's folder name, phase and shard; None for another key."""
    match = _COMMIT.match(key)
    return (match["contig"], int(match["phase"]), int(match["shard"])) if match else None


class ArrayLayout(Protocol):
    """Shapes of an array of features, as needed to write its shards."""

    @property
    def feature_set(self) -> FeatureSet:
        """The features that it holds."""
        ...

    @property
    def key(self) -> ArrayKey:
        """Its address."""
        ...

    @property
    def dimensions(self) -> tuple[str, str, str]:
        """Names of its axes."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the whole array; channels come last."""
        ...

    @property
    def shard_shape(self) -> tuple[int, int, int]:
        """Of one object."""
        ...

    @property
    def chunk_shape(self) -> tuple[int, int, int]:
        """Of one inner chunk."""
        ...

    @property
    def shard_bins(self) -> int:
        """Bins a shard at the most."""
        ...

    def shard_span(self, phase: int, shard: int) -> tuple[int, int]:
        """Bins `[first, end)` that one shard holds."""
        ...

    def block(self, n_bins: int) -> tuple[int, int]:
        """Shape of the first `n_bins` bins within a shard, without channels."""
        ...


@dataclass(frozen=True, slots=True)
class ContigLayout:
    """The array of one feature set on one contig."""

    feature_set: FeatureSet
    length: int
    """Of the contig (bp)."""

    @property
    def key(self) -> ArrayKey:
        """Address: the set's grid."""
        return ArrayKey(self.feature_set.name)

    @property
    def dimensions(self) -> tuple[str, str, str]:
        """Names of the axes."""
        return DIMENSIONS

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(phase, bin, channel)`."""
        grid = self.feature_set.grid
        return len(grid.offsets), grid.max_bins(self.length), len(self.feature_set.channels)

    @property
    def shard_bins(self) -> int:
        """Bins a shard on this contig: no more than a short contig fills.

        Depends only on the contig and the bin size, so that later phases do not change it.
        """
        chunk = self.feature_set.chunk_bins
        most_rows = -(-(self.length + self.feature_set.bin_size - 1) // self.feature_set.bin_size)
        return min(self.feature_set.shard_bins, -(-most_rows // chunk) * chunk)

    @property
    def shard_shape(self) -> tuple[int, int, int]:
        """`(phase, bin, channel)` of one object."""
        return 1, self.shard_bins, len(self.feature_set.channels)

    @property
    def chunk_shape(self) -> tuple[int, int, int]:
        """`(phase, bin, channel)` of one inner chunk."""
        return 1, self.feature_set.chunk_bins, len(self.feature_set.channels)

    def n_bins(self, phase: int) -> int:
        """Rows of one phase."""
        return self.feature_set.grid.n_bins(self.length, phase)

    def n_shards(self, phase: int) -> int:
        """Shards of one phase."""
        return -(-self.n_bins(phase) // self.shard_bins)

    def shard_span(self, phase: int, shard: int) -> tuple[int, int]:
        """Rows `[first, end)` that one shard holds."""
        first = shard * self.shard_bins
        return first, min(first + self.shard_bins, self.n_bins(phase))

    def block(self, n_bins: int) -> tuple[int, int]:
        """Shape `(phase, bin)` of the first `n_bins` bins of a shard."""
        return 1, n_bins
