"""Configuration of a build: one value, from the command line or Python to the workers.

Belongs here: the options of builds and what they mean; the command line is derived from their fields, so that a new
option is one field here, and the code that reads it. Does not: settings of one extractor or source (its own dataclass),
running a build (`builders.run`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders.extractors.base import ExtractorOptions
from catalog.runtime.settings import library_options
from catalog.value_type import Dtype

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FeaturesRequest:
    """Which features are computed, from what, and by which workers: what all builds have in common."""

    fasta: str | None = None
    """The genome, a path or any fsspec URL: .fa, or .fa.gz made by bgzip (gzip is unpacked once). An extractor reads
    it; with a source it gives the assembly of a new store."""
    extractor: str = "motif"
    """motif, sei, puffin, splice, xpresso, mpra-dragonn, hf, kmer, dinucleotide, onehot, bases, or
    module:factory of your own."""
    source: str | None = None
    """In place of an extractor, a source of features that is not sequence: its name, or module:factory of your own."""
    settings: Options = field(default_factory=dict, metadata={"flag": "--set", "metavar": "NAME=VALUE"})
    """Settings of the extractor or source itself; repeatable. `build --extractor NAME --help-options` lists
    them."""
    outputs: tuple[str, ...] | None = None
    """Feature sets to write, comma-separated; by default the extractor's own choice."""
    bin_size: int = 4096
    """Bases a bin (bp)."""
    dtype: Dtype = "float16"
    """Type of the values in the store: float16, float32, or uint8 for whole numbers below 255."""
    device: str = "auto"
    """auto, cpu or cuda."""
    contigs: tuple[str, ...] | None = None
    """Contigs to build, comma-separated; by default all."""
    workers: int | None = None
    """Worker processes on this machine. [default: one a GPU; on a CPU one a core, or one for a network]"""
    scheduler: str | None = field(default=None, metadata={"metavar": "ADDRESS"})
    """Dask scheduler whose workers to use instead, e.g. tcp://node1:8786."""
    storage_options: Options | None = field(
        default=None, repr=False, metadata={"flag": "--storage-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of the store, as fsspec and s3fs name them; repeat it. [default: from the
    environment]"""
    fasta_options: Options | None = field(
        default=None, repr=False, metadata={"flag": "--fasta-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of the genome, as fsspec and s3fs name them; repeat it. [default: from the
    environment]"""

    def __post_init__(self) -> None:
        _ = self.common  # checks what is in it
        for name in ("storage_options", "fasta_options"):
            object.__setattr__(self, name, library_options(getattr(self, name)))
        if self.source is None and self.fasta is None:
            raise ValueError("an extractor computes features from sequence: give the genome, `fasta=FILE`")
        for name in ("outputs", "contigs"):
            if getattr(self, name) == ():
                raise ValueError(f"`{name}=` is an empty list; leave the option out for all, or name some")
        if self.outputs is not None:
            object.__setattr__(self, "outputs", tuple(dict.fromkeys(self.outputs)))
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"a build has at least 1 worker, got {self.workers}")
        if self.workers is not None and self.scheduler is not None:
            raise ValueError(
                "workers of this machine or those of a scheduler: give `workers=` or `scheduler=`, not both"
            )

    @property
    def common(self) -> ExtractorOptions:
        """The options that extractors and sources of every kind have."""
        return ExtractorOptions(bin_size=self.bin_size, outputs=self.outputs, device=self.device)


@dataclass(frozen=True, kw_only=True)
class BuildRequest(FeaturesRequest):
    """A build of feature sets on the grid of a store."""

    offsets: tuple[int, ...] = (0,)
    """Phases, added to those that the store has: how far each tiling starts left of base 0, comma-separated bp."""
    refine: bool = False
    """Add the phases that halve the distance between bin edges; not with other offsets."""
    shard_bins: int | None = None
    """Bins a shard at the most: one task, one object. [default: 16384, or 67 Mbp in at most 64 MB where the work
    goes with the bases; at most 256 MB]"""


@dataclass(frozen=True, kw_only=True)
class SequenceRequest(BuildRequest):
    """A build of the sequence itself: the feature set `sequence`, one byte a base."""

    extractor: str = "bases"
    bin_size: int = 1
    dtype: Dtype = "uint8"


@dataclass(frozen=True, kw_only=True)
class AnchorRequest(FeaturesRequest):
    """A build of windows that are centred on chosen positions to the base."""

    anchors: Path
    """Table of name, contig, position (0-based) and perhaps strand; or genes, for their start sites: GTF, GFF3, BED,
    MANE summary, or a table."""
    name: str
    """What to call these anchors in the store."""
    n_bins: int = 251
    """Bins around each anchor; odd."""
    shard_anchors: int | None = None
    """Anchors a shard at the most: one task, one object. [default: about as many bins as a shard of `build` has]"""

    def __post_init__(self) -> None:
        FeaturesRequest.__post_init__(self)
        if self.shard_anchors is not None and self.shard_anchors < 1:
            raise ValueError(f"a shard has at least 1 anchor, got {self.shard_anchors}")
