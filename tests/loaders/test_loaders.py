"""Windows and genes as tensors: the same wherever the rows live and however they are asked for."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

import featurestore
from catalog import AssemblyMismatch, Channel, Grid, UnknownContig
from catalog.expression.targets import TARGET_SCHEMA
from catalog.genes.table import GENE_SCHEMA
from catalog.ncbi.annotations import ANNOTATION_SCHEMA
from featurestore import ContigLayout, NotBuilt, RowRequest, RowSource, write_shard
from featurestore.testing import (
    ORIGIN,
    assembly_of,
    built_store,
    feature_set_of,
    grids,
    random_sequences,
    values_of,
)
from loaders import (
    GeneBatch,
    GeneDataset,
    Projection,
    Residence,
    WindowDataset,
    collate,
    data_loader,
    gene_dataset,
)

LENGTHS = {"chr1": 1000, "chr2": 77}
GRID = Grid(bin_size=16, offsets=(0, 8))
CONTIGS = ["chr1", "2", "chr1", "chr2", "chr1", "1"]
CENTRES = [3, 76, 999, 0, 500, 321]
STRANDS = ["+", "-", "-", "+", ".", "-"]
RESIDENCES: tuple[Residence, ...] = get_args(Residence)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("loaders") / "tiny.store"
    built_store(path, LENGTHS, GRID)
    return str(path)


def windows(url: str, **settings: Any) -> WindowDataset:
    arguments: dict[str, Any] = {"contigs": CONTIGS, "centres": CENTRES, "n_bins": 7} | settings
    return WindowDataset(url, "demo", **arguments)


def expected(url: str, n_bins: int = 7) -> torch.Tensor:
    read = featurestore.open(url)["demo"].windows(CONTIGS, CENTRES, n_bins)
    return torch.from_numpy(read.values).to(torch.float32)


class Counting:
    """Rows of another source, and how often they were asked for."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.reads = 0

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[NDArray[np.float16]]) -> None:
        self.reads += 1
        self._source.read_into(requests, outputs)


def counted(dataset: WindowDataset) -> Counting:
    counting = Counting(dataset.reader.source)
    dataset.reader.source = counting
    return counting


# Windows


@pytest.mark.parametrize("residence", RESIDENCES)
def test_the_tensors_are_the_windows_of_the_reader(url: str, residence: Residence) -> None:
    dataset = windows(url, residence=residence)
    assert len(dataset) == len(CENTRES)
    assert dataset.channel_names == ("channel0", "channel1", "channel2")
    assert dataset.fingerprint == "f0"
    assert dataset.contigs == ("chr1", "chr2", "chr1", "chr2", "chr1", "chr1")
    assert torch.equal(dataset[range(len(dataset))], expected(url))
    assert torch.equal(torch.stack([dataset[index] for index in range(len(dataset))]), expected(url))


@given(grids(max_bin_size=20), st.integers(1, 400), st.integers(1, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_memory_cache_and_stream_give_identical_tensors(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, length: int, n_bins: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    built_store(folder / "s", {"a": length, "b": 9}, grid, shard_bins=2 * data.draw(st.integers(1, 3)))
    places = st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 0.999), st.sampled_from("+-."))
    drawn = data.draw(st.lists(places, min_size=1, max_size=8))
    contigs = [contig for contig, _, _ in drawn]
    centres = [int(share * (length if contig == "a" else 9)) for contig, share, _ in drawn]
    found = [
        WindowDataset(
            folder / "s",
            "demo",
            contigs=contigs,
            centres=centres,
            strands=[strand for _, _, strand in drawn],
            orient="gene",
            n_bins=n_bins,
            residence=residence,
            cache_dir=folder / "mirror",
            cache_bytes=data.draw(st.integers(2_000, 9_000)),
        )[range(len(drawn))]
        for residence in RESIDENCES
    ]
    values = featurestore.open(folder / "s")["demo"].windows(contigs, centres, n_bins).values.astype(np.float32)
    for tensor in found:
        for window, (_, _, strand) in enumerate(drawn):
            turned = values[window, ::-1] if strand == "-" else values[window]
            np.testing.assert_array_equal(tensor[window].numpy(), turned)


@given(st.lists(st.integers(-len(CENTRES), len(CENTRES) - 1), min_size=1, max_size=9))
@settings(deadline=None)
def test_one_window_or_many_are_the_same(url: str, indices: list[int]) -> None:
    dataset = windows(url)
    many = dataset[indices]
    assert many.shape == (len(indices), 7, 3)
    assert torch.equal(many, torch.stack(dataset.__getitems__(indices)))
    assert torch.equal(many, torch.stack([dataset[index] for index in indices]))
    assert torch.equal(many, dataset[np.asarray(indices)])
    assert torch.equal(many, expected(url)[indices])


def test_setting_n_bins_reads_nothing_until_the_next_item(url: str) -> None:
    dataset = windows(url, residence="stream")
    counting = counted(dataset)
    for n_bins in (1, 4, 31):
        before = counting.reads
        dataset.n_bins = n_bins
        assert counting.reads == before
        assert torch.equal(dataset[range(len(dataset))], expected(url, n_bins))
        assert counting.reads == before + 1


def test_a_contig_in_memory_is_read_once_for_all_windows_and_lengths(url: str) -> None:
    dataset = windows(url)
    for n_bins in (3, 31, 8):
        dataset.n_bins = n_bins
        _ = dataset[range(len(dataset))]
    assert dataset.stats.cache_misses <= len(LENGTHS) * len(GRID.offsets)
    assert dataset.stats.windows == 3 * len(dataset)


@pytest.mark.parametrize("n_bins", [0, -3])
def test_a_window_has_a_bin_at_least(url: str, n_bins: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 bin, got n_bins={n_bins}"):
        windows(url, n_bins=n_bins)
    dataset = windows(url)
    with pytest.raises(ValueError, match="at least 1 bin"):
        dataset.n_bins = n_bins
    assert dataset.n_bins == 7


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


def test_orient_gene_turns_the_windows_of_the_minus_strand_and_no_other(url: str) -> None:
    forward = windows(url, strands=STRANDS)[range(len(CENTRES))]
    assert torch.equal(forward, expected(url))
    turned = windows(url, strands=STRANDS, orient="gene")[range(len(CENTRES))]
    for window, strand in enumerate(STRANDS):
        assert torch.equal(turned[window], forward[window].flip(0) if strand == "-" else forward[window])
    with pytest.raises(ValueError, match=r"needs the strand of each of the 6 windows: strands=\['\+', '-', \.\.\.\]"):
        windows(url, orient="gene")
    with pytest.raises(ValueError, match="needs the strand of each"):
        windows(url, orient="gene", strands=["+"])
    with pytest.raises(ValueError, match="orient is one of forward, gene; got 'reverse'"):
        windows(url, orient="reverse")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_tensors_have_the_type_asked_for(url: str, dtype: torch.dtype) -> None:
    tensor = windows(url, dtype=dtype)[[0, 1]]
    assert tensor.dtype == dtype
    assert torch.equal(tensor, expected(url)[[0, 1]].to(dtype))


def test_writing_to_a_tensor_changes_nothing_but_it(url: str) -> None:
    dataset = windows(url, dtype=torch.float16)
    dataset[0].zero_()
    dataset[[0, 1]].zero_()
    assert torch.equal(dataset[range(len(dataset))].float(), expected(url))


@pytest.mark.parametrize("indices", [[6], [-7], [0, 6, 1]])
def test_an_index_outside_the_dataset_is_refused(url: str, indices: list[int]) -> None:
    dataset = windows(url)
    with pytest.raises(IndexError, match=r"has 6 windows, 0 to 5; got index (6|-7)$"):
        _ = dataset[indices]
    with pytest.raises(IndexError, match=r"got index (0|6|-7)$"):
        _ = dataset.subset([])[indices[0]]
    with pytest.raises(IndexError, match="got no index"):
        _ = dataset[[]]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param({"contigs": "chr9"}, UnknownContig, "no contig 'chr9'; it has chr1, chr2", id="unknown contig"),
        pytest.param({"contigs": "chr2"}, ValueError, "bases are 0 to 76", id="outside its contig"),
        pytest.param({"contigs": ["chr1"]}, ValueError, "1 contigs and 6 centres", id="too few contigs"),
        pytest.param({"centres": [0.5] * 6}, ValueError, "integer positions", id="half a base"),
        pytest.param({"residence": "disk"}, ValueError, "memory, cache, stream; got 'disk'", id="unknown residence"),
    ],
)
def test_windows_that_cannot_be_read_are_refused_when_the_dataset_is_made(
    url: str, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        windows(url, **settings)


@pytest.mark.parametrize("residence", RESIDENCES)
def test_a_set_or_shard_that_was_never_built_is_refused(tmp_path: Path, residence: Residence) -> None:
    built_store(tmp_path, LENGTHS, GRID, contigs=["chr1"])
    with pytest.raises(NotBuilt, match="has no feature set 'sei'; it has demo"):
        WindowDataset(tmp_path, "sei", contigs="chr1", centres=[5], residence=residence)
    dataset = WindowDataset(tmp_path, "demo", contigs=["chr1", "chr2"], centres=[5, 5], n_bins=3, residence=residence)
    assert torch.isfinite(dataset[0]).all()
    with pytest.raises(NotBuilt, match=r"featurestore build .* --contigs chr2"):
        _ = dataset[1]


def test_a_subset_is_those_windows_and_shares_what_was_read(url: str) -> None:
    dataset = windows(url, strands=STRANDS, orient="gene")
    whole = dataset[range(len(dataset))]
    counting = counted(dataset)
    chosen = dataset.subset([4, 1])
    assert (len(chosen), chosen.contigs, chosen.centres.tolist()) == (2, ("chr1", "chr2"), [500, 76])
    assert torch.equal(chosen[[0, 1]], whole[[4, 1]])
    assert counting.reads == 1, "the subset opened a reader of its own"
    chosen.n_bins = 3
    assert dataset.n_bins == 7
    assert len(dataset.subset([])) == 0


@pytest.mark.parametrize("residence", RESIDENCES)
def test_a_pickled_dataset_gives_the_same_tensors_and_carries_no_rows(url: str, residence: Residence) -> None:
    dataset = windows(url, residence=residence, strands=STRANDS, orient="gene", channels=["channel1"])
    unread = len(pickle.dumps(dataset))
    whole = dataset[range(len(dataset))]
    pickled = pickle.dumps(dataset)
    assert len(pickled) == unread
    for again in (pickle.loads(pickled), copy.deepcopy(dataset)):
        assert torch.equal(again[range(len(dataset))], whole)
        assert again.channel_names == dataset.channel_names


def test_what_comes_to_another_process_is_opened_there_and_so_are_its_subsets(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = windows(url)
    _ = dataset[0]
    pickled = pickle.dumps(dataset)
    monkeypatch.setattr("os.getpid", lambda: -1)
    chosen = pickle.loads(pickled).subset([4, 1]).unjittered()
    assert chosen.placed([0, 1]).centres.tolist() == [500, 76]
    assert chosen.fingerprint == "f0"


# Jitter


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


# Forks

FORKED = """
import sys
from torch.utils.data import DataLoader
from loaders import WindowDataset

dataset = WindowDataset(sys.argv[1], "demo", contigs="chr1", centres=[5, 500], n_bins=3, residence=sys.argv[2])
dataset[[0, 1]]
try:
    list(DataLoader(dataset, num_workers=1, multiprocessing_context="fork"))
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("residence", ["memory", "stream"])
def test_a_worker_that_was_forked_after_use_refuses_with_the_mend(url: str, residence: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORKED, url, residence], capture_output=True, text=True, timeout=120, check=True
    )
    assert "spawn' or 'forkserver'" in ended.stdout
    assert "num_workers=0" in ended.stdout


# Genes


GENES = pl.DataFrame(
    [
        ("ENSG1", "AAA", "chr1", "+", 100, "protein_coding"),
        ("ENSG2", "BBB", "2", "-", 40, "protein_coding"),
        ("ENSG3", "CCC", "chr9", "+", 5, None),
        ("ENSG4", "DDD", "chr1", "-", 700, None),
        ("ENSG5", "EEE", "chr1", "+", 999, None),
    ],
    schema=GENE_SCHEMA,
    orient="row",
)
TARGETS = pl.DataFrame(
    [("ENSG4", 4.5), ("ENSG1", 0.0), ("ENSG77", 1.0), ("ENSG2", 2.25), ("ENSG3", 9.0)],
    schema=TARGET_SCHEMA,
    orient="row",
)
ANNOTATIONS = pl.DataFrame(
    [("ENSG1", 1, "AAA", "alpha subunit", None, None, None), (None, 2, "bbb", "beta barrel", None, None, None)],
    schema=ANNOTATION_SCHEMA,
    orient="row",
)


def genes(url: str, **settings: Any) -> GeneDataset:
    arguments: dict[str, Any] = {"annotations": ANNOTATIONS, "targets": TARGETS, "n_bins": 5} | settings
    return gene_dataset(url, "demo", GENES, **arguments)


def test_genes_are_joined_to_windows_targets_and_prompts_in_the_order_of_the_table(url: str) -> None:
    dataset = genes(url)
    assert dataset.gene_ids == ["ENSG1", "ENSG2", "ENSG4"], "on the assembly, and with a target"
    assert len(dataset) == 3
    batch = dataset[[0, 1, 2]]
    read = featurestore.open(url)["demo"].windows(["chr1", "chr2", "chr1"], [100, 40, 700], 5)
    np.testing.assert_array_equal(batch.features.numpy(), read.values.astype(np.float32))
    assert batch.targets.tolist() == [0.0, 2.25, 4.5]
    assert batch.indices.tolist() == [0, 1, 2]
    assert "alpha subunit" in batch.prompts[0]
    assert "beta barrel" in batch.prompts[1]
    assert (dataset.channel_names, dataset.fingerprint) == (("channel0", "channel1", "channel2"), "f0")


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5))
@settings(deadline=None)
def test_genes_come_as_asked_for(url: str, indices: list[int]) -> None:
    dataset = genes(url)
    many = dataset[indices]
    alone = [dataset[index] for index in indices]
    assert torch.equal(many.features, torch.cat([batch.features for batch in alone]))
    assert torch.equal(many.targets, torch.cat([batch.targets for batch in alone]))
    assert many.indices.tolist() == indices
    assert many.prompts == [batch.prompts[0] for batch in alone]


def test_a_plain_dataloader_gives_batches_of_genes(url: str) -> None:
    dataset = genes(url)
    for ours, plain, collated in zip(
        data_loader(dataset, batch_size=2),
        DataLoader(dataset, batch_size=2),
        DataLoader(dataset, batch_size=2, collate_fn=collate),
        strict=True,
    ):
        for other in (plain, collated):
            assert isinstance(other, GeneBatch)
            assert torch.equal(other.features, ours.features)
            assert (other.prompts, other.targets.tolist()) == (ours.prompts, ours.targets.tolist())
            assert torch.equal(other.indices, ours.indices)


def test_batches_of_genes_are_put_together_in_order(url: str) -> None:
    dataset = genes(url)
    together, whole = collate([dataset[[2]], dataset[[0, 1]]]), dataset[[2, 0, 1]]
    assert torch.equal(together.features, whole.features)
    assert (together.prompts, together.targets.tolist()) == (whole.prompts, whole.targets.tolist())


def test_genes_are_jittered_as_their_windows_are_and_not_when_judged(url: str) -> None:
    dataset, still = genes(url, jitter_bp=40), genes(url)
    dataset.set_epoch(3)
    assert dataset.windows.centres_at([0, 1, 2]).tolist() != still.windows.centres.tolist()
    assert torch.equal(dataset.unjittered()[[0, 1, 2]].features, still[[0, 1, 2]].features)


def test_a_gene_loader_gives_every_gene_once_an_epoch(url: str) -> None:
    batches = list(data_loader(genes(url), batch_size=2, shuffle=True))
    assert [len(batch.prompts) for batch in batches] == [2, 1]
    assert sorted(place for batch in batches for place in batch.indices.tolist()) == [0, 1, 2]


def test_without_targets_every_gene_of_the_assembly_is_kept_and_its_target_is_nan(url: str) -> None:
    dataset = genes(url, targets=None)
    assert dataset.gene_ids == ["ENSG1", "ENSG2", "ENSG4", "ENSG5"]
    assert torch.isnan(dataset.targets).all()


def test_without_annotations_a_prompt_still_names_its_gene(url: str) -> None:
    dataset = genes(url, annotations=None)
    assert ["AAA" in dataset.prompts[0], "DDD" in dataset.prompts[2]] == [True, True]


def test_the_settings_of_the_windows_reach_them(url: str) -> None:
    dataset = genes(url, orient="gene", channels=["channel1"], residence="stream")
    forward = genes(url)
    turned = dataset[[1, 2]].features
    assert torch.equal(turned, forward[[1, 2]].features[..., [1]].flip(1)), "both lie on the minus strand"
    assert torch.equal(dataset[0].features, forward[0].features[..., [1]])
    dataset.n_bins = 9
    assert dataset[0].features.shape == (1, 9, 1)


def test_a_subset_of_genes_keeps_their_rows_together(url: str) -> None:
    dataset = genes(url)
    chosen = dataset.subset(["ENSG4", "ENSG1", "not there"])
    assert chosen.gene_ids == ["ENSG1", "ENSG4"]
    whole, part = dataset[[0, 2]], chosen[[0, 1]]
    assert torch.equal(part.features, whole.features)
    assert torch.equal(part.targets, whole.targets)
    assert part.prompts == whole.prompts
    assert len(dataset.subset([])) == 0


def test_targets_of_other_genes_are_refused_with_names_of_both(url: str) -> None:
    other = TARGETS.with_columns(gene_id=pl.lit("TSPAN6"))
    with pytest.raises(ValueError, match="named like ENSG1, targets like TSPAN6; give both the same identifiers"):
        genes(url, targets=other)
    with pytest.raises(ValueError, match="targets like nothing"):
        genes(url, targets=TARGETS.clear())


def test_genes_of_another_assembly_are_refused(url: str) -> None:
    with pytest.raises(AssemblyMismatch, match=r"no gene lies on tiny.*gene table of that assembly"):
        gene_dataset(url, "demo", GENES.with_columns(contig=pl.lit("chr9")))


def test_parts_of_different_lengths_are_refused(url: str) -> None:
    dataset = genes(url)
    with pytest.raises(ValueError, match="got 3, 3, 1 and 3"):
        GeneDataset(dataset.windows, dataset.genes, prompts=["one"], targets=[0.0, 1.0, 2.0])
