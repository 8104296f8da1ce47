"""Our predictors pass the tests that ship for everyone's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.predictors.build import build_predictor
from model.predictors.ensemble import seed_ensemble
from model.predictors.factory import factory_of
from model.testing import write_tiny_backbone
from model.testing.conformance import Build, PredictorTests
from model.testing.genes import OF_BINS
from model.training.config import TrainConfig

QUICK = TrainConfig(epochs=1, batch_size=8, device="cpu")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "llama", "llama")


def _options(name: str, backbone: Path) -> dict[str, Any]:
    factory = factory_of(name)
    if factory.recipe is None:
        return {}
    # Seven bins are fewer than the 25 that gta-paper keeps.
    config = replace(factory.config, top_k=3) if name.startswith("gta") else factory.config
    return {"config": config, "training": QUICK, "backbone": backbone}


class TestEachByName(PredictorTests):
    @pytest.fixture(scope="class", params=OF_BINS)
    @classmethod
    def build(cls, request: pytest.FixtureRequest, backbone: Path) -> Build:
        options = _options(request.param, backbone)
        return lambda genes: build_predictor(
            request.param, n_bins=genes.n_bins, channel_names=genes.channel_names, **options
        )


class TestAnEnsemble(PredictorTests):
    @pytest.fixture(scope="class")
    @classmethod
    def build(cls, backbone: Path) -> Build:
        options = _options("gta-best", backbone)
        return lambda genes: seed_ensemble(
            "gta-best", seeds=(0, 1), n_bins=genes.n_bins, channel_names=genes.channel_names, **options
        )
