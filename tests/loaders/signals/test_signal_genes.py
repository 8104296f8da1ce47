"""Genes with signals: tables that meet, batches for any loop, and what is refused before anything is read."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from signal_stores import GENES, LENGTHS, described, signal_store, window_of, write_set
from torch.utils.data import DataLoader

import featurestore
from catalog import Grid, TableError
from catalog.genes.anchors import Anchor
from featurestore.store import create
from featurestore.testing import assembly_of, build_anchored, random_sequences
from loaders import SignalGeneBatch, SignalSettings, data_loader, prefetch, signal_gene_dataset
from loaders.residence.mirror import page_bins
from loaders.signals.names import refuse_signs, signal_names, stranded_partners

TARGETS = pl.DataFrame({"gene_id": ["ENSG4", "ENSG2.3", "ENSG9", "ENSG3"], "value": [4.0, 2.0, 9.0, 3.0]})
COVARIATES = pl.DataFrame({"gene_id": GENES["gene_id"], "gc": np.arange(7) / 7, "utr": -np.arange(7.0)})


def genes_of(url: str, **changes: Any) -> Any:
    return signal_gene_dataset(url, GENES, **({"signals": ("base",), "length": 20} | changes))


def test_targets_and_covariates_stand_beside_their_genes(url: str) -> None:
    genes = genes_of(url, targets=TARGETS, covariates=COVARIATES, covariate_columns=["utr", "gc"])
    assert genes.gene_ids == ["ENSG2", "ENSG3", "ENSG4"]
    batch = genes[[2, 0]]
    assert batch.targets.tolist() == [4.0, 2.0]
    assert genes.covariate_names == ("utr", "gc")
    torch.testing.assert_close(batch.covariates, torch.tensor([[-3.0, 3 / 7], [-1.0, 1 / 7]]))
    assert "2 of 4 targets" not in str(genes.joined)
    assert genes.joined.kept == 3
    part = genes.subset(["ENSG4"])
    assert (part.targets.tolist(), part.covariates.tolist()) == ([4.0], [batch.covariates[0].tolist()])


def test_without_tables_there_are_no_covariates_and_targets_are_unknown(url: str) -> None:
    batch = genes_of(url)[:]
    assert batch.covariates.shape == (7, 0)
    assert torch.isnan(batch.targets).all()
    assert [tensor.dtype for tensor in batch] == [
        torch.uint8, torch.float32, torch.float32, torch.float32, torch.int64,
    ]  # fmt: skip


def test_every_kind_of_loader_gives_the_same_batches(url: str) -> None:
    genes = genes_of(url, targets=TARGETS)
    for ours, plain, ahead in zip(
        data_loader(genes, batch_size=2),
        DataLoader(genes, batch_size=2),
        prefetch(data_loader(genes.as_stored(), batch_size=2)),
        strict=True,
    ):
        assert isinstance(plain, SignalGeneBatch)
        for one, other, third in zip(ours, plain, ahead.finished(), strict=True):
            assert torch.equal(one, other)
            assert torch.equal(one, third)


def test_a_loader_gives_every_gene_once_an_epoch_in_either_shuffle(url: str) -> None:
    genes = genes_of(url)
    for blocks in (None, 2):
        batches = data_loader(genes, batch_size=3, shuffle=True, buffer_blocks=blocks)
        assert sorted(place for batch in batches for place in batch.indices.tolist()) == list(range(7))


def test_viewpoints_of_an_anchored_array_lie_over_the_same_bases(tmp_path: Path) -> None:
    store = signal_store(tmp_path / "s")
    contigs = GENES["contig"].str.replace("^1$", "chr1")
    table = [Anchor(gene, contig, tss, strand) for gene, contig, tss, strand in zip(
        GENES["gene_id"], contigs, GENES["tss"], GENES["strand"], strict=True)]  # fmt: skip
    build_anchored(store, "fine", table, name="genes", n_bins=41)
    array = genes_of(str(store.url), signals=("base", "fine@genes"), length=99)
    from featurestore.anchored.reader import open_anchored

    reader = open_anchored(store, "fine", "genes")
    values = reader.windows(array.gene_ids, 41)
    signals = array[:].signals
    assert array.signal_names == ("mark", "plus", "minus", "dnase")
    for gene, tss in enumerate(array.genes["tss"]):
        first = tss - 7 // 2 - 41 // 2 * 7  # of the array
        length = LENGTHS[array.genes["contig"][gene]]
        for place, base in enumerate(range(tss - 49, tss + 50)):
            stands = values[gene, (base - first) // 7, 0] if 0 <= base < length else -1.0
            assert signals[gene, place, 3].item() == np.float32(stands)
    assert torch.equal(array.with_length(31)[:].signals, signals[:, 34:65])
    for residence in ("stream", "cache"):
        other = genes_of(
            str(store.url), signals=("base", "fine@genes"), length=99, residence=residence, cache_dir=tmp_path / "c"
        )
        assert torch.equal(other[[3, 0]].signals, signals[[3, 0]])
    with pytest.raises(
        ValueError, match=r"fine@genes holds 41 bins of 7 bp.* `length=300` bp reaches further; ask for 287"
    ):
        array.with_length(300)
    build_anchored(store, "fine", table[1:], name="few", n_bins=41)
    with pytest.raises(ValueError, match="1 of 7 genes have no anchor in 'few'"):
        genes_of(str(store.url), signals=("fine@few",))


def test_windows_that_leave_their_contig_are_counted_and_named(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        genes = genes_of(url)
    assert genes.past_contig == ["ENSG1", "ENSG2", "ENSG6"]
    assert "windows of 3 of 7 genes leave their contig" in caplog.text
    assert "ENSG1, ENSG2, ENSG6" in caplog.text
    assert "3 past the end of a contig" in repr(genes)
    assert genes.with_length(1).past_contig == []


def test_missing_covariates_and_signals_are_refused_by_name(url: str) -> None:
    with pytest.raises(TableError, match="1 of 7 genes have no covariates: ENSG7"):
        genes_of(url, covariates=COVARIATES.head(6))
    with pytest.raises(TableError, match="has no column length; it has gc, utr"):
        genes_of(url, covariates=COVARIATES, covariate_columns=["length"])
    with pytest.raises(ValueError, match="no signal H3K27ac; the store has mark, plus, minus; build it"):
        genes_of(url, channels=("H3K27ac",))
    with pytest.raises(ValueError, match=r"no signal pluss; .* did you mean plus"):
        genes_of(url).with_signals(["pluss"])
    with pytest.raises(ValueError, match="the signals plus are named twice"):
        genes_of(url, channels=("plus", "plus"))
    with pytest.raises(featurestore.NotBuilt, match="hic"):
        genes_of(url, signals=("hic",))


def test_what_is_no_sequence_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"fine is no sequence, .* bins of 7 bp and 1 channels of float32, padded with -1"
    ):
        genes_of(url, sequence="fine")
    store = signal_store(tmp_path / "s")
    odd = described("odd", Grid(bin_size=1), "uint8", ("odd",), (4.0,))
    write_set(store, odd, lambda contig: np.full((LENGTHS[contig], 1), 7, dtype=np.uint8))
    for residence in ("memory", "stream"):
        with pytest.raises(ValueError, match="odd holds the code 7, and a sequence has 0 to 3 for A, C, G, T and 4"):
            genes_of(str(store.url), sequence="odd", residence=residence)[3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0}, "`length=` is a whole number from 1"),
        ({"orient": "sideways"}, "orient is one of forward, gene"),
        ({"signals": ("base", "base")}, "`signals=` names base twice"),
        ({"signals": (), "sequence": None}, "a window has sequence, signals or both"),
        ({"signals": ("sequence",)}, "sequence is the sequence, and cannot be a signal too"),
        ({"residence": "attic"}, "residence is one of memory"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SignalSettings(**changes)


def test_pairs_of_strands_are_checked() -> None:
    names = signal_names({"a": ["x", "y"], "b": ["y", "z"]})
    assert names == ["x", "a/y", "b/y", "z"]
    assert stranded_partners({"x": "-z"}, names) == {0: (3, -1.0), 3: (0, -1.0)}
    with pytest.raises(ValueError, match="x is in two pairs of `stranded=`"):
        stranded_partners({"x": "z", "a/y": "x"}, names)
    with pytest.raises(ValueError, match="no signal y"):
        stranded_partners({"x": "y"}, names)
    with pytest.raises(ValueError, match="named twice"):
        stranded_partners({"x": "x"}, names)


@pytest.mark.parametrize(
    ("values", "others", "sign", "mend"),
    [
        ((0, 5), (-3, 0), 1.0, "PLUS=-MINUS"),
        ((-2, 0), (0, 1), 1.0, "PLUS=-MINUS"),
        ((0, 5), (0, 3), -1.0, "PLUS=MINUS"),
        ((-5, 0), (-3, -1), -1.0, "PLUS=MINUS"),
    ],
)
def test_a_pair_of_strands_with_other_signs_than_were_named_is_refused(
    values: tuple[float, float], others: tuple[float, float], sign: float, mend: str
) -> None:
    with pytest.raises(ValueError, match=f"up and down are stored .*`stranded=` as {mend}"):
        refuse_signs("up", "down", sign, values, others)
    refuse_signs("up", "down", -sign, values, others)
    refuse_signs("up", "down", sign, (-1, 1), others)  # of both signs: nobody can tell
    refuse_signs("up", "down", sign, (0, 0), others)


def test_signs_of_strands_are_checked_when_rows_are_held(url: str) -> None:
    with pytest.raises(ValueError, match=r"plus and minus are stored both from 0 up.*PLUS=MINUS"):
        genes_of(url, orient="gene", stranded={"plus": "-minus"})[0]
    genes_of(url, stranded={"plus": "-minus"})[0]  # nothing is turned


def test_a_contig_that_is_not_built_is_said_when_its_gene_is_read(tmp_path: Path) -> None:
    store = signal_store(tmp_path / "s")
    part = store.declare(described("part", Grid(bin_size=1), "float16", ("a",), (0.0,)), list(LENGTHS))
    assert part.name == "part"
    genes = genes_of(str(store.url), signals=("part",))
    with pytest.raises(featurestore.NotBuilt, match="part is not built for chr"):
        genes[0]


def test_the_published_window_begins_a_thousand_bases_before_the_tss(url: str) -> None:
    genes = genes_of(url, length=2000)
    assert SignalSettings().length == 2000
    place = genes.gene_ids.index("ENSG4")
    found = genes[place].sequence[0].numpy()
    np.testing.assert_array_equal(found, window_of("sequence", "chr1", 700, 2000)[:, 0])
    assert (found[:300] == 4).all(), "TSS-1000 lies before the contig"
    assert found[1000] == window_of("sequence", "chr1", 700, 1)[0, 0]


def test_a_mirror_of_large_chunks_is_read_by_parts_of_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40_000, 3)).astype(np.float16)
    store = create(tmp_path / "s", assembly_of(random_sequences({"chr1": len(values)})))
    large = described(
        "large", Grid(bin_size=1), "float16", ("a", "b", "c"), (0.0,) * 3, chunk_bins=8192, shard_bins=16_384
    )
    write_set(store, large, lambda _: values)
    assert page_bins(large.chunk_bins, 6) == 2048
    tss = rng.integers(500, 39_500, size=20)
    genes = pl.DataFrame(
        {"gene_id": [f"g{number}" for number in range(20)], "contig": "chr1", "strand": "+", "tss": tss}
    )
    settings = SignalSettings(
        sequence=None, signals=("large",), length=999, residence="cache", cache_dir=tmp_path / "c"
    )
    for _ in range(2):  # read from the store, then from the mirror
        found = signal_gene_dataset(str(store.url), genes, settings=settings)
        signals = found[:].signals.numpy()
        for window, start in zip(signals, tss - 499, strict=True):
            np.testing.assert_array_equal(window, values[start : start + 999])
    assert found.stats.cache_misses == 0


@given(st.integers(0, 20), st.integers(1, 1 << 20))
def test_pages_of_a_mirror_are_whole_parts_of_a_chunk(power: int, row_bytes: int) -> None:
    chunk = 1 << power
    rows = page_bins(chunk, row_bytes)
    assert chunk % rows == 0
    assert rows == chunk or rows >= 2048, "chunks of few rows, however wide, are read whole"
