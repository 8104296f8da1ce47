from pathlib import Path

import pytest

from catalog.runtime.weight_files import cut_short, refuse_pointer

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 548105171\n"


def test_a_pointer_of_git_lfs_is_named_with_its_size_and_how_to_get_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text(POINTER)
    with pytest.raises(ValueError, match=rf"{path} \({len(POINTER)} bytes\) is a git-lfs pointer.*`git lfs pull`"):
        refuse_pointer(path)


@pytest.mark.parametrize("content", [b"", b"version 2", b"\x00" * 100])
def test_any_other_file_is_let_through(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    refuse_pointer(tmp_path / "file")


def test_a_file_that_is_cut_short_is_named_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sei.pth"
    path.write_bytes(b"1" * 1234)
    assert (
        cut_short(path, "too small") == f"{path} (1,234 bytes) is cut short or damaged (too small); download it again"
    )
