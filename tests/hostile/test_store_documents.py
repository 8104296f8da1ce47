"""Damaged and odd documents of a store: the values are as before, or one sentence says what is wrong."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import assert_one_sentence, bounded, mutated, odd_document, repeated

import featurestore
from catalog import Grid
from catalog.genes.anchors import Anchor
from featurestore import ZarrRows, open_anchored, seal, status_of, verify
from featurestore.format.metadata import DIGEST, signed
from featurestore.testing import build_anchored, built_store
from featurestore.upkeep.registry_file import describe
from loaders.residence.open import open_reader

LENGTHS = {"chr1": 120, "chr2": 40}
VALUES = "features/demo/chr1/values/zarr.json"
TOKENS = [b"{", b"[" * 500, b"}", b",", b"null", b"\0", b"\xff", b'"', b"9" * 30, b"NaN", b"float32", b"big"]


@pytest.fixture(scope="module", params=[False, True], ids=["unsealed", "sealed"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a store of every kind of object."""
    url = tmp_path_factory.mktemp("whole") / "s"
    store = built_store(url, LENGTHS, Grid(bin_size=16, offsets=(0, 8)))
    build_anchored(store, "demo", [Anchor("a", "chr1", 60), Anchor("b", "chr2", 20)], name="genes", n_bins=3)
    if request.param:
        seal(store)
    return url


def documents_of(url: Path) -> dict[str, bytes]:
    return {str(path.relative_to(url)): path.read_bytes() for path in sorted(url.rglob("*.json"))}


def files_of(url: Path) -> dict[str, bytes]:
    return {str(path.relative_to(url)): path.read_bytes() for path in url.rglob("*") if path.is_file()}


def readings(url: Path) -> Iterator[Callable[[], Any]]:
    """Every way to the values of a store, by each engine and view."""

    def window(reader: featurestore.FeatureReader) -> Any:
        return reader.window("chr1", 60, n_bins=7).values

    def demo() -> featurestore.FeatureReader:
        return featurestore.open(url)["demo"]

    yield lambda: window(demo())
    yield lambda: window(demo().with_source(ZarrRows(demo().objects.zarr(read_only=True), "demo")))
    yield lambda: open_reader(url, "demo", residence="memory").windows("chr2", [20], 5).values
    yield lambda: demo().to_polars("chr1", 0, 100, offset=8).drop("contig").to_numpy()
    yield lambda: demo().to_xarray("chr1", offset=0)["values"].to_numpy()
    yield lambda: open_anchored(featurestore.open(url), "demo", "genes").windows(["b", "a"])


def told(url: Path, read: Callable[[], Any]) -> Any:
    """Read, or hold the refusal to the law: None then."""
    try:
        return read()
    except (OSError, ValueError, LookupError) as error:
        assert_one_sentence(error, about=str(url) if not isinstance(error, LookupError) else "")
        return None


def assert_lawful(url: Path, expected: list[Any], name: str) -> bool:
    """Read a store in every way, and verify it; tells whether everything was read, and nothing found."""
    before = files_of(url)
    with bounded(seconds=15):
        found = [told(url, read) for read in readings(url)]
        for values, right in zip(found, expected, strict=True):
            assert values is None or np.array_equal(values, right, equal_nan=True)
        verified = told(url, lambda: verify(featurestore.open(url)))
        told(url, lambda: status_of(featurestore.open(url)).to_json())
        told(url, lambda: describe(url))
    assert files_of(url) == before
    if verified is None:
        return False
    assert all(len(str(fault)) < 2000 for fault in verified.faults)
    assert verified.is_sound or any(fault.where in name or name in str(fault) for fault in verified.faults)
    return verified.is_sound and all(values is not None for values in found)


@repeated(4, 150)
def test_a_document_that_was_changed_gives_the_same_values_or_is_named(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, n_examples: int
) -> None:
    url = shutil.copytree(whole, tmp_path_factory.mktemp("changed") / "s")
    expected = [read() for read in readings(url)]
    documents = documents_of(url)
    names = st.sampled_from(sorted(documents))

    @settings(max_examples=n_examples, deadline=None, database=None)
    @given(names.flatmap(lambda name: st.tuples(st.just(name), mutated([documents[name]], tokens=TOKENS))))
    def check(change: tuple[str, bytes]) -> None:
        name, data = change
        (url / name).write_bytes(data)
        try:
            is_fine = assert_lawful(url, expected, name)
        finally:
            (url / name).write_bytes(documents[name])
        # In a sealed store every byte counts.
        assert not is_fine or data == documents[name] or not (url / "MANIFEST.json").exists() or "failures" in name

    check()


@repeated(4, 150)
def test_a_document_of_other_types_and_sizes_with_a_right_digest_is_refused_or_gives_the_same_values(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, n_examples: int
) -> None:
    url = shutil.copytree(whole, tmp_path_factory.mktemp("odd") / "s")
    expected = [read() for read in readings(url)]
    documents = documents_of(url)

    @settings(max_examples=n_examples, deadline=None, database=None)
    @given(st.sampled_from(sorted(documents)).flatmap(lambda name: st.tuples(st.just(name), forged(documents[name]))))
    def check(change: tuple[str, bytes]) -> None:
        name, data = change
        (url / name).write_bytes(data)
        try:
            assert_lawful_or_other(url, expected, name)
        finally:
            (url / name).write_bytes(documents[name])

    check()


def forged(data: bytes) -> st.SearchStrategy[bytes]:
    """Change a document, and sign it again as its writer would."""
    return odd_document(json.loads(data)).map(_signed_again).map(lambda document: json.dumps(document).encode())


def _signed_again(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    inner = {name: _signed_again(value) for name, value in document.items()}
    return signed({name: value for name, value in inner.items() if name != DIGEST}) if DIGEST in inner else inner


def assert_lawful_or_other(url: Path, expected: list[Any], name: str) -> None:
    """Check what holds even where a description lies: bounded, no traceback, nothing written, no foreign values."""
    before = files_of(url)
    with bounded(seconds=10):
        for read, right in zip(readings(url), expected, strict=True):
            values = told(url, read)
            describes = "attributes" not in name and name.endswith("demo/zarr.json")
            # A forged description may rightly have another pad row or fewer channels: then shapes and pads differ.
            assert values is None or describes or np.array_equal(values, right, equal_nan=True), name
        told(url, lambda: verify(featurestore.open(url)).to_json())
        told(url, lambda: status_of(featurestore.open(url)).to_json())
    assert files_of(url) == before


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another type of the same width": lambda document: document.update(data_type="int16", fill_value=0),
    "a wider type": lambda document: document.update(data_type="float32"),
    "the other byte order": lambda document: _inner(document)[0]["configuration"].update(endian="big"),
    "no checksum": lambda document: _inner(document).pop(),
    "no compression": lambda document: _inner(document).pop(1),
    "chunks of one row": lambda document: _sharding(document).update(chunk_shape=[1, 1, 3]),
    "shards of other rows": lambda document: document["chunk_grid"]["configuration"].update(chunk_shape=[1, 2, 3]),
    "rows and phases exchanged": lambda document: document.update(shape=document["shape"][::-1]),
    "fewer rows": lambda document: document.update(shape=[2, 1, 3]),
    "another fill": lambda document: document.update(fill_value=0.0),
    "keys with dots": lambda document: document["chunk_key_encoding"]["configuration"].update(separator="."),
    "no whole numbers": lambda document: document["chunk_grid"]["configuration"].update(chunk_shape=[1.0, 4.0, 3.0]),
}


def _sharding(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["codecs"][0]["configuration"]
    return found


def _inner(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _sharding(document)["codecs"]
    return found


@pytest.mark.parametrize("whole", [False], indirect=True, ids=["unsealed"])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("place", [VALUES, "anchored/demo/genes/values/zarr.json"])
def test_metadata_that_say_something_else_of_the_bytes_are_refused_by_every_reader(
    whole: Path, tmp_path: Path, place: str, edit: Callable[[dict[str, Any]], Any]
) -> None:
    url = shutil.copytree(whole, tmp_path / "s")
    document = json.loads((url / place).read_text())
    edit(document)
    (url / place).write_text(json.dumps(document))
    store = featurestore.open(url)
    if place == VALUES:
        reader = store["demo"]
        zarr_rows = ZarrRows(store.objects.zarr(read_only=True), "demo")
        reads: list[Callable[[], Any]] = [
            lambda: reader.window("chr1", 60, n_bins=7),
            lambda: reader.with_source(zarr_rows).window("chr1", 60, n_bins=7),
            lambda: reader.to_polars("chr1", 0, 100),
            lambda: reader.to_xarray("chr1"),
            lambda: reader.to_xarray(),
            *(
                lambda residence=residence: open_reader(  # type: ignore[misc]  # a default argument
                    url, "demo", residence=residence, cache_dir=tmp_path / "kept"
                ).window("chr1", 60, n_bins=7)
                for residence in ("memory", "cache", "stream")
            ),
        ]
    else:
        reads = [lambda: open_anchored(store, "demo", "genes").windows("a")]
    for read in reads:
        with pytest.raises(featurestore.NotAStore, match=rf"{place} .*`featurestore repair ") as refused:
            read()
        assert_one_sentence(refused.value, about=place)
    assert place in {fault.where for fault in verify(store).faults}


def _contigs(document: dict[str, Any], length: int) -> None:
    for contig in document["attributes"]["featurestore"]["assembly"]["contigs"]:
        contig["length"] = length


def _described(document: dict[str, Any], **changes: Any) -> None:
    document["attributes"]["feature_set"].update(changes)


def _anchored(document: dict[str, Any], **changes: Any) -> None:
    document["attributes"]["anchored"].update(changes)


COUNTS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "a contig of 10^18 bases": ("zarr.json", lambda document: _contigs(document, 10**18)),
    "contigs of 10^10 bases": ("zarr.json", lambda document: _contigs(document, 10**10)),
    "20,000 phases": (
        "features/demo/zarr.json",
        lambda document: _described(document, bin_size=20_000, offsets=list(range(20_000))),
    ),
    "4,096 phases": (
        "features/demo/zarr.json",
        lambda document: _described(document, bin_size=4096, offsets=list(range(4096))),
    ),
    "shards of 10^15 bins": ("features/demo/zarr.json", lambda document: _described(document, shard_bins=10**15)),
    "10^12 anchors": ("anchored/demo/genes/zarr.json", lambda document: _anchored(document, n_anchors=10**12)),
    "a table of 10^12 anchors": (
        "anchored/demo/genes/centre/zarr.json",
        lambda document: document.update(shape=[10**12]),
    ),
    "a table filled with -10^30": (
        "anchored/demo/genes/centre/zarr.json",
        lambda document: document.update(fill_value=-(10**30)),
    ),
    "10^9 bins an anchor": ("anchored/demo/genes/zarr.json", lambda document: _anchored(document, n_bins=10**9)),
}


@pytest.mark.parametrize("whole", [False], indirect=True, ids=["unsealed"])
@pytest.mark.parametrize(("name", "edit"), COUNTS.values(), ids=COUNTS.keys())
def test_counts_beyond_any_genome_end_in_a_sentence_and_not_in_a_wait(
    whole: Path, tmp_path: Path, name: str, edit: Callable[[dict[str, Any]], None]
) -> None:
    url = shutil.copytree(whole, tmp_path / "s")
    document = json.loads((url / name).read_text())
    edit(document)
    (url / name).write_text(json.dumps(_signed_again(document)))
    with bounded(seconds=8):
        for read in readings(url):
            told(url, read)
        told(url, lambda: verify(featurestore.open(url)).to_json())
        told(url, lambda: status_of(featurestore.open(url)).to_json())
        told(url, lambda: describe(url))
