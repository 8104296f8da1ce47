"""What a sealed store says of itself: Croissant loads it, its README's examples run, its licences reach every copy."""

import hashlib
import json
import re
import socket
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import featurestore
from builders.anchored.run_anchors import build_anchors
from builders.extractors.base import ExtractorOptions
from builders.extractors.motif import MotifExtractor
from builders.extractors.sei.extractor import SeiExtractor
from builders.run import build
from builders.testing import CompositionExtractor
from catalog import Channel, FeatureSet, Grid
from catalog.registry import KnownSet, StoreSummary
from featurestore import copy, seal, verify
from featurestore.format.manifest import CARDS, CATALOG, CROISSANT, EXPLORER, MANIFEST, README, SealedObject
from featurestore.testing import built_store, feature_set_of, random_sequences, values_of, write_fasta
from featurestore.upkeep.croissant import croissant
from featurestore.upkeep.data_card import PLACE, data_card

# mlcroissant parses JSON-LD with rdflib, which warns of a class that it uses itself.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
GRID = Grid(bin_size=16, offsets=(0, 8))
COMPOSITION = "builders.testing:CompositionExtractor.from_options"
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def loaded(store: featurestore.Store) -> mlcroissant.Metadata:
    """Load the Croissant document as its own library does, and refuse any complaint."""
    metadata = mlcroissant.Dataset(jsonld=json.loads(store.objects.get(CROISSANT))).metadata
    assert metadata.issues.report() == ""
    return metadata


@pytest.mark.usefixtures("no_network")
def test_croissant_loads_and_its_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    store = built_store(tmp_path, {"chr1": 200, "HLA-A*01:01": 40}, GRID)
    manifest = seal(store).manifest
    metadata = loaded(store)
    assert manifest.top_hash in metadata.version
    files = {one.id: one.sha256 for one in metadata.file_objects}
    assert files.keys() == {MANIFEST, CATALOG, EXPLORER, README, "zarr.json"}
    for key, sha256 in files.items():
        assert hashlib.sha256((tmp_path / key).read_bytes()).hexdigest() == sha256
    globs = [pattern for one in metadata.file_sets for pattern in one.includes]
    matched = {str(path.relative_to(tmp_path)) for pattern in globs for path in tmp_path.glob(f"{pattern}/*")}
    assert {key for key in manifest.objects if "/values/c/" in key} <= matched


def test_croissant_does_not_grow_with_the_shards(tmp_path: Path) -> None:
    sizes = []
    for length in (200, 5000):
        store = built_store(tmp_path / str(length), {"chr1": length}, GRID)
        seal(store)
        sizes.append(len(store.objects.get(CROISSANT)))
    assert abs(sizes[1] - sizes[0]) < 20  # digits of sizes


def code_of(readme: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)


def test_the_examples_of_the_readme_run(tmp_path: Path) -> None:
    store = built_store(tmp_path, {"HLA-A*01:01": 40, "chr1": 200}, GRID)
    seal(store)
    ours, plain = code_of(store.objects.get(README).decode())
    names: dict[str, Any] = {}
    exec(ours.replace(PLACE, str(tmp_path)), names)
    exec(plain.replace(PLACE, str(tmp_path)), names)
    assert names["window"].shape == (251, 3)
    np.testing.assert_array_equal(names["first"][:2], values_of(feature_set_of(GRID), 40, 0)[:2])
    np.testing.assert_array_equal(names["named"].to_numpy(), values_of(feature_set_of(GRID), 40, 0)[:3, 0])
    assert (len(ours.splitlines()), len(plain.splitlines())) == (3, 4)


# Licence and citation


def says(store: featurestore.Store, *texts: str) -> None:
    """Check that README, catalog and Croissant document all say it."""
    shown = MARKDOWN.render(store.objects.get(README).decode())
    catalog = StoreSummary.model_validate_json(store.objects.get(CATALOG))
    metadata = loaded(store)
    for text in texts:
        assert text in unescape(shown)
        assert any(text in (one.licence, one.citation) for one in catalog.feature_sets)
        assert any(text in one for one in [*metadata.license, metadata.cite_as])


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome")
    (path / "tss.tsv").write_text("name\tcontig\tposition\tstrand\na\tchr1\t3000\t+\n")
    return write_fasta(path / "g.fa", random_sequences({"chr1": 6000, "chr2": 700}))


@pytest.mark.slow
def test_seis_licence_reaches_every_store_that_is_derived(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extractor counts bases; its licence is that of Sei, whose network would take minutes."""
    monkeypatch.setattr(CompositionExtractor, "licence", SeiExtractor.licence)
    monkeypatch.setattr(CompositionExtractor, "citation", SeiExtractor.citation)
    sei = (SeiExtractor.licence, SeiExtractor.citation)
    assert "academic and research use only" in sei[0]
    url = str(tmp_path / "s")
    small = ExtractorOptions(bin_size=64, device="cpu")
    made = {"fasta": fasta, "extractor": COMPOSITION, "options": small, "workers": 1}

    def sealed(place: object = url) -> featurestore.Store:
        store = featurestore.open(str(place))
        seal(store, partial=True)
        return store

    assert build(url, **made).is_complete
    says(sealed(), *sei)
    assert build(url, **made, refine=True).is_complete
    says(sealed(), *sei)
    assert build_anchors(url, anchors=fasta.with_name("tss.tsv"), name="tss", n_bins=3, **made).is_complete
    says(sealed(), *sei)
    assert "composition@tss" not in verify(sealed()).incomplete
    assert build(url, **{**made, "extractor": "motif"}).is_complete
    says(sealed(), *sei, MotifExtractor.licence)
    copy(url, tmp_path / "whole")
    says(featurestore.open(tmp_path / "whole"), *sei)
    copy(url, tmp_path / "a set", feature_sets=["length"])
    says(sealed(tmp_path / "a set"), *sei)
    copy(url, tmp_path / "a contig", contigs=["chr2"])
    says(sealed(tmp_path / "a contig"), *sei)
    copy(tmp_path / "a contig", tmp_path / "a copy of it")
    store = featurestore.open(tmp_path / "a copy of it")
    store.unseal()
    assert not any((tmp_path / "a copy of it" / card).exists() for card in CARDS)
    says(sealed(tmp_path / "a copy of it"), *sei)


def test_a_store_of_anchors_alone_carries_the_licence_and_examples_that_run(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompositionExtractor, "licence", SeiExtractor.licence)
    build_anchors(
        str(tmp_path / "s"),
        anchors=fasta.with_name("tss.tsv"),
        name="tss",
        n_bins=3,
        fasta=fasta,
        extractor=COMPOSITION,
        options=ExtractorOptions(bin_size=64, device="cpu"),
        workers=1,
    )
    store = featurestore.open(tmp_path / "s")
    seal(store)
    says(store, SeiExtractor.licence)
    names: dict[str, Any] = {}
    for code in code_of(store.objects.get(README).decode()):
        exec(code.replace(PLACE, str(tmp_path / "s")), names)
    np.testing.assert_array_equal(names["window"], names["first"][:3])


def test_a_licence_that_nobody_stated_is_said_to_be_unknown(tmp_path: Path) -> None:
    store = built_store(tmp_path, {"chr1": 200}, GRID)
    seal(store)
    says(store, "unknown")
    assert "| demo | unknown | unknown |" in store.objects.get(README).decode()
    assert loaded(store).license == ["demo: unknown"]


def test_a_licence_that_is_stated_later_is_taken_over(tmp_path: Path) -> None:
    store = built_store(tmp_path / "to", {"chr1": 200}, GRID)
    stated = built_store(tmp_path / "from", {"chr1": 200}, GRID)
    described = stated.feature_set("demo").model_copy(update={"licence": SeiExtractor.licence})
    stated.declare(described, ["chr1"])
    seal(stated)
    copy(stated.url, store.url)
    says(featurestore.open(store.url), SeiExtractor.licence)


# Strings of others

NASTY = [
    "a | b",
    "<script>alert(1)</script>",
    "x</script><img src=x onerror=alert(1)>",
    "two\nlines\r\n\n# heading",
    "`code` *bold* _it_ ~~no~~ [a](javascript:alert(1)) ![b](c) <http://a.b>",
    "&lt; &amp; \\| \\",
    "\x1b[31mred\u202e\u2028",
    "| --- |",
    "\"quotes\" and 'these' $x$",
]


def described_with(text: str) -> tuple[StoreSummary, FeatureSet]:
    described = feature_set_of(GRID, n_channels=1).model_copy(
        update={"channels": (Channel(name=text, group=text, description=text),), "licence": text, "citation": text}
    )
    known = KnownSet(
        name="demo",
        extractor="demo",
        fingerprint=text,
        channels=(text,),
        bin_size=16,
        offsets=(0, 8),
        contigs=1,
        anchors=(),
        shards=4,
        committed=4,
        licence=text,
        citation=text,
    )
    return StoreSummary(
        assembly=text,
        assembly_digest=text,
        contigs=1,
        length=40,
        feature_sets=(known,),
        size_bytes=1,
        objects=1,
        top_hash="0" * 64,
        as_of=datetime(2026, 1, 2, tzinfo=UTC),
    ), described


@given(st.one_of(st.sampled_from(NASTY), st.text(min_size=1)))
@settings(max_examples=200)
def test_any_text_is_shown_by_the_readme_as_it_is_and_is_never_markup(text: str) -> None:
    summary, described = described_with(text)
    card = data_card(summary, [described], {"demo": {text: 40}}, store_format=1, version="1").decode()
    tokens = MARKDOWN.parse(card)
    kinds = [token.type for token in tokens if token.type != "html_block"]
    expected, plainly = described_with("plain")
    like = data_card(expected, [plainly], {"demo": {"plain": 40}}, store_format=1, version="1").decode()
    assert kinds == [token.type for token in MARKDOWN.parse(like) if token.type != "html_block"]
    assert [token.content for token in tokens if token.type == "html_block"] == [card.partition("\n")[0] + "\n"]
    inline = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inline} <= {"text", "text_special", "code_inline"}
    shown = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    cells = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    assert cells.count(shown) >= 6 or not shown
    for code in code_of(card):
        compile(code, "README.md", "exec")


@given(st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
@settings(max_examples=200)
def test_any_text_survives_croissant_and_none_of_it_is_a_tag(text: str) -> None:
    summary, _ = described_with(text)
    data = croissant(summary, {MANIFEST: SealedObject(1, "0" * 64)})
    assert not set(b"<>") & set(data)
    document = json.loads(data)
    assert document["license"] == [f"demo: {text}"]
    assert document["citeAs"] == f"demo: {text}"


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("text", NASTY)
def test_croissant_loads_whatever_the_licence_says(text: str) -> None:
    summary, _ = described_with(text)
    document = json.loads(croissant(summary, {MANIFEST: SealedObject(1, "0" * 64)}))
    metadata = mlcroissant.Dataset(jsonld=document).metadata
    assert metadata.license == [f"demo: {text}"]
    assert metadata.issues.report() == ""
