"""Scales of signals: fitted on the genes that are named, the same wherever they are applied, kept in a run."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_stores import GENES

from loaders import SignalScaling, signal_gene_dataset

TRAIN = ["ENSG1", "ENSG3", "ENSG4"]


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.floats(-1e4, 1e4, allow_nan=False),
    st.floats(0.5, 1e3, allow_nan=False),
)
@settings(deadline=None, max_examples=30)
def test_z_scores_are_those_of_all_bases_of_all_batches_at_once(sizes: list[int], shift: float, spread: float) -> None:
    rng = np.random.default_rng(sum(sizes))
    batches = [torch.from_numpy(rng.normal(shift, spread, size=(size, 7, 2))).float() for size in sizes]
    scaling = SignalScaling.fitted("zscore", ["a", "b"], batches)
    everything = torch.cat(batches).double().reshape(-1, 2).numpy()
    np.testing.assert_allclose(scaling.means, everything.mean(axis=0), rtol=1e-6, atol=1e-6 * spread)
    np.testing.assert_allclose(scaling.sds, everything.std(axis=0), rtol=1e-6)
    scaled = torch.cat([scaling.apply(batch) for batch in batches]).double().reshape(-1, 2).numpy()
    np.testing.assert_allclose(scaled, (everything - everything.mean(axis=0)) / everything.std(axis=0), atol=1e-2)


@pytest.mark.parametrize(
    ("kind", "function"), [("raw", torch.clone), ("log1p", torch.log1p), ("arcsinh", torch.arcsinh)]
)
def test_other_scales_are_functions_of_each_value(url: str, kind: str, function: object) -> None:
    genes = signal_gene_dataset(url, GENES, signals=("base",), length=30)
    scaled = genes.with_scaling(genes.fit_scaling(kind))  # type: ignore[arg-type]  # as parametrised
    assert torch.equal(scaled[:].signals, function(genes[:].signals))  # type: ignore[operator]  # as parametrised
    assert torch.equal(scaled.as_stored()[:].finished().signals, scaled[:].signals)


def test_z_scores_are_fitted_on_training_genes_alone(url: str) -> None:
    genes = signal_gene_dataset(
        url, GENES, signals=("base", "wide"), length=30, orient="gene", stranded={"plus": "minus"}
    )
    scaling = genes.subset(TRAIN).fit_scaling("zscore")
    raw = genes.subset(TRAIN)[:].signals.double().reshape(-1, 5)
    np.testing.assert_allclose(scaling.means, raw.mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(scaling.sds, raw.std(dim=0, correction=0), rtol=1e-6)
    assert scaling != genes.fit_scaling("zscore")
    everywhere = genes.with_scaling(scaling)[:].signals
    assert torch.equal(everywhere, scaling.apply(genes[:].signals)), "other genes are scaled as the training genes"
    assert genes.with_scaling(scaling).subset(TRAIN).fit_scaling("zscore") == scaling, "fitted on raw signals"


def test_a_signal_that_does_not_vary_is_only_shifted() -> None:
    scaling = SignalScaling.fitted("zscore", ["flat"], [torch.full((2, 3, 1), 5.0)])
    assert (scaling.means, scaling.sds) == ((5.0,), (1.0,))


@pytest.mark.parametrize("kind", ["raw", "log1p", "arcsinh", "zscore"])
def test_a_scaling_reads_back_from_the_json_of_a_run(kind: str) -> None:
    scaling = SignalScaling.fitted(kind, ["a", "b"], [torch.rand(2, 3, 2)])  # type: ignore[arg-type]  # as parametrised
    assert SignalScaling.from_json(json.loads(json.dumps(scaling.to_json()))) == scaling


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "cubic"},
        {"kind": "zscore", "signals": ["a"], "means": [0.0], "sds": [0.0]},
        {"kind": "zscore", "signals": ["a"], "means": [], "sds": []},
        {"kind": "raw", "signals": ["a"], "means": [1.0], "sds": [1.0]},
        {"kind": "raw", "power": 2},
    ],
)
def test_what_is_no_scaling_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"kind is raw\|log1p|deviations above 0|no setting is called"):
        SignalScaling.from_json(document)


@pytest.mark.parametrize("residence", ["memory", "stream"])
def test_log1p_of_negative_signals_is_refused_by_name_wherever_they_are_met(url: str, residence: str) -> None:
    genes = signal_gene_dataset(url, GENES, signals=("base", "fine"), length=30, residence=residence)
    with pytest.raises(ValueError, match=r"these have negative values: dnase \(-[0-9.]+\); take `scaling='arcsinh'`"):
        genes.fit_scaling("log1p")
    unfitted = SignalScaling(kind="log1p", signals=genes.signal_names)
    with pytest.raises(ValueError, match="these have negative values: dnase"):
        genes.with_scaling(unfitted)[0]
    one = signal_gene_dataset(url, GENES, signals=("base", "fine"), length=30, channels=("dnase", "plus"))
    with pytest.raises(ValueError, match=r"negative values: dnase \("):
        one.with_scaling(SignalScaling(kind="log1p", signals=one.signal_names))[0]
    assert genes.with_signals(["mark"]).fit_scaling("log1p").kind == "log1p"


def test_a_scaling_of_other_signals_is_refused_with_both_lists(url: str) -> None:
    genes = signal_gene_dataset(url, GENES, signals=("base",), length=30)
    scaling = genes.fit_scaling("zscore")
    with pytest.raises(ValueError, match="fitted on the signals mark, plus, minus, and these genes have plus, mark"):
        genes.with_signals(["plus", "mark"]).with_scaling(scaling)
    with pytest.raises(ValueError, match="signals are chosen before they are scaled"):
        genes.with_scaling(scaling).with_signals(["plus"])
