import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from model import metrics
from model.metrics import bootstrap_spearman, mse, pearson, spearman, spearman_of_resamples

Values = NDArray[np.float64]


@st.composite
def pairs(draw: st.DrawFn, *, smallest: int = 3) -> tuple[Values, Values]:
    """Two arrays of few distinct values, so that ties are common."""
    size = draw(st.integers(smallest, 12))
    values = st.lists(st.integers(-3, 3), min_size=size, max_size=size)
    x, y = np.asarray(draw(values), dtype=float), np.asarray(draw(values), dtype=float)
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    return x, y


@given(pairs())
def test_spearman_is_scipys_with_ties_and_all(pair: tuple[Values, Values]) -> None:
    assert spearman(*pair) == pytest.approx(stats.spearmanr(*pair).statistic, abs=1e-12)


@given(pairs())
def test_pearson_is_numpys(pair: tuple[Values, Values]) -> None:
    assert pearson(*pair) == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-12)


@given(pairs())
def test_spearman_sees_only_the_order(pair: tuple[Values, Values]) -> None:
    x, y = pair
    assert spearman(np.exp(x), y**3) == pytest.approx(spearman(x, y), abs=1e-12)


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
