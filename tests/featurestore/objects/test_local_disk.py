"""Raw objects on local disks: full ones, read-only ones, and writers that are killed."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from featurestore import connect


def in_a_process(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_write_that_the_disk_does_not_take_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files fails the write half way, as a full disk does, and needs no right to mount one.
    script = """
import json, resource, signal, sys
from featurestore import connect
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
objects = connect(sys.argv[1])
for write in (objects.create, objects.put):
    try:
        write("a/b", b"x" * 1_000_000)
    except OSError as error:
        print(json.dumps([type(error).__name__, str(error)]))
print(json.dumps([list(objects.walk("a")), objects.create("a/b", b"x" * 1000)]))
"""
    *errors, left = map(json.loads, in_a_process(script, tmp_path).splitlines())
    for kind, text in errors:
        assert kind == "OSError"
        assert re.search(
            rf"could not (create|write) {tmp_path}/a/b: File too large; make room there.*run the same", text
        )
    assert len(errors) == 2
    assert left == [[], True]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_and_a_read_only_one_are_told_apart(small_disk: Path) -> None:
    objects = connect(small_disk)
    for write in (objects.create, objects.put):
        with pytest.raises(OSError, match=r"No space left on device; make room there, or raise the quota") as full:
            write("a/b", b"x" * 3_000_000)
        assert full.value.errno == errno.ENOSPC
    assert list(objects.walk("a")) == []
    assert objects.create("a/b", b"fits")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for attempt in (lambda: objects.create("c", b""), lambda: objects.put("c", b""), lambda: objects.delete("a/b")):
        with pytest.raises(PermissionError, match=r"Read-only file system; give this user the right") as raised:
            attempt()
        assert raised.value.errno == errno.EROFS
    with pytest.raises(PermissionError, match=r"could not open .*new/: Read-only"):
        connect(small_disk / "new", make=True)
    assert objects.get("a/b") == b"fits"


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may write to every folder")
def test_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    objects = connect(tmp_path)
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match=r"Permission denied; give this user the right to write and read there"):
        objects.create("k", b"")
    tmp_path.chmod(0o755)


def test_a_writer_that_is_killed_leaves_no_half_object_under_its_key(tmp_path: Path) -> None:
    size = 24 << 20
    script = f"""
import sys
from featurestore import connect
objects, number = connect(sys.argv[1]), 0
while True:
    data = bytes({size})
    objects.create(f"many/{{sys.argv[2]}}-{{number}}", data) if number % 2 else objects.put("one", data)
    if not number:
        print("writing", flush=True)
    number += 1
"""
    with ExitStack() as stack:
        commands = [[sys.executable, "-c", script, str(tmp_path), str(number)] for number in range(4)]
        writers = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for command in commands]
        for number, writer in enumerate(writers):
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            time.sleep(0.02 * (1 + number))
            writer.send_signal(signal.SIGKILL)
    found = list(connect(tmp_path).walk(""))
    assert {n_bytes for _, n_bytes in found} == {size}
    assert all(re.fullmatch(r"one|many/\d-\d+", key) for key, _ in found)
    # What was half written lies under another name, which no listing gives and no later write minds.
    on_disk = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert all("#" in name for name in on_disk - {key for key, _ in found})
