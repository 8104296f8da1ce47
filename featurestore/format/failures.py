"""Failure notes: why a shard could not be built, for people; removed when the shard is built.

Belongs here: writing, listing and removing the notes. Readers and builds do not depend on them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from catalog.runtime.documents import parse_object
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.objects.objects import Objects

_MAX_NOTE_BYTES = 1 << 16
_MAX_REASON = 4000


class Failure(BaseModel):
    """A shard that failed to build."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature_set: str
    contig: str
    phase: int = Field(ge=0)
    shard: int = Field(ge=0)
    run: str
    """Id of the build that last tried."""
    attempts: int = Field(ge=1)
    reason: str
    when: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def key(self) -> str:
        """Key of the note."""
        return layout.failure_key(self.feature_set, self.contig, self.phase, self.shard)

    def __str__(self) -> str:
        return f"{self.feature_set} {self.contig} phase {self.phase} shard {self.shard}: {self.reason}"


class FailureLog:
    """The notes of one feature set on its grid, or around anchors."""

    def __init__(self, objects: Objects, array: ArrayKey | str) -> None:
        self._objects = objects
        self.array = ArrayKey.of(array)

    def put(self, failure: Failure) -> None:
        """Write a note, replacing an earlier one of the same shard."""
        shortened = failure.model_copy(update={"reason": failure.reason[:_MAX_REASON]})
        self._objects.put(failure.key, shortened.model_dump_json(indent=1).encode())

    def remove(self, contig: str, phase: int, shard: int) -> None:
        """Remove a note, if there is one."""
        self._objects.delete(layout.failure_key(self.array, contig, phase, shard))

    def __iter__(self) -> Iterator[Failure]:
        """Iterate over the notes; unreadable ones are skipped."""
        for key, size in list(self._objects.walk(f"{layout.FAILURES}/{self.array}")):
            if size > _MAX_NOTE_BYTES:
                continue
            try:
                note = parse_object(self._objects.get(key), where=key, mend="remove it")
                yield Failure.model_validate(note)
            except (ValueError, FileNotFoundError):
                continue
