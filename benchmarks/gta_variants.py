"""GTA with one thing changed at a time, so that a table can say what each is worth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A model with some settings changed."""

    model: str = "gta-no-llm"
    config: Mapping[str, Any] = field(default_factory=dict)
    """Changes of its `GtaConfig`."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Changes of its `TrainConfig`."""


_FLAT = {"readout": "topk"}
_SMALL = {"normalise_prototypes": False, "normalise_tokens": False, "attention_scale": "total"}
_PRETRAINED = {"pretrain_steps": 1500}
VARIANTS: Mapping[str, Variant] = {
    "as printed, without a language model": Variant(config=_FLAT | _SMALL, training={"learning_rate": 1e-3}),
    "prototypes and tokens of unit scale": Variant(config=_FLAT),
    "and readout pooled": Variant(config={"readout": "pooled"}),
    "readout summed: gta-no-llm": Variant(),
    "gta-no-llm, not of unit scale": Variant(config=_SMALL),
    "gta-no-llm, positions learned": Variant(config={"distance_position": "learned"}),
    "gta-no-llm, positions sinusoidal": Variant(config={"distance_position": "sinusoidal"}),
    "gta-no-llm, prototypes learn 10x faster": Variant(training={"learning_rate_multipliers": {"prototypes": 10.0}}),
    "gta-no-llm, alignment learns 3x slower": Variant(
        training={"learning_rate_multipliers": {"alignment": 1 / 3, "prototypes": 1 / 3}}
    ),
    "gta-no-llm, half the rate": Variant(training={"learning_rate": 1e-3}),
    "gta-no-llm, twice the rate": Variant(training={"learning_rate": 4e-3}),
    "gta-no-llm, twice the epochs": Variant(training={"epochs": 10}),
    "gta-no-llm, no dropout": Variant(config={"dropout": 0.0}),
    "gta-no-llm, weight decay 0.1": Variant(training={"weight_decay": 0.1}),
    "gta-no-llm, alignment pretrained": Variant(training=_PRETRAINED),
    "gta-best": Variant(model="gta-best"),
    "gta-best, alignment pretrained": Variant(model="gta-best", training=_PRETRAINED),
    "gta-best, without the tokens beside": Variant(model="gta-best", config={"skip_connection": False}),
    "gta-best, bins see each other both ways": Variant(model="gta-best", config={"data_attention": "bidirectional"}),
    "gta-best, low-rank adapters (LoRA, rank 8)": Variant(model="gta-best", config={"lora_rank": 8}),
}
"""By what a table calls them. The first four go one step further each; the others change one thing."""

_UNIT = {"normalise_prototypes": True, "normalise_tokens": True, "attention_scale": "head"}
_LONG = {"epochs": 15}
PAPER_VARIANTS: Mapping[str, Variant] = {
    "gta-paper": Variant(model="gta-paper", training=_LONG),
    "gta-paper, unit scale": Variant(model="gta-paper", config=_UNIT, training=_LONG),
    "gta-paper, learned positions": Variant(model="gta-paper", config={"distance_position": "learned"}, training=_LONG),
    "gta-paper, position bias of the selector": Variant(
        model="gta-paper", config={"selector_position_bias": True}, training=_LONG
    ),
    "gta-paper-positions: unit scale and learned positions": Variant(model="gta-paper-positions"),
    "unit scale and position bias of the selector": Variant(
        model="gta-paper", config=_UNIT | {"selector_position_bias": True}, training=_LONG
    ),
    "unit scale and position ids from the end": Variant(
        model="gta-paper", config=_UNIT | {"data_position_ids": "end"}, training=_LONG
    ),
    "unit scale and slots by logit": Variant(model="gta-paper", config=_UNIT | {"slot_order": "logit"}, training=_LONG),
    "gta-paper-positions, sinusoidal": Variant(model="gta-paper-positions", config={"distance_position": "sinusoidal"}),
    "gta-paper-positions, slots by logit": Variant(model="gta-paper-positions", config={"slot_order": "logit"}),
    "gta-paper-positions, 5 epochs": Variant(model="gta-paper-positions", training={"epochs": 5}),
    "gta-paper-positions, constant rate": Variant(model="gta-paper-positions", training={"schedule": "constant"}),
    "gta-paper-positions, AdamW": Variant(
        model="gta-paper-positions", training={"optimiser": "adamw", "weight_decay": 0.01}
    ),
    "gta-paper-positions, no clipping": Variant(model="gta-paper-positions", training={"gradient_clip_norm": None}),
}
"""The paper's model with what it may need to learn."""
