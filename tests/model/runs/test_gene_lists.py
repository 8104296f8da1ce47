"""Genes are kept that are in all lists, and so many of them choose the epoch as asked."""

import json
from pathlib import Path

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import Split
from catalog.runtime.tables import TableError
from featurestore.cli.main import main
from loaders import GeneDataset
from model.runs.gene_lists import genes_in_all, read_gene_list
from model.runs.held_out import HeldOut
from model.runs.workflow import load_genes

HUANG = SHARED / "data" / "huang2023_benchmark"
IDS = [f"ENSG{number:02}" for number in range(12)]


@pytest.fixture(scope="module")
def dataset(genome: Path) -> GeneDataset:
    return load_genes(
        str(genome / "store"), "demo", genes=genome / "genes.tsv", targets=genome / "targets.tsv", n_bins=5
    )


def written(path: Path, ids: list[str]) -> Path:
    path.write_text("".join(f"{gene}\n" for gene in ids))
    return path


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(IDS), min_size=1), min_size=1, max_size=4))
def test_the_genes_of_all_lists_are_their_intersection(tmp_path: Path, lists: list[list[str]]) -> None:
    paths = [written(tmp_path / str(number), ids) for number, ids in enumerate(lists)]
    expected = [gene for gene in IDS if all(gene in ids for ids in lists)]
    if expected:
        assert genes_in_all(IDS, paths).ids == expected
    else:
        with pytest.raises(ValueError, match="no gene is in all lists of `genes_in=`"):
            genes_in_all(IDS, paths)


def test_lists_are_spelled_as_programs_do_and_counted_both_ways(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("gene_id,symbol\nENSG01.4,A\nENSG02.1_5,B\nENSG03|C,C\nENSG99,D\nENSG01,A\n")
    found = genes_in_all(IDS, [table, written(tmp_path / "plain", [*IDS[2:], "ENSG77"])])
    assert found.ids == ["ENSG02", "ENSG03"]
    assert found.lines == [
        f"{table}: 3 of 4 ids are among the genes (without: ENSG99); 3 of 12 genes are listed (without: ENSG00, "
        "ENSG04, ENSG05, ...)",
        f"{tmp_path / 'plain'}: 10 of 11 ids are among the genes (without: ENSG77); 10 of 12 genes are listed "
        "(without: ENSG00, ENSG01)",
        "2 of 12 genes are in all of 2 lists",
    ]


def test_a_list_without_a_header_is_read_by_its_ensembl_ids(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("1,ENSG01,A\n7,ENSG02,B\n")
    assert read_gene_list(tmp_path / "list.csv") == ["ENSG01", "ENSG02"]
    (tmp_path / "list.csv").write_text("1,2,A\n7,3,B\n")
    with pytest.raises(TableError, match="has no column of genes: it has 1, 2, A; name one of them gene_id"):
        read_gene_list(tmp_path / "list.csv")


@pytest.mark.skipif(not HUANG.is_dir(), reason=f"no real inputs at {HUANG}; set FEATURESTORE_SHARED")
def test_the_published_list_of_test_genes_is_read_as_it_is() -> None:
    ids = read_gene_list(HUANG / "gene_list.csv")
    assert (len(ids), ids[0], ids[1]) == (len(set(ids)), "ENSG00000000457", "ENSG00000001630")


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_so_many_of_the_genes_that_are_not_tested_choose_the_epoch(
    dataset: GeneDataset, tmp_path: Path, fraction: float
) -> None:
    test = written(tmp_path / "test", dataset.gene_ids[:7])
    for held_out in (
        HeldOut(validation_fraction=fraction),
        HeldOut(validation_fraction=fraction, test_contigs=["chr2"]),
        HeldOut(validation_fraction=fraction, test_genes=test),
    ):
        split = held_out.of(dataset)
        others = len(split.train) + len(split.validation)
        assert others + len(split.test) == len(dataset)
        assert len(split.validation) == round(fraction * others)
    assert HeldOut(validation_fraction=fraction).of(dataset).test == HeldOut().of(dataset).test


def test_genes_that_are_not_listed_are_neither_trained_nor_validated_on(dataset: GeneDataset, tmp_path: Path) -> None:
    ids = dataset.gene_ids
    test, lists = written(tmp_path / "test", ids[:7]), (written(tmp_path / "some", ids[5:30]),)
    said: list[str] = []
    split = HeldOut(test_genes=test, genes_in=lists, validation_fraction=0.2).of(dataset, say=said.append)
    assert set(split.test) == set(ids[:7]), "test genes that are named are kept"
    assert {*split.train, *split.validation} == set(ids[7:30])
    assert said[-1] == f"25 of {len(ids)} genes are in all of 1 lists"
    whole = HeldOut(genes_in=lists).of(dataset)
    assert {*whole.train, *whole.validation, *whole.test} == set(ids[5:30])
    (tmp_path / "split.json").write_text(
        Split(train=tuple(ids[:10]), validation=tuple(ids[10:14]), test=tuple(ids[40:])).to_json()
    )
    named = HeldOut(split=tmp_path / "split.json", genes_in=lists).of(dataset)
    assert (named.train, named.validation, named.test) == (tuple(ids[5:10]), tuple(ids[10:14]), tuple(ids[40:]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"validation_fraction": 1.0}, "`validation_fraction=` is a fraction between 0 and 1", id="all"),
        pytest.param({"validation_fraction": 0.2, "folds": 3}, "`folds=` says already which genes", id="folds"),
        pytest.param(
            {"validation_fraction": 0.2, "test_contigs": ["a"], "validation_contigs": ["b"]},
            "`validation_contigs=` says already",
            id="contigs",
        ),
    ],
)
def test_a_fraction_that_means_nothing_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeldOut(**options)  # type: ignore[arg-type]  # as parametrised


def test_a_published_fold_is_taken_by_its_number_and_an_unknown_one_is_refused_at_once(dataset: GeneDataset) -> None:
    split = HeldOut(chromosome_fold=1).of(dataset)
    contig_of = dict(zip(dataset.gene_ids, dataset.genes["contig"], strict=True))
    assert {contig_of[gene] for gene in split.test} == {"chr2"}
    assert {contig_of[gene] for gene in split.train} == {"chr1"}
    with pytest.raises(ValueError, match="12 folds by chromosome, 1 to 12; got fold=13"):
        HeldOut(chromosome_fold=13)
    with pytest.raises(ValueError, match="`folds=` and `chromosome_fold=` each say which genes are held out"):
        HeldOut(chromosome_fold=1, folds=3)


def test_training_takes_lists_a_fraction_and_medians_and_evaluation_the_same_medians(
    genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    genes = pl.read_csv(genome / "genes.tsv", separator="\t")["gene_id"].to_list()
    targets = pl.read_csv(genome / "targets.tsv", separator="\t")
    value = pl.col("value")
    matrix = targets.select("gene_id", HG0=value - 0.1, HG1=value, HG2=value * 3 + 0.5)
    matrix.write_csv(tmp_path / "matrix.tsv", separator="\t")
    some = written(tmp_path / "some", genes[:40])
    store = ["--store", str(genome / "store"), "--genes", str(genome / "genes.tsv")]
    command = ["train", *store, "--targets", str(tmp_path / "matrix.tsv"), "--model=ridge-centre", "--n-bins=5"]
    medians = ["--medians", "--bad-values=zero"]
    lists = [f"--genes-in={some},{genome / 'genes.tsv'}", "--validation-fraction=0.25"]
    assert main([*command, *lists, *medians, f"--out={tmp_path / 'run'}"]) == 0
    assert f"40 of {len(genes)} genes are in all of 2 lists" in capsys.readouterr().out
    split = json.loads((tmp_path / "run" / "run.json").read_text())["split"]
    assert len(split["validation"]) == round(0.25 * (len(split["train"]) + len(split["validation"])))
    scores = []
    for table, options in (("matrix.tsv", medians), (genome / "targets.tsv", [])):
        evaluate = ["evaluate", str(tmp_path / "run"), *store, "--targets", str(tmp_path / table), "--draws=20"]
        assert main([*evaluate, *options, "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out))
    assert scores[0] == scores[1], "the median of three is the middle one"


def test_lists_without_a_common_gene_and_repeated_samples_are_refused_before_training(
    genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    genes = pl.read_csv(genome / "genes.tsv", separator="\t")["gene_id"].to_list()
    command = ["train", str(genome / "store"), "--genes", str(genome / "genes.tsv"), "--model=ridge-centre"]
    command += ["--n-bins=5", f"--out={tmp_path / 'run'}"]
    lists = [written(tmp_path / "one", genes[:5]), written(tmp_path / "other", genes[5:])]
    plain = ["--targets", str(genome / "targets.tsv"), f"--genes-in={lists[0]},{lists[1]}"]
    assert main([*command, *plain]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "no gene is in all lists of `--genes-in`" in error
    assert "leave one out, or give lists with ids as in the gene table" in error
    (tmp_path / "matrix.tsv").write_text("gene_id\tHG0\tHG0\n" + "".join(f"{gene}\t1\t2\n" for gene in genes))
    assert main([*command, "--targets", str(tmp_path / "matrix.tsv"), "--medians"]) == 2
    assert "several columns for 1 of its samples: HG0; keep one column a sample" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
