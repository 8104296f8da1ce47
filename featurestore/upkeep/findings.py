"""What a verification finds.

Belongs here: a fault, and the account of one look at a store. Does not: looking (`featurestore.upkeep.verify`).
"""

from dataclasses import dataclass, field

from featurestore.format.manifest import Manifest, SealedObject


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in a store that is not as it should be."""

    where: str
    what: str
    mend: str
    remove: tuple[str, ...] = ()
    """Keys to remove, in this order, for the next build or seal to make what they stood for; a record goes first."""
    write: bytes | None = field(default=None, repr=False)
    """What the object must hold, where that follows from the rest of the store."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"

    @property
    def is_mendable(self) -> bool:
        """Whether `repair` can do something about it."""
        return bool(self.remove) or self.write is not None


@dataclass(slots=True)
class Verification:
    """What was looked at, and what was found."""

    depth: str
    documents: dict[str, bytes] = field(default_factory=dict, repr=False)
    """What each metadata object that was looked at must hold, by key, before it is consolidated."""
    shards: int = 0
    """Committed shards looked at."""
    bytes: int = 0
    """Size of those shards (bytes)."""
    bins_recomputed: int = 0
    """Bins a feature set that were computed again."""
    incomplete: dict[str, int] = field(default_factory=dict)
    """Shards of declared contigs that were never committed, by feature set; not a fault."""
    manifest: Manifest | None = field(default=None, repr=False)
    """If the store is sealed."""
    orphans: list[str] = field(default_factory=list)
    """Objects without a record: left by a build that was stopped, and written again by the next one."""
    strangers: list[str] = field(default_factory=list)
    """Objects that are none of a store's; not a fault."""
    faults: list[Fault] = field(default_factory=list)
    objects: dict[str, SealedObject | None] = field(default_factory=dict, repr=False)
    """Every object of the contents and their history, with size and sha256 where the look at it told them."""

    @property
    def is_sound(self) -> bool:
        """Whether everything is as the store says it must be."""
        return not self.faults

    @property
    def top_hash(self) -> str | None:
        """Of the contents, if the store is sealed."""
        return None if self.manifest is None else self.manifest.top_hash

    @property
    def missing(self) -> int:
        """Shards of declared contigs that were never committed."""
        return sum(self.incomplete.values())

    def to_json(self) -> dict[str, object]:
        """Give what was found as plain JSON."""
        names = ("depth", "shards", "bytes", "missing", "bins_recomputed", "top_hash", "orphans", "strangers")
        return {
            "sound": self.is_sound,
            "faults": [{"where": fault.where, "what": fault.what, "mend": fault.mend} for fault in self.faults],
            "documents": len(self.documents),
        } | {name: getattr(self, name) for name in names}
