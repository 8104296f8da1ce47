import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.evaluation.metrics import spearman
from model.networks.bin_models import BIN_MODELS, BinModel, BinModelConfig
from model.predictors.build import build_predictor
from model.predictors.closed_form import ExponentialRidge
from model.testing import TinyGenes
from model.training.config import TrainConfig

CHANNELS = tuple(f"channel {index}" for index in range(4))
N_BINS = 9


def _model(kind: str, **changes: Any) -> BinModel:
    torch.manual_seed(0)
    config = BinModelConfig.from_json(BIN_MODELS[kind].to_json() | changes)
    return BinModel(config, n_bins=N_BINS, channel_names=CHANNELS).eval()


def _features(rows: int = 5, n_bins: int = N_BINS) -> Tensor:
    return torch.randn(rows, n_bins, len(CHANNELS), generator=torch.Generator().manual_seed(1))


def _interacting(genes: int, seed: int) -> TinyGenes:
    """Enhancers anywhere in the window act on their own kind of promoter alone."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(genes, N_BINS, len(CHANNELS), generator=generator)
    signal = features[:, N_BINS // 2, 0].sign() * features[..., 1].mean(dim=1) * N_BINS**0.5
    return TinyGenes(features, (signal + 5).clamp(min=0).expm1())


@pytest.mark.parametrize("kind", BIN_MODELS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    model = _model(kind).train()
    model(_features(), [""] * 5).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-5, name
    assert sum(model.parameter_table().values()) == model.n_trainable()


@pytest.mark.parametrize("kind", BIN_MODELS)
def test_batch_size_changes_no_value_and_prompts_are_not_read(kind: str) -> None:
    model = _model(kind)
    batched = model(_features(), [""] * 5)
    assert batched.shape == (5,)
    assert batched.std() > 1e-3
    alone = torch.cat([model(row[None], ["other"]) for row in _features()])
    torch.testing.assert_close(batched, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", BIN_MODELS)
def test_windows_of_another_length_are_read(kind: str) -> None:
    model = _model(kind)
    before = model(_features(), [""] * 5)
    for n_bins in (1, 4, 31):
        model.n_bins = n_bins
        assert model(_features(n_bins=n_bins), [""] * 5).isfinite().all()
    model.n_bins = N_BINS
    assert torch.equal(model(_features(), [""] * 5), before)


def test_a_convolution_sees_its_neighbourhood_and_attention_the_whole_window() -> None:
    features = torch.randn(1, 41, len(CHANNELS), generator=torch.Generator().manual_seed(1))
    changed = features.clone()
    changed[:, 20] += 1
    seen = {}
    for kind in ("cnn", "transformer"):
        encoder = _model(kind).encoder
        differs = (encoder(features) - encoder(changed)).abs().amax(dim=-1)[0] > 1e-6
        seen[kind] = [place - 20 for place in differs.nonzero().flatten().tolist()]
    # Kernels of 5 with dilations 1, 2 and 4: 2 + 4 + 8 bins to each side.
    assert seen["cnn"] == list(range(-14, 15))
    assert seen["transformer"] == list(range(-20, 21))


@pytest.mark.parametrize(
    "kind", ["mlp", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("cnn", "transformer"))]
)
def test_what_no_sum_over_bins_can_have_is_learned(kind: str) -> None:
    train, validation, test = (_interacting(size, seed) for seed, size in enumerate((500, 100, 150)))
    linear = ExponentialRidge(n_bins=N_BINS)
    network = build_predictor(
        kind, n_bins=N_BINS, channel_names=CHANNELS, training=TrainConfig(epochs=10, learning_rate=4e-3)
    )
    scores = []
    for predictor in (linear, network):
        predictor.fit(train, validation)
        scores.append(spearman(predictor.predict(test), np.log1p(test.targets.numpy())))
    assert scores[0] < 0.25
    assert scores[1] > scores[0] + 0.25, scores


def test_several_tasks_have_an_output_each() -> None:
    model = _model("cnn", tasks=("a", "b", "c"))
    assert model(_features(), [""] * 5).shape == (5, 3)


@pytest.mark.parametrize("kind", BIN_MODELS)
def test_a_configuration_comes_back_from_json(kind: str) -> None:
    config = BinModelConfig.from_json(BIN_MODELS[kind].to_json() | {"tasks": ("a", "b")})
    assert BinModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"kind": "rnn"}, "mlp, cnn, transformer", id="unknown kind"),
        pytest.param({"kernel": 4}, "kernel is odd", id="a kernel without a middle"),
        pytest.param({"heads": 5}, "multiple of heads", id="heads that do not share the width"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BinModelConfig(**{"kind": "cnn", **changes})
