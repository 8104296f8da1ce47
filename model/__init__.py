"""Models on top of a store: GTA, its baselines, and how they are trained, scored and saved.

All of this is imported from `model`, and loaded on first use, so that the command line does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.backbone import Backbone, BackboneError
    from model.checkpoint import CheckpointError, OtherStore, TrainedOn
    from model.fit_report import FitReport
    from model.gta import GTA, PRESETS, GtaConfig
    from model.metrics import bootstrap_spearman, mse, pearson, spearman
    from model.predictor import PREDICTORS, Predictor, build_predictor, load_predictor
    from model.training import RECIPES, TrainConfig, fit
    from model.untrained import make_untrained_backbone

__all__ = [
    "GTA",
    "PREDICTORS",
    "PRESETS",
    "RECIPES",
    "Backbone",
    "BackboneError",
    "CheckpointError",
    "FitReport",
    "GtaConfig",
    "OtherStore",
    "Predictor",
    "TrainConfig",
    "TrainedOn",
    "bootstrap_spearman",
    "build_predictor",
    "fit",
    "load_predictor",
    "make_untrained_backbone",
    "mse",
    "pearson",
    "spearman",
]

_HOMES = {
    "backbone": ("Backbone", "BackboneError"),
    "checkpoint": ("CheckpointError", "OtherStore", "TrainedOn"),
    "fit_report": ("FitReport",),
    "gta": ("GTA", "PRESETS", "GtaConfig"),
    "metrics": ("bootstrap_spearman", "mse", "pearson", "spearman"),
    "predictor": ("PREDICTORS", "Predictor", "build_predictor", "load_predictor"),
    "training": ("RECIPES", "TrainConfig", "fit"),
    "untrained": ("make_untrained_backbone",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"model.{module}"), name)
    raise AttributeError(f"module 'model' has no attribute {name!r}")
