"""Models on top of a store: GTA, its baselines, and how they are trained, scored and saved.

All of this is imported from `model`, and loaded on first use, so that the command line does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.backbone import Backbone, BackboneError
    from model.bin_models import BIN_MODELS, BinModelConfig
    from model.checkpoint import CheckpointError, OtherStore, TrainedOn
    from model.ensemble import Ensemble, seed_ensemble
    from model.evaluation import evaluate_table, read_predictions
    from model.expression_model import ExpressionModel
    from model.fit_report import FitReport
    from model.gta import GTA, PRESETS, GtaConfig
    from model.lora import add_lora, load_lora_state, lora_state
    from model.metrics import bootstrap, bootstrap_spearman, mse, pearson, spearman
    from model.occlusion import contribution_by_distance, knock_out, mean_bin, predict_occluded
    from model.predictor import PREDICTORS, Predictor, build_predictor, default_training
    from model.prefix_cache import PrefixCache
    from model.prefix_store import PrefixStore
    from model.prompt_embeddings import embed_prompts
    from model.prompt_lengths import bucketed_order
    from model.resume import OtherTraining
    from model.saved import load_predictor
    from model.training import RECIPES, TrainConfig, fit
    from model.untrained import make_untrained_backbone

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
    "backbone": ("Backbone", "BackboneError"),
    "bin_models": ("BIN_MODELS", "BinModelConfig"),
    "checkpoint": ("CheckpointError", "OtherStore", "TrainedOn"),
    "ensemble": ("Ensemble", "seed_ensemble"),
    "evaluation": ("evaluate_table", "read_predictions"),
    "expression_model": ("ExpressionModel",),
    "fit_report": ("FitReport",),
    "gta": ("GTA", "PRESETS", "GtaConfig"),
    "lora": ("add_lora", "load_lora_state", "lora_state"),
    "metrics": ("bootstrap", "bootstrap_spearman", "mse", "pearson", "spearman"),
    "occlusion": ("contribution_by_distance", "knock_out", "mean_bin", "predict_occluded"),
    "predictor": ("PREDICTORS", "Predictor", "build_predictor", "default_training"),
    "prefix_cache": ("PrefixCache",),
    "prefix_store": ("PrefixStore",),
    "prompt_embeddings": ("embed_prompts",),
    "prompt_lengths": ("bucketed_order",),
    "resume": ("OtherTraining",),
    "saved": ("load_predictor",),
    "training": ("RECIPES", "TrainConfig", "fit"),
    "untrained": ("make_untrained_backbone",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"model.{module}"), name)
    raise AttributeError(f"module 'model' has no attribute {name!r}")
