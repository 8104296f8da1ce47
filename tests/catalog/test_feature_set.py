"""The description of a feature set survives JSON, and proves itself when it is made."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from catalog import Channel, FeatureIdentity, FeatureSet, Grid
from catalog.value_type import Dtype
from featurestore.testing import feature_set_of, grids

FINITE = st.floats(allow_nan=False, allow_infinity=False)
PADS = {
    "float16": st.floats(allow_nan=False, allow_infinity=False, width=16),
    "float32": st.floats(allow_nan=False, allow_infinity=False, width=32),
}
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
OPTIONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def feature_sets(draw: st.DrawFn) -> FeatureSet:
    grid = draw(grids(max_bin_size=5_000))
    names = draw(st.lists(st.text(max_size=12), min_size=1, max_size=5, unique=True))
    channels = tuple(
        Channel(
            name=name, description=draw(st.text(max_size=8)), group=draw(st.text(max_size=3)), low_signal=low_signal
        )
        for name, low_signal in ((name, draw(st.booleans())) for name in names)
    )
    chunk_bins = draw(st.integers(1, 300))
    dtype: Dtype = draw(st.sampled_from(["float16", "float32", "uint8"]))
    return FeatureSet(
        name=draw(NAMES),
        extractor=draw(NAMES),
        fingerprint=draw(st.text(max_size=64)),
        channels=channels,
        bin_size=grid.bin_size,
        offsets=grid.offsets,
        dtype=dtype,
        pad=tuple(draw(st.integers(0, 254) if dtype == "uint8" else PADS[dtype]) for _ in names),
        chunk_bins=chunk_bins,
        shard_bins=chunk_bins * draw(st.integers(1, 100)),
        licence=draw(st.text(max_size=8)),
        citation=draw(st.text(max_size=8)),
        options=draw(st.dictionaries(st.text(max_size=8), OPTIONS, max_size=3)),
    )


@given(feature_sets())
@settings(deadline=None)
def test_a_feature_set_survives_json(feature_set: FeatureSet) -> None:
    assert FeatureSet.model_validate_json(feature_set.model_dump_json()) == feature_set
    # As the store keeps it: among the attributes of a Zarr group.
    assert FeatureSet.model_validate(json.loads(json.dumps(feature_set.model_dump(mode="json")))) == feature_set


@given(feature_sets())
@settings(deadline=None)
def test_grid_and_channel_names_are_those_that_were_given(feature_set: FeatureSet) -> None:
    assert feature_set.grid == Grid(bin_size=feature_set.bin_size, offsets=feature_set.offsets)
    assert feature_set.channel_names == tuple(channel.name for channel in feature_set.channels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"name": "../other"}, "should match pattern", id="a name that leaves the folder"),
        pytest.param({"name": ".hidden"}, "should match pattern", id="a name that begins with a dot"),
        pytest.param({"name": "two words"}, "should match pattern", id="a space in the name"),
        pytest.param({"name": "demo\n"}, "should match pattern", id="a line break after the name"),
        pytest.param({"name": "a" * 101}, "at most 100 characters", id="an endless name"),
        pytest.param({"extractor": ""}, "should match pattern", id="no extractor"),
        pytest.param({"channels": []}, "distinct names; repeated: none given", id="no channels"),
        pytest.param(
            {"channels": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, r"repeated: \['a'\]", id="a channel twice"
        ),
        pytest.param({"pad": [0.0]}, "expected 3, got 1", id="a pad of another width"),
        pytest.param({"pad": [0.0, float("nan"), 0.0]}, "NaN means never built", id="NaN in the pad"),
        pytest.param({"pad": [0.0, 0.0, float("inf")]}, "is inf, one of 1", id="infinity in the pad"),
        pytest.param({"dtype": "uint8"}, "is -1.0, one of 3 .*whole number", id="a pad that its type does not hold"),
        pytest.param({"dtype": "int8"}, "'float16', 'float32' or 'uint8'", id="an unknown type of values"),
        pytest.param({"shard_bins": 5}, "5 bins is no multiple of 2", id="part of a chunk in a shard"),
        pytest.param({"chunk_bins": 0}, "greater than or equal to 1", id="no bins in a chunk"),
        pytest.param({"shard_bins": 0}, "greater than or equal to 1", id="no bins in a shard"),
        pytest.param({"bin_size": 0}, "at least 1; got 0", id="no bases in a bin"),
        pytest.param({"offsets": [0, 20]}, "the same tiling has offset 4", id="an offset past the bin"),
        pytest.param({"colour": "red"}, "Extra inputs are not permitted", id="an unknown field"),
    ],
)
def test_a_description_that_does_not_hold_together_is_refused(changes: dict[str, Any], message: str) -> None:
    document = feature_set_of(Grid(bin_size=16)).model_dump(mode="json")
    with pytest.raises(ValidationError, match=message):
        FeatureSet.model_validate(document | changes)


def test_a_feature_set_does_not_change_after_it_was_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        feature_set_of(Grid(bin_size=16)).bin_size = 32


# Identity

IDENTITY = FeatureIdentity(
    assembly_digest="A",
    name="motif",
    extractor="motif",
    bin_size=64,
    dtype="float16",
    channels=("x", "y"),
    fingerprint="f0",
)


@given(feature_sets(), feature_sets())
@settings(deadline=None)
def test_two_sets_differ_somewhere_unless_they_are_one(one: FeatureSet, other: FeatureSet) -> None:
    a, b = one.identity("A"), other.identity("A")
    assert a.first_difference(a) is None
    assert (a.first_difference(b) is None) == (a == b) == (b.first_difference(a) is None)


@given(feature_sets())
@settings(deadline=None)
def test_phases_chunks_licence_and_options_leave_the_identity_as_it_is(feature_set: FeatureSet) -> None:
    changes = {"offsets": (0,), "chunk_bins": 1, "licence": "other", "citation": "other", "options": {"other": 1}}
    assert feature_set.model_copy(update=changes).identity("A") == feature_set.identity("A")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"assembly_digest": "B"}, "assembly A, not B", id="assembly"),
        pytest.param({"name": "sei"}, "name motif, not sei", id="name"),
        pytest.param({"extractor": "sei", "fingerprint": "f1"}, "extractor motif, not sei", id="extractor first"),
        pytest.param({"bin_size": 16, "fingerprint": "f1"}, "bins of 64 bp, not 16 bp", id="bins before fingerprint"),
        pytest.param({"dtype": "uint8"}, "values of float16, not uint8", id="type of the values"),
        pytest.param({"channels": ("x", "z")}, "channel 'y' in column 1, not 'z'", id="a channel"),
        pytest.param({"channels": ("x",)}, "2 channels, not 1", id="fewer channels"),
        pytest.param({"fingerprint": "f1"}, "fingerprint f0, not f1", id="fingerprint"),
    ],
)
def test_the_first_difference_is_named_in_words(changes: dict[str, Any], words: str) -> None:
    assert IDENTITY.first_difference(replace(IDENTITY, **changes)) == words


@pytest.mark.parametrize("field", [field.name for field in fields(FeatureIdentity)])
def test_what_was_not_recorded_is_not_compared(field: str) -> None:
    partial = replace(IDENTITY, **{field: None})
    assert IDENTITY.first_difference(partial) is None
    assert partial.first_difference(IDENTITY) is None
