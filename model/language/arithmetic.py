"""In which arithmetic a language model runs: all of it in float32, or its matrix products in 16 bits.

Belongs here: the dtypes of a model's weights, of what passes between its layers, of its KV cache, the scale of its
gradients. Does not: names of precisions (`model.device`), running the model (`model.language.backbone`).

Genes and bins differ by a few percent of a hidden state, and bfloat16 has 8 bits of precision. So `bf16` and `fp16`
mean weights of matrices and products in 16 bits, which is where the time goes, while embeddings that were looked up,
residual connections, norms, rotary positions and softmax are float32. Torch's autocast does that for any family, once
norms and biases are float32 and the residual stream starts so.

What bfloat16 loses beyond that, in what a product is given and gives, float16 keeps to an eighth, at the same speed on
a GPU: weights trained in bfloat16 lie in its range, and the residual stream, which might not, is float32.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from model.device import choose_dtype, precision_name

_ROUTERS = ("gate", "router")
"""Names of the layers that choose experts, tiny and of float32 in most families: rounding would choose others."""
_GRADIENT = 128.0
"""What the largest gradient is scaled to for products in float16, between its least 6e-8 and its largest 65,504."""


class Arithmetic:
    """How the products of a model are computed.

    Parameters
    ----------
    precision
        `fp32`, `bf16` or `fp16`.

    Raises
    ------
    ValueError
        If it is none of these.
    """

    def __init__(self, precision: str) -> None:
        self.precision = precision_name(precision)
        self.products = choose_dtype(precision)

    @property
    def loaded_as(self) -> torch.dtype | str:
        """What Transformers loads weights as: for 16 bits as they are stored, so that no norm is rounded on the way."""
        return torch.float32 if self.precision == "fp32" else "auto"

    @property
    def identity(self) -> str:
        """What tells results of one arithmetic from those of another.

        Versions that had the residual stream in bfloat16 wrote `torch.bfloat16`.
        """
        return "torch.float32" if self.precision == "fp32" else f"{self.products}, residuals torch.float32"

    def prepare(self, model: Any) -> None:
        """Put matrices into the dtype of products, in place, other weights and what is embedded into float32."""
        if self.precision == "fp32":
            return
        for weight in model.parameters():
            weight.data = weight.data.to(self.products if weight.dim() > 1 else torch.float32)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.data = buffer.data.float()
        model.get_input_embeddings().register_forward_hook(_widen)
        for name, module in model.named_modules():
            if name.rpartition(".")[2] in _ROUTERS:
                module.float()
                module.forward = partial(_without_autocast, module.forward)

    def context(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Give the context to run a prepared model in."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.products)

    def run(self, model: Any, embedded: Tensor, options: dict[str, Any]) -> Any:
        """Run a prepared model on embeddings, with options of its `forward`."""
        embedded = embedded.float()
        rescaled = self.precision == "fp16" and embedded.requires_grad
        if rescaled:
            scale = _GradientScale()
            # Another node of the graph: what the caller does with `embedded` otherwise is not scaled.
            embedded = embedded.view_as(embedded)
            embedded.register_hook(scale.undo)  # type: ignore[no-untyped-call]  # not annotated there
        with self.context(embedded.device):
            found = model(inputs_embeds=embedded, **options)
        if rescaled:
            found.last_hidden_state.register_hook(scale.apply)
        return found

    def round_cache(self, past: Any) -> None:
        """Keep keys and values, in a Transformers cache that prompts have filled, as the products take them.

        Rotary positions leave keys in float32, of twice the size.
        """
        for layer in past.layers:
            if layer.is_initialized and layer.keys is not None:
                layer.keys, layer.values = layer.keys.to(self.products), layer.values.to(self.products)


class _GradientScale:
    """Brings gradients into the range of float16 on their way back through a model, and out of it after.

    A frozen model passes gradients on linearly, so the factor is chosen anew for every batch.
    """

    def __init__(self) -> None:
        self._factor: Tensor | None = None

    def apply(self, gradient: Tensor) -> Tensor:
        largest = gradient.abs().amax()
        self._factor = torch.where(largest > 0, _GRADIENT / largest, torch.ones_like(largest))
        return gradient * self._factor

    def undo(self, gradient: Tensor) -> Tensor:
        assert self._factor is not None
        return gradient / self._factor


def _without_autocast(forward: Callable[..., Any], hidden: Tensor, *further: Any, **named: Any) -> Any:
    with torch.autocast(hidden.device.type, enabled=False):
        return forward(hidden.float(), *further, **named)


def _widen(_module: torch.nn.Module, _given: tuple[Any, ...], found: Tensor) -> Tensor:
    return found.float()
