"""Settings are read from text into the dataclass that documents them, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.runtime.settings import (
    apply_settings,
    describe_settings,
    plain_settings,
    settings_table,
    split_assignments,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What both have."""

    width: int = 8
    """Channels
    of the trunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned(Base):
    """One field of each kind."""

    weights: Path
    """File of weights."""
    rate: float = 0.5
    is_on: bool = False
    mode: Literal["fast", "exact"] = "fast"
    """How it is computed."""
    title: str = ""
    scale: float | None = None
    offsets: tuple[int, ...] = (0,)
    names: tuple[str, ...] | None = None
    span: tuple[int, int] = (1, 2)
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate is 0 or more, got {self.rate}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("width=3", 3),
        ("rate=2", 2.0),
        ("rate=1e-3", 1e-3),
        ("is_on=true", True),
        ("mode=exact", "exact"),
        ("title=a=b, c", "a=b, c"),
        ("title=5", "5"),
        ("scale=0.25", 0.25),
        ("scale=none", None),
        ("scale=null", None),
        ("offsets=0,2048", (0, 2048)),
        ("offsets=[0, 2048]", (0, 2048)),
        ("names=a, b", ("a", "b")),
        ("names=none", None),
        ("span=3,4", (3, 4)),
        ('parts={"head": 2}', {"head": 2.0}),
        ("weights=a/b.pth", Path("a/b.pth")),
    ],
)
def test_text_becomes_a_value_of_the_fields_type(text: str, value: object) -> None:
    name = text.partition("=")[0]
    made = apply_settings(Tuned, split_assignments(["weights=w", text]))
    assert getattr(made, name) == value
    assert type(getattr(made, name)) is type(value) or isinstance(value, Path)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["weights=w", "heads=3"], "no setting is called 'heads'; there are width, weights, rate"),
        (["weights=w", "width"], "NAME=VALUE"),
        (["weights=w", "width=wide"], "width is int; got 'wide'"),
        (["weights=w", "width=1.5"], "width is int"),
        (["weights=w", "width=true"], "width is int"),
        (["weights=w", "is_on=perhaps"], r"is_on is true\|false"),
        (["weights=w", "mode=slow"], r"mode is fast\|exact; got 'slow'"),
        (["weights=w", "scale=much"], r"scale is float\|none"),
        (["weights=w", "span=1,2,3"], r"span is \[int, int\]"),
        (["weights=w", "parts=head"], r"parts is \{text: float\}"),
        (["weights=w", "rate=-1"], "rate is 0 or more"),
        ([], r"weights has to be set \(path\): File of weights"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_settings(Tuned, split_assignments(texts))


def test_settings_describe_themselves_by_the_docs_below_their_fields() -> None:
    described = {item.name: item for item in describe_settings(Tuned)}
    assert list(described) == ["width", "weights", *list(described)[2:]]
    assert described["width"].doc == "Channels of the trunk."
    assert (described["weights"].default, described["weights"].is_required) == ("", True)
    assert (described["mode"].kind, described["mode"].default) == ("fast|exact", "fast")
    assert (described["title"].default, described["scale"].default, described["is_on"].default) == (
        '""',
        "none",
        "false",
    )
    of_instance = {item.name: item.default for item in describe_settings(Tuned(weights=Path("w"), rate=3.0))}
    assert (of_instance["weights"], of_instance["rate"]) == ("w", "3.0")
    table = settings_table(Tuned)
    assert "weights  path  [required]" in table
    assert "    How it is computed." in table


def test_an_instance_gives_a_changed_copy() -> None:
    before = Tuned(weights=Path("w"), width=3)
    assert apply_settings(before, split_assignments(["rate=2"])) == replace(before, rate=2.0)
    assert before.rate == 0.5


def tuned() -> st.SearchStrategy[Tuned]:
    finite = st.floats(0, 1e6)
    texts = st.text(st.characters(codec="utf-8"), max_size=8)
    return st.builds(
        Tuned,
        width=st.integers(),
        weights=st.sampled_from([Path("w"), Path("/a/b.pth")]),
        rate=finite,
        is_on=st.booleans(),
        mode=st.sampled_from(["fast", "exact"]),
        title=texts.filter(lambda text: text.strip().lower() not in ("none", "null")),
        scale=st.none() | finite,
        offsets=st.lists(st.integers()).map(tuple),
        names=st.none() | st.lists(texts, min_size=1).map(tuple),
        span=st.tuples(st.integers(), st.integers()),
        parts=st.dictionaries(texts, finite, max_size=3),
    )


@given(tuned())
def test_plain_values_are_read_again_as_they_were(settings: Tuned) -> None:
    plain: dict[str, Any] = plain_settings(settings)
    assert apply_settings(Tuned, plain) == settings


def test_only_a_dataclass_holds_settings() -> None:
    with pytest.raises(TypeError, match="dataclass"):
        describe_settings(dict)
