"""Jitter moves a window by seed, epoch and window alone."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_windows import LENGTHS

import featurestore
from catalog import Grid
from featurestore.testing import (
    built_store,
)
from loaders import (
    WindowDataset,
)


def jittered(url: str, **settings: Any) -> WindowDataset:
    places: dict[str, Any] = {"contigs": "chr1", "centres": np.arange(0, 1000, 7), "n_bins": 3}
    return WindowDataset(url, "demo", **(places | settings))


@given(st.integers(0, 3), st.integers(0, 40), st.integers(0, 5), st.integers(0, 2**33))
@settings(max_examples=25, deadline=None)
def test_a_jittered_window_is_the_window_around_the_moved_centre(
    url: str, bins: int, bp: int, epoch: int, seed: int
) -> None:
    dataset = jittered(url, jitter_bins=bins, jitter_bp=bp, seed=seed)
    dataset.set_epoch(epoch)
    places = list(range(len(dataset)))
    placed = dataset.placed(places)
    moved = placed.centres - dataset.centres
    inside = (placed.centres > 0) & (placed.centres < 999)
    assert np.abs(moved).max() <= 16 * bins + bp
    if bp == 0:
        assert not (moved[inside] % 16).any(), "whole bins"
    assert ((placed.centres >= 0) & (placed.centres < 1000)).all()
    read = featurestore.open(url)["demo"].windows("chr1", placed.centres, 3)
    np.testing.assert_array_equal(dataset[places].numpy(), read.values.astype(np.float32))
    np.testing.assert_array_equal(placed.residuals, read.residuals)
    np.testing.assert_array_equal(placed.starts, read.starts[:, 0])
    np.testing.assert_array_equal(placed.phases, read.phases)


def test_jitter_is_that_of_seed_epoch_and_window_in_any_order_and_subset(url: str) -> None:
    dataset = jittered(url, jitter_bp=50)
    places = list(range(len(dataset)))
    first = dataset.centres_at(places)
    assert np.array_equal(dataset.centres_at(places[::-1]), first[::-1])
    assert [int(dataset.centres_at([place])[0]) for place in places] == first.tolist()
    assert np.array_equal(dataset.subset([9, 4, 100]).centres_at([2, 0, 1]), first[[100, 9, 4]])
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).centres_at(places), first)
    dataset.set_epoch(1)
    assert (dataset.centres_at(places) != first).mean() > 0.9
    dataset.set_epoch(0)
    assert np.array_equal(dataset.centres_at(places), first)
    assert (jittered(url, jitter_bp=50, seed=1).centres_at(places) != first).mean() > 0.9
    assert np.array_equal(dataset.unjittered().centres_at(places), dataset.centres)
    assert np.array_equal(dataset.centres_at(places), first), "the copy without jitter has changed its original"


def test_with_more_phases_jitter_in_bp_leaves_a_smaller_residual(url: str, tmp_path: Path) -> None:
    built_store(tmp_path, LENGTHS, Grid(bin_size=16))
    one_phase, two_phases = (
        np.abs(jittered(path, jitter_bp=40).placed(range(143)).residuals).max() for path in (str(tmp_path), url)
    )
    assert (one_phase, two_phases) == (8, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jitter_bp": -1}, "0 or more; got jitter_bins=0 and jitter_bp=-1"),
        ({"jitter_bins": -2}, "jitter_bins=-2"),
        ({"centres": []}, "centres is empty; give one contig and one centre a window"),
        ({"centres": np.zeros(0)}, "centres is empty"),
        ({"dtype": torch.int32}, "dtype is one of float16, bfloat16, float32, float64, uint8; got 'int32'"),
        ({"centres": [5, 1000]}, "centre 1000 lies outside chr1, whose bases are 0 to 999 .*another assembly"),
    ],
)
def test_settings_that_make_no_windows_are_refused(url: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jittered(url, **settings)
