"""Configuration of a build of viewpoints; the command line is derived from it.

Belongs here: the options and their checks. Does not: the build (`builders.anchored.viewpoints`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from builders.request import Options
from catalog.runtime.settings import library_options
from catalog.value_type import Dtype, value_type


@dataclass(frozen=True, kw_only=True)
class ViewpointRequest:
    """A build of viewpoints from a table."""

    table: Path
    """Table of numbers, a row a gene and a column a bin around its start site, in the order of the forward strand: text
    or Parquet with a column of gene ids, or .npz with the arrays genes and values."""
    anchors: Path
    """The genes and their start sites: GTF, GFF3, BED, MANE summary, or a table of name, contig, position."""
    name: str
    """What to call these anchors in the store."""
    feature_set: str = "viewpoints"
    """Name of the feature set in the store."""
    channel: str = "contact"
    """Name of the channel."""
    bin_size: int = 1
    """Bases a bin (bp). The middle of the middle column lies on the start site; of an even number of columns, the
    start site is where the second half begins."""
    transform: Literal["log10", "none"] = "log10"
    """log10 of the value plus 1, or none."""
    missing: Literal["refuse", "mask"] = "refuse"
    """Genes and bins without a number: refuse them, or mask: store 0, with a second channel that is 1 where there is a
    number and 0 elsewhere."""
    dtype: Dtype = "float16"
    """Type of the values in the store: float16 or float32."""
    licence: str = ""
    """Licence of the table, for the store's data card."""
    citation: str = ""
    """What to cite for it."""
    fasta: str | None = None
    """The genome, for a new store: a path or any fsspec URL."""
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
        if not 1 <= self.bin_size <= 1 << 20:
            raise ValueError(f"`bin_size=` is 1 bp to {1 << 20:,} bp, got {self.bin_size}")
        if not value_type(self.dtype).dtype.kind == "f":
            raise ValueError(f'viewpoints are fractions: give `dtype="float16"` or `dtype="float32"`, got {self.dtype}')
        for name in ("storage_options", "fasta_options"):
            object.__setattr__(self, name, library_options(getattr(self, name)))
