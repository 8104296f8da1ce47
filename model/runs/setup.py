"""From a request to the predictor that a training starts from.

Belongs here: how the model is set and trained, what of that decides the outcome, the untrained model. Does not: the
request (`model.runs.request`), training it and its folder (`model.runs.workflow`), settings by name
(`model.runs.settings`).
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from catalog import Split
from catalog.runtime.locations import local_path
from catalog.runtime.settings import plain_settings
from loaders import GeneDataset
from model.device import choose_device, choose_dtype, precision_name
from model.language.loading import LanguageSettings, load_backbone
from model.language.prefixes.budgets import checked_bytes
from model.language.prefixes.cache import PrefixCache
from model.language.prefixes.records import CacheDtype
from model.language.prefixes.store import PrefixStore
from model.language.untrained import make_untrained_backbone
from model.predictors.build import build_predictor
from model.predictors.ensemble import seed_ensemble
from model.predictors.factory import factory_of
from model.predictors.predictor import Predictor
from model.runs.folder import shared_name
from model.runs.genes import WindowRecord
from model.runs.request import UNTRAINED, TrainRequest
from model.runs.settings import split_settings
from model.runs.signals import signals_of
from model.training.config import WITHOUT_EFFECT, TrainConfig
from model.training.loggers import require_log
from model.training.resume import digest_of, identity_record


def set_up(request: TrainRequest) -> tuple[Any, TrainConfig | None]:
    """Give the configurations of the model and of its training; None for both where it has a closed form."""
    factory = factory_of(request.model)
    if factory.recipe is None:
        if request.settings or request.seeds or request.tasks:
            raise ValueError(f"{request.model} has nothing to set, no seed, and one target; choose a trained model")
        return None, None
    training = replace(
        factory.recipe,
        seed=request.seed,
        device=request.device,
        devices=request.devices,
        log=request.log,
        epochs=factory.recipe.epochs if request.epochs is None else request.epochs,
        steps=factory.recipe.steps if request.epochs is None else None,
        batch_size=request.batch_size if isinstance(request.batch_size, int) else factory.recipe.batch_size,
        micro_batch_size="auto" if request.batch_size == "auto" else factory.recipe.micro_batch_size,
        autocast=factory.recipe.autocast or _rounds_all(request, factory.language(factory.config)),
    )
    require_log(training)
    there = {item.name for item in fields(factory.config)}
    if request.tasks and "tasks" not in there:
        raise ValueError(f"{request.model} predicts one number a gene; leave `tasks=` out, or take another model")
    common = {
        "tasks": request.tasks,
        "precision": precision_name(request.precision),
        "prefix_cache_dtype": request.prefix_cache_dtype,
    }
    config = replace(factory.config, **{name: value for name, value in common.items() if name in there})
    return split_settings(config, training, request.settings)


def decided_by(
    dataset: GeneDataset,
    split: Split,
    request: TrainRequest,
    config: Any,
    training: TrainConfig | None,
) -> dict[str, Any]:
    """Give everything that decides what a run learns, as plain JSON.

    A setting of the model whose name another entry has, such as `features`, stands under `shared_name` of it.
    """
    folder = local_path(request.backbone)
    backbone = str(folder.resolve()) if folder is not None and folder.exists() else request.backbone
    recipe = {} if training is None else training.to_json()
    decided = {
        "model": request.model,
        "n_bins": dataset.n_bins,
        "seeds": list(request.seeds),
        "baselines": request.baselines,
        **{name: value for name, value in recipe.items() if name not in WITHOUT_EFFECT},
        "backbone": backbone if _language(request, config) else None,
        **identity_record(dataset.identity),
        **{name: value for name, value in WindowRecord.of(dataset.windows).to_json().items() if name != "channels"},
        "genes": digest_of([*dataset.gene_ids, *dataset.prompts, dataset.targets]),
        "split": digest_of([split.to_json()]),
    }
    if (source := signals_of(dataset)) is not None:
        # Where the table of covariates lies decides nothing; what stands in it does.
        decided["signals"] = source.record().to_json() | {"covariates": digest_of([source.signals.covariates])}
    if dataset.prompt_settings is not None and (prompts := dataset.prompt_settings.to_json()):
        decided["prompts"] = prompts
    settings = {} if config is None else plain_settings(config)
    return decided | {shared_name(name) if name in decided else name: value for name, value in settings.items()}


def untrained_predictor(
    dataset: GeneDataset,
    request: TrainRequest,
    config: Any,
    training: TrainConfig | None,
    out: Path,
) -> Predictor:
    """Build the model to train; an untrained language model is written into `out`."""
    options: dict[str, Any] = {
        "n_bins": dataset.n_bins,
        "channel_names": dataset.channel_names,
        "channel_texts": dataset.windows.channel_texts,
        "config": config,
        "training": training,
    }
    settings = _language(request, config)
    if settings is not None:
        options |= _language_model(dataset, request, config, settings, out)
    if request.seeds:
        return seed_ensemble(request.model, seeds=request.seeds, **options)
    return build_predictor(request.model, **options)


def _rounds_all(request: TrainRequest, language: LanguageSettings | None) -> bool:
    # Beside a language model, which has a precision of its own, our own parts are small, and what bins and genes differ
    # by passes through them.
    return language is None and choose_dtype(request.precision) is torch.bfloat16


def _language(request: TrainRequest, config: Any) -> LanguageSettings | None:
    return None if config is None else factory_of(request.model).language(config)


def _language_model(
    dataset: GeneDataset, request: TrainRequest, config: Any, settings: LanguageSettings, out: Path
) -> Mapping[str, Any]:
    device = choose_device(request.device)
    on_device = checked_bytes(request.prefix_device_gb, name="prefix_device_gb", device=device)
    on_host = checked_bytes(request.prefix_host_gb, name="prefix_host_gb", device=torch.device("cpu"))
    # As it was written: a name that is no folder is looked up on the Hub.
    place = request.backbone
    if place == UNTRAINED:
        place = str(make_untrained_backbone(out / "backbone", dataset.prompts, seed=request.seed))
    if request.prefix_cache is None and on_device is None and on_host is None:
        return {"backbone": place}
    if not settings.caches_prompts:
        raise ValueError(
            "`prefix_cache=`, `prefix_device_gb=` and `prefix_host_gb=` are about the KV cache of prompts, which "
            "depends on nothing trainable: leave them out, or set lora_rank=0 and prefix_cache=true"
        )
    backbone = load_backbone(place, settings)
    store = None
    if request.prefix_cache is not None:
        store = PrefixStore(request.prefix_cache, max_bytes=round(request.prefix_cache_gb * 1e9))
    dtype: CacheDtype = getattr(
        config, "prefix_cache_dtype", "model"
    )  # which the settings of a plug-in's model may lack
    cache = PrefixCache(backbone, max_bytes=on_device, host_bytes=on_host, store=store, dtype=dtype)
    return {"backbone": backbone, "prefix_cache": cache}
