"""What to export: a feature set, channels, contigs, a phase, a format.

Belongs here: the request that the command line is derived from, and its checks against a store. Does not: reading rows
(`featurestore.export.bins`), formats.
"""

from dataclasses import dataclass, field
from pathlib import Path

from featurestore.reader import FeatureReader
from featurestore.xarray_view import phase_of

FORMATS = ("bigwig", "bedgraph", "parquet", "anndata", "hub")
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """An export; `featurestore.export.export` carries it out."""

    out: Path
    """Folder to write into; for `anndata` a file that ends in .h5ad. Stopped, the same command goes on."""
    format: str
    """bigwig and bedgraph: a file a channel; parquet: a folder of tables, a row a bin; anndata: bins x channels; hub: a
    track hub of the UCSC genome browser."""
    channels: tuple[str, ...] = ()
    """Channels by name, comma-separated. [default: all]"""
    contigs: tuple[str, ...] = ()
    """Contigs, comma-separated. [default: all]"""
    offset: int | None = None
    """Phase to export, by its offset (bp): bins of two phases overlap, and one file cannot hold both. [default: the
    first]"""
    overlay: str | None = None
    """Personal genome to read through, such as NA12878/1."""
    email: str | None = field(default=None)
    """Address that a track hub has to name; needed for `hub`."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"there is no format {self.format!r}; `format=` is one of {', '.join(FORMATS)}")
        if self.format == "hub" and not self.email:
            raise ValueError("a track hub names an address that users can write to: give `email=`")
        if self.format != "hub" and self.email:
            raise ValueError("`email=` goes with `format=` hub")
        if (self.out.suffix == ".h5ad") is not (self.format == "anndata"):
            raise ValueError(
                f"`out=` of anndata is a file that ends in .h5ad, and of other formats a folder; got {self.out} for "
                f"{self.format}"
            )


@dataclass(frozen=True, slots=True)
class Chosen:
    """A request as a feature set has it."""

    phase: int
    offset: int
    """Of the phase (bp)."""
    contigs: tuple[str, ...]
    columns: tuple[int, ...]
    names: tuple[str, ...]
    """Of the columns."""


def chosen(reader: FeatureReader, request: ExportRequest) -> Chosen:
    """Check a request against a feature set; ValueError or UnknownContig if it names what is not there."""
    offset = reader.feature_set.offsets[0] if request.offset is None else request.offset
    phase = phase_of(reader.feature_set, offset)
    place = {name: column for column, name in enumerate(reader.channel_names)}
    unknown = [name for name in request.channels if name not in place]
    if unknown:
        have = ", ".join(reader.channel_names[:_SHOWN]) + (", ..." if len(place) > _SHOWN else "")
        raise ValueError(f"{reader.name} has no channel {', '.join(unknown)}; `channels=` are of {have}")
    names = tuple(dict.fromkeys(request.channels or reader.channel_names))
    contigs = tuple(dict.fromkeys(map(reader.assembly.resolve, request.contigs))) or tuple(reader.assembly.lengths)
    return Chosen(phase, offset, contigs, tuple(place[name] for name in names), names)
