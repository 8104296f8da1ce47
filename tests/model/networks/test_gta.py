import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.language.prefixes.cache import PrefixCache
from model.networks.gta import GTA
from model.networks.gta_config import PRESETS, GtaConfig
from model.networks.positions import centre_bin
from model.networks.readout import PooledReadout, SummedReadout
from model.testing import FAMILIES, PROMPTS, Family
from model.training.config import TrainConfig
from model.training.lightning_module import make_optimiser

CHANNELS = ("promoter", "enhancer", "CTCF site")
N_BINS = 7
_NORMALISED = {"normalise_prototypes": True, "normalise_tokens": True, "attention_scale": "head"}
VARIANTS = {
    "as printed": {},
    "as printed, straight-through": {"selector_gradient": "straight-through"},
    "as printed, with a position bias of the selector": {"selector_position_bias": True, "slot_order": "logit"},
    "normalised": _NORMALISED,
    "normalised and pooled": _NORMALISED | {"readout": "pooled", "dropout": 0.1},
    "normalised and summed": _NORMALISED | {"readout": "summed", "dropout": 0.1},
    "summed, with a skip connection": _NORMALISED | {"readout": "summed", "skip_connection": True},
    "with learned positions": _NORMALISED | {"distance_position": "learned"},
    "with sinusoidal positions": _NORMALISED | {"distance_position": "sinusoidal", "readout": "pooled"},
    "with tasks": {"tasks": ("GM12878", "K562"), "task_line": "# Cell: {task}"},
}


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
    if family is None:
        changes = changes | {"skip_connection": False}
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
    batched = model(features, PROMPTS)
    alone = [model(features[row : row + 1], [prompt])[0] for row, prompt in enumerate(PROMPTS)]
    torch.testing.assert_close(batched, torch.stack(alone), rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("config", [*PRESETS.values(), GtaConfig(tasks=("a", "b"), task_line="# {task}")])
def test_a_configuration_comes_back_from_json(config: GtaConfig) -> None:
    assert GtaConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_configuration_without_the_newer_options_has_their_defaults() -> None:
    assert GtaConfig.from_json({"layers": 2}) == GtaConfig(layers=2)


def test_each_control_differs_from_the_best_by_one_part() -> None:
    # Without a language model there is nothing to skip.
    paper = replace(PRESETS["paper-positions"], distance_position="none", attention_scale="total")
    assert replace(paper, normalise_prototypes=False, normalise_tokens=False) == PRESETS["paper"] == GtaConfig()
    assert replace(PRESETS["no-llm"], llm=True, skip_connection=True) == PRESETS["best"]
    assert replace(PRESETS["sequence-only"], prompt=True) == PRESETS["best"]
    assert replace(PRESETS["prompt-only"], sequence=True, skip_connection=True) == PRESETS["best"]


def test_of_the_prompt_alone_nothing_is_read_from_the_bins(directories: dict[Family, Path]) -> None:
    for family in ("llama", "bert"):
        model = _gta(Backbone(directories[family]), sequence=False)
        read = model(_features(), PROMPTS)
        assert torch.equal(model(_features() * 100, PROMPTS), read)
        assert read.std() > 1e-3
        assert set(model.parameter_table()) == {"sequence token", "readout", "frozen"}


def test_the_readout_of_the_prompt_alone_is_trained(directories: dict[Family, Path]) -> None:
    model = _gta(Backbone(directories["llama"]), sequence=False).train()
    model(_features(), PROMPTS).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-5 for p in model.parameters() if p.requires_grad)


# Windows of another length


@pytest.mark.parametrize("readout", ["topk", "pooled", "summed"])
@pytest.mark.parametrize("distance_position", ["none", "learned", "sinusoidal"])
@pytest.mark.parametrize("family", ["llama", "bert", None])
def test_windows_of_any_length_are_read_after_training(
    directories: dict[Family, Path], family: Family | None, distance_position: str, readout: str
) -> None:
    backbone = None if family is None else Backbone(directories[family])
    model = _gta(backbone, readout=readout, distance_position=distance_position)
    with torch.no_grad():
        for parameter in model.position.parameters():
            parameter.normal_()
    before = model(_features(), PROMPTS)
    seen = {}
    for n_bins in (3, 4, 11, 20):
        model.n_bins = n_bins
        features = torch.randn(len(PROMPTS), n_bins, len(CHANNELS), generator=torch.Generator().manual_seed(n_bins))
        seen[n_bins] = model(features, PROMPTS)
        assert seen[n_bins].isfinite().all()
    state = model.own_state()
    model.n_bins = N_BINS
    assert torch.equal(model(_features(), PROMPTS), before)
    again = _gta(backbone, readout=readout, distance_position=distance_position)
    again.load_own_state(state)
    again.n_bins = 20
    # The prefix cache met the prompts in other company, so up to rounding.
    torch.testing.assert_close(again(features, PROMPTS), seen[20], rtol=1e-4, atol=1e-5)


def test_a_length_that_cannot_be_read_is_refused_and_leaves_the_model_as_it_was(
    directories: dict[Family, Path],
) -> None:
    model = _gta(Backbone(directories["llama"]))
    with pytest.raises(ValueError, match=r"keeps top_k=3 bins, but a window has 2; take longer windows"):
        model.n_bins = 2
    with pytest.raises(BackboneError, match=r"use fewer bins"):
        model.n_bins = 48
    with pytest.raises(ValueError, match=r"at least 1 bin"):
        model.n_bins = 0
    assert model.n_bins == N_BINS


# Several tasks


TASKS = ("GM12878", "K562", "HepG2")


def test_each_task_reads_its_own_line_and_has_its_own_output(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    options: dict[str, Any] = {"tasks": TASKS, "readout": "pooled"}
    lined, plain = _gta(backbone, task_line="# Cell: {task}", **options), _gta(backbone, **options)
    batched = lined(_features(), PROMPTS)
    assert batched.shape == (len(PROMPTS), len(TASKS))
    for place, task in enumerate(TASKS):
        alone = plain(_features(), [f"# Cell: {task}\n{prompt}" for prompt in PROMPTS])[:, place]
        torch.testing.assert_close(batched[:, place], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(batched, plain(_features(), PROMPTS), atol=1e-4)


def test_the_scale_of_each_task_is_that_of_its_known_genes() -> None:
    model = _gta(None, tasks=TASKS)
    expression = torch.rand(20, 3) * 100
    expression[3:9, 1] = math.nan
    expression[:, 2] = 7.0
    model.set_target_scale(expression)
    standard = model.standardise_target(expression)
    assert standard.isnan().equal(expression.isnan())
    for task in (0, 1):
        known = standard[:, task][~standard[:, task].isnan()]
        assert float(known.mean()) == pytest.approx(0, abs=1e-5)
        assert float(known.std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert standard[:, 2].abs().max() < 1e-5
    torch.testing.assert_close(model.to_log1p(standard), expression.log1p(), equal_nan=True)


@pytest.mark.parametrize(("tasks", "columns"), [(TASKS, 2), (TASKS, None), ((), 3)])
def test_targets_that_are_not_one_column_a_task_are_refused(tasks: tuple[str, ...], columns: int | None) -> None:
    with pytest.raises(ValueError, match=r"one column a task, and name the tasks"):
        _gta(None, tasks=tasks).set_target_scale(torch.ones(5) if columns is None else torch.ones(5, columns))


# Parameters


@pytest.mark.parametrize("name", PRESETS)
def test_trainable_parameters_are_counted_by_part(directories: dict[Family, Path], name: str) -> None:
    backbone = Backbone(directories["llama"])
    config = replace(PRESETS[name], top_k=3, distance_position="learned")
    table = GTA(config, n_bins=N_BINS, channel_names=CHANNELS, backbone=backbone).parameter_table()
    frozen = sum(parameter.numel() for parameter in backbone.parameters())
    assert table.pop("frozen", 0) == (frozen if config.llm else 0)
    if config.sequence:
        assert set(table) == {"prototypes", "alignment", "positions", "readout"}
        assert table["positions"] == N_BINS * (backbone.width if config.llm else config.free_width)
    else:
        assert set(table) == {"sequence token", "readout"}


def test_what_is_frozen_has_no_state_in_the_optimiser(directories: dict[Family, Path]) -> None:
    model = _gta(Backbone(directories["llama"]))
    optimiser, _ = make_optimiser(model, TrainConfig(), n_genes=64)
    model(_features(), PROMPTS).sum().backward()
    optimiser.step()
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert {id(parameter) for parameter in optimiser.state} == trainable
    assert sum(model.parameter_table().values()) - model.parameter_table()["frozen"] == model.n_trainable()


# Adapters


def test_adapters_change_nothing_until_they_are_trained_and_are_saved_with_the_rest(
    directories: dict[Family, Path],
) -> None:
    frozen, adapted = (_gta(Backbone(directories["llama"]), lora_rank=rank) for rank in (0, 2))
    assert adapted.prefix_cache is None
    torch.testing.assert_close(adapted(_features(), PROMPTS), frozen(_features(), PROMPTS), rtol=1e-5, atol=1e-5)
    assert adapted.parameter_table()["LoRA"] == adapted.n_trainable() - frozen.n_trainable() > 0
    assert adapted.parameter_table()["frozen"] == frozen.parameter_table()["frozen"]
    optimiser = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        adapted(_features(), PROMPTS).square().sum().backward()
        optimiser.step()
    state = adapted.own_state()
    tensors = [name for name in state if name.startswith("backbone.")]
    assert tensors
    assert all(state[name].abs().max() > 0 for name in tensors)
    again = _gta(Backbone(directories["llama"]), lora_rank=2)
    again.load_own_state(state)
    assert torch.equal(again(_features(), PROMPTS), adapted(_features(), PROMPTS))
    with pytest.raises(ValueError, match=r"of another model: missing \['backbone"):
        again.load_own_state(frozen.own_state())


# Prototypes


def test_prototypes_are_named_by_kind_and_by_what_they_are_mixed_of(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    model = _gta(backbone, vocabulary_prototypes=3, name_prototypes=2)
    assert model.prototype_names() == ["vocabulary 0", "vocabulary 1", "vocabulary 2", "class name 3", "class name 4"]
    promoter = sorted(set(backbone.tokenize("promoter")))
    with torch.no_grad():
        model.text_prototypes.vocabulary_mix.weight[1, 7] = -50.0
        for token in promoter:
            place = model.text_prototypes.name_tokens.tolist().index(token)
            model.text_prototypes.name_mix.weight[1, place] = 30.0
    tokens = model.prototype_tokens(top=len(promoter))
    assert [len(mix) for mix in tokens] == [len(promoter)] * 5
    assert tokens[1][0] == (backbone.tokenizer.decode([7]), -50.0)
    assert {text for text, _ in tokens[4]} == {backbone.tokenizer.decode([token]) for token in promoter}
    channels = model.prototype_channels(top=2)
    assert channels[:3] == [[], [], []]
    assert channels[4][0] == ("promoter", 30.0)


def test_class_name_tokens_are_those_of_label_and_name_or_of_the_name_alone(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    labels, names = ("PC1", "E2", "X"), ("Polycomb", "Weak enhancer", "")
    texts = [f"{label} {name}".strip() for label, name in zip(labels, names, strict=True)]
    expected = {"label-name": texts, "name": ["Polycomb", "Weak enhancer", "X"]}
    for class_text, words in expected.items():
        config = replace(PRESETS["paper"], class_text=class_text)
        model = GTA(config, n_bins=25, channel_names=labels, channel_texts=texts, backbone=backbone)
        tokens = {token for text in words for token in backbone.tokenize(text)}
        assert set(model.text_prototypes.name_tokens.tolist()) == tokens
        assert len(model.prototype_channels()[-1]) == 3
    with pytest.raises(ValueError, match="class_text is one of label-name, name; got 'label'"):
        replace(PRESETS["paper"], class_text="label")


def test_free_prototypes_are_mixed_of_nothing() -> None:
    model = _gta(None, vocabulary_prototypes=2, name_prototypes=1)
    assert model.prototype_names() == ["free 0", "free 1", "free 2"]
    assert model.prototype_tokens() == model.prototype_channels() == [[], [], []]


def test_of_the_prompt_alone_there_are_no_prototypes(directories: dict[Family, Path]) -> None:
    model = _gta(Backbone(directories["llama"]), sequence=False)
    assert model.prototype_names() == model.prototype_tokens() == model.prototype_channels() == []


# Refusals


def test_a_language_model_loaded_otherwise_than_configured_is_refused(directories: dict[Family, Path]) -> None:
    with pytest.raises(ValueError, match=r"load it with Backbone\(..., data_attention='bidirectional'\)"):
        _gta(Backbone(directories["llama"]), data_attention="bidirectional")


def test_the_prefix_cache_of_another_language_model_is_refused(directories: dict[Family, Path]) -> None:
    first, second = (Backbone(directories["llama"]) for _ in range(2))
    with pytest.raises(ValueError, match=r"give `backbone=cache.backbone`"):
        GTA(
            GtaConfig(top_k=3),
            n_bins=N_BINS,
            channel_names=CHANNELS,
            backbone=first,
            prefix_cache=PrefixCache(second),
        )


def test_the_pooled_readout_starts_with_weights_that_fall_with_distance() -> None:
    readout = PooledReadout(6, n_bins=9, queries=3, hidden=4, dropout=0.0)
    weights = readout.bin_weights(torch.zeros(2, 9, 6))
    assert weights.shape == (2, 3, 9)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3))
    torch.testing.assert_close(weights, weights.flip(-1))
    assert (weights[:, :, :5].diff(dim=-1) > 0).all()
    assert (weights[:, :-1, 4] > weights[:, 1:, 4]).all(), "each query reaches further than the one before"


def test_a_sum_counts_what_lies_in_a_window_by_its_distance_alone() -> None:
    torch.manual_seed(0)
    readout = SummedReadout(6, n_kernels=3, hidden=4, dropout=0.0).eval()
    weight = readout.by_distance(251).detach()
    reach = torch.logspace(math.log10(2), math.log10(200), 3)
    assert (weight.argmax(dim=1) == 125).all()
    torch.testing.assert_close(weight, weight.flip(1))
    torch.testing.assert_close(weight[:, 125], torch.ones(3))
    torch.testing.assert_close(weight[:, -1], torch.exp(-125 / reach))
    with torch.no_grad():
        readout.log_weight.normal_()
    weight = readout.by_distance(251).detach()
    # In any window a bin counts as its distance says; beyond the reach of the paper's window as at its edge.
    torch.testing.assert_close(readout.by_distance(51).detach(), weight[:, 100:151])
    torch.testing.assert_close(readout.by_distance(301).detach()[:, 25:276], weight)
    torch.testing.assert_close(readout.by_distance(301).detach()[:, :25], weight[:, :1].expand(3, 25))
    activations = torch.randn(2, 9, 6)
    amounts, near = readout.amounts(activations), readout.by_distance(9)
    sums = torch.stack(
        [torch.stack([sum(amounts[g, b, k] * near[k, b] for b in range(9)) for k in range(3)]) for g in range(2)]
    )
    whole = torch.cat([activations[:, 4], sums], dim=1)
    torch.testing.assert_close(readout(activations), readout.head(readout.norm(whole)))


@pytest.mark.parametrize(("n_bins", "centre"), [(1, 0), (251, 125), (4, 2)])
def test_the_tss_lies_in_the_middle_bin(n_bins: int, centre: int) -> None:
    assert centre_bin(n_bins) == centre


def test_a_gta_without_its_language_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"make_untrained_backbone.*'no-llm'"):
        GTA(GtaConfig(), n_bins=51, channel_names=CHANNELS)


def test_a_window_shorter_than_the_selection_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set `top_k=7`"):
        GTA(GtaConfig(llm=False), n_bins=7, channel_names=CHANNELS)


def test_a_window_that_leaves_no_room_for_a_prompt_is_refused(directories: dict[Family, Path]) -> None:
    with pytest.raises(BackboneError, match=r"use fewer bins"):
        GTA(GtaConfig(), n_bins=48, channel_names=CHANNELS, backbone=Backbone(directories["llama"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"attention_width": 30}, "multiple of attention_heads", id="heads that do not share the width"),
        pytest.param(
            {"skip_connection": True, "llm": False}, "goes with llm=True", id="a skip connection around nothing"
        ),
        pytest.param({"readout": "mean"}, "topk, pooled, summed", id="unknown readout"),
        pytest.param({"top_k": 0}, "top_k counts from 1 to", id="nothing selected"),
        pytest.param({"dropout": 1.0}, r"\[0, 1\)", id="all dropped"),
        pytest.param({"distance_position": "sine"}, "none, learned, sinusoidal", id="unknown positions"),
        pytest.param({"data_attention": "both"}, "causal, bidirectional", id="unknown attention"),
        pytest.param({"data_position_ids": "start"}, "prompt, end", id="unknown position ids"),
        pytest.param({"slot_order": "tss"}, "genome, logit", id="unknown order of slots"),
        pytest.param(
            {"slot_order": "logit", "readout": "summed"}, "slot_order is of the selector", id="slots without a selector"
        ),
        pytest.param(
            {"selector_position_bias": True, "readout": "pooled"}, "set readout=topk", id="a bias without a selector"
        ),
        pytest.param({"lora_rank": -1}, "0 for no adapters", id="adapters of no rank"),
        pytest.param({"sequence": False, "prompt": False}, "take the predictor 'mean'", id="nothing to read"),
        pytest.param({"tasks": ("a", "a")}, "name of its own", id="one task twice"),
        pytest.param({"task_line": "# {task}"}, r"goes with `tasks=", id="a line for no task"),
        pytest.param({"tasks": ("a",), "task_line": "# Cell"}, r"holds \{task\}", id="a line that names no task"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GtaConfig(**changes)
