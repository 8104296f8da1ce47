"""The selective scan of Mamba (Gu and Dao 2023) in plain torch, on any device.

Belongs here: the recurrence and its gradient, chunk by chunk. Does not: the layer around it
(`model.networks.prism.bimamba`).

Within a chunk the inputs of the recurrence are computed at once and then walked through, one fused multiply-add a
position. The states of a chunk are computed again for its gradient, so that memory grows with `length * channels` and
not with `length * channels * state`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 64
"""Positions of a chunk: 64 x 256 channels x 16 of state x float32 = 1 MiB a gene, which stays in a CPU's cache."""


def selective_scan(
    x: Tensor, step: Tensor, decay: Tensor, write: Tensor, read: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """Run `h_t = exp(step_t * decay) * h_(t-1) + step_t * write_t * x_t` and give `y_t = read_t . h_t`.

    Parameters
    ----------
    x, step
        Inputs and positive step sizes (delta), shape `(batch, length, channels)`.
    decay
        Rates below 0 (A), shape `(channels, state)`.
    write, read
        Into the state (B) and out of it (C), shape `(batch, length, state)`.
    chunk
        Positions computed at once; no value depends on it but for rounding.

    Returns
    -------
    Shape `(batch, length, channels)`.
    """
    # A function of its own is no operation of autocast: all in the type of the rates.
    x, step, write, read = (part.to(decay.dtype) for part in (x, step, write, read))
    scanned: Tensor = _Scan.apply(x, step, decay, write, read, chunk)  # type: ignore[no-untyped-call]
    return scanned


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, decay: Tensor, write: Tensor, read: Tensor, chunk: int) -> Tensor:
        state = x.new_zeros(x.shape[0], x.shape[2], decay.shape[1])
        y, starts = torch.empty_like(x), []
        for part in _chunks(x.shape[1], chunk):
            starts.append(state)
            _, states = _states(state, x[:, part], step[:, part], decay, write[:, part])
            torch.matmul(states, read[:, part, :, None], out=y[:, part, :, None])
            state = states[:, -1].clone()
        ctx.save_for_backward(x, step, decay, write, read, *starts)
        ctx.chunk = chunk
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        x, step, decay, write, read, *starts = ctx.saved_tensors
        of_x, of_step = torch.empty_like(x), torch.empty_like(step)
        of_write, of_read, of_decay = torch.empty_like(write), torch.empty_like(read), torch.zeros_like(decay)
        later = torch.zeros_like(starts[0])
        parts = list(_chunks(x.shape[1], ctx.chunk))
        for part, start in zip(reversed(parts), reversed(starts), strict=True):
            steps, inputs, wanted = step[:, part], x[:, part], of_y[:, part]
            kept, states = _states(start, inputs, steps, decay, write[:, part])
            of_read[:, part] = torch.matmul(states.mT, wanted[..., None])[..., 0]
            of_states = wanted[..., None] * read[:, part, None, :]
            of_states[:, -1] += later
            for place in range(of_states.shape[1] - 2, -1, -1):
                of_states[:, place].addcmul_(kept[:, place + 1], of_states[:, place + 1])
            later = kept[:, 0] * of_states[:, 0]
            of_write[:, part] = torch.matmul(of_states.mT, (steps * inputs)[..., None])[..., 0]
            of_added = torch.matmul(of_states, write[:, part, :, None])[..., 0]
            # From here the gradient of step * decay, in the place of the states' own.
            before = torch.cat([start[:, None], states[:, :-1]], dim=1)
            of_exponent = of_states.mul_(before).mul_(kept)
            of_x[:, part] = of_added * steps
            of_step[:, part] = of_added * inputs + (of_exponent * decay).sum(dim=-1)
            of_decay += (of_exponent * steps[..., None]).sum(dim=(0, 1))
        return of_x, of_step, of_decay, of_write, of_read, None


def _chunks(length: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]


def _states(start: Tensor, x: Tensor, step: Tensor, decay: Tensor, write: Tensor) -> tuple[Tensor, Tensor]:
    """Walk one chunk: what is kept of the state at each position, and the states, `(batch, chunk, channels, state)`."""
    kept = (step[..., None] * decay).exp_()
    states = (step * x)[..., None] * write[:, :, None, :]
    state = start
    for place in range(x.shape[1]):
        state = states[:, place].addcmul_(kept[:, place], state)
    return kept, states
