"""The 12 published folds: every chromosome tested once, each part by whole chromosomes, unknown folds refused."""

import logging

import polars as pl
import pytest

from catalog.genes.folds import TEST_CHROMOSOMES, by_chromosome_fold, validation_chromosomes
from catalog.genes.splits import Split
from catalog.genes.table import GENE_SCHEMA

CHROMOSOMES = [*map(str, range(1, 23)), "X"]
FOLDS = range(1, 13)


def genes_on(contigs: list[str]) -> pl.DataFrame:
    rows = [(f"g{number} on {contig}", "s", contig, "+", 5, None) for contig in contigs for number in range(2)]
    return pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")


GENES = genes_on([f"chr{name}" for name in CHROMOSOMES])


def chromosomes(ids: tuple[str, ...]) -> set[str]:
    return {gene.split(" on chr")[1] for gene in ids}


def test_over_the_folds_each_gene_is_tested_once() -> None:
    tested = [gene for fold in FOLDS for gene in by_chromosome_fold(GENES, fold=fold).test]
    assert sorted(tested) == sorted(GENES["gene_id"])


@pytest.mark.parametrize("fold", FOLDS)
def test_the_parts_of_a_fold_are_all_genes_by_whole_chromosomes(fold: int) -> None:
    split = by_chromosome_fold(GENES, fold=fold)
    parts = [chromosomes(part) for part in (split.train, split.validation, split.test)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(CHROMOSOMES), "no chromosome in two parts"
    assert len(split.train) + len(split.validation) + len(split.test) == len(GENES)
    assert all(parts)


def test_the_published_fold_is_that_of_the_paper_and_the_default() -> None:
    split = by_chromosome_fold(GENES)
    assert split == by_chromosome_fold(GENES, fold=11)
    assert (chromosomes(split.validation), chromosomes(split.test)) == ({"3", "21"}, {"22", "X"})


def test_other_folds_are_validated_on_the_test_chromosomes_of_the_next() -> None:
    assert [TEST_CHROMOSOMES[fold] for fold in (1, 10, 12)] == [("2", "12"), ("11", "21"), ("1",)]
    for fold in {*FOLDS} - {11}:
        assert validation_chromosomes(fold) == TEST_CHROMOSOMES[fold % 12 + 1]


@pytest.mark.parametrize("spelled", ["{}", "chr{}", "NC_{:06}.11"])
def test_chromosomes_are_known_in_every_spelling(spelled: str) -> None:
    contigs = [spelled.format(int(name)) for name in CHROMOSOMES[:-1]]
    other = genes_on(contigs)
    there = GENES.filter(pl.col("contig") != "chrX")
    names = dict(zip(other["gene_id"], there["gene_id"], strict=True))
    split, same = by_chromosome_fold(other, fold=3), by_chromosome_fold(there, fold=3)
    assert (
        Split(
            train=tuple(names[gene] for gene in split.train),
            validation=tuple(names[gene] for gene in split.validation),
            test=tuple(names[gene] for gene in split.test),
        )
        == same
    )


def test_genes_that_no_fold_tests_are_counted_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = by_chromosome_fold(pl.concat([GENES, genes_on(["chrY", "chr1_alt"])]))
    assert split == by_chromosome_fold(GENES)
    assert "4 of 50 genes lie on contigs that no fold tests, and are left out: g0 on chrY" in caplog.text


@pytest.mark.parametrize("fold", [0, 13, -1])
def test_an_unknown_fold_is_refused_with_those_there_are(fold: int) -> None:
    with pytest.raises(ValueError, match=f"12 folds by chromosome, 1 to 12; got fold={fold}"):
        by_chromosome_fold(GENES, fold=fold)


def test_a_fold_without_genes_to_test_or_train_is_refused_with_where_they_lie() -> None:
    with pytest.raises(
        ValueError, match="fold 11 has no gene to test: none lies on chr22, chrX; the genes are on chr1"
    ):
        by_chromosome_fold(genes_on(["chr1", "chr2"]))
    with pytest.raises(ValueError, match=r"fold 11 has no gene to train: none lies on chr2, chr12.*on chr22; take"):
        by_chromosome_fold(genes_on(["chr22"]))
