"""Address of an array of features in a store: of a set on its grid, or around anchors.

Belongs here: `ArrayKey`, and how it is written on disk and in messages. Does not: where its objects lie
(`featurestore.format.layout`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ArrayKey:
    """Which features of a store: those of a set on its grid, or its windows around a table of anchors.

    `str` writes it as records and messages have it, `motif` or `motif@tss`, and `of` reads that. No feature set has an
    `@` in its name.
    """

    feature_set: str
    anchors: str | None = None
    """Name of the table of anchors; None for the grid."""

    @classmethod
    def of(cls, key: "ArrayKey | str") -> "ArrayKey":
        """Parse what `str` writes; a key is returned as it is."""
        if isinstance(key, ArrayKey):
            return key
        feature_set, separator, anchors = key.partition("@")
        return cls(feature_set, anchors if separator else None)

    @property
    def is_anchored(self) -> bool:
        """Whether it is around anchors: one array, rather than one a contig."""
        return self.anchors is not None

    def __str__(self) -> str:
        return self.feature_set if self.anchors is None else f"{self.feature_set}@{self.anchors}"
