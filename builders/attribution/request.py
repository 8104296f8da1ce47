"""Options of attribution: one value, from the command line or Python.

Belongs here: the options and what they mean. Does not: the code that reads them (`builders.attribution.run`,
`builders.attribution.importance`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from builders.extractors.base import ExtractorOptions
from catalog import Interval
from catalog.runtime.settings import library_options

Method = Literal["mutagenesis", "gradient", "entropy"]
LONGEST_BP = 100_000
"""Bases of a region."""
LEAST_BACKGROUNDS = 30
"""Fewer say too little of how far a mean may be off."""
_TABLES = (".parquet", ".npz")
_FIGURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class ExplainedRequest:
    """Which output of which extractor is explained."""

    fasta: str
    """The genome, a path or any fsspec URL: .fa, or .fa.gz made by bgzip."""
    extractor: str = "motif"
    """The extractor whose output is explained."""
    settings: Mapping[str, Any] = field(default_factory=dict, metadata={"flag": "--set", "metavar": "NAME=VALUE"})
    """Settings of the extractor; repeatable."""
    outputs: tuple[str, ...] | None = None
    """The feature set to explain; by default the extractor's own choice."""
    channels: tuple[str, ...] | None = None
    """Channels to explain, comma-separated. [default: all]"""
    bin_size: int | None = None
    """Bases a bin (bp); the output is summed over the bins of the region. [default: 1 for networks that predict bases,
    else 4096]"""
    device: str = "auto"
    """auto, cpu or cuda."""
    fasta_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--fasta-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of the genome, as fsspec and s3fs name them; repeat it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fasta_options", library_options(self.fasta_options))
        if self.bin_size is not None and self.bin_size < 1:
            raise ValueError(f"`bin_size=` is at least 1; got {self.bin_size}")
        if self.channels is not None and (not self.channels or len(set(self.channels)) != len(self.channels)):
            raise ValueError(f"`channels=` names one or more, each once; got {', '.join(self.channels) or 'none'}")
        _ = self.common  # checks the device

    @property
    def common(self) -> ExtractorOptions:
        """The options that every extractor has."""
        return ExtractorOptions(bin_size=self.bin_size or 4096, outputs=self.outputs, device=self.device)


@dataclass(frozen=True, kw_only=True)
class AttributionRequest(ExplainedRequest):
    """Which bases are scored, how, and where the scores go."""

    region: str | None = None
    """Bases to score, as in chr2:46,001-46,500 (1-based, both ends included)."""
    bed: Path | None = None
    """Or a BED file of such regions, each by itself."""
    method: Method = "mutagenesis"
    """mutagenesis: change of the output by each other base; gradient: gradient x input, less the gradients' mean over
    the four bases; entropy: what a language model expects in place of each token, a masked one from all others, a
    causal one from those before it (bits)."""
    out: Path
    """File to write: a table (.parquet), or arrays (.npz)."""
    figure: Path | None = None
    """Also draw a sequence logo of one region (.png, .svg or .pdf)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.region is None) == (self.bed is None):
            raise ValueError("give `region=` or `bed=`, one of the two")
        if self.out.suffix not in _TABLES:
            raise ValueError(f"`out=` ends in {' or '.join(_TABLES)}; got {self.out}")
        if self.figure is not None and self.figure.suffix not in _FIGURES:
            raise ValueError(f"`figure=` ends in {', '.join(_FIGURES)}; got {self.figure}")
        if self.figure is not None and self.bed is not None:
            raise ValueError("a figure shows one region: give it by `region=`, or leave `figure=` out")
        if self.method == "entropy" and self.channels is not None:
            raise ValueError("`method=entropy` is of tokens, not of channels; leave `channels=` out")
        if self.region is not None:
            Interval.parse(self.region)


@dataclass(frozen=True, kw_only=True)
class ImportanceRequest(ExplainedRequest):
    """Which motif is put where, and where its effect goes."""

    region: str
    """Region whose bins are explained, as in chr2:46,001-46,500 (1-based, both ends included). All that its bins read
    is shuffled, with its dinucleotides kept."""
    motif: str
    """Bases that are put into each shuffle: A, C, G, T."""
    at: int | None = None
    """First base of the motif, counted from 0 at the region's first. [default: in its middle]"""
    backgrounds: int = 300
    """Shuffles."""
    seed: int = 0
    """Of the shuffles."""
    out: Path
    """Table to write (.parquet): a row a channel, with the mean effect and its 95 % interval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "motif", self.motif.upper())
        if not self.motif or not set(self.motif) <= set("ACGT"):
            raise ValueError(f"`motif=` is of the letters A, C, G, T; got {self.motif!r}")
        if self.backgrounds < LEAST_BACKGROUNDS:
            raise ValueError(f"`backgrounds=` is at least {LEAST_BACKGROUNDS}, for an interval; got {self.backgrounds}")
        if self.seed < 0:
            raise ValueError(f"`seed=` is at least 0; got {self.seed}")
        if self.out.suffix != ".parquet":
            raise ValueError(f"`out=` ends in .parquet; got {self.out}")
        Interval.parse(self.region)
