"""Documents are parsed within limits, and an error names the document, the fault and the mend."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.runtime.documents import DamagedDocument, parse_json, parse_object, read_object

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_json_writes_is_read_back(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text, where="a", mend="b") == value
    assert parse_json(text.encode(), where="a", mend="b") == value


@given(st.binary() | st.text())
def test_anything_is_parsed_or_refused_in_one_sentence(data: bytes | str) -> None:
    try:
        said = str(parse_object(data, where="x/zarr.json", mend="take a copy")) and "x/zarr.json is read; take a copy"
    except DamagedDocument as error:
        said = str(error)
    assert re.fullmatch("x/zarr.json .*; take a copy", said)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [65, 900, 100_000])
def test_deep_nesting_is_refused_whether_or_not_python_could_parse_it(opened: str, depth: int) -> None:
    closed = "]" if opened == "[" else "}"
    with pytest.raises(DamagedDocument, match=r"^x is nested more than 64 levels deep; mend$"):
        parse_json(opened * depth + "1" + closed * depth, where="x", mend="mend")
    parse_json(opened * 64 + "1" + closed * 64, where="x", mend="mend")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", r"^x is no JSON \(Expecting property name"),
        (b"\xff{}", r"^x is no JSON \("),
        ("[1]", "^x is no JSON object, but a list; mend$"),
        ("1", "^x is no JSON object, but a number; mend$"),
        ("9" * 5000, r"^x is no JSON \(Exceeds the limit"),
        (" " * 11, "^x has 11 bytes, and at most 10 are read; mend$"),
    ],
)
def test_each_fault_is_named(data: bytes | str, message: str) -> None:
    with pytest.raises(OwnError, match=message):
        parse_object(data, where="x", mend="mend", raises=OwnError, max_bytes=10 if len(data) == 11 else 9999)


class OwnError(ValueError):
    """An error class of the caller's own."""


def test_a_file_is_read_no_further_than_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_object(path, mend="mend") == {"a": 1}
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    started = time.perf_counter()
    with pytest.raises(DamagedDocument, match=r"a.json has 1,001 bytes, and at most 1,000 are read; mend$"):
        read_object(path, mend="mend", max_bytes=1000)
    assert time.perf_counter() - started < 1
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "b.json", mend="mend")
