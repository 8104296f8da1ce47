"""Loading a language model: the one place for it.

Belongs here: how a model wants its language model, and loading that from a folder, from the Hub, or made on the spot.
Does not: running it (`model.language.backbone`), its files (`model.language.directory`).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from model.language.backbone import Backbone, DataAttention, DataPositions


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSettings:
    """How a model reads with a language model."""

    max_layers: int | None = None
    """Blocks to keep, at most; None for all."""
    max_positions: int = 2048
    """Positions to use (prompt + bins), at most."""
    precision: str = "fp32"
    """`fp32`, `bf16` or `fp16`."""
    data_attention: DataAttention = "causal"
    """How bins see each other; see `Backbone`."""
    data_position_ids: DataPositions = "prompt"
    """Position ids of the bins; see `Backbone`."""
    caches_prompts: bool = True
    """Whether the KV cache of a prompt may be reused: not where adapters change it in every step."""


def load_backbone(place: str | os.PathLike[str] | Backbone, settings: LanguageSettings) -> Backbone:
    """Load a language model as a model wants it.

    Parameters
    ----------
    place
        Its folder, or its id `owner/model` on the Hub; one that is loaded already is given back as it is.

    Raises
    ------
    BackboneError
        If the folder does not serve; see `Backbone`.
    """
    if isinstance(place, Backbone):
        return place
    return Backbone(
        # A string may be the id of a model on the Hub.
        place if isinstance(place, str) else Path(place),
        max_layers=settings.max_layers,
        max_positions=settings.max_positions,
        precision=settings.precision,
        data_attention=settings.data_attention,
        data_position_ids=settings.data_position_ids,
    )
