"""Batches to train on: what a loader gives, in which order, on which rank, with workers, and where it resumes."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from catalog import Grid
from catalog.genes.table import GENE_SCHEMA
from featurestore.testing import built_store
from loaders import GeneDataset, GlobalBatchSampler, WindowDataset, WindowStream, data_loader, gene_dataset

# Two workers are two whatever the machine has.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

LENGTHS = {"chr1": 1000, "chr2": 300}
CENTRES = np.arange(0, 1000, 20)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stream") / "tiny.store"
    built_store(path, LENGTHS, Grid(bin_size=16, offsets=(0, 8)))
    return str(path)


def windows(url: str, **settings: Any) -> WindowDataset:
    arguments: dict[str, Any] = {"contigs": "chr1", "centres": CENTRES, "n_bins": 3} | settings
    return WindowDataset(url, "demo", **arguments)


def genes(url: str, **settings: Any) -> GeneDataset:
    rows = [(f"ENSG{tss}", f"G{tss}", "chr1", "+-"[tss % 2], tss, None) for tss in range(3, 1000, 45)]
    return gene_dataset(url, "demo", pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row"), n_bins=3, **settings)


def order_of(dataset: WindowDataset, **settings: Any) -> list[list[int]]:
    return list(GlobalBatchSampler(len(dataset), **settings))


# Streams


@given(st.integers(1, 12), st.integers(0, 9), st.integers(1, 5), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_a_stream_gives_the_tensors_of_its_dataset_in_the_order_of_its_sampler(
    url: str, batch_size: int, seed: int, buffer_blocks: int, epoch: int
) -> None:
    dataset = windows(url, jitter_bp=30)
    stream = WindowStream(dataset, batch_size=batch_size, seed=seed, buffer_blocks=buffer_blocks)
    blocks = windows(url).blocks()
    sampler = GlobalBatchSampler(
        len(dataset), batch_size=batch_size, shuffle=True, seed=seed, blocks=blocks, buffer_blocks=buffer_blocks
    )
    stream.set_epoch(epoch)
    sampler.set_epoch(epoch)
    twin = windows(url, jitter_bp=30)
    twin.set_epoch(epoch)
    found = list(stream)
    assert len(found) == len(stream)
    for batch, indices in zip(found, sampler, strict=True):
        assert torch.equal(batch, twin[indices])


def test_the_blocks_of_windows_are_the_shards_of_their_centres(url: str) -> None:
    dataset = windows(url, contigs=["chr1", "2", "chr1", "chr1", "chr2"], centres=[63, 63, 0, 64, 64])
    blocks = dataset.blocks().tolist()
    assert blocks[0] == blocks[2]
    assert len(set(blocks)) == 4, "another shard or another contig is another block"


def test_a_stream_touches_few_shards_at_a_time_and_a_full_shuffle_all(url: str) -> None:
    dataset = windows(url)
    blocks = dataset.blocks()

    def touched(buffer_blocks: int | None) -> int:
        stream = WindowStream(dataset, batch_size=6, buffer_blocks=buffer_blocks)
        return max(len(set(blocks[batch])) for batch in stream.sampler)

    assert touched(2) <= 4, "a batch may lie in two buffers"
    assert touched(None) > 4


def test_each_pass_of_a_loader_is_another_epoch_decided_by_its_seed(url: str) -> None:
    dataset = windows(url)
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
        assert sorted(epoch.sum(dim=(1, 2)).tolist()) == sorted(whole.sum(dim=(1, 2)).tolist())


def test_two_loaders_of_one_dataset_may_be_in_different_epochs(url: str) -> None:
    dataset = windows(url, jitter_bp=60)
    alone = [batch.clone() for batch in data_loader(windows(url, jitter_bp=60), batch_size=10)]
    ahead = data_loader(dataset, batch_size=10)
    list(ahead)
    for batch, wanted in zip(data_loader(dataset, batch_size=10), alone, strict=True):
        next(iter(ahead))
        assert torch.equal(batch, wanted)


def test_genes_stream_as_batches_of_genes(url: str) -> None:
    dataset = genes(url)
    stream = WindowStream(dataset, batch_size=5, seed=2, buffer_blocks=3)
    batches = list(stream)
    assert sorted(place for batch in batches for place in batch.indices.tolist()) == list(range(len(dataset)))
    for batch in batches:
        wanted = dataset[batch.indices.tolist()]
        assert torch.equal(batch.features, wanted.features)
        assert batch.prompts == wanted.prompts


def test_one_read_serves_a_batch_and_the_loader_says_what_was_read(url: str) -> None:
    loader = data_loader(windows(url, residence="stream"), batch_size=25)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [25, 25]
    assert loader.stats.windows == 50


# Ranks


@pytest.mark.parametrize("uneven", ["repeat", "drop"])
def test_ranks_share_the_batches_of_one_epoch_equally(url: str, uneven: Any) -> None:
    dataset = windows(url)
    alone = list(data_loader(dataset, batch_size=4, shuffle=True))
    loaders = [
        data_loader(dataset, batch_size=4, shuffle=True, uneven=uneven, rank=rank, world_size=3) for rank in range(3)
    ]
    shares = [list(loader) for loader in loaders]
    together = [batch for step in zip(*shares, strict=True) for batch in step]
    assert len(alone) == 13
    assert len(together) == (15 if uneven == "repeat" else 12)
    for one, other in zip(together, alone[: len(together)] + alone[:2], strict=False):
        assert torch.equal(one, other)


def test_ranks_that_do_not_fit_are_refused(url: str) -> None:
    dataset = windows(url)
    with pytest.raises(
        ValueError, match="rank and world_size are given both or neither; got rank=1 and world_size=None"
    ):
        data_loader(dataset, rank=1)
    with pytest.raises(ValueError, match="got rank=2 of world_size=2"):
        WindowStream(dataset, rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"50 items make 1 batches of 64, too few for 2 ranks .*smaller batch_size"):
        data_loader(dataset, rank=0, world_size=2, uneven="drop")
    with pytest.raises(ValueError, match="the dataset is empty"):
        WindowStream(dataset.subset([]))


def _share_of_a_rank(rank: int, url: str, folder: str) -> None:
    """Run one rank: made early, its loader refuses; made in time, it knows its rank and resumes on two."""
    torch.set_num_threads(1)
    dataset = windows(url, jitter_bp=9)
    early = data_loader(dataset, batch_size=4)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    with pytest.raises(RuntimeError, match=r"made before torch.distributed.init_process_group.*make it after"):
        next(iter(early))
    loader = data_loader(dataset, batch_size=4, shuffle=True)
    loader.load_state_dict(json.loads(Path(folder, "state.json").read_text()))
    torch.save(list(loader), Path(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


def test_two_processes_take_over_what_one_began(url: str, tmp_path: Path) -> None:
    alone = list(data_loader(windows(url, jitter_bp=9), batch_size=4, shuffle=True))
    begun = data_loader(windows(url, jitter_bp=9), batch_size=4, shuffle=True)
    batches = iter(begun)
    for _ in range(5):
        next(batches)
    (tmp_path / "state.json").write_text(json.dumps(begun.state_dict()))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_share_of_a_rank, args=(rank, url, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    together = [batch for step in zip(*shares, strict=True) for batch in step]
    assert len(together) == 8
    for one, other in zip(together, alone[5:], strict=True):
        assert torch.equal(one, other)


# States


@given(
    st.sampled_from([(1, 3), (2, 1), (3, 2), (2, 5), (4, 1)]),
    st.integers(0, 3),
    st.integers(0, 9),
    st.sampled_from([None, 3]),
)
@settings(max_examples=15, deadline=None)
def test_a_loader_resumes_mid_epoch_on_another_world_size_with_the_tensors_it_would_have_given(
    url: str, worlds: tuple[int, int], steps: int, seed: int, buffer_blocks: int | None
) -> None:
    def loaders(world_size: int) -> list[Any]:
        return [
            data_loader(
                windows(url, jitter_bp=20),
                batch_size=4,
                shuffle=True,
                seed=seed,
                buffer_blocks=buffer_blocks,
                rank=rank,
                world_size=world_size,
            )
            for rank in range(world_size)
        ]

    (alone,) = loaders(1)
    wanted = [*alone, *alone][: 13 + 4]
    before, after = (loaders(world_size) for world_size in worlds)
    passes = [iter(loader) for loader in before]
    had = [batch for _ in range(steps) for batch in map(next, passes)]
    for loader in after:
        loader.load_state_dict(before[0].state_dict())
    shares = [list(loader) for loader in after]
    had += [batch for step in zip(*shares, strict=True) for batch in step][: 13 - len(had)]
    had += [batch for step in zip(*(list(loader) for loader in after), strict=True) for batch in step][:4]
    assert len(had) == len(wanted)
    for one, other in zip(had, wanted, strict=True):
        assert torch.equal(one, other)


# Workers


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_workers_give_the_same_batches_and_the_state_of_what_the_loop_has_had(url: str, context: Any) -> None:
    def loader(num_workers: int) -> Any:
        dataset = windows(url, jitter_bp=20)
        _ = dataset[0]  # used in this process before
        return data_loader(
            dataset, batch_size=4, shuffle=True, num_workers=num_workers, multiprocessing_context=context
        )

    alone, crowd = loader(0), loader(2)
    batches = iter(crowd)
    for _, wanted in zip(range(5), alone, strict=False):
        assert torch.equal(next(batches), wanted)
    assert crowd.state_dict()["position"] == 20, "the workers are further"
    resumed = loader(0)
    resumed.load_state_dict(crowd.state_dict())
    rest = list(resumed)
    assert len(rest) == 8
    for one, other in zip(batches, rest, strict=True):
        assert torch.equal(one, other)


def test_a_stream_in_a_plain_dataloader_is_split_among_its_workers(url: str) -> None:
    stream = WindowStream(genes(url, jitter_bp=20), batch_size=3, seed=5)
    wanted = list(WindowStream(genes(url, jitter_bp=20), batch_size=3, seed=5))
    found = list(DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="forkserver"))
    assert len(found) == len(wanted) == len(stream)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one.features, other.features)
        assert one.prompts == other.prompts
    # This object has not counted; the loop has.
    assert stream.state_dict(taken=3)["position"] == 9
    assert stream.state_dict(taken=len(found))["epoch"] == 1


def test_a_fork_is_refused_before_it_is_tried(url: str) -> None:
    with pytest.raises(ValueError, match=r"'spawn' or 'forkserver', got 'fork': .*does not survive a fork"):
        data_loader(windows(url), num_workers=1, multiprocessing_context="fork")  # type: ignore[arg-type]  # on purpose
