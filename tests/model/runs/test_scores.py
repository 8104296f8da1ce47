"""A score comes with its spread over training seeds, and with how many genes share bases with training windows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from catalog import Split
from model.evaluation import metrics
from model.evaluation.metrics import bootstrap
from model.predictors.build import build_predictor
from model.predictors.ensemble import Ensemble, seed_ensemble
from model.predictors.predictor import Predictor
from model.runs.folder import Run, begin_run, finish_run, open_run
from model.runs.genes import WindowRecord
from model.runs.request import TrainRequest
from model.runs.scores import ComparedRun, evaluate
from model.runs.training_seeds import spread_over_seeds
from model.testing import tiny_genes
from model.training.config import TrainConfig

GENES = tiny_genes(45)
IDS = GENES.gene_ids
SPLIT = Split(train=tuple(IDS[:20]), validation=tuple(IDS[20:25]), test=tuple(IDS[25:]))
OBSERVED = np.log1p(GENES.subset(SPLIT.test).targets.numpy())
RECIPE = TrainConfig(epochs=1, batch_size=8)


def scored(predictor: Predictor) -> float:
    return float(stats.spearmanr(predictor.predict(GENES.subset(SPLIT.test)), OBSERVED).statistic)


def trained(out: Path, seed: int, asked: dict[str, object], split: Split = SPLIT) -> Run:
    predictor = build_predictor("cnn", n_bins=7, channel_names=GENES.channel_names, training=replace(RECIPE, seed=seed))
    begin_run(out, asked, feature_set="tiny", windows=WindowRecord(), split=split)
    predictor.fit(GENES.subset(split.train), GENES.subset(split.validation))
    finish_run(out, predictor, [], {})
    return open_run(out, device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Run]:
    """The same training from three seeds, and another recipe."""
    folder = tmp_path_factory.mktemp("runs")
    other_validation = Split(train=tuple(IDS[5:25]), validation=tuple(IDS[:5]), test=SPLIT.test)
    return [
        trained(folder / "0", 0, {"model": "cnn", "seed": 0, "split": "a"}),
        trained(folder / "1", 1, {"model": "cnn", "seed": 1, "split": "b"}, other_validation),
        trained(folder / "2", 2, {"model": "cnn", "seed": 2, "split": "a"}),
        trained(folder / "3", 3, {"model": "cnn", "seed": 3, "split": "a", "epochs": 9}),
    ]


def test_the_members_of_an_ensemble_are_training_seeds() -> None:
    made = seed_ensemble("cnn", seeds=(0, 1, 2), n_bins=7, channel_names=GENES.channel_names, training=RECIPE)
    made.fit(GENES.subset(SPLIT.train), GENES.subset(SPLIT.validation))
    assert isinstance(made, Ensemble)
    found = evaluate(Run(made, "tiny", SPLIT), GENES, draws=10)
    each = [scored(member) for member in made.members]
    assert len(set(each)) == 3, "other seeds, other scores"
    assert found["spearman"] == pytest.approx(scored(made))
    assert found["seeds"]["n"] == 3
    assert found["seeds"]["spearman"] == pytest.approx(each)
    assert (found["seeds"]["mean"], found["seeds"]["sd"]) == pytest.approx((np.mean(each), np.std(each, ddof=1)))


def test_runs_that_differ_in_the_seed_alone_are_training_seeds(runs: Sequence[Run]) -> None:
    beside = [ComparedRun(str(place), run) for place, run in enumerate(runs) if place]
    found = evaluate(runs[0], GENES, draws=10, beside=beside)
    assert found["seeds"]["spearman"] == pytest.approx([scored(run.predictor) for run in runs[:3]])
    assert [other["model"] for other in found["beside"]] == ["1", "2", "3"]
    assert evaluate(runs[0], GENES, draws=10, beside=beside[2:])["seeds"] is None


def test_clusters_are_drawn_for_a_run_as_for_a_table(runs: Sequence[Run]) -> None:
    test = GENES.subset(SPLIT.test)
    found = evaluate(runs[0], GENES, draws=30, resample="contig", beside=[ComparedRun("other", runs[3])])
    predicted = np.stack([runs[place].predictor.predict(test) for place in (0, 3)])
    by_hand = bootstrap(predicted, OBSERVED, draws=30, clusters=test.genes["contig"].to_list())
    assert (found["resample"], found["n_resampled"]) == ("contig", 3)
    assert found["two_sd"] == pytest.approx(by_hand.spearman.estimate(0).two_sd)
    assert found["beside"][0]["lead"] == pytest.approx(by_hand.spearman.difference(0, 1)._asdict())
    assert evaluate(runs[0], GENES, draws=30, resample="family")["n_resampled"] == 4
    with pytest.raises(ValueError, match="`resample=` is one of gene, family, contig; got 'exon'"):
        evaluate(runs[0], GENES, resample="exon")  # type: ignore[arg-type]  # what a caller may do


@pytest.mark.parametrize("n_bins", [1, 7])
def test_genes_whose_windows_share_bases_with_training_windows_are_counted(runs: Sequence[Run], n_bins: int) -> None:
    found = evaluate(runs[0].with_n_bins(n_bins), GENES, draws=10)
    places = {row["gene_id"]: (row["contig"], row["tss"]) for row in GENES.genes.to_dicts()}

    def bases(gene: str, bins: int) -> set[tuple[str, int]]:
        contig, tss = places[gene]
        return {(contig, base) for base in range(tss - bins * 64, tss - bins * 64 + bins * 128)}

    covered = set().union(*(bases(gene, 7) for gene in SPLIT.train))
    assert found["n_sharing_bases"] == sum(not covered.isdisjoint(bases(gene, n_bins)) for gene in SPLIT.test)
    assert evaluate(runs[0], GENES, draws=10, subset="train")["n_sharing_bases"] is None


def test_a_run_beside_reads_windows_of_its_own_for_the_same_genes(runs: Sequence[Run]) -> None:
    own = tiny_genes(45, seed=5)  # other features of the same genes
    found = evaluate(runs[0], GENES, draws=10, beside=[ComparedRun("own", runs[3], own)])
    predicted = runs[3].predictor.predict(own.subset(SPLIT.test))
    assert found["beside"][0]["spearman"] == pytest.approx(stats.spearmanr(predicted, OBSERVED).statistic)
    with pytest.raises(ValueError, match=r"own reads tiny, and its dataset lacks 1 of the 20 .*: gene44; give"):
        evaluate(runs[0], GENES, beside=[ComparedRun("own", runs[3], own.subset(IDS[:-1]))])


def test_every_score_has_its_mean_and_spread_over_seeds() -> None:
    drawn = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    *seeds, observed = drawn
    found = spread_over_seeds(seeds, observed)
    assert found is not None
    for name, score in (("mse", metrics.mse), ("mae", metrics.mae), ("pearson", metrics.pearson)):
        each = [score(one, observed) for one in seeds]
        assert found["statistics"][name] == pytest.approx({"mean": np.mean(each), "sd": np.std(each, ddof=1)})


def test_one_seed_is_no_ensemble_and_the_error_names_the_option_for_it() -> None:
    with pytest.raises(ValueError, match="`seed=2`"):
        TrainRequest(seeds=(2, 2))
    assert TrainRequest(seeds=(2, 22)).seeds == (2, 22)
