"""A bootstrap may draw whole families and contigs, since their genes err alike."""

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from catalog.genes.table import GENE_SCHEMA
from featurestore.cli.main import main
from model.evaluation.cautions import Caution
from model.evaluation.metrics import bootstrap
from model.evaluation.resampling import Resample, clusters_of
from model.evaluation.tables import evaluate_table

GENES = pl.DataFrame(
    [
        (f"E{place}", symbol, f"chr{1 + place % 3}", "+", 1000 * place, None)
        for place, symbol in enumerate(["RPL3", "RPL4", "OR4F5", "ZNF84", "ZNF2", "F2", "F5", "KRT1"])
    ],
    schema=GENE_SCHEMA,
    orient="row",
)
TARGETS = pl.DataFrame({"gene_id": GENES["gene_id"], "value": [5.0, 4, 0, 1, 2, 9, 3, 7]})
PREDICTED = TARGETS.select("gene_id", near=pl.col("value").log1p() + pl.Series([0.3, -0.6] * 4), far=-pl.col("value"))


def test_each_draw_takes_clusters_whole_and_the_same_for_every_model() -> None:
    generator = np.random.default_rng(6)
    y = np.round(generator.normal(size=25), 1)
    models = np.stack([y + generator.normal(size=25), np.round(generator.normal(size=25))])
    clusters = [f"chr{number}" for number in np.sort(generator.integers(1, 7, 25))]
    names = sorted(set(clusters))
    found = bootstrap(models, y, draws=40, seed=9, clusters=clusters)
    for draw, chosen in enumerate(np.random.default_rng(9).integers(0, len(names), (40, len(names)))):
        row = [gene for place in chosen for gene, cluster in enumerate(clusters) if cluster == names[place]]
        for model, x in enumerate(models):
            assert found.spearman.draws[draw, model] == pytest.approx(stats.spearmanr(x[row], y[row]).statistic)
            assert found.pearson.draws[draw, model] == pytest.approx(np.corrcoef(x[row], y[row])[0, 1])
            assert found.mse.draws[draw, model] == pytest.approx(np.mean((x[row] - y[row]) ** 2))
    apart = found.spearman.draws[:, 0] - found.spearman.draws[:, 1]
    assert found.spearman.difference(0, 1).two_sd == pytest.approx(2 * apart.std(ddof=1))


def test_clusters_of_one_gene_each_are_the_bootstrap_of_genes() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 30))
    by_gene = bootstrap(x, y, draws=20)
    alone = bootstrap(x, y, draws=20, clusters=[f"{place:02d}" for place in range(30)])
    np.testing.assert_array_equal(alone.spearman.draws, by_gene.spearman.draws)


def test_errors_that_a_cluster_shares_widen_the_spread() -> None:
    generator = np.random.default_rng(2)
    shared, own = np.repeat(generator.normal(size=40), 10), generator.normal(size=400)
    clusters = [str(place // 10) for place in range(400)]
    y = generator.normal(size=400) + np.repeat(generator.normal(size=40), 10)
    together = bootstrap(y + 2 * shared + own, y, draws=300, clusters=clusters).spearman.estimate(0)
    assert together.two_sd > 1.5 * bootstrap(y + 2 * shared + own, y, draws=300).spearman.estimate(0).two_sd


@pytest.mark.filterwarnings("ignore::model.evaluation.cautions.Caution")
def test_the_cluster_of_a_gene_is_its_family_or_its_contig() -> None:
    assert clusters_of(GENES, "gene") is None
    assert clusters_of(GENES, "family") == ["RPL", "RPL", "OR", "ZNF", "ZNF", "F2", "F5", "KRT"]
    assert clusters_of(GENES, "contig") == GENES["contig"].to_list()


def test_genes_of_one_cluster_leave_nothing_to_draw_from() -> None:
    with pytest.raises(ValueError, match=r'all 2 genes are of one family, RPL, .*draw `resample="gene"`'):
        clusters_of(GENES[:2], "family")
    with pytest.raises(ValueError, match="all 1 genes are of one contig, chr2"):
        clusters_of(GENES[1:2], "contig")


def test_few_clusters_are_warned_of() -> None:
    with pytest.warns(Caution, match="draws from 3 contigs only, .*too small; hold out more"):
        clusters_of(GENES, "contig")
    many = pl.concat([GENES.with_columns(contig=pl.lit(f"chr{place}")) for place in range(10)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(set(clusters_of(many, "contig") or ())) == 10


@pytest.mark.filterwarnings("ignore::model.evaluation.cautions.Caution")
@pytest.mark.parametrize(("resample", "n"), [("gene", 8), ("family", 6), ("contig", 3)])
def test_tables_say_what_was_drawn(resample: Resample, n: int) -> None:
    found = evaluate_table(PREDICTED, TARGETS, draws=30, resample=resample, genes=GENES[::-1])
    document = found.to_json(paired=[("near", "far")])
    assert (document["resample"], document["n_resampled"]) == (resample, n)
    assert found.estimates("near")["spearman"].value == pytest.approx(
        stats.spearmanr(PREDICTED["near"], TARGETS["value"]).statistic
    )
    clusters = {"gene": None, "family": clusters_of(GENES, "family"), "contig": clusters_of(GENES, "contig")}[resample]
    models = PREDICTED.select("near", "far").to_numpy().T
    by_hand = bootstrap(models, np.log1p(TARGETS["value"].to_numpy()), draws=30, clusters=clusters)
    assert found.difference("near", "far")["pearson"] == by_hand.pearson.difference(0, 1)


def test_a_table_of_predictions_takes_contigs_from_a_gene_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, frame in (("p", PREDICTED), ("t", TARGETS), ("g", GENES), ("short", GENES[:-2])):
        frame.write_csv(tmp_path / f"{name}.tsv", separator="\t")
    argv = ["evaluate", "--predictions", f"{tmp_path}/p.tsv", "--targets", f"{tmp_path}/t.tsv", "--draws", "30"]
    with pytest.warns(Caution):
        assert main([*argv, "--resample", "contig", "--genes", f"{tmp_path}/g.tsv"]) == 0
    assert "8 genes; ± 2 sd of 30 draws of 3 contigs; Pearson" in capsys.readouterr().out
    for more, message in (
        (["--resample", "contig"], "`--resample contig` takes the contigs from a gene table; give one with `--genes`"),
        (["--resample", "family", "--genes", f"{tmp_path}/short.tsv"], "2 of the 8 scored genes are not in the gene"),
        (["--genes", f"{tmp_path}/g.tsv"], "--genes goes with --resample family or contig"),
    ):
        assert main([*argv, *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
