"""Digests of large files: those of their content, read once."""

import hashlib
import os
from pathlib import Path

import pytest

from catalog.runtime import weight_files
from catalog.runtime.weight_files import sha256_of_file


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEATURESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weight_files, "_REMEMBERED_FROM_BYTES", 4)
    monkeypatch.setattr(weight_files, "_SETTLED_S", -1.0)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    return path


def kept(weights: Path) -> list[Path]:
    return sorted((weights.parent / "cache").glob("digests/*"))


def test_a_digest_is_that_of_the_content_also_when_it_is_looked_up(weights: Path) -> None:
    expected = hashlib.sha256(b"weights").hexdigest()
    assert [sha256_of_file(weights) for _ in range(2)] == [expected] * 2
    assert len(kept(weights)) == 1


def test_a_second_time_the_file_is_not_read(weights: Path) -> None:
    sha256_of_file(weights)
    kept(weights)[0].write_text("f" * 64)
    assert sha256_of_file(weights) == "f" * 64


def test_a_file_of_the_same_size_and_time_stamp_has_its_own_digest(weights: Path) -> None:
    sha256_of_file(weights)
    before = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_mtime_ns == before.st_mtime_ns
    assert sha256_of_file(weights) == hashlib.sha256(b"WEIGHTS").hexdigest()


@pytest.mark.parametrize("spoiled", ["", "f" * 63, "F" * 64, "f" * 65, "\xff" * 64])
def test_what_is_no_digest_is_computed_again(weights: Path, spoiled: str) -> None:
    expected = sha256_of_file(weights)
    kept(weights)[0].write_text(spoiled, encoding="latin-1")
    assert sha256_of_file(weights) == expected


def test_a_file_that_was_written_a_moment_ago_is_not_remembered(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "_SETTLED_S", 60.0)
    assert sha256_of_file(weights) == hashlib.sha256(b"weights").hexdigest()
    assert kept(weights) == []


def test_a_cache_that_cannot_be_written_costs_time_only(weights: Path) -> None:
    (weights.parent / "cache").write_text("in the way")
    assert sha256_of_file(weights) == hashlib.sha256(b"weights").hexdigest()


def test_a_file_that_is_gone_is_an_error(weights: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_of_file(weights.with_name("absent"))
