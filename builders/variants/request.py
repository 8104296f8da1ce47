"""Options of scoring variants: one value, from the command line or Python to the workers.

Belongs here: the options and what they mean. Does not: the code that reads them (`builders.variants.run`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from builders.extractors.base import ExtractorOptions
from builders.variants.scores import SCORES
from builders.variants.windows import Anchor
from catalog.runtime.settings import library_options

OWN_SCORES = {"sei_class": "sei", "llr": "hf", "pll": "hf"}
"""Scores that one extractor alone has."""
Indels = Literal["sei", "spliceai", "compensate"]


@dataclass(frozen=True, kw_only=True)
class VariantsRequest:
    """Which variants are scored, by which extractors, and how."""

    vcf: Path
    """The variants: VCF or BCF, plain or compressed, sorted or not; no index is needed."""
    fasta: str
    """The genome, a path or any fsspec URL: .fa, or .fa.gz made by bgzip."""
    extractor: tuple[str, ...] = ("motif",)
    """One extractor, or several, comma-separated."""
    settings: Mapping[str, Any] = field(default_factory=dict, metadata={"flag": "--set", "metavar": "NAME=VALUE"})
    """Settings of the extractor; repeatable. Of one among several: EXTRACTOR.NAME=VALUE."""
    out: Path
    """Table to write (.parquet): a row for each ALT allele, in their order. Work is resumed by the same command."""
    vcf_out: Path | None = None
    """Also write the variants with their scores as INFO fields; packed if it ends in .gz."""
    scores: tuple[str, ...] = ("difference", "l2")
    """Comma-separated: difference, log2fc, delta, l1, l2, cosine, dot; sei_class of sei; llr, pll of
    masked models (hf)."""
    outputs: tuple[str, ...] | None = None
    """Feature sets of the extractor to score, comma-separated; by default its own choice."""
    anchor: Anchor | None = None
    """Where an allele lies in its window: sei, left or centre. [default: sei; left for networks that predict bases]"""
    indels: Indels | None = None
    """Convention of indels: sei (windows by the anchor), spliceai (inserted bases by their maximum, deleted ones as
    zeros), compensate (mean of the scores with left and with right flanks aligned). [default: sei; spliceai for
    networks that predict bases]"""
    distance: int = 500
    """Of networks that predict bases: bases on either side of the variant that are compared (bp)."""
    bin_size: int | None = None
    """Bases a bin (bp). [default: 1 for networks that predict bases, else 4096]"""
    normalise: bool = False
    """Left-align indels before they are scored, as bcftools norm does."""
    ref_mismatch: Literal["count", "error"] = "count"
    """What a REF that differs from the genome is: a status, or an error."""
    chunk: int = 256
    """Alleles that are written at a time."""
    device: str = "auto"
    """auto, cpu or cuda."""
    workers: int | None = None
    """Worker processes on this machine, each with a GPU of its own if there are some. [default: this process]"""
    scheduler: str | None = field(default=None, metadata={"metavar": "ADDRESS"})
    """Dask scheduler whose workers to use instead; they see the same paths."""
    fasta_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--fasta-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of the genome, as fsspec and s3fs name them; repeat it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fasta_options", library_options(self.fasta_options))
        for name in ("extractor", "scores"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"`{name}=` names one or more, each once; got {', '.join(values) or 'none'}")
        known = (*SCORES, *OWN_SCORES)
        if unknown := [name for name in self.scores if name not in known]:
            raise ValueError(f"`scores=` are {', '.join(known)}; got {', '.join(unknown)}")
        for name, least in (("distance", 1), ("chunk", 1), ("bin_size", 1), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}=` is at least {least}; got {value}")
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("give `workers=` or `scheduler=`, not both")
        if self.out.suffix != ".parquet":
            raise ValueError(f"`out=` is a Parquet file, as in scores.parquet; got {self.out}")
        _ = self.common  # checks the device

    @property
    def common(self) -> ExtractorOptions:
        """The options that every extractor has."""
        return ExtractorOptions(bin_size=self.bin_size or 4096, outputs=self.outputs, device=self.device)

    def settings_of(self, extractor: str) -> dict[str, Any]:
        """Give the settings of one extractor: those under its name, and where it is alone all others too."""
        found = {}
        for name, value in self.settings.items():
            owner = next((one for one in self.extractor if name.startswith(f"{one}.")), None)
            if owner is None and len(self.extractor) > 1:
                raise ValueError(
                    f"of several extractors a setting names its own, as in {self.extractor[0]}.{name}; got {name}"
                )
            if owner in (None, extractor):
                found[name if owner is None else name[len(owner) + 1 :]] = value
        return found
