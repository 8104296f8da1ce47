"""Configuration of a build of tracks: that of any build, with the options of tracks among its own.

Belongs here: the requests that the command line is derived from. Does not: what the options mean
(`builders.tracks.settings`, `builders.request`).
"""

from dataclasses import dataclass, fields

from builders.request import AnchorRequest, BuildRequest
from builders.tracks.settings import TrackSettings

NAME = "tracks"
"""Registered name of the source."""


@dataclass(frozen=True, kw_only=True)
class TrackRequest(TrackSettings, BuildRequest):
    """A build of bigWig tracks on the grid of a store; `builders.run.run_build` carries it out."""

    source: str | None = NAME
    bin_size: int = 1
    """Bases a bin (bp); 1 keeps the values as they are."""

    def __post_init__(self) -> None:
        TrackSettings.__post_init__(self)
        object.__setattr__(self, "settings", _own(self))
        BuildRequest.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class TrackAnchorRequest(TrackSettings, AnchorRequest):
    """A build of windows of tracks around positions; `builders.anchored.run_anchors.run_anchor_build` does it."""

    source: str | None = NAME
    bin_size: int = 1
    """Bases a bin (bp); 1 keeps the values as they are."""
    n_bins: int = 2001
    """Bins around each anchor; odd."""

    def __post_init__(self) -> None:
        TrackSettings.__post_init__(self)
        object.__setattr__(self, "settings", _own(self))
        AnchorRequest.__post_init__(self)


def _own(request: TrackSettings) -> dict[str, object]:
    return {item.name: getattr(request, item.name) for item in fields(TrackSettings)}
