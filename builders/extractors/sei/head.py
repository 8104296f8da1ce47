"""The two last layers of Sei: nine tenths of its weights, a sixtieth of its work.

Belongs here: how these weights lie in memory, and products of few rows with a large matrix. Does not: what comes before
(`builders.extractors.sei.inference`).
"""

import torch
import torch.nn.functional as F
from torch import nn

from builders.extractors.sei.precision import arithmetic, round_to_tf32_
from builders.extractors.sei.tiled_conv import Scratch, padded_width

_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it untyped


class Head:
    """The classifier, prepared for one device and precision.

    21,907 outputs are rows that begin at no whole 16 bytes, for which GPUs have slow products only. So the weights are
    padded with zeros to 21,912, and results are cut off again: exact. In float32 on a CPU they are used as they are,
    since padding would be a second copy of memory that is mapped from the file.

    Parameters
    ----------
    classifier
        Two linear layers.
    scratch
        Device and type to compute in.
    release
        Whether to free each layer once it is prepared.
    """

    def __init__(self, classifier: nn.Module, scratch: Scratch, *, release: bool = False) -> None:
        self._scratch = scratch
        self._layers = []
        for layer in classifier.modules():
            if isinstance(layer, nn.Linear):
                self.n_outputs = layer.out_features
                self._layers.append(self._placed(layer))
                if release:
                    layer.to_empty(device="meta")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the flat embedding, shape `(batch, n_in)`, into probabilities, shape `(batch, n_outputs)`, float32."""
        x = x.to(self._scratch.dtype, copy=True)
        (weight, bias), (last_weight, last_bias) = self._layers
        with arithmetic(self._scratch.precision):
            hidden = linear(self._as_factor(x), weight, bias).relu_()
            logits = linear(self._as_factor(hidden), last_weight, last_bias)
            return logits[:, : self.n_outputs].float().sigmoid_()

    def _placed(self, layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        scratch = self._scratch
        if scratch.device.type == "cpu" and scratch.precision == "fp32":
            return scratch.place(layer.weight), scratch.place(layer.bias)
        n_out = padded_width(layer.out_features)
        # What enters the second layer is the padded output of the first, whose zeros meet columns of zeros.
        n_in = layer.in_features if not self._layers else padded_width(layer.in_features)
        return scratch.place_padded(layer.weight, n_out, n_in), scratch.place(
            F.pad(layer.bias.detach(), (0, n_out - layer.out_features))
        )

    def _as_factor(self, x: torch.Tensor) -> torch.Tensor:
        return round_to_tf32_(x) if self._scratch.precision == "tf32" else x


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Multiply few rows by a large matrix, as `torch.nn.functional.linear` does.

    In float32 on a CPU torch takes MKL, which repacks the whole matrix for every call: with 16 rows and the 21,907 x
    15,360 weights of the head 3.5 times slower than oneDNN on the same weights (measured).
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and _HAS_ONEDNN:
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return y
    return F.linear(x, weight, bias)
