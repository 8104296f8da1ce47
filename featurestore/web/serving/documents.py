"""The documents that the server answers with, as its OpenAPI describes them.

Belongs here: models of replies and of query parameters. Does not: what fills them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_NAME = Field(max_length=200)
_Name = Annotated[str, _NAME]
_PLACE = "Centre of the window, CONTIG:POSITION, 0-based bp, such as chr1:1000000."
_GENE = "Symbol or gene id; the window is centred on its TSS."


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")

    store: _Name | None = Field(None, description="Name of a store (`/v1/stores`); needed if several are served.")


class StoreQuery(_Query):
    """A store."""


class SetQuery(_Query):
    """A feature set."""

    set: _Name | None = Field(None, description="Name of a feature set (`/v1/sets`); needed if there are several.")


class GenesQuery(_Query):
    """A search for genes."""

    q: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="Part of a symbol or gene id; case does not matter.", examples=["MYC"]
    )
    limit: int = Field(20, ge=1, le=1000, description="Most genes.")


class _Windows(SetQuery):
    bins: int = Field(251, ge=1, le=1 << 20, description="Bins of a window.")
    channels: Annotated[str, Field(max_length=1 << 14)] | None = Field(
        None, description="Channels by name, comma-separated. All, if absent."
    )
    channel: list[_Name] = Field([], description="A channel by name, for names with commas; may be repeated.")
    overlay: _Name | None = Field(None, description="Personal genome to read through, such as NA12878/1.")


class WindowQuery(_Windows):
    """One window, by gene or by place."""

    at: _Name | None = Field(None, description=_PLACE, examples=["chr1:1000000"])
    gene: _Name | None = Field(None, description=_GENE, examples=["MYC"])


class WindowsQuery(_Windows):
    """Several windows: those by place, in their order, then those by gene."""

    at: list[_Name] = Field([], description=f"{_PLACE} May be repeated.", examples=[["chr1:1000000", "chr2:2000"]])
    gene: list[_Name] = Field([], description=f"{_GENE} May be repeated.", examples=[["MYC", "ENSG00000141510"]])


class AssemblyName(BaseModel):
    """An assembly."""

    name: str
    digest: str = Field(description="GA4GH sequence collection digest.")


class GeneHit(BaseModel):
    """A gene."""

    symbol: str
    gene_id: str
    contig: str
    tss: int = Field(description="Transcription start site (0-based bp).")
    strand: str = Field(description="`+`, `-`, or `.` for unknown.")


class StoreEntry(BaseModel):
    """A store."""

    name: str
    assembly: AssemblyName
    sets: list[str]
    genes: int = Field(description="Genes by which windows are found.")
    sealed: str | None = Field(description="Top hash of a sealed store.")


class ContigEntry(BaseModel):
    """A contig that a set has an array for."""

    name: str
    length: int = Field(description="(bp)")


class SetEntry(BaseModel):
    """A feature set."""

    store: str
    name: str
    assembly: AssemblyName
    extractor: str
    fingerprint: str
    licence: str
    citation: str
    dtype: Literal["float16", "float32", "uint8"]
    bin_size: int = Field(description="Bases a bin (bp).")
    offsets: list[int] = Field(description="How far each phase starts left of base 0 (bp).")
    n_channels: int
    contigs: list[ContigEntry]
    overlays: list[str]


class ChannelEntry(BaseModel):
    """A channel, in the order of the values' last axis."""

    name: str
    description: str
    group: str
    low_signal: bool


class WindowPlace(BaseModel):
    """Where a window lies."""

    contig: str
    centre: int = Field(description="The requested centre (0-based bp).")
    gene: GeneHit | None = Field(description="Whose TSS that is.")
    offset: int = Field(description="Of the phase that it is read from (bp).")
    first_start: int = Field(description="First base of the first bin (bp); bin i begins i x bin_size later.")
    residual: int = Field(description="Centre of the window as read minus the requested centre (bp, signed).")


class _Shared(BaseModel):
    store: str
    set: str
    overlay: str | None
    assembly: AssemblyName
    bin_size: int
    n_bins: int
    dtype: Literal["float16", "float32", "uint8"]
    channels: list[str]
    fingerprint: str
    licence: str
    citation: str


class WindowReply(_Shared, WindowPlace):
    """One window."""

    values: list[list[float]] = Field(description="bins x channels; bins outside the contig hold the set's pad row.")


class WindowsReply(_Shared):
    """Several windows."""

    windows: list[WindowPlace]
    values: list[list[list[float]]] = Field(description="windows x bins x channels.")


class StatusReply(BaseModel):
    """The build of a store, as `featurestore status --json` prints it; at most 15 s old."""

    complete: bool
    contigs: list[dict[str, Any]]
    work: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    damaged: list[str]


class ServiceType(BaseModel):
    """What this service speaks."""

    group: str
    artifact: str
    version: str


class Organization(BaseModel):
    """Who provides the service."""

    name: str
    url: str


class ServiceInfo(BaseModel):
    """GA4GH service-info 1.0."""

    id: str
    name: str
    type: ServiceType
    description: str
    organization: Organization
    version: str = Field(description="Of genomic-featurestore.")
    stores: list[str] = Field(description="Names of the stores.")
    max_values: int = Field(description="Most values (windows x bins x channels) of one reply.")
    routes: list[str] = Field(description="What is served beside stores, such as `predict`.")
