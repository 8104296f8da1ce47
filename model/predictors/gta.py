"""The GTAs by name: the presets, and how each is built.

Belongs here: their factories. Does not: the presets (`model.networks.gta_config`), the model (`model.networks.gta`).
"""

from model.language.loading import LanguageSettings
from model.networks.gta import GTA
from model.networks.gta_config import PRESETS, GtaConfig
from model.predictors.factory import ModelInputs
from model.predictors.torch_predictor import NetworkFactory
from model.training.config import RECIPES


def language_of(config: GtaConfig) -> LanguageSettings | None:
    """Say how a GTA wants its language model loaded; None for the control without one."""
    if not config.llm:
        return None
    return LanguageSettings(
        max_layers=config.layers,
        max_positions=config.positions,
        precision=config.precision,
        data_attention=config.data_attention,
        data_position_ids=config.data_position_ids,
        caches_prompts=config.prefix_cache and not config.lora_rank,
    )


def _network(inputs: ModelInputs) -> GTA:
    return GTA(
        inputs.config,
        n_bins=inputs.n_bins,
        channel_names=inputs.channel_names,
        channel_texts=inputs.channel_texts,
        backbone=inputs.backbone,
        prefix_cache=inputs.prefix_cache,
    )


def _factory(preset: str) -> NetworkFactory:
    return NetworkFactory(config=PRESETS[preset], recipe=RECIPES[preset], network=_network, reads_with=language_of)


BEST, NO_LLM = _factory("best"), _factory("no-llm")
PAPER, PAPER_POSITIONS = _factory("paper"), _factory("paper-positions")
SEQUENCE_ONLY, PROMPT_ONLY = _factory("sequence-only"), _factory("prompt-only")
