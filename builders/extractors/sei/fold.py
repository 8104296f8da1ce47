"""Two convolutions without an activation between them, folded into one, exactly, edges included.

Belongs here: the algebra on weights. Does not: running it (`builders.extractors.sei.inference`).

Inside a sequence the pair of an `lconv` block is one convolution with 17 taps. Not at its ends: the second convolution
pads what the first gives with zeros, while the folded one goes on computing it there from the padded input. The
excess at the outermost positions is linear in the outermost inputs, and is subtracted.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Excess:
    """What to subtract from the folded convolution at one end of a sequence, over `reach` positions."""

    weight: torch.Tensor
    """Shape `(reach * n_out, reach * n_in)`, positions ascending, channels within a position."""
    bias: torch.Tensor
    """Shape `(reach * n_out,)`."""


@dataclass(frozen=True, slots=True)
class FoldedPair:
    """One convolution for two, in float32."""

    weight: torch.Tensor
    """Shape `(n_out, n_in, 2 * n_taps - 1)`."""
    bias: torch.Tensor
    first: Excess
    """To subtract at the first `n_taps // 2` positions, given the input there."""
    last: Excess


def fold_pair(
    first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor], *, device: torch.device
) -> FoldedPair:
    """Fold `second(first(x))`, two "same" convolutions of as many taps given as weight and bias.

    Parameters
    ----------
    first, second
        Weights `(n_between, n_in, n_taps)` and `(n_out, n_between, n_taps)`, each with its bias; `n_taps` odd.
    device
        Where to compute; a second or two for the widest pair on two cores.
    """
    (inner, inner_bias), (outer, outer_bias) = (
        (weight.to(device, torch.float32).permute(2, 0, 1).contiguous(), bias.to(device, torch.float32))
        for weight, bias in (first, second)
    )
    n_taps, n_out, n_between = outer.shape
    n_in = inner.shape[2]
    folded = inner.new_zeros(2 * n_taps - 1, n_out, n_in)
    for tap, weight in enumerate(inner):
        folded[tap : tap + n_taps] += (outer.view(-1, n_between) @ weight).view(n_taps, n_out, n_in)
    return FoldedPair(
        folded.permute(1, 2, 0),
        outer_bias + outer.sum(0) @ inner_bias,
        _excess_before(inner, inner_bias, outer),
        _reversed(_excess_before(inner.flip(0), inner_bias, outer.flip(0)), n_taps // 2),
    )


def _excess_before(inner: torch.Tensor, inner_bias: torch.Tensor, outer: torch.Tensor) -> Excess:
    """Follow the first inputs through the values between the convolutions that should have been zero."""
    n_taps, n_out, n_between = outer.shape
    n_in = inner.shape[2]
    reach = n_taps // 2
    weight = inner.new_zeros(reach, n_out, reach, n_in)
    bias = inner.new_zeros(reach, n_out)
    for near in range(1, reach + 1):
        # The value `reach + 1 - near` places before the start feeds outputs 0 .. near - 1, output p by tap near - 1 - p
        # of the second convolution, and is fed by inputs 0 .. near - 1, input i by tap 2 reach + 1 - near + i.
        leaving = outer[:near].flip(0).reshape(near * n_out, n_between)
        entering = inner[n_taps - near :].transpose(0, 1).reshape(n_between, near * n_in)
        weight[:near, :, :near] += (leaving @ entering).view(near, n_out, near, n_in)
        bias[:near] += (leaving @ inner_bias).view(near, n_out)
    return Excess(weight.view(reach * n_out, reach * n_in), bias.flatten())


def _reversed(excess: Excess, reach: int) -> Excess:
    """Read an excess found on mirrored taps from the other end."""
    n_out, n_in = (size // reach for size in excess.weight.shape)
    weight = excess.weight.view(reach, n_out, reach, n_in).flip(0, 2)
    return Excess(weight.reshape(reach * n_out, reach * n_in), excess.bias.view(reach, n_out).flip(0).flatten())
