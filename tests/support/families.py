"""Tiny random checkpoints of the families that Transformers knows."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from model.language.directory import quiet_transformers
from model.language.untrained import train_tokenizer
from model.testing import PROMPTS

LANGUAGE_FAMILIES = sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MASKED_LM_MAPPING_NAMES})
"""Every kind of model that Transformers can complete or fill in text with."""
POSITIONS = 48
_LATENT = {
    "num_key_value_heads": 4,
    "head_dim": 4,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "n_group": 1,
    "topk_group": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
_OWN: dict[str, dict[str, Any]] = {
    "codegen": {"rotary_dim": 4},
    "gptj": {"rotary_dim": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "minicpm3": _LATENT,
}
"""Settings without which a configuration of the common shape contradicts itself."""
_LARGEST = 80_000_000
"""Parameters: some families have parts whose sizes are set elsewhere."""


def write_family(directory: Path, family: str, **settings: Any) -> Path:
    """Write a random model of a family, of two blocks and width 32, with its tokenizer."""
    tokenizer = train_tokenizer(PROMPTS, 300)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **_settable(family, shape) | _OWN.get(family, {}) | settings)
        with torch.device("meta"):
            size = sum(weight.numel() for weight in AutoModel.from_config(config).parameters())
        if size > _LARGEST:
            raise ValueError(f"a {family} of this shape has {size:,} parameters")
        model = AutoModel.from_config(config)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory


def _settable(family: str, shape: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a configuration computes by itself."""
    kind = type(AutoConfig.for_model(family))
    return {name: value for name, value in shape.items() if not isinstance(getattr(kind, name, None), property)}
