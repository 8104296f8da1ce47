"""A file appears whole or not at all, whoever else writes it and whenever its writer dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.runtime.files import replacing, write_atomic

WRITER = """
import sys
from catalog.runtime.files import write_atomic
content = sys.argv[2].encode() * 4_000_000
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    write_atomic(sys.argv[1], content)
"""


def writer(path: Path, letter: str, times: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", WRITER, str(path), letter, str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def letters_of(path: Path) -> set[bytes]:
    content = path.read_bytes()
    assert len(content) == 4_000_000
    return {content[at : at + 1] for at in range(0, len(content), 997)}


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_written_is_read_in_the_place_of_what_was_there(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a"
    for content in (b"former", b""):
        write_atomic(path, content, durable=durable)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_has_the_rights_of_any_new_file_there(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_write_that_fails_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"former")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_bytes(b"half" * (1 // 0))
    with pytest.raises(TypeError), replacing(path) as partial, partial.open("wb") as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]  # the mistake under test
    assert path.read_bytes() == b"former"
    assert os.listdir(tmp_path) == ["a"]


def test_two_processes_that_write_one_file_at_once_leave_one_whole_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    writers = [writer(path, letter, 40) for letter in "xy"]
    seen = set()
    while any(one.poll() is None for one in writers):
        if path.exists():
            (letter,) = letters_of(path)
            seen.add(letter)
    for one in writers:
        one.communicate()
    assert [one.returncode for one in writers] == [0, 0]
    assert seen <= {b"x", b"y"}
    assert len(letters_of(path)) == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_kill_in_the_middle_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"f" * 4_000_000)
    killed = writer(path, "x", 100_000)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"ready\n"
    while not list(tmp_path.glob("*.partial")):
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert letters_of(path) <= {b"f", b"x"}
    assert len(letters_of(path)) == 1
    write_atomic(path, b"y" * 4_000_000)
    assert letters_of(path) == {b"y"}
