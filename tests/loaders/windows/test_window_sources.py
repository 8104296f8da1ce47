"""Genes read windows from anywhere: the grid, anchors, several feature sets, several stores."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from window_kinds import GENES, LENGTHS, N_BINS, ON_GRID, SOURCES, built, joined_in_two, of_genes, sources

import featurestore
from featurestore.anchored.reader import UnknownAnchor
from loaders import (
    AlignedDataset,
    AnchoredWindows,
    GeneDataset,
    JoinedDataset,
    MemoryBudgetExceeded,
    StackedDataset,
    WindowDataset,
    WindowSettings,
    aligned_dataset,
    data_loader,
    gene_dataset,
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(tmp_path_factory.mktemp("sources") / "s")


# What holds for every source


@pytest.mark.parametrize("orient", ["forward", "gene"])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_gives_what_it_says_of_itself(url: str, kind: str, orient: str) -> None:
    windows = sources(url, orient=orient)[kind]
    assert len(windows) == len(windows.contigs) == len(windows.centres) == len(windows.is_reversed) == 5
    assert windows[[0, 4]].shape == (2, N_BINS, len(windows.channel_names))
    assert [text.split()[0] for text in windows.channel_texts] == list(windows.channel_names)
    assert windows.contigs == tuple(GENES["contig"])
    assert windows.centres.tolist() == GENES["tss"].to_list()
    assert windows.is_reversed.tolist() == [orient == "gene" and strand == "-" for strand in GENES["strand"]]
    assert (windows.orient, windows.bin_size, len(windows.blocks())) == (orient, 16, 5)
    assert windows.assembly.lengths == LENGTHS
    placed = windows.placed([3, 0])
    middle = placed.starts + N_BINS * 16 // 2
    assert (middle - placed.centres).tolist() == placed.residuals.tolist()
    before = windows.stats.windows
    _ = windows[[0]]
    assert windows.stats.windows > before


@pytest.mark.parametrize("orient", ["forward", "gene"])
@pytest.mark.parametrize("kind", SOURCES)
def test_copies_are_those_windows_and_leave_the_original_as_it_was(url: str, kind: str, orient: str) -> None:
    windows = sources(url, orient=orient)[kind]
    whole = windows[[0, 1, 2, 3, 4]]
    shorter, chosen = windows.with_n_bins(5), windows.subset([3, 1])
    assert (windows.n_bins, shorter.n_bins, chosen.n_bins) == (N_BINS, 5, N_BINS)
    assert torch.equal(shorter[[0, 1, 2, 3, 4]], whole[:, 2:7]), "odd numbers of bins share their middle"
    assert torch.equal(chosen[[0, 1]], whole[[3, 1]])
    assert torch.equal(chosen.with_n_bins(5)[[1]], whole[[1], 2:7])
    assert chosen.contigs == tuple(windows.contigs[place] for place in (3, 1))
    assert torch.equal(windows.unjittered()[[2]], whole[[2]])
    assert torch.equal(pickle.loads(pickle.dumps(windows))[[0, 1, 2, 3, 4]], whole)
    with pytest.raises(IndexError, match="has 2 windows"):
        _ = chosen[[2]]


@pytest.mark.parametrize("kind", SOURCES)
def test_windows_elsewhere_are_of_the_same_features(url: str, kind: str) -> None:
    windows = sources(url, orient="gene")[kind]
    moved = windows.elsewhere(["chr1", "2"], [500, 40]).with_n_bins(4)
    assert (len(moved), moved.contigs, moved.orient) == (2, ("chr1", "chr2"), "forward")
    assert moved.channel_names == windows.channel_names
    plain = WindowDataset(url, "classes", contigs=["chr1", "chr2"], centres=[500, 40], n_bins=4)
    assert torch.equal(moved[[0, 1]][..., :3], plain[[0, 1]])


@pytest.mark.parametrize("kind", SOURCES)
def test_genes_are_trained_on_through_any_source(url: str, kind: str) -> None:
    windows = sources(url)[kind]
    genes = GeneDataset(windows, GENES, prompts=["p"] * 5, targets=[0.0, 1.0, 2.0, 3.0, 4.0])
    whole = windows[[0, 1, 2, 3, 4]]
    batches = list(data_loader(genes, batch_size=2, shuffle=True, buffer_blocks=1))
    places = torch.cat([batch.indices for batch in batches])
    assert sorted(places.tolist()) == [0, 1, 2, 3, 4]
    assert torch.equal(torch.cat([batch.features for batch in batches]), whole[places])
    part = genes.subset(["G4", "G2"]).with_n_bins(3)
    assert torch.equal(part[[0, 1]].features, whole[[1, 3], 3:6])
    assert (part.n_bins, genes.n_bins) == (3, N_BINS)


# Anchors


@pytest.mark.parametrize("residence", ["memory", "device", "stream"])
@pytest.mark.parametrize("orient", ["forward", "gene"])
def test_a_gene_in_the_middle_of_a_bin_reads_the_same_from_grid_and_anchors(
    url: str, orient: str, residence: str
) -> None:
    grid = of_genes(url, orient=orient).subset(ON_GRID)
    exact = of_genes(url, orient=orient, anchors="tss", residence=residence).subset(ON_GRID)
    assert grid.windows.placed([0, 1, 2]).residuals.tolist() == [0, 0, 0]
    for n_bins in (N_BINS, 5, 1):
        assert torch.equal(grid.with_n_bins(n_bins)[[0, 1, 2]].features, exact.with_n_bins(n_bins)[[0, 1, 2]].features)


def test_anchored_windows_have_no_residual_and_those_of_the_grid_may(url: str) -> None:
    grid, exact = of_genes(url).windows, of_genes(url, anchors="tss").windows
    assert grid.placed(range(5)).residuals.any()
    assert not exact.placed(range(5)).residuals.any()
    assert (exact.anchors, grid.anchors) == ("tss", None)


def test_anchored_windows_are_those_of_the_reader_by_name(url: str) -> None:
    reader = featurestore.open_anchored(featurestore.open(url), "classes", "tss")
    settings = WindowSettings(n_bins=5, channels=("channel2", "channel0"))
    windows = AnchoredWindows(url, "classes", "tss", names=["G4", "G1", "G4"], settings=settings)
    expected = torch.from_numpy(reader.windows(["G4", "G1", "G4"], 5)).float()[..., [2, 0]]
    assert windows.names == ["G4", "G1", "G4"]
    assert torch.equal(windows[[0, 1, 2]], expected)
    whole = AnchoredWindows(url, "classes", "tss", settings=settings)
    assert whole.names == reader.names


def test_what_an_anchored_array_does_not_have_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match=r"odd number of bins, at most 9; got 8"):
        of_genes(url, anchors="tss", n_bins=8)
    with pytest.raises(ValueError, match=r"at most 9; got 11; read others from the grid"):
        of_genes(url, anchors="tss").with_n_bins(11)
    with pytest.raises(ValueError, match=r"anchored windows lie where they were built.*leave out `jitter_bins=`"):
        of_genes(url, anchors="tss", jitter_bp=3)
    with pytest.raises(ValueError, match=r"`residence='cache'` mirrors the blocks of a grid"):
        of_genes(url, anchors="tss", residence="cache")
    with pytest.raises(ValueError, match=r"`anchors='tss'` goes with one feature set, got classes, tracks"):
        of_genes(url, anchors="tss", feature_set=["classes", "tracks"])
    with pytest.raises(featurestore.NotBuilt, match=r"no anchors 'mane' for 'classes'; it has tss"):
        of_genes(url, anchors="mane")
    with pytest.raises(UnknownAnchor, match="'tss' has no anchor G9"):
        AnchoredWindows(url, "classes", "tss", names=["G9"], settings=WindowSettings(n_bins=3))
    with pytest.raises(MemoryBudgetExceeded, match="at least memory_bytes="):
        _ = of_genes(url, anchors="tss", memory_bytes=100)[[0, 1, 2]]


def test_genes_that_the_anchors_lack_or_place_elsewhere_are_named(url: str) -> None:
    others = pl.concat([GENES, GENES.head(2).with_columns(gene_id=pl.Series(["NEW1", "NEW2"]))])
    with pytest.raises(ValueError, match=r"2 of 7 genes have no anchor in 'tss' of 'classes': NEW1, NEW2; build"):
        gene_dataset(url, "classes", others, anchors="tss", n_bins=3)
    moved = GENES.with_columns(tss=pl.col("tss") + (pl.col("gene_id") == "G4"))
    with pytest.raises(ValueError, match=r"G4 starts at chr1:701 .* but the anchor of that name lies at chr1:700"):
        gene_dataset(url, "classes", moved, anchors="tss", n_bins=3)


# Several feature sets side by side


@given(st.integers(1, 7), st.integers(0, 20), st.sampled_from(["forward", "gene"]))
@settings(max_examples=15, deadline=None)
def test_stacked_sets_hold_the_bins_of_each_over_the_same_bases(
    url: str, n_bins: int, jitter_bp: int, orient: str
) -> None:
    dataset = of_genes(url, feature_set=["tracks", "classes"], n_bins=n_bins, jitter_bp=jitter_bp, orient=orient)
    dataset.set_epoch(3)
    stacked = dataset.windows
    assert isinstance(stacked, StackedDataset)
    parts = stacked.aligned[range(5)]
    found = stacked[range(5)]
    assert found.shape == (5, n_bins, 4 * 2 + 3)
    for place in range(n_bins):
        for narrow in range(4):
            mine = found[:, place, 2 * narrow : 2 * narrow + 2]
            assert torch.equal(mine, parts["tracks"][:, 4 * place + narrow])
        assert torch.equal(found[:, place, 8:], parts["classes"][:, place])


def test_stacked_channels_are_named_after_their_set_and_where_they_begin(url: str) -> None:
    windows = of_genes(url, feature_set=["classes", "tracks"]).windows
    assert windows.channel_names == (
        *(f"classes/channel{index}" for index in range(3)),
        *(f"tracks/channel{index}+{start}" for start in (0, 4, 8, 12) for index in range(2)),
    )
    assert windows.name == "classes,tracks"
    assert windows.fingerprint == "classes=f0,tracks=f0"
    only = aligned_dataset(url, ["classes"], contigs="chr1", centres=[5], n_bins=3)
    assert StackedDataset(only).channel_names == tuple(f"classes/channel{index}" for index in range(3))


def test_copies_of_aligned_sets_share_their_windows(url: str) -> None:
    aligned = aligned_dataset(url, ["classes", "tracks"], contigs="chr1", centres=[5, 50, 500], n_bins=3, jitter_bp=9)
    assert isinstance(aligned, AlignedDataset)
    still, longer = aligned.unjittered(), aligned.with_n_bins(5)
    assert [still.lead.placed([place]).centres.tolist() for place in range(3)] == [[5], [50], [500]]
    assert (longer.n_bins_of, aligned.n_bins_of) == ({"classes": 5, "tracks": 20}, {"classes": 3, "tracks": 12})
    for name, tensor in aligned.subset([2, 0])[[0, 1]].items():
        assert torch.equal(tensor, aligned[[2, 0]][name])


# Several stores one after the other


def test_joined_parts_keep_their_order_in_subsets_and_epochs(url: str) -> None:
    windows = joined_in_two(url, jitter_bp=30)
    windows.set_epoch(2)
    order = [4, 0, 2]
    assert torch.equal(windows.subset(order)[[0, 1, 2]], windows[order])
    for column, all_of in zip(windows.placed(order), windows.placed(range(5)), strict=True):
        assert column.tolist() == all_of[order].tolist()
    assert np.array_equal(windows.unjittered().placed(range(5)).centres, windows.centres)


def test_parts_that_turn_differently_are_not_joined(url: str) -> None:
    parts: list[Any] = [of_genes(url, orient=orient).windows for orient in ("forward", "gene")]
    with pytest.raises(ValueError, match="orient is forward in one and gene in another"):
        JoinedDataset(parts)


# Settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_bins": 0}, "at least 1 bin, got n_bins=0"),
        ({"orient": "backward"}, "orient is one of forward, gene; got 'backward'"),
        ({"residence": "disk"}, "residence is one of memory, device, cache, stream; got 'disk'"),
        ({"dtype": "int8"}, "dtype is one of float16, .*; got 'int8'"),
        ({"jitter_bins": -1}, "0 or more; got jitter_bins=-1"),
    ],
)
def test_settings_that_make_no_windows_are_refused_when_they_are_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowSettings(**changes)


def test_windows_made_from_one_value_are_those_made_from_its_fields(url: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "n_bins": 3,
        "orient": "gene",
        "channels": "channel1",
        "jitter_bp": 20,
        "residence": "cache",
        "cache_dir": tmp_path,
    }
    places: dict[str, Any] = {"contigs": "chr1", "centres": [3, 500], "strands": ["-", "+"]}
    one = WindowDataset.of(url, "classes", settings=WindowSettings(**changes), **places)
    other = WindowDataset(url, "classes", **changes, **places)
    assert one.settings == other.settings
    assert torch.equal(one[[0, 1]], other[[0, 1]])
    assert list(tmp_path.glob("*.block"))
