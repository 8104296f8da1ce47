"""Models on top of a store: GTA, its baselines, and how they are trained, scored and saved.

Names are imported on first use, so that the command line does not wait for torch. `dir(model)` shows the most used
ones; `__all__` has more.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.evaluation.metrics import bootstrap, bootstrap_spearman, mse, pearson, spearman
    from model.evaluation.tables import evaluate_table, read_predictions
    from model.explain.occlusion import contribution_by_distance, knock_out, mean_bin, predict_occluded
    from model.language.backbone import Backbone
    from model.language.directory import BackboneError
    from model.language.lora import add_lora, load_lora_state, lora_state
    from model.language.prefixes.cache import PrefixCache
    from model.language.prefixes.store import PrefixStore
    from model.language.prompt_embeddings import embed_prompts
    from model.language.prompt_lengths import bucketed_order
    from model.language.untrained import make_untrained_backbone
    from model.networks.base import ExpressionModel
    from model.networks.bin_models import BIN_MODELS, BinModelConfig
    from model.networks.gta import GTA
    from model.networks.gta_config import PRESETS, GtaConfig
    from model.predictors.build import PREDICTORS, build_predictor, default_training
    from model.predictors.checkpoint import CheckpointError, OtherStore, TrainedOn
    from model.predictors.ensemble import Ensemble, seed_ensemble
    from model.predictors.factory import ModelInputs
    from model.predictors.predictor import Predictor
    from model.predictors.saved import load_predictor
    from model.predictors.torch_predictor import NetworkFactory
    from model.registry import ModelSpec, model_names
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
    "ModelInputs",
    "ModelSpec",
    "NetworkFactory",
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
    "model_names",
    "mse",
    "pearson",
    "predict_occluded",
    "read_predictions",
    "seed_ensemble",
    "spearman",
]

_DOOR = {
    "GTA": "model.networks.gta",
    "Backbone": "model.language.backbone",
    "Ensemble": "model.predictors.ensemble",
    "ExpressionModel": "model.networks.base",
    "GtaConfig": "model.networks.gta_config",
    "ModelInputs": "model.predictors.factory",
    "ModelSpec": "model.registry",
    "NetworkFactory": "model.predictors.torch_predictor",
    "Predictor": "model.predictors.predictor",
    "TrainConfig": "model.training.config",
    "bootstrap": "model.evaluation.metrics",
    "build_predictor": "model.predictors.build",
    "contribution_by_distance": "model.explain.occlusion",
    "knock_out": "model.explain.occlusion",
    "load_predictor": "model.predictors.saved",
    "make_untrained_backbone": "model.language.untrained",
    "model_names": "model.registry",
    "seed_ensemble": "model.predictors.ensemble",
    "spearman": "model.evaluation.metrics",
}
"""Shown by `dir()` and tab completion."""
_MORE = {
    "BIN_MODELS": "model.networks.bin_models",
    "PREDICTORS": "model.predictors.build",
    "PRESETS": "model.networks.gta_config",
    "RECIPES": "model.training.config",
    "BackboneError": "model.language.directory",
    "BinModelConfig": "model.networks.bin_models",
    "CheckpointError": "model.predictors.checkpoint",
    "FitReport": "model.training.report",
    "OtherStore": "model.predictors.checkpoint",
    "OtherTraining": "model.training.resume",
    "PrefixCache": "model.language.prefixes.cache",
    "PrefixStore": "model.language.prefixes.store",
    "TrainedOn": "model.predictors.checkpoint",
    "add_lora": "model.language.lora",
    "bootstrap_spearman": "model.evaluation.metrics",
    "bucketed_order": "model.language.prompt_lengths",
    "default_training": "model.predictors.build",
    "embed_prompts": "model.language.prompt_embeddings",
    "evaluate_table": "model.evaluation.tables",
    "fit": "model.training.fit",
    "load_lora_state": "model.language.lora",
    "lora_state": "model.language.lora",
    "mean_bin": "model.explain.occlusion",
    "mse": "model.evaluation.metrics",
    "pearson": "model.evaluation.metrics",
    "predict_occluded": "model.explain.occlusion",
    "read_predictions": "model.evaluation.tables",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    from featurestore.distribution.siblings import require_own

    require_own("loaders")  # as `featurestore` does for `catalog`

    from catalog.runtime.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, door=_DOOR, more=_MORE)
