"""Windows of genes are what stands at each base, whatever the bins, the length, the strand and the residence."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from signal_stores import GENES, SETS, described, window_of, write_set

from featurestore.rows.source import gather
from featurestore.store import create
from featurestore.testing import assembly_of, grids, random_sequences
from loaders import (
    MemoryBudgetExceeded,
    SignalGeneBatch,
    SignalGeneDataset,
    data_loader,
    prefetch,
    signal_gene_dataset,
)
from loaders.signals.held import gathered_by_rows
from loaders.signals.rows import merged_runs

SIGNALS = ("base", "fine", "wide")
RESIDENCES = ("memory", "device", "cache", "stream")


def dataset(url: str, **changes: Any) -> SignalGeneDataset:
    arguments: dict[str, Any] = {"signals": SIGNALS, "length": 100} | changes
    return signal_gene_dataset(url, GENES, **arguments)


def expected(
    genes: pl.DataFrame, length: int, signals: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read sequence and signals of every gene base by base, forward."""
    places = genes.select("contig", "tss").rows()
    sequence = np.stack([window_of("sequence", *place, length)[:, 0] for place in places])
    by_set = [np.stack([window_of(name, *place, length) for place in places]) for name in signals]
    return sequence, np.concatenate(by_set, axis=2)


@given(
    st.integers(1, 260),
    st.lists(st.sampled_from(SIGNALS), min_size=1, max_size=3, unique=True),
    st.sampled_from(["memory", "stream"]),
)
@settings(deadline=None, max_examples=25)
def test_every_base_of_a_window_has_what_stands_there(url: str, length: int, names: list[str], residence: str) -> None:
    genes = dataset(url, signals=tuple(names), length=length, residence=residence)
    batch = genes[:]
    sequence, signals = expected(genes.genes, length, tuple(names))
    np.testing.assert_array_equal(batch.sequence.numpy(), sequence)
    np.testing.assert_array_equal(batch.signals.numpy(), signals.astype(np.float32))


def test_the_tss_stands_in_the_middle_and_a_window_begins_half_its_length_before(url: str) -> None:
    genes = dataset(url, length=20)
    place = genes.gene_ids.index("ENSG4")
    batch = genes[place]
    assert genes.tss_index == 10
    whole, _ = expected(genes.genes, 1, ("base",))
    assert batch.sequence[0, 10].item() == whole[place, 0]


@given(st.lists(st.integers(-7, 6), min_size=1, max_size=9))
@settings(deadline=None, max_examples=20)
def test_genes_come_as_asked_for(url: str, indices: list[int]) -> None:
    genes = dataset(url, orient="gene")
    many = genes[indices]
    alone = [genes[index] for index in indices]
    for name in ("sequence", "signals", "covariates", "indices"):
        assert torch.equal(getattr(many, name), torch.cat([getattr(one, name) for one in alone])), name
    assert many.indices.tolist() == [index % 7 for index in indices]


@pytest.mark.parametrize("residence", RESIDENCES)
def test_every_residence_gives_the_same_batches(url: str, residence: str, tmp_path: Path) -> None:
    there = {"residence": residence, "cache_dir": tmp_path, "cache_bytes": 1 << 22}
    ours, reference = dataset(url, orient="gene", **there)[:], dataset(url, orient="gene")[:]
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_batches_whether_rows_lie_there_or_bins_are_brought(url: str) -> None:
    pairs = {"plus": "minus"}
    reference = dataset(url, orient="gene", stranded=pairs)
    loader = data_loader(reference.as_stored(), batch_size=7)
    (stored,) = prefetch(loader, "cuda")
    held = dataset(url, orient="gene", stranded=pairs, residence="device")
    for batch in (stored.finished(), held[:]):
        assert {tensor.device.type for tensor in batch} == {"cuda"}
        for one, other in zip(batch, reference[:], strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=0, atol=0, equal_nan=True)


@given(st.integers(1, 5), st.lists(st.integers(0, 15), min_size=1, max_size=5))
def test_rows_are_gathered_on_a_device_as_on_the_host(n_rows: int, firsts: list[int]) -> None:
    rows = np.random.default_rng(n_rows).normal(size=(20, 2)).astype(np.float16)
    found = gathered_by_rows(torch.from_numpy(rows), torch.tensor(firsts), n_rows)
    np.testing.assert_array_equal(found.numpy(), gather(rows, np.array(firsts), n_rows))


@given(st.data())
@settings(deadline=None, max_examples=15)
def test_bins_of_any_size_at_any_offset_cover_the_same_bases(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    grid = data.draw(grids(max_bin_size=200))
    contig_length, length = data.draw(st.integers(1, 600)), data.draw(st.integers(1, 700))
    tss = data.draw(st.lists(st.integers(0, contig_length - 1), min_size=1, max_size=4))
    strands = data.draw(st.lists(st.sampled_from("+-"), min_size=len(tss), max_size=len(tss)))
    store = create(tmp_path_factory.mktemp("any") / "s", assembly_of(random_sequences({"chr1": contig_length})))
    values = np.random.default_rng(length).normal(size=(grid.n_bins(contig_length), 1)).astype(np.float32)
    write_set(store, described("any", grid, "float32", ("x",), (-9.0,)), lambda _: values)
    table = pl.DataFrame(
        {"gene_id": [str(n) for n in range(len(tss))], "contig": "chr1", "strand": strands, "tss": tss}
    )
    genes = signal_gene_dataset(str(store.url), table, sequence=None, signals=("any",), length=length, orient="gene")
    for window, at, strand in zip(genes[:].signals[..., 0].tolist(), tss, strands, strict=True):
        bases = range(at - length // 2, at - length // 2 + length)
        stands = [
            values[(base + grid.offsets[0]) // grid.bin_size, 0] if 0 <= base < contig_length else -9.0
            for base in bases
        ]
        assert window == (stands if strand == "+" else stands[::-1])


@pytest.mark.parametrize("length", [1, 2, 99, 100])
def test_along_the_gene_a_window_is_the_reverse_complement_of_the_same_bases(url: str, length: int) -> None:
    pairs = {"plus": "minus"}
    forward, turned = dataset(url, length=length), dataset(url, length=length, orient="gene", stranded=pairs)
    names = forward.signal_names
    swapped = [names.index({"plus": "minus", "minus": "plus"}.get(name, name)) for name in names]
    before, after = forward[:], turned[:]
    complement = torch.tensor([3, 2, 1, 0, 4], dtype=torch.uint8)
    for gene, strand in enumerate(forward.genes["strand"]):
        assert turned.is_turned[gene] == (strand == "-")
        if strand == "-":
            assert torch.equal(after.sequence[gene], complement[before.sequence[gene].long()].flip(0))
            assert torch.equal(after.signals[gene], before.signals[gene].flip(0)[:, swapped])
        else:
            assert torch.equal(after.sequence[gene], before.sequence[gene])
            assert torch.equal(after.signals[gene], before.signals[gene])


def test_a_strand_that_is_stored_as_negative_values_keeps_its_sign_when_it_changes_places(url: str) -> None:
    of_pair: dict[str, Any] = {"signals": ("signed",)}
    turned = dataset(url, **of_pair, orient="gene", stranded={"fwd": "-rev"}, channels=("rev", "fwd"))[:].signals
    forward = dataset(url, **of_pair)[:].signals
    minus = [gene for gene, strand in enumerate(GENES["strand"]) if strand == "-"]
    assert torch.equal(turned[minus], -forward[minus].flip(1))


def test_a_strand_alone_is_the_sense_strand_of_turned_genes(url: str) -> None:
    both = dataset(url, orient="gene", stranded={"plus": "minus"})
    sense = both[:].signals[..., [both.signal_names.index("plus")]]
    assert torch.equal(both.with_signals(["plus"])[:].signals, sense)
    assert torch.equal(dataset(url, orient="gene", stranded={"plus": "minus"}, channels=("plus",))[:].signals, sense)


@given(st.integers(1, 200), st.integers(1, 200))
@settings(deadline=None, max_examples=15)
def test_windows_of_another_length_are_those_that_were_asked_for_at_once(url: str, length: int, other: int) -> None:
    genes = dataset(url, length=length)
    genes[:]  # held at this length
    fresh = dataset(url, length=other)[:]
    part = slice(2, 5)
    for changed, chosen in (
        (genes.with_length(other), slice(None)),
        (genes.with_n_bins(other), slice(None)),
        (genes.subset(genes.gene_ids[part]).with_length(other), part),
    ):
        assert torch.equal(changed[:].signals, fresh.signals[chosen])
        assert torch.equal(changed[:].sequence, fresh.sequence[chosen])
    assert (genes.length, genes.n_bins) == (length, length)
    genes.length = other
    assert torch.equal(genes[:].signals, fresh.signals)


def test_a_subset_keeps_rows_together_and_reads_its_own_genes_alone(url: str) -> None:
    whole = dataset(url)
    part = whole.subset(["ENSG6", "ENSG1", "none"])
    assert part.gene_ids == ["ENSG1", "ENSG6"]
    batch, all_genes = part[:], whole[[0, 5]]
    assert torch.equal(batch.signals, all_genes.signals)
    assert torch.equal(batch.sequence, all_genes.sequence)
    assert 0 < part.windows.held_bytes < whole.windows.held_bytes
    assert whole.subset(["ENSG1"]).windows.held_bytes == whole.windows.held_bytes, "shared, once it was read"
    assert len(whole.subset([])) == 0
    assert part.past_contig == ["ENSG1", "ENSG6"]


def test_memory_holds_the_windows_alone_and_refuses_what_does_not_fit(url: str) -> None:
    genes = dataset(url, signals=("base",), length=10)
    genes[0]
    row_bytes = 1 + 3 * 2
    assert genes.windows.held_bytes <= len(genes) * 10 * row_bytes, "windows that overlap are held once"
    small = dataset(url, memory_bytes=100)
    with pytest.raises(MemoryBudgetExceeded, match=r"windows of 7 genes take [0-9,]+ bytes on cpu, and 100 may be"):
        small[0]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 40)), min_size=1, max_size=20), st.integers(1, 9))
def test_merged_windows_hold_every_row_once_and_each_window_in_one_piece(
    windows: list[tuple[int, int]], n_rows: int
) -> None:
    contigs, firsts = (np.array(column) for column in zip(*windows, strict=True))
    runs, places = merged_runs(contigs, firsts, n_rows)
    table = [(contig, row) for contig, first, end in runs.tolist() for row in range(first, end)]
    assert len(set(table)) == len(table)
    for (contig, first), place in zip(windows, places.tolist(), strict=True):
        assert table[place : place + n_rows] == [(contig, row) for row in range(first, first + n_rows)]
    assert set(table) == {(contig, first + row) for contig, first in windows for row in range(n_rows)}


def test_batches_that_are_finished_elsewhere_are_the_same(url: str) -> None:
    genes = dataset(url, orient="gene", stranded={"plus": "minus"})
    stored = genes.as_stored()
    assert len(stored) == len(genes)
    assert isinstance(stored[[0, 4]].finished(), SignalGeneBatch)
    for one, other in zip(stored[:].finished(), genes[:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    wide = stored[:].bins[2]
    assert (wide.dtype, wide.shape[1]) == (torch.float16, 5), "wide bins travel as they are stored"
    before = stored[:]
    before.finished()
    assert all(torch.equal(one, other) for one, other in zip(before.bins, stored[:].bins, strict=True))


def test_a_dataset_that_was_sent_to_another_process_reads_the_same(url: str) -> None:
    genes = dataset(url).subset(["ENSG2", "ENSG3"])
    genes[0]
    assert torch.equal(pickle.loads(pickle.dumps(genes))[:].signals, genes[:].signals)


def test_windows_without_sequence_are_all_n(url: str) -> None:
    genes = dataset(url, sequence=None)
    assert set(genes[:].sequence.unique().tolist()) == {4}
    assert torch.equal(genes[:].signals, dataset(url)[:].signals)
    assert dataset(url, signals=())[:].signals.shape == (7, 100, 0)


def test_signals_go_by_their_channels_and_by_their_sets_where_two_are_alike(url: str) -> None:
    genes = dataset(url)
    assert genes.signal_names == ("base/mark", "plus", "minus", "dnase", "cage", "wide/mark")
    chosen = dataset(url, channels=("wide/mark", "plus"))
    assert chosen.signal_names == ("wide/mark", "plus")
    whole = genes[:].signals
    assert torch.equal(chosen[:].signals, whole[..., [5, 1]])
    assert torch.equal(genes.with_signals(["wide/mark", "plus"])[:].signals, whole[..., [5, 1]])
    assert set(chosen.fingerprints) == {"sequence", "base", "wide"}, "a set without a chosen signal is not read"
    assert chosen.windows.identities["base"].channels == ("plus",)
    assert set(SETS) - set(chosen.fingerprints) == {"fine", "signed"}
