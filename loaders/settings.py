"""How windows are read: options that travel together from a caller or a command line to the datasets.

Belongs here: `WindowSettings`, without torch. Does not: which windows (`loaders.windows.grid`,
`loaders.windows.anchored`), the residences themselves (`loaders.residence`), command-line options made of the fields
(`model.cli.options`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from catalog.runtime.settings import library_options
from catalog.runtime.whole_numbers import MOST_SEED, whole_number
from loaders.projection import Projection
from loaders.residence.open import RESIDENCE_HELP, Residence, ResidenceOptions, residence_kind

Orientation = Literal["forward", "gene"]
TensorType = Literal["float16", "bfloat16", "float32", "float64", "uint8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings(ResidenceOptions):
    """How windows are cut, read and shown; the same value serves a grid, an anchored array and several sets."""

    n_bins: int = 251
    """Bins a window."""
    orient: Orientation = "forward"
    """forward: bins run along the forward strand; gene: bins of genes on the minus strand run backwards."""
    channels: tuple[str, ...] | None = None
    """Names or groups of channels to keep; signal for all but those marked as low-signal, all for all of them."""
    projection: Projection | None = None
    """Weighted sums of those channels to give in their place."""
    jitter_bins: int = 0
    """Move each window by up to so many bins either way, another way each epoch."""
    jitter_bp: int = 0
    """Move each window by up to so many bp either way, another way each epoch."""
    seed: int = 0
    """Of the jitter."""
    dtype: TensorType | None = None
    """Of the tensors; uint8 for a set of uint8 only. [default: float32, or uint8 for such a set]"""
    overlay: str | None = field(default=None, metadata={"metavar": "SAMPLE/HAPLOTYPE"})
    """A personal genome that build-overlay made, such as NA12878/1: its bins are read where they differ from the
    reference's. [default: the reference]"""
    residence: Residence = field(default="memory", metadata={"doc": RESIDENCE_HELP})
    storage_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--storage-option", "metavar": "KEY=VALUE"}
    )
    """For the store, as fsspec and s3fs name them, such as endpoint_url=http://host:9000 or anon=true. Repeatable."""

    def __post_init__(self) -> None:
        for name in ("n_bins", "jitter_bins", "jitter_bp"):
            object.__setattr__(self, name, whole_number(getattr(self, name), name=name))
        object.__setattr__(self, "seed", whole_number(self.seed, name="seed", least=-MOST_SEED, most=MOST_SEED))
        object.__setattr__(self, "storage_options", library_options(self.storage_options))
        object.__setattr__(self, "channels", named_channels(self.channels))
        super(WindowSettings, self).__post_init__()
        check_n_bins(self.n_bins)
        residence_kind(self.residence)
        for name, choices in (("orient", Orientation), ("dtype", TensorType)):
            if getattr(self, name) is not None:
                check_choice(name, getattr(self, name), get_args(choices))
        if self.jitter_bins < 0 or self.jitter_bp < 0:
            raise ValueError(
                f"jitter is how far a window may move either way, 0 or more; got jitter_bins={self.jitter_bins} and "
                f"jitter_bp={self.jitter_bp}"
            )


def named_channels(channels: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Give one name or several as a tuple; None for all channels stays None."""
    return (channels,) if isinstance(channels, str) else None if channels is None else tuple(channels)


def check_n_bins(n_bins: int) -> None:
    """Refuse, with a ValueError, a window without bins."""
    if n_bins < 1:
        raise ValueError(f"a window has at least 1 bin, got n_bins={n_bins}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse, with a ValueError, a value that is none of the choices; they are listed."""
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}; got {value!r}")
