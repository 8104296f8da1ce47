"""Windows and genes as tensors: the same wherever the rows live and however they are asked for."""

import copy
import os
import pickle
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
from catalog.expression import TARGET_SCHEMA
from catalog.genes import GENE_SCHEMA
from catalog.ncbi import ANNOTATION_SCHEMA
from featurestore import ContigLayout, DamagedChunk, NotBuilt, RowRequest, RowSource, layout, write_shard
from featurestore.testing import ORIGIN, built_store, feature_set_of, grids, values_of
from loaders import GeneDataset, Residence, WindowDataset, data_loader, gene_dataset, open_reader

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

    def read(self, requests: Sequence[RowRequest]) -> list[NDArray[np.float16]]:
        self.reads += 1
        return self._source.read(requests)


def counted(dataset: WindowDataset) -> Counting:
    counting = Counting(dataset.reader.source)
    dataset._reader = dataset.reader.with_source(counting)
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
            cache_bytes=data.draw(st.integers(0, 5_000)),
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
    counting = Counting(featurestore.open(url)["demo"].source)
    rows = featurestore.MemoryRows(counting, dataset.reader.n_rows)
    dataset._reader = dataset.reader.with_source(rows)
    for n_bins in (3, 31, 8):
        dataset.n_bins = n_bins
        _ = dataset[range(len(dataset))]
    assert counting.reads <= len(LENGTHS) * len(GRID.offsets)


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


def test_signal_leaves_out_the_channels_of_low_signal(tmp_path: Path) -> None:
    store = featurestore.create(tmp_path, built_store(tmp_path / "other", {"c": 64}, Grid(bin_size=16)).assembly)
    channels = tuple(Channel(name=name, low_signal=name == "heterochromatin") for name in ("a", "heterochromatin", "b"))
    described = feature_set_of(Grid(bin_size=16)).model_copy(update={"channels": channels})
    contig = ContigLayout(store.declare(described, ["c"]), 64)
    values = values_of(described, 64, 0)
    write_shard(store.objects, contig, values, contig="c", phase=0, shard=0, origin=ORIGIN)
    dataset = WindowDataset(tmp_path, "demo", contigs="c", centres=[8, 24], n_bins=1, channels="signal")
    assert dataset.channel_names == ("a", "b")
    np.testing.assert_array_equal(dataset[[0, 1]][:, 0].numpy(), values[:2, [0, 2]].astype(np.float32))


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
    with pytest.raises(ValueError, match="orient is 'forward' or 'gene', got 'reverse'"):
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


def test_reading_after_a_fork_is_refused_with_the_mend(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = windows(url, residence="stream")
    _ = dataset[0]
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="spawn"):
        _ = dataset[0]


# DataLoader


def test_a_plain_dataloader_and_ours_give_the_same_batches(url: str) -> None:
    dataset = windows(url, residence="stream")
    counting = counted(dataset)
    plain = list(DataLoader(dataset, batch_size=4))
    assert counting.reads == 2
    ours = list(data_loader(dataset, batch_size=4))
    assert counting.reads == 4, "a batch is not one read"
    assert [len(batch) for batch in ours] == [4, 2]
    for one, other in zip(plain, ours, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(torch.cat(ours), expected(url))
    assert [len(batch) for batch in data_loader(dataset, batch_size=4, drop_last=True)] == [4]


def test_a_shuffle_is_decided_by_its_seed_and_differs_between_epochs(url: str) -> None:
    dataset = WindowDataset(url, "demo", contigs="chr1", centres=np.arange(8, 1000, 16), n_bins=1)
    whole = dataset[range(len(dataset))]

    def epochs(seed: int) -> list[torch.Tensor]:
        loader = data_loader(dataset, batch_size=16, shuffle=True, seed=seed)
        return [torch.cat(list(loader)) for _ in range(2)]

    first, second = epochs(0)
    assert all(torch.equal(one, other) for one, other in zip(epochs(0), (first, second), strict=True))
    assert not torch.equal(first, second)
    assert not torch.equal(first, epochs(1)[0])
    assert not torch.equal(first, whole)
    for epoch in (first, second):
        assert sorted(epoch[:, 0, 0].tolist()) == sorted(whole[:, 0, 0].tolist())


def test_a_spawned_worker_gives_the_same_batches(url: str) -> None:
    dataset = windows(url)
    _ = dataset[0]
    batches = list(data_loader(dataset, batch_size=4, num_workers=1))
    assert torch.equal(torch.cat(batches), expected(url))


# The mirror


ALL = range(63)
"""Indices of one window for each bin of phase 0 of chr1."""


def mirrored(url: str | Path, folder: Path, **settings: Any) -> WindowDataset:
    places = {"contigs": "chr1", "centres": [*range(8, 1000, 16), 999], "n_bins": 1}
    arguments: dict[str, Any] = places | {"residence": "cache", "cache_dir": folder} | settings
    return WindowDataset(url, "demo", **arguments)


def copies(folder: Path) -> dict[int, Path]:
    """Find the copies of phase 0 of chr1, by shard."""
    return {int(path.parent.name): path for path in folder.rglob("chr1/values/c/0/*/0")}


def shard_sizes(url: str) -> list[int]:
    return [Path(url, layout.shard_key("demo", "chr1", 0, shard)).stat().st_size for shard in range(16)]


def test_a_mirror_copies_the_shards_that_are_touched_and_no_others(url: str, tmp_path: Path) -> None:
    dataset = mirrored(url, tmp_path)
    assert copies(tmp_path) == {}
    _ = dataset[0]
    _ = dataset[[17, 18]]
    assert sorted(copies(tmp_path)) == [0, 4]
    for shard, path in copies(tmp_path).items():
        assert path.read_bytes() == Path(url, layout.shard_key("demo", "chr1", 0, shard)).read_bytes()


def test_a_mirror_stays_within_its_bytes(url: str, tmp_path: Path) -> None:
    most = 3 * max(shard_sizes(url))
    dataset = mirrored(url, tmp_path, cache_bytes=most)
    whole = mirrored(url, tmp_path, residence="stream")[ALL]
    for index in [*range(0, 63, 3), *range(62, 0, -5)]:
        assert torch.equal(dataset[index], whole[index])
        assert sum(path.stat().st_size for path in copies(tmp_path).values()) <= most
    assert torch.equal(dataset[ALL], whole), "a read of more than the mirror holds"


def test_the_least_recently_used_copy_goes_first(url: str, tmp_path: Path) -> None:
    sizes = shard_sizes(url)
    dataset = mirrored(url, tmp_path, cache_bytes=sizes[0] + sizes[2] + sizes[3] + min(sizes) // 2)
    for age, shard in [(30, 0), (20, 1)]:
        _ = dataset[4 * shard]
        os.utime(copies(tmp_path)[shard], (10**9 - age, 10**9 - age))
    _ = dataset[0]
    _ = dataset[8]
    _ = dataset[12]
    assert sorted(copies(tmp_path)) == [0, 2, 3]


@pytest.mark.parametrize("damage", ["removed", "emptied", "flipped"])
def test_a_copy_that_is_lost_or_damaged_is_made_again(url: str, tmp_path: Path, damage: str) -> None:
    dataset = mirrored(url, tmp_path)
    whole = dataset[ALL]
    path = copies(tmp_path)[3]
    data = path.read_bytes()
    flipped = bytes([data[0] ^ 1, *data[1:]])
    path.unlink()
    if damage != "removed":
        path.write_bytes(flipped if damage == "flipped" else b"")
    assert torch.equal(dataset[ALL], whole)
    assert path.read_bytes() == data


def test_a_damaged_description_in_the_mirror_is_made_again(url: str, tmp_path: Path) -> None:
    whole = mirrored(url, tmp_path)[ALL]
    for path in tmp_path.rglob("zarr.json"):
        path.write_text("{")
    assert torch.equal(mirrored(url, tmp_path)[ALL], whole)


def test_a_mirror_knows_the_phases_that_were_added_to_its_store(tmp_path: Path) -> None:
    store = built_store(tmp_path / "s", {"chr1": 128}, Grid(bin_size=16))
    before = mirrored(tmp_path / "s", tmp_path / "mirror", centres=[8])
    assert before.reader.windows("chr1", [8], 1).residuals.tolist() == [0]
    both = store.declare(feature_set_of(Grid(bin_size=16, offsets=(0, 8))), ["chr1"])
    contig = ContigLayout(both, 128)
    values = values_of(both, 128, 1)
    for shard in range(contig.n_shards(1)):
        first, end = contig.shard_span(1, shard)
        write_shard(store.objects, contig, values[first:end], contig="chr1", phase=1, shard=shard, origin=ORIGIN)
    after = mirrored(tmp_path / "s", tmp_path / "mirror", centres=[8, 16, 127])
    np.testing.assert_array_equal(after[[1, 2]][:, 0].numpy(), values[[1, 8]].astype(np.float32))
    assert torch.equal(after[0], before[0])


def test_a_shard_that_is_not_what_was_committed_is_not_copied(tmp_path: Path) -> None:
    built_store(tmp_path / "s", {"chr1": 1000}, Grid(bin_size=16))
    path = tmp_path / "s" / layout.shard_key("demo", "chr1", 0, 2)
    path.write_bytes(Path(tmp_path / "s" / layout.shard_key("demo", "chr1", 0, 1)).read_bytes())
    dataset = mirrored(tmp_path / "s", tmp_path / "mirror")
    assert torch.isfinite(dataset[0]).all()
    with pytest.raises(DamagedChunk, match=r"c/0/2/0 of .* is not what was committed; `featurestore verify --crc`"):
        _ = dataset[8]
    assert sorted(copies(tmp_path / "mirror")) == [0]


def test_two_datasets_share_the_copies_of_one_store_and_evict_each_others(url: str, tmp_path: Path) -> None:
    one, other = mirrored(url, tmp_path), mirrored(url, tmp_path, cache_bytes=0)
    whole = mirrored(url, tmp_path, residence="stream")[ALL]
    for index in (0, 30, 1, 31, 62, 0):
        assert torch.equal(one[index], whole[index])
        assert torch.equal(other[62 - index], whole[62 - index])
        assert torch.equal(one[[index, 62]], whole[[index, 62]])


def test_a_copy_serves_another_dataset_when_the_shard_itself_is_gone(tmp_path: Path) -> None:
    built_store(tmp_path / "s", {"chr1": 1000}, Grid(bin_size=16))
    whole = mirrored(tmp_path / "s", tmp_path / "mirror")[ALL]
    for path in (tmp_path / "s").rglob("c/0/*/0"):
        path.unlink()
    assert torch.equal(mirrored(tmp_path / "s", tmp_path / "mirror")[ALL], whole)


def test_stores_with_equal_names_keep_apart_in_one_folder(tmp_path: Path) -> None:
    for name, fingerprint in (("a", "f0"), ("b", "f1")):
        built_store(tmp_path / name, {"chr1": 1000}, Grid(bin_size=16), fingerprint=fingerprint, n_channels=4)
    _ = mirrored(tmp_path / "a", tmp_path / "mirror")[ALL]
    for path in (tmp_path / "mirror").rglob("c/0/*/0"):
        path.write_bytes(b"of a alone")
    expected = mirrored(tmp_path / "b", tmp_path / "mirror", residence="stream")[ALL]
    assert torch.equal(mirrored(tmp_path / "b", tmp_path / "mirror")[ALL], expected)


def test_the_mirror_lies_in_the_cache_directory_unless_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURESTORE_CACHE", str(tmp_path))
    open_reader(url, "demo", residence="cache").window("chr1", 8, n_bins=1)
    assert list(copies(tmp_path / "shards")) == [0]


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
