"""LoRA: low-rank adapters on the attention of a backbone, to show what freezing it costs.

Belongs here: putting peft's adapters in, their tensors under today's names. Does not: training them
(`model.training.fit`).

After Hu et al., "LoRA: Low-rank adaptation of large language models" (arXiv 2106.09685): a frozen layer `W x` becomes
`W x + (alpha / rank) B A x`, with `A` of shape `(rank, in)` random at first and `B` of shape `(out, rank)` zero, so
that nothing changes until something is learned.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from model.language.backbone import Backbone
from model.language.directory import BackboneError

_QUERY_AND_VALUE = (("q_proj", "v_proj"), ("query", "value"), ("q_lin", "v_lin"))
"""Names of the two projections, by family: Llama, Mistral and Qwen; BERT; DistilBERT."""
_FUSED = "c_attn"
"""GPT-2 computes queries, keys and values in one layer, side by side: it takes adapters of twice the rank."""
_A, _B = "lora_A.default.weight", "lora_B.default.weight"
"""What peft calls the matrices of an adapter, in the layer that it is put into."""


def add_lora(
    backbone: Backbone, *, rank: int, alpha: float | None = None, targets: Sequence[str] | None = None
) -> list[nn.Parameter]:
    """Put adapters into every block of a backbone, in place; what it computes stays the same until they are trained.

    Keys and values of a prompt then depend on trainable weights, so `PrefixCache` refuses the backbone.

    Parameters
    ----------
    rank
        Of the adapters; each adds `rank * (in + out)` parameters.
    alpha
        The adapters' part is multiplied by `alpha / rank`; `rank` if not given.
    targets
        Names of the linear layers to adapt, as in `q_proj`; the query and value projections if not given.

    Returns
    -------
    The trainable parameters, float32.

    Raises
    ------
    BackboneError
        If the backbone has adapters already or computes in float16, the rank is not positive, or it has no layer of
        such a name.
    """
    if backbone.is_adapted:
        raise BackboneError(f"{backbone.directory.name} has adapters already; load the backbone again to start anew")
    if backbone.arithmetic.precision == "fp16":
        raise BackboneError(
            "adapters are trained with products in bfloat16 or float32: gradients pass float16 scaled; set "
            "precision=bf16, or leave lora_rank out"
        )
    if rank < 1:
        raise BackboneError(f"the rank of adapters counts from 1, got {rank}")
    # Here, since it takes seconds to import, and a frozen model needs none of it.
    from peft import LoraConfig, inject_adapter_in_model

    layers = {name: layer for name, layer in backbone.model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    chosen = _choose({name.rpartition(".")[2]: layer for name, layer in layers.items()}, targets)
    scale = 1.0 if alpha is None else alpha / rank
    ranks = {name: rank * (2 if name == _FUSED and targets is None else 1) for name in chosen}
    config = LoraConfig(
        target_modules=chosen,
        r=rank,
        rank_pattern=ranks,
        alpha_pattern={name: scale * of for name, of in ranks.items()},
        fan_in_fan_out=any(isinstance(layers[name], Conv1D) for name in layers if name.rpartition(".")[2] in chosen),
    )
    inject_adapter_in_model(config, backbone.model)
    adapted = []
    for name, weight in backbone.model.named_parameters():
        if name.endswith((_A, _B)):
            # float32 in a bfloat16 model too: steps of training are smaller than bfloat16 can tell apart.
            weight.data = weight.data.float()
            adapted.append(weight)
        if name.endswith(_A):
            # What docs/gta.md measured; peft draws from a narrower range.
            nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[1]))
    backbone.is_adapted = True
    return adapted


def lora_state(backbone: Backbone) -> dict[str, Tensor]:
    """Give the adapters' tensors by name; none if there are no adapters."""
    return {name: value.detach() for name, value in backbone.named_parameters() if name.endswith((_A, _B))}


def load_lora_state(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Take back what `lora_state` gave, into adapters of the same rank in the same layers.

    Raises
    ------
    BackboneError
        If the adapters are others.
    """
    own, state = lora_state(backbone), current_adapters(state)
    wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise BackboneError(
            f"the adapters are not those of this backbone: {len(wrong)} tensors differ ({wrong[0]}, ...); call "
            "add_lora with the rank and targets that they were trained with, on a backbone of as many blocks"
        )
    for name, value in own.items():
        value.copy_(state[name])


def current_adapters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors under today's names: earlier versions wrote adapters of their own, `<layer>.down` and `<layer>.up`.

    Theirs had the shapes `(parts, rank, in)` and `(parts, out / all parts, rank)`. One part is an adapter as it is; the
    two of GPT-2's fused layer, queries and values, become one of twice the rank, whose matrix `B` keeps them apart.
    """
    current = {}
    for name, value in state.items():
        layer, _, matrix = name.rpartition(".")
        if matrix == "down" and f"{layer}.up" in state:
            current[f"{layer}.{_A}"] = value.flatten(0, 1)
        elif matrix == "up" and f"{layer}.down" in state:
            of_queries, of_values = value[0], value[-1]
            between = (torch.zeros_like(of_queries), torch.zeros_like(of_values))
            stacked = torch.cat(
                [torch.cat([of_queries, between[1]], 1), torch.cat(between, 1), torch.cat([between[0], of_values], 1)]
            )
            current[f"{layer}.{_B}"] = value[0] if len(value) == 1 else stacked
        else:
            current[name] = value
    return current


def _choose(layers: Mapping[str, nn.Module], targets: Sequence[str] | None) -> list[str]:
    """Give the layers to adapt, by the last part of their names."""
    if targets is not None:
        unknown = sorted(set(targets) - layers.keys())
        if unknown or not targets:
            raise BackboneError(
                f"no layer is called {', '.join(unknown) or '(none given)'}; targets are among "
                f"{', '.join(sorted(layers))}"
            )
        return list(targets)
    for names in (*_QUERY_AND_VALUE, (_FUSED,)):
        if layers.keys() >= set(names):
            return list(names)
    raise BackboneError(
        f"which layers of this model are queries and values is not known; name them with `targets=`, among "
        f"{', '.join(sorted(layers))}"
    )
