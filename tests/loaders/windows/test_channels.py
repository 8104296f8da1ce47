"""Channels of windows: by name, by group, and as weighted sums."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_windows import STRANDS, expected, windows

import featurestore
from catalog import Channel, Grid
from featurestore import ContigLayout, write_shard
from featurestore.testing import (
    ORIGIN,
    assembly_of,
    feature_set_of,
    random_sequences,
    values_of,
)
from loaders import (
    Projection,
    WindowDataset,
)


def test_channels_are_those_named_in_the_order_named(url: str) -> None:
    dataset = windows(url, channels=["channel2", "channel0"])
    assert dataset.channel_names == ("channel2", "channel0")
    assert torch.equal(dataset[range(len(dataset))], expected(url)[..., [2, 0]])
    with pytest.raises(ValueError, match=r"demo has no channel 'H3K4me3' \(1 unknown\); it has channel0, channel1"):
        windows(url, channels=["channel0", "H3K4me3"])


SEI = tuple(
    Channel(name=name, group=group, low_signal=group == "L")
    for name, group in [("E1", "E"), ("L1", "L"), ("CTCF", "CTCF"), ("E2", "E"), ("P", "P"), ("E10", "E")]
)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a store whose channels have groups: one contig of 8 bins."""
    path = tmp_path_factory.mktemp("loaders") / "grouped.store"
    store = featurestore.create(path, assembly_of(random_sequences({"c": 128})))
    described = feature_set_of(Grid(bin_size=16), n_channels=6, shard_bins=8).model_copy(update={"channels": SEI})
    contig = ContigLayout(store.declare(described, ["c"]), 128)
    write_shard(store.objects, contig, values_of(described, 128, 0), contig="c", phase=0, shard=0, origin=ORIGIN)
    return str(path)


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        ("signal", ("E1", "CTCF", "E2", "P", "E10")),
        ("E", ("E1", "E2", "E10")),
        (["CTCF", "E"], ("CTCF", "E1", "E2", "E10")),
        (["E10", "E"], ("E10", "E1", "E2")),
        (["L", "signal"], ("L1", "E1", "CTCF", "E2", "P", "E10")),
        ("P", ("P",)),
    ],
)
def test_channels_are_chosen_by_name_group_and_signal(grouped: str, channels: Any, names: tuple[str, ...]) -> None:
    dataset = WindowDataset(grouped, "demo", contigs="c", centres=[8, 24], n_bins=1, channels=channels)
    assert dataset.channel_names == names
    columns = [[channel.name for channel in SEI].index(name) for name in names]
    whole = WindowDataset(grouped, "demo", contigs="c", centres=[8, 24], n_bins=1)[[0, 1]]
    assert torch.equal(dataset[[0, 1]], whole[..., columns])


def test_an_unknown_channel_or_group_is_refused_with_those_there_are(grouped: str) -> None:
    def chosen(channels: Any) -> WindowDataset:
        return WindowDataset(grouped, "demo", contigs="c", centres=[8], channels=channels)

    with pytest.raises(ValueError, match=r"no channel 'E3' \(1 unknown\); .*groups: CTCF, E, L, P; did you mean E"):
        chosen(["E1", "E3"])
    with pytest.raises(ValueError, match=r"no channel 'H3K4me3' \(2 unknown\)"):
        chosen(["H3K4me3", "enhancer"])
    with pytest.raises(ValueError, match=r"channels=\[\] leaves no channel of demo; .* or None for all"):
        chosen([])


def test_a_projection_gives_weighted_sums_in_float32_whatever_the_batch(url: str) -> None:
    matrix = np.asarray([[1, 0], [0.5, -1], [0, 3]])
    projection = Projection(matrix, ["up", "down"])
    dataset = windows(url, projection=projection, strands=STRANDS, orient="gene")
    assert dataset.channel_names == ("up", "down")
    wanted = windows(url, strands=STRANDS, orient="gene")[range(6)].double() @ torch.from_numpy(matrix)
    found = dataset[range(6)]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(torch.stack([dataset[index] for index in range(6)]), found)
    chosen = windows(url, channels=["channel2", "channel0"], projection=Projection(matrix[:2], ["up", "down"]))
    wanted = expected(url)[..., [2, 0]].double() @ torch.from_numpy(matrix[:2])
    torch.testing.assert_close(chosen[range(6)].double(), wanted, rtol=1e-6, atol=1e-6)


def test_a_projection_of_another_shape_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"2 rows, but 3 channels .*channel0, channel1, channel2.*one row a channel"):
        windows(url, projection=Projection(np.eye(2), ["a", "b"]))
    with pytest.raises(ValueError, match=r"expected shape \(channels, 3\), got \(2, 2\)"):
        Projection(np.eye(2), ["a", "b", "c"])
    with pytest.raises(ValueError, match="a finite matrix"):
        Projection([[np.nan]], ["a"])
    with pytest.raises(ValueError, match="distinct names, one at least; got a, a"):
        Projection(np.eye(2), ["a", "a"])
