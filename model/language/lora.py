"""Low-rank adapters on the attention of a backbone: what freezing it costs.

Belongs here: putting adapters in, their tensors. Does not: training them (`model.training.fit`).

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
"""GPT-2 computes queries, keys and values in one layer, side by side."""


class LowRank(nn.Module):
    """A frozen linear layer and its adapters.

    Parameters
    ----------
    frozen
        `nn.Linear`, or the transposed one of GPT-2.
    rank, alpha
        Of the adapters.
    parts
        The outputs fall into so many equal parts; True for each that gets an adapter.
    """

    def __init__(self, frozen: nn.Module, *, rank: int, alpha: float, parts: Sequence[bool] = (True,)) -> None:
        super().__init__()
        self.frozen = frozen
        self.parts = tuple(parts)
        self.scale = alpha / rank
        n_in, n_out = _shape(frozen)
        device = next(frozen.parameters()).device
        # float32 beside a bfloat16 model too: steps of training are smaller than bfloat16 can tell apart.
        self.down = nn.Parameter(torch.empty(sum(parts), rank, n_in, device=device))
        self.up = nn.Parameter(torch.zeros(sum(parts), n_out // len(parts), rank, device=device))
        nn.init.normal_(self.down, std=1 / math.sqrt(n_in))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the frozen layer and add what the adapters learned."""
        plain: Tensor = self.frozen(x)
        adapters = iter(zip(self.down.to(x.dtype), self.up.to(x.dtype), strict=True))
        changes = []
        for part, adapted in zip(plain.chunk(len(self.parts), dim=-1), self.parts, strict=True):
            if adapted:
                down, up = next(adapters)
                part = part + self.scale * (x @ down.T @ up.T)
            changes.append(part)
        return torch.cat(changes, dim=-1)


def add_lora(
    backbone: Backbone, *, rank: int, alpha: float | None = None, targets: Sequence[str] | None = None
) -> list[nn.Parameter]:
    """Put adapters into every block of a backbone, in place; what it computes stays the same until they are trained.

    What the backbone makes of a prompt then depends on something trainable, so `PrefixCache` refuses it.

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
        If the backbone has adapters already, the rank is not positive, or it has no layer of such a name.
    """
    if backbone.is_adapted:
        raise BackboneError(f"{backbone.directory.name} has adapters already; load the backbone again to start anew")
    if rank < 1:
        raise BackboneError(f"the rank of adapters counts from 1, got {rank}")
    layers = {name: layer for name, layer in backbone.model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    chosen = _choose({name.rpartition(".")[2]: layer for name, layer in layers.items()}, targets)
    adapted = []
    for name, frozen in layers.items():
        place, _, last = name.rpartition(".")
        if last in chosen:
            layer = LowRank(frozen, rank=rank, alpha=rank if alpha is None else alpha, parts=chosen[last])
            setattr(backbone.model.get_submodule(place), last, layer)
            adapted += [layer.down, layer.up]
    backbone.is_adapted = True
    return adapted


def lora_state(backbone: Backbone) -> dict[str, Tensor]:
    """Give the adapters' tensors by name; none if there are no adapters."""
    return {
        f"{name}.{part}": value
        for name, layer in backbone.named_modules()
        if isinstance(layer, LowRank)
        for part, value in (("down", layer.down.detach()), ("up", layer.up.detach()))
    }


def load_lora_state(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Take back what `lora_state` gave, into adapters of the same rank in the same layers.

    Raises
    ------
    BackboneError
        If the adapters are others.
    """
    own = lora_state(backbone)
    wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise BackboneError(
            f"the adapters are not those of this backbone: {len(wrong)} tensors differ ({wrong[0]}, ...); call "
            "add_lora with the rank and targets that they were trained with, on a backbone of as many blocks"
        )
    for name, value in own.items():
        value.copy_(state[name])


def _choose(layers: Mapping[str, nn.Module], targets: Sequence[str] | None) -> dict[str, tuple[bool, ...]]:
    """Give the parts to adapt of each layer, by the last part of its name."""
    if targets is not None:
        unknown = sorted(set(targets) - layers.keys())
        if unknown or not targets:
            raise BackboneError(
                f"no layer is called {', '.join(unknown) or '(none given)'}; targets are among "
                f"{', '.join(sorted(layers))}"
            )
        return dict.fromkeys(targets, (True,))
    for names in _QUERY_AND_VALUE:
        if layers.keys() >= set(names):
            return dict.fromkeys(names, (True,))
    if _FUSED in layers:
        n_in, n_out = _shape(layers[_FUSED])
        if n_out == 3 * n_in:
            return {_FUSED: (True, False, True)}
    raise BackboneError(
        f"which layers of this model are queries and values is not known; name them with targets=, among "
        f"{', '.join(sorted(layers))}"
    )


def _shape(layer: nn.Module) -> tuple[int, int]:
    """Give the numbers of inputs and outputs."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return (weight.shape[0], weight.shape[1]) if isinstance(layer, Conv1D) else (weight.shape[1], weight.shape[0])
