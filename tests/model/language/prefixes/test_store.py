import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from model.language.prefixes.store import PrefixStore

_ROOM = 1 << 20
_WRITER = """
import sys, hashlib, torch
from model.language.prefixes.store import PrefixStore
store = PrefixStore(sys.argv[1], max_bytes=int(sys.argv[2]))
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    name = hashlib.sha256(str(number).encode()).hexdigest()
    held = store.get(name)
    assert held is None or torch.equal(held, torch.full((1000,), number)), number
    store.put(name, torch.full((1000,), number))
"""


def _name(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _value(number: int) -> Tensor:
    return torch.full((1000,), number)


@given(
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
@settings(max_examples=20)
def test_what_is_put_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, shape: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    value = torch.randn(shape).to(dtype).transpose(0, -1)
    PrefixStore(folder, max_bytes=_ROOM).put("name", value)
    held = PrefixStore(folder, max_bytes=_ROOM).get("name")
    assert held is not None
    assert held.dtype == dtype
    assert torch.equal(held, value)


def test_what_was_never_put_is_not_there(tmp_path: Path) -> None:
    assert PrefixStore(tmp_path, max_bytes=_ROOM).get("name") is None


def test_a_damaged_tensor_is_not_there_until_it_is_put_again(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path, max_bytes=_ROOM)
    store.put("name", torch.arange(3.0))
    (path,) = tmp_path.glob("*.block")
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 0x04]) + whole[21:])
    assert store.get("name") is None
    store.put("name", torch.arange(3.0))
    assert store.get("name") is not None


def test_what_an_earlier_version_kept_is_removed_and_not_misread(tmp_path: Path) -> None:
    former = tmp_path / f"{_name(0)}.prefix.safetensors"
    save_file({"value": _value(0), "checksum": torch.zeros(16, dtype=torch.uint8)}, former)
    assert PrefixStore(tmp_path, max_bytes=_ROOM).get(_name(0)) is None
    assert not former.exists()


def test_a_smaller_budget_empties_a_folder_when_it_is_opened(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path, max_bytes=_ROOM)
    for number in range(8):
        store.put(_name(number), _value(number))
    smaller = PrefixStore(tmp_path, max_bytes=store.held_bytes // 2)
    assert 0 < smaller.held_bytes <= smaller.max_bytes


def test_what_is_larger_than_the_budget_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path, max_bytes=10_000)
    store.put("small", torch.zeros(10))
    store.put("large", torch.zeros(10_000))
    assert store.get("large") is None
    assert store.get("small") is not None


def test_files_of_others_in_the_folder_are_let_be(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1000)}, tmp_path / "model.safetensors")
    store = PrefixStore(tmp_path, max_bytes=1000)
    store.put("name", torch.zeros(10))
    store.put("other", torch.zeros(150))
    assert (tmp_path / "model.safetensors").exists()
    assert store.held_bytes <= 1000


def test_processes_share_a_folder_and_one_killed_at_any_moment_harms_none(tmp_path: Path) -> None:
    budget = 60 * 9000
    command = [sys.executable, "-c", _WRITER, str(tmp_path), str(budget), "400"]
    killed, first, second = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3))
    assert killed.stdout is not None
    killed.stdout.readline()
    time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert [process.wait() for process in (killed, first, second)] == [-signal.SIGKILL, 0, 0]
    for process in (killed, first, second):
        assert process.stdout is not None
        process.stdout.close()
    store = PrefixStore(tmp_path, max_bytes=budget)
    assert store.held_bytes <= budget
    held = {number: value for number in range(400) if (value := store.get(_name(number))) is not None}
    assert all(torch.equal(_value(number), value) for number, value in held.items())
    assert len(held) > 30


def test_a_folder_in_whose_place_is_a_file_stops_the_keeping_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = PrefixStore(tmp_path / "store", max_bytes=_ROOM)
    shutil.rmtree(store.folder)
    store.folder.write_text("in the way")
    for _ in range(2):
        store.put("name", torch.zeros(3))
        assert store.get("name") is None
    (message,) = [record.getMessage() for record in caplog.records]
    assert "free some space there, or set a smaller prefix_bytes" in message


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"give a folder that can be written to"):
        PrefixStore(tmp_path / "file" / "store", max_bytes=_ROOM)


def test_a_store_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 1 byte.*leave the store out"):
        PrefixStore(tmp_path, max_bytes=0)
