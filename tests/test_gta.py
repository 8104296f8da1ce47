import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import model as model_package
from model.backbone import Backbone, BackboneError
from model.gta import GTA, PRESETS, GtaConfig
from model.readout import PooledReadout, TopKReadout, centre_bin
from model.testing import FAMILIES, PROMPTS, Family, write_tiny_backbone

CHANNELS = ("promoter", "enhancer", "CTCF site")
N_BINS = 7
_NORMALISED = {"normalise_prototypes": True, "normalise_tokens": True, "attention_scale": "head"}
VARIANTS = {
    "as printed": {},
    "as printed, straight-through": {"selector_gradient": "straight-through"},
    "normalised": _NORMALISED,
    "normalised and pooled": _NORMALISED | {"readout": "pooled", "dropout": 0.1},
}


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    folder = tmp_path_factory.mktemp("backbones")
    return {family: write_tiny_backbone(folder / family, family) for family in FAMILIES}


def _gta(backbone: Backbone | None, **changes: Any) -> GTA:
    torch.manual_seed(0)
    config = GtaConfig(llm=backbone is not None, top_k=3, **changes)
    return GTA(config, n_bins=N_BINS, channel_names=CHANNELS, backbone=backbone).eval()


def _features(rows: int = len(PROMPTS)) -> Tensor:
    return torch.randn(rows, N_BINS, len(CHANNELS), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("family", [*FAMILIES, None])
def test_gradients_reach_every_trainable_parameter_and_no_frozen_one(
    directories: dict[Family, Path], family: Family | None, changes: dict[str, Any]
) -> None:
    model = _gta(None if family is None else Backbone(directories[family], max_layers=2), **changes).train()
    model(_features(), PROMPTS).square().sum().backward()
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            assert not parameter.requires_grad, name
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            # A parameter that the rest takes off again still has rounding for a gradient, near 1e-6 here.
            assert parameter.grad.abs().max() > 1e-5, name
    assert model.n_trainable() == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("family", [*FAMILIES, None])
def test_batch_size_changes_no_value(directories: dict[Family, Path], family: Family | None) -> None:
    model = _gta(None if family is None else Backbone(directories[family]), readout="pooled")
    features = _features()
    together = model(features, PROMPTS)
    alone = [model(features[row : row + 1], [prompt])[0] for row, prompt in enumerate(PROMPTS)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_the_prefix_cache_changes_neither_predictions_nor_gradients(directories: dict[Family, Path]) -> None:
    found = []
    for prefix_cache in (True, False):
        model = _gta(Backbone(directories["llama"]), prefix_cache=prefix_cache)
        predicted = model(_features(), PROMPTS)
        predicted.sum().backward()
        found.append((predicted, [p.grad for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    for cached, plain in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(cached, plain, rtol=1e-4, atol=1e-5)


def test_without_prompts_all_genes_read_alike(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    features = _features(1).expand(len(PROMPTS), -1, -1)
    with_prompts, without = (_gta(backbone, prompt=prompt)(features, PROMPTS) for prompt in (True, False))
    assert with_prompts.std() > 1e-3
    torch.testing.assert_close(without, without[:1].expand(len(PROMPTS)))


def test_the_control_reads_no_prompt_and_has_no_language_model() -> None:
    model = _gta(None)
    torch.testing.assert_close(model(_features(), PROMPTS), model(_features(), ["other"] * len(PROMPTS)))
    assert model.backbone is None


def test_a_backbone_is_dropped_by_the_control(directories: dict[Family, Path]) -> None:
    control = GtaConfig(llm=False, top_k=3)
    assert GTA(control, n_bins=N_BINS, channel_names=CHANNELS, backbone=Backbone(directories["gpt2"])).backbone is None


def test_own_state_leaves_the_language_model_out_and_brings_the_rest_back(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["gpt2"])
    first, second = _gta(backbone), _gta(backbone)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1) if parameter.requires_grad else None
    assert not torch.allclose(first(_features(), PROMPTS), second(_features(), PROMPTS))
    assert not any(name.startswith("backbone.") for name in first.own_state())
    assert sum(value.numel() for value in first.own_state().values()) < first.n_trainable() + 20
    second.load_own_state(first.own_state())
    assert torch.equal(first(_features(), PROMPTS), second(_features(), PROMPTS))


def test_a_state_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of another model"):
        _gta(None).load_own_state(_gta(None, readout="pooled").own_state())


def test_targets_come_back_from_their_standard_scale() -> None:
    expression = torch.tensor([0.0, 1.0, 500.0])
    for target in ("log1p", "raw"):
        model = _gta(None, target=target)
        model.target_mean.fill_(3.0)
        model.target_scale.fill_(2.0)
        torch.testing.assert_close(model.to_log1p(model.standardise_target(expression)), expression.log1p())


def test_standardised_features_are_what_the_alignment_sees() -> None:
    model = _gta(None)
    before = model(_features(), PROMPTS)
    model.feature_mean.fill_(100.0)
    model.feature_scale.fill_(7.0)
    torch.testing.assert_close(model(_features() * 7 + 100, PROMPTS), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_a_configuration_comes_back_from_json(config: GtaConfig) -> None:
    assert GtaConfig.from_json(config.to_json()) == config


def test_the_control_differs_from_the_best_by_the_language_model_alone() -> None:
    assert replace(PRESETS["no-llm"], llm=True) == PRESETS["best"]


@pytest.mark.parametrize("gradient", ["sigmoid", "straight-through"])
def test_the_selector_keeps_the_largest_logits_in_genome_order(gradient: Any) -> None:
    torch.manual_seed(0)
    readout = TopKReadout(6, n_bins=9, k=4, gradient=gradient)
    activations = torch.randn(5, 9, 6)
    chosen, kept = readout.select(activations)
    logits = readout.logit(activations).squeeze(-1)
    slow = [sorted(row.index(value) for value in sorted(row, reverse=True)[:4]) for row in logits.tolist()]
    assert chosen.tolist() == slow
    gate = kept.sigmoid() if gradient == "sigmoid" else torch.ones_like(kept)
    rows = torch.stack([activations[gene, chosen[gene]] * gate[gene, :, None] for gene in range(5)])
    torch.testing.assert_close(readout(activations), readout.head(rows.flatten(1)).squeeze(-1))


def test_straight_through_learns_as_the_sigmoid_would() -> None:
    torch.manual_seed(0)
    readout = TopKReadout(6, n_bins=9, k=4, gradient="sigmoid")
    activations = torch.randn(5, 9, 6)
    gradients = []
    for gradient in ("sigmoid", "straight-through"):
        readout.gradient = gradient
        readout.zero_grad()
        readout(activations).sum().backward()
        gradients.append(readout.logit.weight.grad.clone())  # type: ignore[union-attr]  # backward ran
    torch.testing.assert_close(*gradients)


def test_the_pooled_readout_starts_with_weights_that_fall_with_distance() -> None:
    readout = PooledReadout(6, n_bins=9, queries=3, hidden=4, dropout=0.0)
    weights = readout.weights(torch.zeros(2, 9, 6))
    assert weights.shape == (2, 3, 9)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3))
    torch.testing.assert_close(weights, weights.flip(-1))
    assert (weights[:, :, :5].diff(dim=-1) > 0).all()
    assert (weights[:, :-1, 4] > weights[:, 1:, 4]).all(), "each query reaches further than the one before"


@pytest.mark.parametrize(("n_bins", "centre"), [(1, 0), (251, 125), (4, 2)])
def test_the_tss_lies_in_the_middle_bin(n_bins: int, centre: int) -> None:
    assert centre_bin(n_bins) == centre


def test_a_gta_without_its_language_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"make_untrained_backbone.*'no-llm'"):
        GTA(GtaConfig(), n_bins=51, channel_names=CHANNELS)


def test_a_window_shorter_than_the_selection_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lower top_k to 7"):
        GTA(GtaConfig(llm=False), n_bins=7, channel_names=CHANNELS)


def test_a_window_that_leaves_no_room_for_a_prompt_is_refused(directories: dict[Family, Path]) -> None:
    with pytest.raises(BackboneError, match=r"use fewer bins"):
        GTA(GtaConfig(), n_bins=48, channel_names=CHANNELS, backbone=Backbone(directories["llama"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"attention_width": 30}, "multiple of attention_heads", id="heads that do not share the width"),
        pytest.param({"readout": "mean"}, "topk, pooled", id="unknown readout"),
        pytest.param({"top_k": 0}, "top_k counts from 1", id="nothing selected"),
        pytest.param({"dropout": 1.0}, r"\[0, 1\)", id="all dropped"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GtaConfig(**changes)


def test_every_public_name_is_found_and_importing_the_package_loads_no_torch() -> None:
    for name in model_package.__all__:
        assert getattr(model_package, name) is not None
    assert set(model_package.__all__) == {name for names in model_package._HOMES.values() for name in names}
    code = "import sys, model; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
