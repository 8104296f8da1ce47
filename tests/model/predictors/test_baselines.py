import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model.evaluation.metrics import mse, spearman
from model.networks.kernels import DECAYS, exponential_kernels
from model.predictors.checkpoint import OtherStore
from model.predictors.closed_form import (
    PENALTIES,
    CentreRidge,
    ClosedForm,
    ExponentialRidge,
    Mean,
)
from model.testing import TinyGenes, tiny_genes


def _split(n_bins: int = 7) -> tuple[TinyGenes, TinyGenes, TinyGenes]:
    train, validation, test = (tiny_genes(size, seed=seed, noise=0.5) for seed, size in enumerate((120, 40, 60)))
    for part in (train, validation, test):
        part.n_bins = n_bins
    return train, validation, test


def _log(genes: TinyGenes) -> NDArray[np.float64]:
    return np.asarray(np.log1p(genes.targets.double().numpy()))


def test_the_mean_predicts_the_mean_of_the_training_genes() -> None:
    train, validation, test = _split()
    predictor = Mean(n_bins=7)
    report = predictor.fit(train, validation)
    np.testing.assert_allclose(predictor.predict(test), np.full(60, _log(train).mean()), rtol=1e-6)
    assert math.isnan(report.validation_spearman)
    assert report.to_json()["validation_spearman"] is None


@pytest.mark.parametrize("form", [CentreRidge, ExponentialRidge])
def test_ridge_solves_the_normal_equations_with_the_penalty_that_validates_best(form: type[ClosedForm]) -> None:
    train, validation, test = _split()
    predictor = form(n_bins=7)
    predictor.fit(train, validation)
    x, held_out, x_test = (predictor.summarise(part[range(len(part))]) for part in (train, validation, test))
    mean, scale, low, high = x.mean(axis=0), x.std(axis=0), x.min(axis=0), x.max(axis=0)
    x, held_out, x_test = ((part.clip(low, high) - mean) / scale for part in (x, held_out, x_test))
    target = _log(train)
    slow = []
    for penalty in PENALTIES:
        gram = x.T @ x + penalty * np.eye(x.shape[1])
        coefficients = np.linalg.solve(gram, x.T @ (target - target.mean()))
        error = mse(held_out @ coefficients + target.mean(), _log(validation))
        slow.append((error, x_test @ coefficients + target.mean()))
    np.testing.assert_allclose(predictor.predict(test), min(slow, key=lambda pair: pair[0])[1], rtol=1e-4)


def test_the_ridge_at_the_centre_does_not_care_for_context() -> None:
    predictions = []
    for n_bins in (1, 3, 7):
        train, validation, test = _split(n_bins)
        predictor = CentreRidge(n_bins=n_bins)
        predictor.fit(train, validation)
        predictions.append(predictor.predict(test))
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])


def test_context_that_matters_is_found_by_the_decaying_sums() -> None:
    train, validation, test = _split()
    scores = {}
    for form in (CentreRidge, ExponentialRidge):
        predictor = form(n_bins=7)
        predictor.fit(train, validation)
        scores[form] = spearman(predictor.predict(test), _log(test))
    assert scores[ExponentialRidge] > scores[CentreRidge] + 0.1


@pytest.mark.parametrize("n_bins", [1, 51, 251])
def test_kernels_are_one_at_the_tss_and_fall_off_on_their_own_side(n_bins: int) -> None:
    kernels = exponential_kernels(n_bins)
    centre = n_bins // 2
    assert kernels.shape == (2 * len(DECAYS), n_bins)
    np.testing.assert_array_equal(kernels[:, centre], 1)
    np.testing.assert_array_equal(kernels[0::2, centre + 1 :], 0)
    np.testing.assert_array_equal(kernels[1::2], kernels[0::2, ::-1])
    # The steepest underflows to 0 far out.
    rises = np.diff(kernels[0::2, : centre + 1], axis=1)
    assert (rises >= 0).all()
    assert (rises[:, -25:] > 0).all()


@pytest.mark.parametrize(
    "spread", [0.0, 1e-13, 1e-174], ids=["does not vary", "hardly varies", "its square underflows"]
)
@pytest.mark.parametrize("form", [CentreRidge, ExponentialRidge])
def test_a_channel_that_tells_nothing_in_training_carries_no_prediction_away(
    form: type[ClosedForm], spread: float
) -> None:
    parts = []
    for part, value in zip(_split(), (0.0, 0.0, 1.0), strict=True):
        features = part[range(len(part))].features.double()
        features[..., 2] = value
        features[0, :, 2] += spread
        parts.append(TinyGenes(features, part.targets))
    predictor = form(n_bins=7)
    predictor.fit(parts[0], parts[1])
    assert np.abs(predictor.predict(parts[2])).max() < 20


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(math.nan, "1 of 120 genes have no target.*give a table of targets", id="not measured"),
        pytest.param(-1.0, "below 0", id="below zero"),
    ],
)
def test_targets_that_are_no_expression_are_refused(value: float, message: str) -> None:
    train, validation, _ = _split()
    train.targets[3] = value
    with pytest.raises(ValueError, match=message):
        Mean(n_bins=7).fit(train, validation)


def test_a_split_without_genes_is_refused() -> None:
    train, _, _ = _split()
    with pytest.raises(ValueError, match=r"at least 2 genes.*split otherwise"):
        CentreRidge(n_bins=7).fit(train, tiny_genes(1))


def test_windows_of_another_length_are_refused() -> None:
    train, validation, test = _split()
    with pytest.raises(ValueError, match=r"made for 3 bins.*set dataset.n_bins = 3"):
        CentreRidge(n_bins=3).fit(train, validation)
    predictor = CentreRidge(n_bins=7)
    predictor.fit(train, validation)
    test.n_bins = 5
    with pytest.raises(ValueError, match=r"set dataset.n_bins = 7"):
        predictor.predict(test)


@pytest.mark.parametrize("form", [CentreRidge, ExponentialRidge, Mean])
def test_a_fitted_predictor_reads_windows_of_another_length_once_it_is_told_to(form: type[ClosedForm]) -> None:
    train, validation, test = _split()
    predictor = form(n_bins=7)
    predictor.fit(train, validation)
    before = predictor.predict(test)
    predictor.n_bins = test.n_bins = 3
    shorter = predictor.predict(test)
    assert np.isfinite(shorter).all()
    assert np.array_equal(shorter, before) == (form is not ExponentialRidge), "the centre is the same, the sums are not"
    predictor.n_bins = test.n_bins = 7
    np.testing.assert_array_equal(predictor.predict(test), before)


def test_targets_of_several_tasks_are_refused() -> None:
    train, validation, _ = _split()
    train.targets = train.targets[:, None].expand(-1, 2)
    with pytest.raises(ValueError, match=r"2 columns.*one column at a time.*tasks="):
        Mean(n_bins=7).fit(train, validation)


def test_validation_genes_of_another_store_are_refused() -> None:
    train, validation, _ = _split()
    other = TinyGenes(validation[range(40)].features, validation.targets, fingerprint="other")
    with pytest.raises(OtherStore, match=r"train again"):
        CentreRidge(n_bins=7).fit(train, other)


def test_an_unfitted_predictor_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(train, validation\)"):
        CentreRidge(n_bins=7).predict(tiny_genes(3))
