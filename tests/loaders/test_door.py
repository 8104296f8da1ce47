"""Datasets as a person meets them: made from an open store, sliced, and shown in words."""

import pickle
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import featurestore
from catalog import Grid
from catalog.genes.table import GENE_SCHEMA
from featurestore.testing import built_store
from loaders import (
    GeneDataset,
    JoinedDataset,
    StackedDataset,
    WindowDataset,
    WindowStream,
    aligned_dataset,
    data_loader,
    gene_dataset,
)

CENTRES = [3, 76, 999, 0, 500, 321, 40]
SLICES = st.slices(len(CENTRES))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("door") / "tiny.store"
    built_store(path, {"chr1": 1000}, Grid(bin_size=16, offsets=(0, 8)))
    return str(path)


@pytest.fixture(scope="module")
def windows(url: str) -> WindowDataset:
    return WindowDataset(url, "demo", contigs="chr1", centres=CENTRES, n_bins=3)


@pytest.fixture(scope="module")
def genes(windows: WindowDataset) -> GeneDataset:
    table = pl.DataFrame({"gene_id": [f"g{number}" for number in range(len(CENTRES))]})
    targets = [float(number) for number in range(len(CENTRES) - 1)] + [float("nan")]
    return GeneDataset(windows, table, prompts=["words", *[""] * (len(CENTRES) - 1)], targets=targets)


@given(wanted=SLICES)
def test_a_slice_is_the_batch_of_its_indices(windows: WindowDataset, genes: GeneDataset, wanted: slice) -> None:
    indices = list(range(len(CENTRES)))[wanted]
    if not indices:
        with pytest.raises(IndexError, match="got no index"):
            windows[wanted]
        return
    torch.testing.assert_close(windows[wanted], windows[indices], rtol=0, atol=0)
    ours, theirs = genes[wanted], genes[indices]
    assert ours.prompts == theirs.prompts
    for name in ("features", "targets", "indices"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0, equal_nan=True)


def test_an_open_store_is_as_good_as_its_url(url: str, windows: WindowDataset) -> None:
    store = featurestore.open(url, storage_options={"secret": "s3cr3t"})
    of_store = WindowDataset(store, "demo", contigs="chr1", centres=CENTRES, n_bins=3)
    assert torch.equal(of_store[:], windows[:])
    assert torch.equal(pickle.loads(pickle.dumps(of_store))[:], windows[:])
    assert of_store.settings.storage_options == {"secret": "s3cr3t"}
    assert "s3cr3t" not in f"{store!r} {of_store!r} {of_store.settings!r}"
    aligned = aligned_dataset(store, ["demo"], contigs="chr1", centres=CENTRES, n_bins=3)
    assert torch.equal(aligned[[0, 1]]["demo"], windows[:2])
    table = pl.DataFrame(
        {"gene_id": ["g0", "g1"], "contig": "chr1", "tss": [3, 76], "strand": "+"}, schema_overrides=GENE_SCHEMA
    )
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in GENE_SCHEMA.items() if name not in table.columns]
    joined = gene_dataset(store, "demo", table.with_columns(missing).select(list(GENE_SCHEMA)), n_bins=3)
    assert torch.equal(joined[:].features, windows[:2])


def test_an_open_store_has_its_own_storage_options(url: str) -> None:
    store = featurestore.open(url)
    with pytest.raises(ValueError, match="open already, with options of its own; leave `storage_options=` out"):
        WindowDataset(store, "demo", contigs="chr1", centres=CENTRES, storage_options={"anon": True})


def test_datasets_and_what_reads_them_are_shown_in_words(url: str, windows: WindowDataset, genes: GeneDataset) -> None:
    shown = repr(windows)
    assert shown.startswith(f"<WindowDataset of demo in {url}>")
    for words in ("7 on 1 contigs, orient='forward'", "3 bins x 3 channels each, torch.float32", "memory"):
        assert words in shown
    shown = repr(genes)
    for words in ("7 genes", "g0, g1", f"WindowDataset of demo in {url}", "6 of 7 known", "1 with words"):
        assert words in shown
    shown = repr(WindowStream(genes, batch_size=2, seed=5))
    assert "4 of 2 a pass, shuffled, seed 5" in shown
    assert "GeneDataset of 7 genes" in shown
    shown = repr(data_loader([1, 2, 3], batch_size=2))
    assert shown.startswith("<BatchLoader>")
    assert "[1, 2, 3]" in shown
    assert "this process" in shown


def test_several_sets_and_stores_are_shown_as_what_they_are_made_of(url: str, windows: WindowDataset) -> None:
    aligned = aligned_dataset(url, ["demo"], contigs="chr1", centres=CENTRES, n_bins=3)
    joined, stacked = JoinedDataset([windows, windows]), StackedDataset(aligned)
    assert repr(aligned).startswith("<AlignedDataset of demo>")
    for dataset in (aligned, joined, stacked):
        assert f"WindowDataset of demo in {url}" in repr(dataset)
    assert "14, orient='forward'" in repr(joined)
    assert torch.equal(joined[5:9], joined[[5, 6, 7, 8]])
    assert torch.equal(stacked[::-2], stacked[[6, 4, 2, 0]])


def test_a_dataset_is_shown_in_a_notebook_with_others_names_escaped(tmp_path: Path) -> None:
    path = tmp_path / "<b>.store"
    built_store(path, {"chr1": 100}, Grid(bin_size=16))
    html = WindowDataset(str(path), "demo", contigs="chr1", centres=[50], n_bins=1)._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
