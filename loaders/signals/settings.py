"""How genes with signals are read: options that travel together from a caller or a command line to the dataset.

Belongs here: `SignalSettings`, without torch. Does not: scaling, which is fitted on training genes
(`loaders.signals.scaling`), reading (`loaders.signals.dataset`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from catalog.runtime.settings import library_options
from catalog.runtime.whole_numbers import whole_number
from loaders.residence.open import RESIDENCE_HELP, Residence, ResidenceOptions, residence_kind
from loaders.settings import Orientation, check_choice, named_channels

LONGEST = 1 << 24
"""Of a window (bp): longer ones are read in bins, as models of whole loci do (`loaders.gene_dataset`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSettings(ResidenceOptions):
    """Which feature sets the windows of genes are made of, how long they are and which way they run."""

    sequence: str | None = "sequence"
    """Feature set of the bases; none: windows without sequence, every base of which is N."""
    signals: tuple[str, ...] = ("tracks",)
    """Feature sets of the signals, comma-separated, of any bin sizes; NAME@ANCHORS for an anchored array, such as the
    viewpoints of Hi-C."""
    channels: tuple[str, ...] | None = None
    """Signals to keep, comma-separated, in this order. [default: all of these sets]"""
    length: int = 2000
    """Bases of a window (bp), of which half lie upstream of the TSS on the forward strand: 2000 is TSS-1000 ...
    TSS+999."""
    orient: Orientation = "forward"
    """forward: as the forward strand runs; gene: windows of genes on the minus strand are reversed, their sequence is
    complemented, and the two of --stranded change places."""
    stranded: Mapping[str, str] | None = field(default=None, metadata={"flag": "--stranded", "metavar": "PLUS=MINUS"})
    """Two signals of one assay, on the plus and on the minus strand, that change places with --orient gene;
    PLUS=-MINUS where the one of the minus strand is stored as negative values. Repeatable."""
    residence: Residence = field(default="memory", metadata={"doc": RESIDENCE_HELP})
    storage_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--storage-option", "metavar": "KEY=VALUE"}
    )
    """For the store, as fsspec and s3fs name them, such as endpoint_url=http://host:9000 or anon=true. Repeatable."""

    def __post_init__(self) -> None:
        super(SignalSettings, self).__post_init__()
        object.__setattr__(self, "signals", named_channels(self.signals) or ())
        object.__setattr__(self, "channels", named_channels(self.channels))
        object.__setattr__(self, "length", checked_length(self.length))
        object.__setattr__(self, "stranded", dict(self.stranded) if self.stranded else None)
        object.__setattr__(self, "storage_options", library_options(self.storage_options))
        check_choice("orient", self.orient, get_args(Orientation))
        residence_kind(self.residence)
        repeated = {name for name in self.signals if self.signals.count(name) > 1}
        if repeated:
            raise ValueError(f"`signals=` names {', '.join(sorted(repeated))} twice; name each feature set once")
        if self.sequence is None and not self.signals:
            raise ValueError("a window has sequence, signals or both: name `sequence=`, or one set of `signals=`")
        if self.sequence in self.signals:
            raise ValueError(f"{self.sequence} is the sequence, and cannot be a signal too; take it out of `signals=`")


def checked_length(length: int) -> int:
    """Convert a number of bases; TypeError or ValueError if no window is that long."""
    return whole_number(length, name="length", least=1, most=LONGEST)
