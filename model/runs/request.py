"""What a training is asked to be, and the predictor that it starts from.

Belongs here: the request, what of it decides the outcome, the untrained model. Does not: training it and its folder
(`model.runs.workflow`), settings by name (`model.runs.settings`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from catalog import Split
from loaders import GeneDataset
from model.device import choose_dtype
from model.language.backbone import Backbone
from model.language.prefix_cache import PrefixCache
from model.language.prefix_store import PrefixStore
from model.language.untrained import make_untrained_backbone
from model.networks.bin_models import BIN_MODELS, BinModelConfig
from model.networks.gta_config import PRESETS, GtaConfig
from model.predictors.ensemble import seed_ensemble
from model.predictors.predictor import Predictor, build_predictor, default_training, reads_language
from model.runs.settings import apply_settings
from model.training.config import WITHOUT_EFFECT, Log, TrainConfig
from model.training.fit import require_log
from model.training.resume import digest_of

UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train."""

    model: str = "gta-best"
    """A name of `model.predictors.predictor.PREDICTORS`."""
    backbone: str = UNTRAINED
    """Directory or Hub id of a Hugging Face model, or `untrained` for a small random one made in the run's folder."""
    epochs: int | None = None
    """None for the recipe's own."""
    batch_size: int | None = None
    """None for the recipe's own."""
    seed: int = 0
    seeds: tuple[int, ...] = ()
    """Of an ensemble's members, in place of `seed`."""
    settings: tuple[str, ...] = ()
    """Changes to the model's configuration and its recipe, as `NAME=VALUE` (`model.runs.settings`)."""
    tasks: tuple[str, ...] = ()
    """Names of the targets' columns, where there are several."""
    precision: str = "fp32"
    """`bf16` for a frozen language model in it and training under autocast."""
    device: str = "auto"
    devices: int = 1
    log: Log = "csv"
    prefix_folder: Path | None = None
    """Where what the language model makes of prompts is kept between runs."""
    prefix_bytes: int = 20 << 30
    """That this folder may take."""
    baselines: bool = True
    """Fit `model.runs.workflow.BASELINES` on the same split."""
    controls: bool = False
    """Train `model.runs.workflow.CONTROLS` on the same split too, each in a run of its own."""
    restart: bool = False
    """Remove what the folder holds of another run, or of this one, and begin anew."""


def set_up(request: TrainRequest) -> tuple[GtaConfig | BinModelConfig | None, TrainConfig | None]:
    """Give how the model is set and trained; None for both where it has a closed form."""
    training = default_training(request.model)
    if training is None:
        if request.settings or request.seeds or request.tasks:
            raise ValueError(f"{request.model} has nothing to set, no seed, and one target; choose a trained model")
        return None, None
    training = replace(
        training,
        seed=request.seed,
        device=request.device,
        devices=request.devices,
        log=request.log,
        epochs=training.epochs if request.epochs is None else request.epochs,
        batch_size=training.batch_size if request.batch_size is None else request.batch_size,
    )
    config: GtaConfig | BinModelConfig
    require_log(training)
    if choose_dtype(request.precision) is torch.bfloat16:
        training = replace(training, autocast=True)
    if request.model in BIN_MODELS:
        return apply_settings(replace(BIN_MODELS[request.model], tasks=request.tasks), training, request.settings)
    config = replace(PRESETS[request.model.removeprefix("gta-")], tasks=request.tasks, precision=request.precision)
    return apply_settings(config, training, request.settings)


def decided_by(
    dataset: GeneDataset,
    split: Split,
    request: TrainRequest,
    config: GtaConfig | BinModelConfig | None,
    training: TrainConfig | None,
) -> dict[str, Any]:
    """Say everything that decides what a run learns."""
    backbone = request.backbone if not Path(request.backbone).is_dir() else str(Path(request.backbone).resolve())
    recipe = {} if training is None else training.to_json()
    return {
        "model": request.model,
        "n_bins": dataset.n_bins,
        "seeds": list(request.seeds),
        "baselines": request.baselines,
        **({} if config is None else config.to_json()),
        **{name: value for name, value in recipe.items() if name not in WITHOUT_EFFECT},
        "backbone": backbone if reads_language(request.model) else None,
        "features": dataset.fingerprint,
        "channels": digest_of(dataset.channel_names),
        "genes": digest_of([*dataset.gene_ids, *dataset.prompts, dataset.targets]),
        "split": digest_of([split.to_json()]),
    }


def untrained_predictor(
    dataset: GeneDataset,
    request: TrainRequest,
    config: GtaConfig | BinModelConfig | None,
    training: TrainConfig | None,
    out: Path,
) -> Predictor:
    """Make what is to be trained; a language model made on the spot goes into `out`."""
    options: dict[str, Any] = {
        "n_bins": dataset.n_bins,
        "channel_names": dataset.channel_names,
        "channel_texts": dataset.windows.channel_texts,
        "config": config,
        "training": training,
    }
    if isinstance(config, GtaConfig) and config.llm:
        options |= _language_model(dataset, request, config, out)
    if request.seeds:
        return seed_ensemble(request.model, seeds=request.seeds, **options)
    return build_predictor(request.model, **options)


def _language_model(dataset: GeneDataset, request: TrainRequest, config: GtaConfig, out: Path) -> Mapping[str, Any]:
    # As it was written: a name that is no folder is looked up on the Hub.
    place = request.backbone
    if place == UNTRAINED:
        place = str(make_untrained_backbone(out / "backbone", dataset.prompts, seed=request.seed))
    if request.prefix_folder is None:
        return {"backbone": place}
    if config.lora_rank or not config.prefix_cache:
        raise ValueError("--prefix-cache keeps what a frozen model makes of prompts; leave out lora_rank, or it")
    backbone = Backbone(
        place,
        max_layers=config.layers,
        max_positions=config.positions,
        precision=config.precision,
        data_attention=config.data_attention,
    )
    store = PrefixStore(request.prefix_folder, max_bytes=request.prefix_bytes)
    return {"backbone": backbone, "prefix_cache": PrefixCache(backbone, store=store)}
