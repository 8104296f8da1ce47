"""Measured signals as features: the values of bigWig files, at any bin size."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builders.tracks.request import TrackAnchorRequest, TrackRequest
    from builders.tracks.settings import TrackSettings
    from builders.tracks.source import TrackSource

__all__ = ["TrackAnchorRequest", "TrackRequest", "TrackSettings", "TrackSource"]

_DOOR = {
    "TrackAnchorRequest": "builders.tracks.request",
    "TrackRequest": "builders.tracks.request",
    "TrackSettings": "builders.tracks.settings",
    "TrackSource": "builders.tracks.source",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    from catalog.runtime.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, door=_DOOR, more={})
