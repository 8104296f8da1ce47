"""Configuration of the build of an overlay.

Belongs here: its options; the command line is derived from them. Does not: running it (`builders.overlays.run`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from catalog.runtime.settings import library_options
from featurestore.format.layout import overlay_folder


@dataclass(frozen=True, kw_only=True)
class OverlayRequest:
    """A build of the bins of one haplotype that differ from the reference."""

    feature_set: str
    """The set whose bins are computed again where the haplotype differs."""
    vcf: Path
    """Variants of the sample: VCF or BCF, packed or not; no index is needed."""
    fasta: str
    """The genome that the set was built from: a path or any fsspec URL."""
    sample: str | None = None
    """Whose genotypes. [default: the file's only sample]"""
    haplotype: int = 1
    """Which of the phased alleles, from 1; where there is one copy of a contig, that."""
    unphased: Literal["refuse", "first", "second", "n"] = "refuse"
    """Of a heterozygote that is not phased: refuse it, take its first or second allele, or write N."""
    mismatches: Literal["skip", "refuse"] = "skip"
    """Of a REF that is not what the genome has: leave the variant out and count it, or refuse it."""
    contigs: tuple[str, ...] | None = None
    """Contigs to build, comma-separated. [default: all that the set has]"""
    extractor: str | None = None
    """module:factory of your own extractor. [default: the one that the store names]"""
    settings: Mapping[str, Any] = field(default_factory=dict, metadata={"flag": "--set", "metavar": "NAME=VALUE"})
    """A setting of the extractor, such as a file that lies elsewhere now; repeatable. [default: as the store has them
    on record]"""
    device: str = "auto"
    """auto, cpu or cuda."""
    workers: int | None = None
    """Worker processes on this machine. [default: one a GPU; on a CPU one a core, or one for a network]"""
    scheduler: str | None = field(default=None, metadata={"metavar": "ADDRESS"})
    """Dask scheduler whose workers to use instead, e.g. tcp://node1:8786."""
    storage_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--storage-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of the store, as fsspec and s3fs name them; repeat it. [default: from the
    environment]"""
    fasta_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--fasta-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of the genome, as fsspec and s3fs name them; repeat it. [default: from the
    environment]"""

    def __post_init__(self) -> None:
        for name in ("storage_options", "fasta_options"):
            object.__setattr__(self, name, library_options(getattr(self, name)))
        overlay_folder(f"{self.sample or 'sample'}/{self.haplotype}")  # refuses what names no folder
