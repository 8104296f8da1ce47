"""What users type for a place: paths, `~`, `file:` URLs in their three spellings, and URLs of servers."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import featurestore
from catalog import Fasta, Grid
from catalog.runtime.locations import absolute, local_path
from catalog.runtime.tables import read_table
from featurestore.testing import built_store, write_fasta

_NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, ord("/")} & set(name)).map(os.fsdecode)


@given(st.lists(_NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4))
def test_each_spelling_of_a_file_url_is_the_path_that_it_was_made_of(parts: list[str]) -> None:
    path = Path("/", *parts)
    url = path.as_uri()
    rest = url.removeprefix("file://")
    for spelling in (url, f"file:{rest}", f"file://localhost{rest}", f"FILE://LocalHost{rest}", Path(url)):
        assert local_path(spelling) == path


def test_a_plain_path_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a%20b.fa", "a b.fa", "file:a", "x::y.fa/a", "c:d", "~nobody-has-this-name/a"):
        expected = None if name.startswith("x::") else tmp_path / name
        assert local_path(name) == expected, name


def test_a_home_is_expanded_and_a_relative_path_made_absolute_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert absolute("~/a.fa") == absolute("a.fa") == absolute(Path("a.fa")) == str(tmp_path / "a.fa")
    assert absolute("s3://bucket/~/a%20b") == "s3://bucket/~/a%20b"
    assert absolute("simplecache::https://server/a") == "simplecache::https://server/a"


@pytest.mark.parametrize("url", ["file://other/a", "file://a.fa", "file://"])
def test_a_file_url_of_another_machine_is_refused_with_the_mend(url: str) -> None:
    with pytest.raises(ValueError, match=r"file:///folder/name"):
        local_path(url)


def test_stores_genomes_and_tables_decode_a_file_url_alike(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20c"
    folder.mkdir()
    write_fasta(folder / "g.fa", {"chr1": "ACGT"})
    (folder / "t.tsv").write_text("gene_id\tvalue\ng\t1\n")
    built_store(str(folder / "s"), {"chr1": 9}, Grid(bin_size=4))
    rest = folder.as_uri().removeprefix("file://")
    for base in (f"file://{rest}", f"file:{rest}", f"file://localhost{rest}"):
        with Fasta(f"{base}/g.fa") as fasta:
            assert fasta.url == str(folder / "g.fa")
        assert featurestore.open(f"{base}/s").url == str(folder / "s")
        assert featurestore.open(f"{base}/s")["demo"].window("chr1", 4, n_bins=1).values.shape == (1, 3)
    assert read_table(Path(f"{folder.as_uri()}/t.tsv"))["gene_id"].to_list() == ["g"]
