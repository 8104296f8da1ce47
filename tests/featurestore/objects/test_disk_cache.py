"""The disk cache: what comes back is what was written, within the budget, whoever shares the folder or dies in it."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from featurestore.objects import disk_cache
from featurestore.objects.disk_cache import DiskCache, entry_bytes

PAGE = 64
ENTRY = entry_bytes(PAGE, PAGE)
NAME = "0123456789abcdef" * 2


def key(number: int) -> str:
    return f"{NAME}-{number}"


def page_of(value: int) -> NDArray[np.uint8]:
    return np.full(PAGE, value, dtype=np.uint8)


def keep(cache: DiskCache, *numbers: int) -> None:
    for number in numbers:
        cache.write_pages({key(number): page_of(number)}, PAGE)


def there(cache: DiskCache, numbers: range) -> list[int]:
    return [number for number in numbers if cache.read_pages(key(number), PAGE, 0, 1) is not None]


def block_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.block*"))


@given(st.integers(1, 300), st.integers(1, 40), st.data())
def test_pages_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, n_bytes: int, page_bytes: int, data: st.DataObject
) -> None:
    cache = DiskCache(tmp_path_factory.mktemp("cache"), 1 << 20)
    written = np.random.default_rng(n_bytes).integers(0, 256, n_bytes).astype(np.uint8)
    cache.write_pages({key(0): written}, page_bytes)
    assert cache.held_bytes == entry_bytes(n_bytes, page_bytes)
    n_pages = -(-n_bytes // page_bytes)
    first = data.draw(st.integers(0, n_pages - 1))
    end = data.draw(st.integers(first + 1, n_pages))
    pages = cache.read_pages(key(0), page_bytes, first, end)
    assert pages is not None
    filled = np.zeros(n_pages * page_bytes, dtype=np.uint8)
    filled[:n_bytes] = written
    np.testing.assert_array_equal(pages.reshape(-1), filled[first * page_bytes : end * page_bytes])


@given(st.binary(max_size=300))
def test_bytes_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    cache = DiskCache(tmp_path_factory.mktemp("cache"), 1 << 20)
    assert key(0) not in cache
    assert cache.read(key(0)) is None
    cache.write(key(0), data)
    assert key(0) in cache
    assert cache.read(key(0)) == data


def test_every_changed_byte_and_every_cut_is_found_and_the_entry_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    cache.write(key(0), b"some bytes")
    (path,) = tmp_path.glob("*.block")
    whole = path.read_bytes()
    for place in range(len(whole)):
        for damaged in (whole[:place] + bytes([whole[place] ^ 0x04]) + whole[place + 1 :], whole[:place]):
            path.write_bytes(damaged)
            assert cache.read(key(0)) is None
            assert not path.exists()
    assert f"{path} is damaged; it is removed, and fetched again" in caplog.text


def test_a_whole_entry_under_another_key_is_not_believed(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    keep(cache, 0)
    (tmp_path / f"{key(0)}.block").rename(tmp_path / f"{key(1)}.block")
    assert there(cache, range(2)) == []


def test_the_entry_that_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 4 * ENTRY)
    for number in range(4):
        keep(cache, number)
        time.sleep(0.02)  # the time of a file has the clock's ticks
    assert cache.read_pages(key(0), PAGE, 0, 1) is not None
    keep(cache, 4)
    assert there(cache, range(5)) == [0, 2, 3, 4]
    assert cache.held_bytes == cache.max_bytes


def test_what_is_larger_than_the_budget_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 2 * ENTRY)
    keep(cache, 0, 1)
    cache.write(key(2), bytes(2 * ENTRY))
    assert cache.read(key(2)) is None
    assert there(cache, range(2)) == [0, 1]


def test_a_smaller_budget_is_kept_to_once_it_is_trimmed(tmp_path: Path) -> None:
    keep(DiskCache(tmp_path, 8 * ENTRY), *range(8))
    cache = DiskCache(tmp_path, 4 * ENTRY)
    cache.trim()
    assert 0 < cache.held_bytes <= 4 * ENTRY


WRITES = """
import sys
from pathlib import Path
import numpy as np
from featurestore.objects.disk_cache import DiskCache

cache = DiskCache(Path(sys.argv[1]), 64 << 20)
print("begun", flush=True)
for turn in range(10_000):
    value = turn % 200 + 1
    cache.write_pages({f"{sys.argv[2]}-{turn % 3}": np.full(8 << 20, value, dtype=np.uint8)}, 1 << 20)
"""


def test_after_a_kill_no_half_entry_is_read_and_what_is_left_is_swept(tmp_path: Path) -> None:
    was_cut = False
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path), NAME], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        while not list(tmp_path.glob("*.partial")):
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        was_cut |= bool(list(tmp_path.glob("*.partial")))
        cache = DiskCache(tmp_path, 64 << 20)
        for number in range(3):
            pages = cache.read_pages(key(number), 1 << 20, 0, 8)
            if (tmp_path / f"{key(number)}.block").exists():
                assert pages is not None
                assert len(np.unique(pages)) == 1
    assert was_cut, "no kill came in the middle of a write"
    keep(cache, 9)
    assert there(cache, range(9, 10)) == [9]
    assert not list(tmp_path.glob("*.partial"))
    assert int((tmp_path / "used").read_bytes()) == block_bytes(tmp_path)


def test_what_an_earlier_version_left_half_written_is_swept_and_files_of_others_are_let_be(tmp_path: Path) -> None:
    left = tmp_path / f"{NAME}-3.block.a1b2c3.partial"
    foreign = [tmp_path / name for name in ("notes.txt", "model.safetensors", "x.partial", f"{NAME}-1.block.bak")]
    for path in (left, *foreign):
        path.write_bytes(b"mine" * 1000)
    cache = DiskCache(tmp_path, 2 * ENTRY)
    keep(cache, *range(5))
    assert not left.exists()
    assert [path.stat().st_size for path in foreign] == [4000] * len(foreign)
    assert 0 < cache.held_bytes <= cache.max_bytes


def test_a_write_waits_for_another_and_gives_up_on_one_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk_cache, "_LOCK_WAIT_S", 0.1)
    cache = DiskCache(tmp_path, 1 << 20, setting="cache_bytes")
    script = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print('held', flush=True); input()"
    command = [sys.executable, "-c", script, str(tmp_path / ".lock")]
    with (
        caplog.at_level(logging.WARNING),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        keep(cache, 0, 1)
        assert there(cache, range(2)) == []
        holder.kill()
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"nothing can be kept in the cache folder {tmp_path}" in warning
    assert "set a smaller cache_bytes" in warning
    keep(cache, 0)
    assert there(cache, range(2)) == [0]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        DiskCache(tmp_path / "file" / "cache", 1 << 20)


def test_an_entry_has_the_rights_of_any_new_file_there(tmp_path: Path) -> None:
    keep(DiskCache(tmp_path, 1 << 20), 0)
    (tmp_path / "plain").write_bytes(b"")
    assert os.stat(tmp_path / f"{key(0)}.block").st_mode == (tmp_path / "plain").stat().st_mode
