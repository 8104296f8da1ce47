"""Tests that every predictor passes; a distribution that adds a model runs them on its own.

    from model.testing.conformance import PredictorTests

    class TestMine(PredictorTests):
        @pytest.fixture(scope="class")
        @classmethod
        def build(cls):
            return lambda genes: build_predictor("mine", n_bins=genes.n_bins, channel_names=genes.channel_names)

Belongs here: laws of `model.predictors.predictor.Predictor`, checked on a few genes in memory. Does not: how well a
model learns. Needs pytest.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders import GeneDataset
from model.predictors.checkpoint import OtherStore, TrainedOn
from model.predictors.predictor import Predictor
from model.predictors.saved import load_predictor
from model.testing.genes import TinyGenes, tiny_genes
from model.testing.signal_genes import TinySignalGenes, tiny_signal_genes

N_BINS = 7
TRAIN, VALIDATION, TEST = (tiny_genes(genes, n_bins=N_BINS, seed=seed) for genes, seed in ((24, 0), (12, 1), (9, 2)))
Build = Callable[[GeneDataset], Predictor]


def rearranged(
    genes: TinyGenes, places: Sequence[int], *, fingerprint: str = "tiny", target: float | None = None
) -> TinyGenes:
    """Give some genes in another order, perhaps as features of another fingerprint, or with another target."""
    batch = genes[places]
    targets = batch.targets if target is None else batch.targets.new_full((len(places),), target)
    return TinyGenes(batch.features, targets, prompts=batch.prompts, fingerprint=fingerprint)


class PredictorTests:
    """What holds of any predictor of one number a gene. Subclasses give the fixture `build`."""

    n_bins = N_BINS
    train: GeneDataset = TRAIN
    validation: GeneDataset = VALIDATION
    test: GeneDataset = TEST
    tolerance = 1e-5
    """By how much predictions may differ between batches, whose sums are rounded otherwise."""

    @staticmethod
    def rearranged(
        genes: Any, places: Sequence[int], *, fingerprint: str = "tiny", target: float | None = None
    ) -> GeneDataset:
        """Give some genes in another order, perhaps as features of another fingerprint, or with another target."""
        return rearranged(genes, places, fingerprint=fingerprint, target=target)

    @property
    def shorter(self) -> GeneDataset:
        """Genes with windows of other bins than in training."""
        return tiny_genes(len(TEST), n_bins=N_BINS - 2, seed=2)

    @pytest.fixture(scope="class")
    @classmethod
    def build(cls) -> Build:
        """Give a function that makes a predictor for windows like those of some genes, not fitted yet."""
        raise NotImplementedError("a subclass of PredictorTests gives the fixture `build`")

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, build: Build) -> Predictor:
        """Fit one for all tests."""
        predictor = build(cls.train)
        predictor.fit(cls.train, cls.validation)
        return predictor

    def test_a_prediction_is_a_finite_number_a_gene(self, fitted: Predictor) -> None:
        predicted = fitted.predict(self.test)
        assert predicted.shape == (len(self.test),)
        assert predicted.dtype == np.float32
        assert np.isfinite(predicted).all()

    def test_it_says_what_it_was_trained_on(self, fitted: Predictor) -> None:
        assert fitted.trained_on == TrainedOn.of(self.train)

    def test_one_that_is_not_fitted_refuses_to_predict_and_to_be_saved(self, build: Build, tmp_path: Path) -> None:
        predictor = build(self.train)
        assert predictor.trained_on is None
        with pytest.raises(RuntimeError):
            predictor.predict(self.test)
        with pytest.raises(RuntimeError):
            predictor.save(tmp_path)

    def test_a_gene_is_predicted_alike_alone_and_among_others(self, fitted: Predictor) -> None:
        batched = fitted.predict(self.test)
        alone = [fitted.predict(self.rearranged(self.test, [place]))[0] for place in range(3)]
        np.testing.assert_allclose(alone, batched[:3], rtol=self.tolerance, atol=self.tolerance)

    def test_the_order_of_genes_changes_nothing(self, fitted: Predictor) -> None:
        order = np.random.default_rng(0).permutation(len(self.test)).tolist()
        predicted = fitted.predict(self.rearranged(self.test, order))
        np.testing.assert_allclose(
            predicted, fitted.predict(self.test)[order], rtol=self.tolerance, atol=self.tolerance
        )

    def test_targets_are_not_read_to_predict(self, fitted: Predictor) -> None:
        unknown = self.rearranged(self.test, range(len(self.test)), target=np.nan)
        np.testing.assert_array_equal(fitted.predict(unknown), fitted.predict(self.test))

    @pytest.mark.parametrize("target", [np.nan, -1.0])
    def test_a_target_that_is_no_expression_is_refused_in_fitting(self, build: Build, target: float) -> None:
        with pytest.raises(ValueError, match=r"."):
            build(self.train).fit(self.rearranged(self.train, range(len(self.train)), target=target), self.validation)

    def test_it_comes_back_from_disk_as_it_was(self, fitted: Predictor, tmp_path: Path) -> None:
        fitted.save(tmp_path / "saved")
        again = load_predictor(tmp_path / "saved", dataset=self.test)
        assert (again.name, again.n_bins, again.trained_on) == (fitted.name, self.n_bins, fitted.trained_on)
        np.testing.assert_array_equal(again.predict(self.test), fitted.predict(self.test))

    def test_features_of_another_kind_are_refused_unless_forced(self, fitted: Predictor) -> None:
        other = self.rearranged(self.test, range(len(self.test)), fingerprint="other weights")
        with pytest.raises(OtherStore):
            fitted.predict(other)
        fitted.allow_other_store = True
        try:
            np.testing.assert_array_equal(fitted.predict(other), fitted.predict(self.test))
        finally:
            fitted.allow_other_store = False

    def test_windows_of_another_length_are_read_once_n_bins_is_set(self, fitted: Predictor, tmp_path: Path) -> None:
        shorter = self.shorter
        with pytest.raises(ValueError, match="bins"):
            fitted.predict(shorter)
        fitted.save(tmp_path / "saved")
        again = load_predictor(tmp_path / "saved")
        again.n_bins = shorter.n_bins
        assert np.isfinite(again.predict(shorter)).all()
        again.save(tmp_path / "again")
        assert load_predictor(tmp_path / "again").n_bins == self.n_bins


class SignalPredictorTests(PredictorTests):
    """The same of a predictor that reads genes with measured signals."""

    n_bins = 70
    train, validation, test = (
        tiny_signal_genes(genes, length=70, seed=seed) for genes, seed in ((24, 0), (12, 1), (9, 2))
    )

    @staticmethod
    def rearranged(
        genes: Any, places: Sequence[int], *, fingerprint: str = "tiny", target: float | None = None
    ) -> TinySignalGenes:
        """Give some genes in another order; see `PredictorTests`."""
        batch = genes[places]
        targets = batch.targets if target is None else batch.targets.new_full((len(places),), target)
        return TinySignalGenes(batch.features, targets, fingerprint=fingerprint)

    @property
    def shorter(self) -> TinySignalGenes:
        """Genes with the middle of their windows."""
        return tiny_signal_genes(9, length=66, seed=2)
