"""Address of an array of features in a store: of a set on its grid, around anchors, or of an overlay.

Belongs here: `ArrayKey`, and how it is written on disk and in messages. Does not: where its objects lie
(`featurestore.format.layout`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ArrayKey:
    """Which features of a store: those of a set on its grid, its windows around a table of anchors, or an overlay.

    `str` writes it as records and messages have it, `motif`, `motif@tss` or `motif+NA12878+1`, and `of` reads that. No
    feature set or table of anchors has an `@` or a `+` in its name.
    """

    feature_set: str
    anchors: str | None = None
    """Name of the table of anchors; None for the grid."""
    overlay: str | None = None
    """Folder of an overlay, as `featurestore.format.layout.overlay_folder` gives it; None for the reference."""

    @classmethod
    def of(cls, key: "ArrayKey | str") -> "ArrayKey":
        """Parse what `str` writes; a key is returned as it is."""
        if isinstance(key, ArrayKey):
            return key
        feature_set, separator, overlay = key.partition("+")
        if separator:
            return cls(feature_set, overlay=overlay)
        feature_set, separator, anchors = key.partition("@")
        return cls(feature_set, anchors if separator else None)

    @property
    def is_anchored(self) -> bool:
        """Whether it is around anchors: one array, rather than one a contig."""
        return self.anchors is not None

    def __str__(self) -> str:
        if self.overlay is not None:
            return f"{self.feature_set}+{self.overlay}"
        return self.feature_set if self.anchors is None else f"{self.feature_set}@{self.anchors}"
