"""Damaged and odd input for hostile tests: what it may do is give a right result, or one sentence.

Belongs here: changing bytes, bounds of time and memory, the form of a refusal. Does not: any reader or its inputs
(`tests/hostile/`).
"""

import copy
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st

LONGEST_MESSAGE = 1000
"""Characters of a message that a person reads."""


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], *, tokens: Sequence[bytes] = (b"\0", b"\n", b"\xff")) -> bytes:
    """Bytes of one of some files, changed in up to three places.

    Flipped bits, truncation, a slice removed, repeated or moved, bytes put in (any, or one of `tokens`), or the head
    of one file and the tail of another.
    """
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        kind = draw(st.sampled_from(["flip", "cut", "remove", "repeat", "move", "insert", "splice"]))
        if kind == "flip" and start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]
        elif kind == "cut":
            data = data[:start]
        elif kind == "remove":
            data = data[:start] + data[end:]
        elif kind == "repeat":
            data = data[:end] + data[start:end] * draw(st.integers(1, 3)) + data[end:]
        elif kind == "move":
            data = data[start:end] + data[:start] + data[end:]
        elif kind == "insert":
            data = data[:start] + draw(st.sampled_from(tokens) | st.binary(max_size=8)) + data[start:]
        elif kind == "splice":
            other = draw(st.sampled_from(seeds))
            data = data[:start] + other[draw(st.integers(0, len(other))) :]
    return data


def repeated(few: int, many: int) -> pytest.MarkDecorator:
    """Give a test the parameter `n_examples`: a few for each run of the suite, many among the slow tests."""
    return pytest.mark.parametrize("n_examples", [few, pytest.param(many, marks=pytest.mark.slow)])


@contextmanager
def bounded(*, seconds: float = 5.0, mebibytes: float = 256.0) -> Iterator[None]:
    """Fail if the block takes longer (CPU time of this process), or allocates more at once."""
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
    finally:
        took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took < seconds, f"it took {took:.1f} s"
    assert peak < mebibytes * 2**20, f"it took {peak / 2**20:.0f} MiB"


def assert_one_sentence(error: Exception, *, about: str) -> None:
    """Check a refusal: it names the input, on one line, in a length that is read."""
    text = str(error)
    assert about in text, text
    assert len(text.splitlines()) == 1, text
    assert len(text) <= LONGEST_MESSAGE + len(about), text


ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 10**18, -(10**30), 0.5, 1e308, float("nan"), "", "x", "\0", "é" * 300),
    *([], {}, [None], [[]], {"": {}}, ["x"] * 3, {"a": 1}),
)
"""What may stand in a JSON document in place of a value: other types, sizes out of range."""


@st.composite
def odd_document(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """Change a JSON document in one or two places: a value of another type or size, a key gone, deep nesting."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        place: Any = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            kind = draw(st.sampled_from(["value", "value", "gone", "nested"]))
            if kind == "gone":
                del place[key]
            elif kind == "nested":
                value: Any = place[key]
                for _ in range(draw(st.sampled_from([1, 100, 900]))):
                    value = [value]
                place[key] = value
            else:
                place[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))  # the next change may be in it
            break
    return changed
