"""What a set of measured tracks is made of, and how the bases of a bin become one number.

Belongs here: the options of tracks. Does not: reading files (`builders.tracks.bigwig`), computing bins
(`builders.tracks.bins`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catalog.runtime.locations import absolute
from catalog.runtime.settings import library_options

Summary = Literal["mean", "sum", "max"]
Gaps = Literal["zero", "error"]
Transform = Literal["none", "log1p", "arcsinh"]


@dataclass(frozen=True, kw_only=True)
class TrackSettings:
    """Options of a feature set of bigWig tracks. A bin is summarised first, then clipped, then transformed."""

    tracks: Mapping[str, str] = field(metadata={"flag": "--track", "metavar": "NAME=FILE", "is_distinct": True})
    """A bigWig, by the name that its channel is to have: a path or any fsspec URL. Repeat it: all files given are the
    channels of one feature set."""
    feature_set: str = "tracks"
    """Name of the feature set in the store."""
    summary: Summary = "mean"
    """How the bases of a bin become one value: mean, sum or max over all of its bases, of which one that the file does
    not cover is 0 (the means of bigWig tools are over covered bases only)."""
    gaps: Gaps = "zero"
    """zero: a base that a file does not cover, or stores as NaN, is 0. error: refuse a bin with such a base."""
    clip: float | None = None
    """Largest size of a bin's value, before it is transformed: values go from -X to X. [default: no limit]"""
    transform: Transform = "none"
    """none, log1p (refuses negative values) or arcsinh of a bin's value."""
    track_licence: str = ""
    """Licence of the tracks, for the store's data card."""
    track_citation: str = ""
    """What to cite for them."""
    track_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--track-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of bigWigs at URLs, as fsspec and s3fs name them; repeat it. They are not recorded.
    [default: from the environment]"""

    def __post_init__(self) -> None:
        if not self.tracks:
            raise ValueError("no track is named: give `tracks=` at least one, NAME=FILE")
        for name, place in self.tracks.items():
            if not name.strip() or "," in name or not name.isprintable():
                raise ValueError(f"{name!r} cannot name a channel: take a name without commas that can be printed")
            if not place.strip():
                raise ValueError(f"the track {name!r} has no file; give its path or URL, `tracks=`")
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise ValueError(f"`clip=` is the largest size of a value, above 0 and finite; got {self.clip}")
        places = {name: absolute(place) for name, place in self.tracks.items()}
        object.__setattr__(self, "tracks", places)
        object.__setattr__(self, "track_options", library_options(self.track_options))
