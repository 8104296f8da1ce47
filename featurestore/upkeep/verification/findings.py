"""Results of a verification.

Belongs here: a fault, and the report of one verification. Does not: verifying (`featurestore.upkeep.verify`).
"""

from dataclasses import dataclass, field

from featurestore.format.manifest import Manifest, SealedObject


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in a store."""

    where: str
    what: str
    mend: str
    remove: tuple[str, ...] = ()
    """Keys to remove, in this order (a record first), for the next build or seal to recreate them."""
    write: bytes | None = field(default=None, repr=False)
    """Correct content of the object, where it follows from the rest of the store."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"

    @property
    def is_mendable(self) -> bool:
        """Whether `repair` can fix it."""
        return bool(self.remove) or self.write is not None


@dataclass(slots=True)
class Verification:
    """What was checked, and what was found."""

    depth: str
    documents: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Correct content of each checked metadata object, by key, before consolidation."""
    shards: int = 0
    """Committed shards checked."""
    bytes: int = 0
    """Size of those shards (bytes)."""
    bins_recomputed: int = 0
    """Recomputed bins a feature set."""
    incomplete: dict[str, int] = field(default_factory=dict)
    """Shards of declared contigs that were never committed, by feature set; not a fault."""
    manifest: Manifest | None = field(default=None, repr=False)
    """None if the store is not sealed."""
    orphans: list[str] = field(default_factory=list)
    """Objects without a record: left by an interrupted build, and rewritten by the next one."""
    strangers: list[str] = field(default_factory=list)
    """Objects that do not belong to a store; not a fault."""
    notes: list[str] = field(default_factory=list)
    """What else there is to know; no faults."""
    faults: list[Fault] = field(default_factory=list)
    objects: dict[str, SealedObject | None] = field(default_factory=dict, repr=False)
    """Every object of the contents and their history, with size and sha256 where they were computed."""

    @property
    def is_sound(self) -> bool:
        """Whether there are no faults."""
        return not self.faults

    @property
    def top_hash(self) -> str | None:
        """Hash of the contents, if the store is sealed."""
        return None if self.manifest is None else self.manifest.top_hash

    @property
    def missing(self) -> int:
        """Shards of declared contigs that were never committed."""
        return sum(self.incomplete.values())

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON."""
        names = ("depth", "shards", "bytes", "missing", "bins_recomputed", "top_hash", "orphans", "strangers", "notes")
        return {
            "sound": self.is_sound,
            "faults": [{"where": fault.where, "what": fault.what, "mend": fault.mend} for fault in self.faults],
            "documents": len(self.documents),
        } | {name: getattr(self, name) for name in names}
