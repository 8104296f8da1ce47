"""Models on top of a store: GTA, its baselines, and how they are trained, scored and saved.

All of this is imported from `model`, and loaded on first use, so that the command line does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.evaluation.metrics import bootstrap, bootstrap_spearman, mse, pearson, spearman
    from model.evaluation.tables import evaluate_table, read_predictions
    from model.explain.occlusion import contribution_by_distance, knock_out, mean_bin, predict_occluded
    from model.language.backbone import Backbone
    from model.language.directory import BackboneError
    from model.language.lora import add_lora, load_lora_state, lora_state
    from model.language.prefix_cache import PrefixCache
    from model.language.prefix_store import PrefixStore
    from model.language.prompt_embeddings import embed_prompts
    from model.language.prompt_lengths import bucketed_order
    from model.language.untrained import make_untrained_backbone
    from model.networks.base import ExpressionModel
    from model.networks.bin_models import BIN_MODELS, BinModelConfig
    from model.networks.gta import GTA
    from model.networks.gta_config import PRESETS, GtaConfig
    from model.predictors.checkpoint import CheckpointError, OtherStore, TrainedOn
    from model.predictors.ensemble import Ensemble, seed_ensemble
    from model.predictors.predictor import PREDICTORS, Predictor, build_predictor, default_training
    from model.predictors.saved import load_predictor
    from model.training.config import RECIPES, TrainConfig
    from model.training.fit import fit
    from model.training.report import FitReport
    from model.training.resume import OtherTraining

__all__ = [
    "BIN_MODELS",
    "GTA",
    "PREDICTORS",
    "PRESETS",
    "RECIPES",
    "Backbone",
    "BackboneError",
    "BinModelConfig",
    "CheckpointError",
    "Ensemble",
    "ExpressionModel",
    "FitReport",
    "GtaConfig",
    "OtherStore",
    "OtherTraining",
    "Predictor",
    "PrefixCache",
    "PrefixStore",
    "TrainConfig",
    "TrainedOn",
    "add_lora",
    "bootstrap",
    "bootstrap_spearman",
    "bucketed_order",
    "build_predictor",
    "contribution_by_distance",
    "default_training",
    "embed_prompts",
    "evaluate_table",
    "fit",
    "knock_out",
    "load_lora_state",
    "load_predictor",
    "lora_state",
    "make_untrained_backbone",
    "mean_bin",
    "mse",
    "pearson",
    "predict_occluded",
    "read_predictions",
    "seed_ensemble",
    "spearman",
]

_HOMES = {
    "language.backbone": ("Backbone",),
    "language.directory": ("BackboneError",),
    "networks.bin_models": ("BIN_MODELS", "BinModelConfig"),
    "predictors.checkpoint": ("CheckpointError", "OtherStore", "TrainedOn"),
    "predictors.ensemble": ("Ensemble", "seed_ensemble"),
    "evaluation.tables": ("evaluate_table", "read_predictions"),
    "networks.base": ("ExpressionModel",),
    "training.report": ("FitReport",),
    "networks.gta": ("GTA",),
    "networks.gta_config": ("PRESETS", "GtaConfig"),
    "language.lora": ("add_lora", "load_lora_state", "lora_state"),
    "evaluation.metrics": ("bootstrap", "bootstrap_spearman", "mse", "pearson", "spearman"),
    "explain.occlusion": ("contribution_by_distance", "knock_out", "mean_bin", "predict_occluded"),
    "predictors.predictor": ("PREDICTORS", "Predictor", "build_predictor", "default_training"),
    "language.prefix_cache": ("PrefixCache",),
    "language.prefix_store": ("PrefixStore",),
    "language.prompt_embeddings": ("embed_prompts",),
    "language.prompt_lengths": ("bucketed_order",),
    "training.resume": ("OtherTraining",),
    "predictors.saved": ("load_predictor",),
    "training.config": ("RECIPES", "TrainConfig"),
    "training.fit": ("fit",),
    "language.untrained": ("make_untrained_backbone",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"model.{module}"), name)
    raise AttributeError(f"module 'model' has no attribute {name!r}")
