import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from model.evaluation import metrics
from model.evaluation.metrics import bootstrap, bootstrap_spearman, mae, mse, pearson, spearman, spearman_of_resamples

Values = NDArray[np.float64]


@st.composite
def pairs(draw: st.DrawFn, *, smallest: int = 3) -> tuple[Values, Values]:
    """Two arrays of few distinct values, so that ties are common."""
    size = draw(st.integers(smallest, 12))
    values = st.lists(st.integers(-3, 3), min_size=size, max_size=size)
    x, y = np.asarray(draw(values), dtype=float), np.asarray(draw(values), dtype=float)
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    return x, y


@settings(deadline=None)
@given(pairs())
def test_spearman_is_scipys_with_ties_and_all(pair: tuple[Values, Values]) -> None:
    assert spearman(*pair) == pytest.approx(stats.spearmanr(*pair).statistic, abs=1e-12)


@settings(deadline=None)
@given(pairs())
def test_pearson_is_numpys(pair: tuple[Values, Values]) -> None:
    assert pearson(*pair) == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-12)


@settings(deadline=None)
@given(pairs())
def test_spearman_sees_only_the_order(pair: tuple[Values, Values]) -> None:
    x, y = pair
    assert spearman(np.exp(x), y**3) == pytest.approx(spearman(x, y), abs=1e-12)


@settings(deadline=None)
@given(pairs(), st.data())
def test_a_resample_is_ranked_anew(pair: tuple[Values, Values], data: st.DataObject) -> None:
    x, y = pair
    rows = st.lists(st.integers(0, x.size - 1), min_size=x.size, max_size=x.size)
    resamples = np.asarray(data.draw(st.lists(rows, min_size=1, max_size=4)))
    for row, found in zip(resamples, spearman_of_resamples(x, y, resamples), strict=True):
        if np.ptp(x[row]) == 0 or np.ptp(y[row]) == 0:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(stats.spearmanr(x[row], y[row]).statistic, abs=1e-12)


def test_the_spread_is_that_of_scipy_over_other_draws() -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=60)
    y = x + generator.normal(size=60)
    rows = generator.integers(0, 60, (800, 60))
    slow = 2 * np.std([stats.spearmanr(x[row], y[row]).statistic for row in rows])
    estimate = bootstrap_spearman(x, y)
    assert estimate.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert estimate.two_sd == pytest.approx(slow, rel=0.1)


def test_memory_bounds_change_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(2, 31))
    at_once = bootstrap_spearman(x, y, draws=100)
    monkeypatch.setattr(metrics, "_CELLS", 31 * 7)
    assert bootstrap_spearman(x, y, draws=100).two_sd == pytest.approx(at_once.two_sd, rel=1e-12)


def test_the_same_seed_gives_the_same_spread() -> None:
    x, y = np.random.default_rng(5).normal(size=(2, 40))
    assert bootstrap_spearman(x, y, draws=50) == bootstrap_spearman(x, y, draws=50)
    assert bootstrap_spearman(x, y, draws=50) != bootstrap_spearman(x, y, draws=50, seed=1)


def test_a_constant_ranks_nothing() -> None:
    # 0.1 has no exact square or mean in binary: rounding must not pass for variation.
    constant, varied = np.full(7, 0.1), np.arange(7.0)
    assert math.isnan(spearman(constant, varied))
    assert math.isnan(pearson(varied, constant))
    assert all(math.isnan(number) for number in bootstrap_spearman(constant, varied))


def test_the_mean_squared_error_of_a_worked_case() -> None:
    assert mse([1, 2, 3], [1, 4, 0]) == pytest.approx((0 + 4 + 9) / 3)


def test_every_draw_of_every_model_is_what_scipy_and_numpy_make_of_those_genes() -> None:
    generator = np.random.default_rng(6)
    y = np.round(generator.normal(size=25))
    models = np.stack([y + generator.normal(size=25), np.round(generator.normal(size=25)), 100 + 0.01 * y])
    found = bootstrap(models, y, draws=40, seed=9)
    for draw, row in enumerate(np.random.default_rng(9).integers(0, 25, (40, 25))):
        for model, x in enumerate(models):
            assert found.spearman.draws[draw, model] == pytest.approx(stats.spearmanr(x[row], y[row]).statistic)
            assert found.pearson.draws[draw, model] == pytest.approx(np.corrcoef(x[row], y[row])[0, 1])
            assert found.mse.draws[draw, model] == pytest.approx(np.mean((x[row] - y[row]) ** 2))
    assert found.spearman.estimate(0) == bootstrap_spearman(models[0], y, draws=40, seed=9)
    assert found.pearson.value[2] == pytest.approx(1)


@settings(deadline=None)
@given(pairs())
def test_a_model_is_as_far_ahead_as_the_other_is_behind(pair: tuple[Values, Values]) -> None:
    x, y = pair
    for scores in bootstrap([x, x[::-1]], y, draws=20):
        there, back = scores.difference(0, 1), scores.difference(1, 0)
        assert there.value == -back.value
        assert there.two_sd == pytest.approx(back.two_sd)
        assert there.share_above + back.share_above <= 1
        assert scores.difference(0, 0)[:3:2] == (0, 0)


def test_two_models_that_err_alike_are_told_apart_by_pairs_where_their_own_spreads_overlap() -> None:
    generator = np.random.default_rng(7)
    y, shared = generator.normal(size=(2, 300))
    scores = bootstrap([y + shared, y + shared + 0.3 * generator.normal(size=300)], y, draws=500).spearman
    apart = scores.difference(0, 1)
    assert apart.value < scores.estimate(0).two_sd
    assert apart.value > apart.two_sd > 0
    assert apart.share_above > 0.99


def test_a_constant_model_has_an_error_but_no_correlation() -> None:
    y = np.arange(9.0)
    scores = bootstrap([np.full(9, 0.1), y], y, draws=30)
    assert all(math.isnan(number) for number in scores.pearson.estimate(0))
    assert all(math.isnan(number) for number in scores.spearman.difference(0, 1))
    assert scores.mse.estimate(0).value == pytest.approx(np.mean((y - 0.1) ** 2))
    assert scores.mse.difference(0, 1).share_above == 1


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        pytest.param([1, 2, 3], [1, 2], "same length", id="two lengths"),
        pytest.param([1], [1], "at least 2 genes", id="one gene"),
        pytest.param([1, math.nan], [1, 2], "lower the learning rate", id="a diverged prediction"),
        pytest.param([1, 2], [1, math.nan], "leave out genes", id="a gene not measured"),
    ],
)
def test_what_cannot_be_compared_is_refused(prediction: list[float], target: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spearman(prediction, target)


def test_a_spread_of_one_draw_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 draws.*5000"):
        bootstrap_spearman([1, 2, 3], [1, 2, 3], draws=1)


def test_the_mean_absolute_error_of_a_bootstrap_is_that_of_the_genes() -> None:
    drawn = np.random.default_rng(0).normal(size=(2, 50))
    found = bootstrap(drawn[:1], drawn[1], draws=200)
    assert found.mae.estimate(0).value == pytest.approx(np.abs(drawn[0] - drawn[1]).mean())
    assert mae(*drawn) == pytest.approx(found.mae.estimate(0).value)
    by_hand = np.abs(drawn[0] - drawn[1])
    resamples = np.random.default_rng(1).integers(0, 50, (4000, 50))
    assert found.mae.estimate(0).two_sd == pytest.approx(2 * by_hand[resamples].mean(axis=1).std(), rel=0.2)
