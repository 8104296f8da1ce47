"""Raw objects of any other fsspec file system: tried again, and failing with the same errors."""

import errno
from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from featurestore import Objects, connect
from featurestore.objects.errors import StoreUnavailable


class LibraryError(Exception):
    """As an HTTP library raises of its own."""


class FlakyFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Memory that fails first."""

    protocol = "flaky"
    failures: ClassVar[list[Exception]] = []

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def cat_file(self, *args: Any, **settings: Any) -> Any:
        self._fail()
        return super().cat_file(*args, **settings)

    def pipe_file(self, *args: Any, **settings: Any) -> Any:
        self._fail()
        return super().pipe_file(*args, **settings)

    def find(self, *args: Any, **settings: Any) -> Any:
        self._fail()
        return super().find(*args, **settings)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "1")
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    yield connect("flaky://some/where")
    FlakyFileSystem.failures.clear()
    MemoryFileSystem.store.clear()


def test_other_file_systems_are_tried_again_too(flaky: Objects) -> None:
    FlakyFileSystem.failures += [ConnectionResetError("gone"), TimeoutError("slow"), LibraryError("closed")]
    assert flaky.create("k", b"ours")
    FlakyFileSystem.failures += [LibraryError("closed")]
    assert not flaky.create("k", b"another's")
    FlakyFileSystem.failures += [ConnectionResetError("gone")]
    assert flaky.get("k") == b"ours"
    FlakyFileSystem.failures += [LibraryError("closed")]
    assert list(flaky.walk("")) == [("k", 4)]
    with pytest.raises(FileNotFoundError, match=r"could not read flaky://some/where/none"):
        flaky.get("none")


def test_other_file_systems_fail_with_the_same_errors(flaky: Objects) -> None:
    FlakyFileSystem.failures += [LibraryError("closed for the day")] * 50
    with pytest.raises(StoreUnavailable, match=r"flaky://some/where/k: LibraryError closed for the day, tried for"):
        flaky.get("k")
    FlakyFileSystem.failures[:] = [PermissionError(errno.EACCES, "no")]
    with pytest.raises(PermissionError, match=r"could not write flaky://some/where/k.*give this user the right"):
        flaky.put("k", b"")
    FlakyFileSystem.failures[:] = [OSError(errno.ENOSPC, "full")]
    with pytest.raises(OSError, match="make room there") as full:
        flaky.create("k", b"")
    assert full.value.errno == errno.ENOSPC
    FlakyFileSystem.failures[:] = [TypeError("a mistake in a program")]
    with pytest.raises(TypeError):
        flaky.get("k")
