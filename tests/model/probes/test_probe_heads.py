"""Heads, against slow oracles and by what they must learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model.probes.heads import recipe_of
from model.probes.linear import fit_linear
from model.probes.networks import NETWORKS
from model.probes.neural import Recipe, _Fit, fit_network
from model.probes.results.scores import aupr, auroc

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("columns", [5, 60], ids=["more rows than columns", "more columns than rows"])
def test_ridge_is_the_solution_of_the_normal_equations_of_known_rows(columns: int) -> None:
    x, weights = RNG.normal(size=(40, columns)), RNG.normal(size=(columns, 2))
    y = x @ weights + 1
    y[:7, 1] = np.nan
    fitted = fit_linear((x, y), (x, y), penalties=(3.0,), is_binary=False, standardise=False)
    for column, known in ((0, slice(0, None)), (1, slice(7, None))):
        centred = x[known] - x[known].mean(0)
        solved = np.linalg.solve(centred.T @ centred + 3 * np.eye(columns), centred.T @ y[known, column])
        expected = (x - x[known].mean(0)) @ solved + y[known, column].mean()
        assert np.allclose(fitted(x)[:, column], expected)


def test_logistic_has_no_slope_left_at_its_solution() -> None:
    x = RNG.normal(size=(80, 3))
    y = (x[:, :1] + RNG.normal(size=(80, 1)) > 0).astype(float)
    fitted = fit_linear((x, y), (x, y), penalties=(0.5,), is_binary=True, standardise=False)
    left = 1 / (1 + np.exp(-fitted(x))) - y
    assert abs(left.sum()) < 1e-2
    assert np.allclose((x - x.mean(0)).T @ left + 0.5 * fitted.coefficients, 0, atol=1e-2)


def test_the_penalty_of_the_least_validation_error_is_taken() -> None:
    x, noise = RNG.normal(size=(30, 20)), RNG.normal(size=(30, 1))
    fitted = fit_linear((x, noise), (x, -noise), penalties=(1e-3, 1e6), is_binary=False, standardise=True)
    assert fitted.penalties == (1e6,)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=20))
def test_auroc_and_aupr_are_those_of_all_pairs_and_thresholds(rows: list[tuple[int, bool]]) -> None:
    score, target = np.array(rows, dtype=float).T
    ones, zeros = score[target == 1], score[target == 0]
    if not len(ones):
        assert np.isnan(aupr(score, target))
        return
    if len(zeros):
        wins = [(one > zero) + (one == zero) / 2 for one in ones for zero in zeros]
        assert auroc(score, target) == pytest.approx(np.mean(wins))
    expected = sum((target[score >= one]).mean() for one in ones) / len(ones)
    assert aupr(score, target) == pytest.approx(expected)


@pytest.mark.parametrize("head", NETWORKS)
def test_each_network_gives_a_number_a_target_and_learns(head: str) -> None:
    values = RNG.normal(size=(160, 1 if head == "mlp" else 24, 6)).astype(np.float16)
    told = values[:, :, 0].mean(1, dtype=np.float64) * 3
    targets = np.stack([told, np.where(np.arange(160) % 4, -told, np.nan)], axis=1)
    rows = np.arange(160)
    recipe = Recipe(learning_rate=3e-3, batch_size=32, reduce=None if head in ("mlp", "mprann") else 4)
    losses = [
        fit_network(
            lambda: NETWORKS[head](6, values.shape[1], 2, width=0.1, reduce=recipe.reduce),
            values,
            targets,
            rows[:120],
            rows[120:],
            recipe=Recipe(**{**vars_of(recipe), "epochs": epochs}),
            is_binary=False,
            seed=0,
            device="cpu",
        )
        for epochs in (1, 12)
    ]
    assert losses[1][0](rows[:7]).shape == (7, 2)
    assert losses[1][1] < losses[0][1]


def test_settled_statistics_are_those_of_rows_without_dropout() -> None:
    values = RNG.normal(2, 3, size=(64, 1, 6)).astype(np.float32)
    norm = nn.BatchNorm1d(6)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), norm, nn.Linear(6, 1))
    recipe = Recipe(learning_rate=1e-3, batch_size=16)
    fit = _Fit(network, values, torch.zeros(64, 1), recipe, torch.device("cpu"), is_binary=False)
    rows = np.arange(0, 64, 2)
    fit.epoch(rows, torch.optim.Adam(network.parameters()), RNG)
    assert not np.allclose(norm.running_var, values[rows, 0].var(0), rtol=0.2)
    fit.settle(rows)
    assert np.allclose(norm.running_mean, values[rows, 0].mean(0), atol=1e-4)
    assert norm.momentum == 0.1
    first, second = values[rows[:16], 0], values[rows[16:], 0]
    assert np.allclose(norm.running_var, (first.var(0, ddof=1) + second.var(0, ddof=1)) / 2, atol=1e-3)
    assert recipe_of("resnet", "onehot", "default").settle
    assert not recipe_of("resnet", "onehot", "paper").settle


def vars_of(recipe: Recipe) -> dict[str, object]:
    return {name: getattr(recipe, name) for name in Recipe.__dataclass_fields__}


def test_the_preset_of_the_paper_searches_widths_and_reduces_what_is_not_one_hot() -> None:
    assert recipe_of("cnn", "hf", "paper").widths == (0.5, 1.0, 2.0)
    assert (recipe_of("cnn", "hf", "paper").reduce, recipe_of("cnn", "onehot", "paper").reduce) == (196, None)
    assert (recipe_of("cnn", "hf", "paper").learning_rate, recipe_of("cnn", "onehot", "paper").learning_rate) == (
        1e-4,
        1e-3,
    )
