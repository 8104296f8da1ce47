"""Splits: no gene in two parts, the same draw wherever it is made, and an honest count of shared windows."""

import json
import logging
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import given
from hypothesis import strategies as st

from catalog.genes import splits
from catalog.genes.families import families
from catalog.genes.splits import Split, by_contig, by_contig_group, by_family, by_gene_list, overlap_report, overlaps
from catalog.genes.table import GENE_SCHEMA, read_genes
from catalog.interval import Interval

DATA = SHARED / "data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {DATA}; set FEATURESTORE_SHARED")


def genes_at(places: list[tuple[str, int]]) -> pl.DataFrame:
    rows = [(f"g{index}", f"s{index}", contig, "+", tss, None) for index, (contig, tss) in enumerate(places)]
    return pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")


places = st.lists(st.tuples(st.sampled_from(["chr1", "chr2", "chr3"]), st.integers(0, 200)), min_size=3, max_size=25)
MANY = genes_at([(f"chr{index % 5}", index) for index in range(100)])
FAMILIES = MANY.with_columns(
    symbol=pl.format("{}{}", pl.Series(["RPL", "OR", "ZNF", "INS", "KRT"] * 20), pl.int_range(100))
)


def parts_of(split: Split) -> list[str]:
    return [*split.train, *split.validation, *split.test]


@given(st.permutations("abcdef"), st.integers(0, 6), st.integers(0, 6))
def test_a_split_reads_back_from_json(ids: list[str], one: int, other: int) -> None:
    low, high = sorted((one, other))
    split = Split(train=tuple(ids[:low]), validation=tuple(ids[low:high]), test=tuple(ids[high:]))
    assert Split.from_json(split.to_json()) == split


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"train": [], "test": []}',
        '{"train": [], "test": [], "validation": "abc"}',
        '{"train": [], "test": [], "validation": [1]}',
        '{"train": [], "test": [], "validation": [], "held": []}',
    ],
)
def test_json_that_is_no_split_is_refused_with_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match="a split is a JSON object with the keys train, validation and test"):
        Split.from_json(text)


@pytest.mark.parametrize(
    ("text", "fault"), [("{", "is no JSON"), ("[]", "is no JSON object"), ("[" * 99 + "]" * 99, "is nested")]
)
def test_a_file_that_is_no_split_is_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"split\.json {fault}.*; a split is a JSON object with the keys train, "):
        Split.read(path)
    path.write_text(json.dumps({"train": ["a"], "validation": [], "test": ["a"]}))
    with pytest.raises(ValueError, match=r"split\.json: train and test share 1 genes: a; remove them"):
        Split.read(path)
    path.write_text(json.dumps({"train": ["a"], "validation": [], "test": ["b"]}))
    assert Split.read(path) == Split(train=("a",), validation=(), test=("b",))


def test_a_gene_in_two_parts_is_an_error_also_from_json() -> None:
    shared = {"train": ("a", "b"), "validation": (), "test": ("b",)}
    with pytest.raises(ValueError, match="train and test share 1 genes: b; remove them from one"):
        Split(**shared)
    with pytest.raises(ValueError, match="train and test share 1 genes: b; remove them from one"):
        Split.from_json(json.dumps(shared))
    with pytest.raises(ValueError, match="validation names genes twice: a; name each once"):
        Split(train=(), validation=("a", "a"), test=())


@given(places, st.floats(0, 0.6), st.floats(0, 0.39), st.integers(0, 5))
def test_a_random_split_has_each_gene_once_and_the_sizes_asked_for(
    where: list[tuple[str, int]], test: float, validation: float, seed: int
) -> None:
    genes = genes_at(where)
    split = splits.random(genes, test_fraction=test, validation_fraction=validation, seed=seed)
    assert sorted(parts_of(split)) == sorted(genes["gene_id"])
    assert len(split.test) == round(test * genes.height)
    assert len(split.validation) == round(validation * genes.height)


@given(st.permutations(range(100)), st.integers(0, 3))
def test_a_random_split_does_not_depend_on_the_order_of_the_table(order: list[int], seed: int) -> None:
    one, other = splits.random(MANY, seed=seed), splits.random(MANY[order], seed=seed)
    assert set(one.test) == set(other.test)
    assert set(one.validation) == set(other.validation)


def test_another_seed_draws_other_genes_and_the_same_seed_the_same() -> None:
    assert splits.random(MANY, seed=1) == splits.random(MANY, seed=1)
    assert splits.random(MANY, seed=1) != splits.random(MANY, seed=2)


@pytest.mark.parametrize(("test", "validation"), [(0.9, 0.1), (1.0, 0.0), (-0.1, 0.2)])
def test_fractions_out_of_range_say_what_they_must_be(test: float, validation: float) -> None:
    with pytest.raises(ValueError, match=r"must (stay below 1.*rest is for training|lie in \[0, 1\))"):
        splits.random(MANY, test_fraction=test, validation_fraction=validation)


def test_contigs_are_held_out_whole() -> None:
    split = by_contig(MANY, test="chr4", validation=["chr0", "chr1"])
    contig = dict(MANY.select("gene_id", "contig").rows())
    assert {contig[gene] for gene in split.test} == {"chr4"}
    assert {contig[gene] for gene in split.validation} == {"chr0", "chr1"}
    assert {contig[gene] for gene in split.train} == {"chr2", "chr3"}
    assert len(parts_of(split)) == 100
    assert overlaps(split, MANY, window_bp=10**6).is_empty()


def test_contigs_that_have_no_gene_or_are_named_twice_are_errors() -> None:
    with pytest.raises(ValueError, match="no gene lies on 4, held out for test; the genes are on chr0, chr1"):
        by_contig(MANY, test=["4"], validation=["chr0"])
    with pytest.raises(ValueError, match="chr1 is held out for both test and validation; name each contig for one"):
        by_contig(MANY, test=["chr1"], validation=["chr0", "chr1"])


def test_a_gene_list_is_the_test_and_part_of_the_others_the_validation() -> None:
    split = by_gene_list(MANY, ["g3", "g1", "g1", "unknown"], validation_fraction=0.5, seed=3)
    assert split.test == ("g1", "g3")
    assert len(split.validation) == len(split.train) == 49
    assert sorted(parts_of(split)) == sorted(MANY["gene_id"])


def test_versions_of_listed_ids_do_not_matter() -> None:
    genes = MANY.with_columns(gene_id=pl.format("ENSG{}", pl.int_range(100) + 10_000_000_000))
    assert by_gene_list(genes, ["ENSG10000000007.12"]).test == ("ENSG10000000007",)


def test_a_list_of_other_names_is_an_error_that_shows_both() -> None:
    with pytest.raises(
        ValueError, match=r"none of the 2 test genes \(A1BG, A2M\) is among the genes \(g0, g1.*same kind"
    ):
        by_gene_list(MANY, ["A1BG", "A2M"])
    with pytest.raises(ValueError, match=r"validation_fraction must lie in \[0, 1\), got 1"):
        by_gene_list(MANY, ["g1"], validation_fraction=1)


@given(places, st.integers(1, 120), st.data())
def test_overlaps_are_those_that_comparing_all_windows_finds(
    where: list[tuple[str, int]], window_bp: int, data: st.DataObject
) -> None:
    genes = genes_at(where)
    part = dict(
        zip(
            genes["gene_id"],
            data.draw(st.lists(st.sampled_from("tvx"), min_size=len(where), max_size=len(where))),
            strict=True,
        )
    )
    split = Split(
        **{
            name: tuple(gene for gene in part if part[gene] == key)
            for name, key in zip(("train", "validation", "test"), "tvx", strict=True)
        }
    )
    window = {
        f"g{index}": Interval(contig, tss - window_bp // 2, tss - window_bp // 2 + window_bp)
        for index, (contig, tss) in enumerate(where)
    }
    expected = {}
    for gene in split.test:
        shared = [
            min(window[gene].end, window[other].end) - max(window[gene].start, window[other].start)
            for other in split.train
            if window[gene].overlaps(window[other])
        ]
        if shared:
            expected[gene] = max(shared)
    found = overlaps(split, genes, window_bp=window_bp)
    assert dict(found.select("gene_id", "shared_bp").rows()) == expected
    assert found["gene_id"].to_list() == [gene for gene in split.test if gene in expected]
    for gene, nearest, distance in found.select("gene_id", "nearest", "distance_bp").rows():
        assert nearest in split.train
        assert abs(window[gene].start - window[nearest].start) == distance


def with_symbols(symbols: list[str]) -> pl.DataFrame:
    return genes_at([("chr1", index) for index in range(len(symbols))]).with_columns(symbol=pl.Series(symbols))


symbols = st.lists(
    st.builds("{}{}".format, st.sampled_from(["RPL", "OR", "ZNF", "KRT", "SLC"]), st.integers(1, 99)), min_size=1
).map(lambda names: [*names, "INS", "GCG", "F2"])
wheres = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 99)), min_size=1, max_size=60).map(
    lambda found: [*found, *((contig, 1) for contig in "abc")]
)


@given(wheres, symbols, st.integers(0, 5), st.booleans(), st.data())
def test_over_all_folds_each_gene_is_tested_once_and_its_unit_is_never_torn(
    where: list[tuple[str, int]], names: list[str], seed: int, is_family: bool, data: st.DataObject
) -> None:
    genes = with_symbols(names) if is_family else genes_at(where)
    unit = dict(zip(genes["gene_id"], families(names) if is_family else genes["contig"], strict=True))
    hold_out = by_family if is_family else by_contig_group
    sizes = Counter(unit.values())
    n_folds = data.draw(st.integers(3, min(6, len(sizes))))
    folds = [hold_out(genes, n_folds=n_folds, fold=fold, seed=seed) for fold in range(n_folds)]
    assert sorted(gene for split in folds for gene in split.test) == sorted(genes["gene_id"])
    for fold, split in enumerate(folds):
        assert sorted(parts_of(split)) == sorted(genes["gene_id"])
        assert split.validation == folds[(fold + 1) % n_folds].test
        train, validation, test = (
            {unit[gene] for gene in part} for part in (split.train, split.validation, split.test)
        )
        assert not train & validation
        assert not train & test
        assert not validation & test
    tested = [len(split.test) for split in folds]
    assert max(tested) - min(tested) <= max(sizes.values())


@given(st.permutations(range(100)), st.integers(0, 3))
def test_folds_do_not_depend_on_the_order_of_the_table(order: list[int], seed: int) -> None:
    for hold_out in (by_contig_group, by_family):
        one, other = (hold_out(table, n_folds=3, seed=seed) for table in (FAMILIES, FAMILIES[order]))
        assert set(one.test) == set(other.test)
        assert set(one.validation) == set(other.validation)


def test_another_seed_makes_other_folds() -> None:
    assert len({by_contig_group(MANY, n_folds=3, seed=seed).test for seed in range(20)}) > 1
    assert len({by_family(FAMILIES, n_folds=3, seed=seed).test for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("n_folds", "fold", "message"),
    [
        (
            2,
            0,
            r"n_folds must lie in \[3, 5\], for test, validation and training and the 5 contigs of these genes; got 2",
        ),
        (6, 0, r"n_folds must lie in \[3, 5\].*got 6"),
        (5, 5, r"fold must lie in \[0, n_folds\) = \[0, 5\), got 5; folds count from 0"),
        (5, -1, r"got -1; folds count from 0"),
    ],
)
def test_folds_that_there_are_not_are_errors(n_folds: int, fold: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_contig_group(MANY, n_folds=n_folds, fold=fold)


@pytest.mark.parametrize(
    ("symbol", "family"),
    [
        ("RPL3", "RPL"),
        ("RPL13A", "RPL"),
        ("RPLP0", "RPLP"),
        ("Rpl3", "RPL"),
        ("OR4F5", "OR"),
        ("ZNF84", "ZNF"),
        ("SLC25A6", "SLC"),
        ("KRT14", "KRT"),
        ("HLA-A", "HLA"),
        ("INS", "INS"),
        ("H2AC4", "H"),
        ("H1-0", "H"),
        ("F2", "F2"),
        ("C1orf112", "C1ORF112"),
        ("ENSG00000290825", "ENSG00000290825"),
        ("LOC124900618", "LOC124900618"),
        ("AC004556.3", "AC004556.3"),
        ("5S_rRNA", "5S_RRNA"),
    ],
)
def test_a_family_is_the_letters_before_the_first_digit_or_hyphen(symbol: str, family: str) -> None:
    assert families([symbol]) == [family]


def test_listed_genes_that_the_table_lacks_are_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="catalog.splits"):
        assert by_gene_list(MANY, ["g3", "nowhere", "g1", "gone"]).test == ("g1", "g3")
        assert "2 of 4 test genes are not in the gene table and are left out: nowhere, gone" in caplog.text
        caplog.clear()
        by_gene_list(MANY, ["g3"])
        assert caplog.text == ""


def test_the_report_of_overlaps_is_one_line_with_their_number_and_what_they_share() -> None:
    genes = genes_at([("chr1", 0), ("chr1", 4), ("chr1", 8), ("chr1", 100), ("chr2", 5)])
    split = Split(train=("g0",), validation=(), test=("g1", "g2", "g3", "g4"))
    assert overlap_report(split, genes, window_bp=10) == (
        "2 of 4 test genes have a window of 10 bp that shares bases with that of a training gene, half of them 4 bp or "
        "more; by_contig and by_contig_group hold out whole contigs instead"
    )
    apart = Split(train=("g0",), validation=(), test=("g3", "g4"))
    assert overlap_report(apart, genes, window_bp=10) == (
        "0 of 2 test genes have a window of 10 bp that shares bases with that of a training gene"
    )


def test_overlaps_need_the_genes_of_the_split_and_a_window() -> None:
    split = Split(train=("g1",), validation=(), test=("elsewhere",))
    with pytest.raises(ValueError, match="lacks 1 genes of the split: elsewhere; pass the table"):
        overlaps(split, MANY, window_bp=5)
    with pytest.raises(ValueError, match="window_bp is a number of bases, at least 1"):
        overlaps(split, MANY, window_bp=0)


@needs_data
def test_genes_held_out_one_by_one_share_a_million_bases_with_training_and_whole_chromosomes_do_not() -> None:
    genes = read_genes(DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz")
    huang = pl.read_csv(DATA / "huang2023_benchmark" / "gene_list.csv", has_header=False).to_series(0)
    split = by_gene_list(genes, huang)
    assert len(split.test) == 2_847
    assert len(split.validation) == round(0.2 * (19_338 - 2_847))
    assert overlaps(split, genes, window_bp=251 * 4096).height > 0.99 * 2_847
    assert overlaps(by_contig(genes, test=["chr8"], validation=["chr10"]), genes, window_bp=251 * 4096).is_empty()


@needs_data
def test_five_groups_of_contigs_hold_a_fifth_of_mane_each_and_share_no_window() -> None:
    genes = read_genes(DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz")
    folds = [by_contig_group(genes, n_folds=5, fold=fold) for fold in range(5)]
    assert all(0.19 < len(split.test) / genes.height < 0.21 for split in folds)
    assert all(overlap_report(split, genes, window_bp=251 * 4096).startswith("0 of ") for split in folds)
    symbols = dict(genes.select("gene_id", "symbol").rows())
    split = by_family(genes)
    for family, n_genes in (("OR", 399), ("ZNF", 509), ("RPL", 50)):
        held = [
            sum(families([symbols[gene]]) == [family] for gene in part)
            for part in (split.train, split.validation, split.test)
        ]
        assert sorted(held) == [0, 0, n_genes]
