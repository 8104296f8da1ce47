"""The network of Prism: a base and its signals are encoded and added, read by a trunk, averaged, and read out.

Belongs here: the network, its two predictions. Does not: scales of inputs and target, and training on genes
(`model.networks.prism.expression`).

With n background states the signals' encoding is also weighed by the gates of each state; the prediction averaged over
these is that of an intervention on the signals: backdoor adjustment, with the states as the confounder.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.networks.prism.config import PrismConfig
from model.networks.prism.dictionary import SEGMENTS, Dictionary
from model.networks.prism.gates import ConditionalGates, DictionaryGates
from model.networks.prism.trunks import make_trunk

N_BASES = 4


class PrismOutput(NamedTuple):
    """Both predictions of some genes, on the scale that is learned."""

    observational: Tensor
    """Without gates, shape `(genes,)`."""
    do: Tensor
    """Averaged over the states, shape `(genes,)`; that without gates where there are no states."""
    gates: Tensor | None
    """Shape `(genes, n_states, width)`; None where there are no states."""


class Prism(nn.Module):
    """Sequence, signals and covariates of genes to their expression.

    Parameters
    ----------
    config
        How it is set.
    signal_names
        Names of the signals' last axis.
    n_covariates
        Numbers a gene besides.
    """

    def __init__(self, config: PrismConfig, *, signal_names: tuple[str, ...], n_covariates: int) -> None:
        super().__init__()
        self.config = config
        read, gated = config.named_signals(signal_names), config.gated_signals(signal_names)
        self._read = [signal_names.index(name) for name in read]
        self._gated = [read.index(name) for name in gated]
        self._ungated = [place for place in range(len(read)) if place not in self._gated]
        self.reads_bases = config.sequence or bool(read)
        n_covariates = n_covariates if config.covariates else 0
        if not (self.reads_bases or n_covariates):
            raise ValueError("nothing is left to read: the genes have no covariates; set sequence=true or signals=all")
        if config.n_states and not gated:
            raise ValueError("states gate signals, and the genes have none; set n_states=0")
        if self.reads_bases:
            self.sequence_encoder = _linear(N_BASES, config.width) if config.sequence else None
            self.signal_encoder = _linear(len(read), config.width) if read else None
            self.trunk = make_trunk(config)
        self.head = _head(n_covariates + (config.width if self.reads_bases else 0), config.width)
        # Drawn last, so that the other parts start alike with any number of states.
        self.gates = _make_gates(config, len(gated)) if config.n_states else None
        self.register_buffer("prior", torch.full((config.n_states,), 1 / max(1, config.n_states)))
        self.prior: Tensor

    def forward(
        self, sequence: Tensor, signals: Tensor, covariates: Tensor, *, gates: Tensor | None = None
    ) -> PrismOutput:
        """Predict with and without the states.

        Parameters
        ----------
        sequence
            Bases 0 to 3 for A, C, G, T; 4 for N. Shape `(genes, length)`, uint8.
        signals
            Shape `(genes, length, signals)`, float32.
        covariates
            Shape `(genes, covariates)`, float32.
        gates
            In place of the network's own, shape `(genes, n_states, width)`: to explain, and to test.
        """
        if not self.reads_bases:
            alone = self._read_out(None, covariates)
            return PrismOutput(alone, alone, None)
        signals = self.chosen(signals)
        if gates is None and self.gates is not None:
            gates = self.gates(self.background(signals))
        base, gated = self._encode(self._encode_bases(sequence), signals)
        observational = self._read_out(self._hidden(base + gated), covariates)
        if gates is None:
            return PrismOutput(observational, observational, None)
        weighed = base[:, None] + gated[:, None] * gates[:, :, None]
        hidden = self._hidden(weighed.flatten(0, 1)).view(gates.shape)
        return PrismOutput(observational, self._adjusted(hidden, covariates), gates)

    def observational(self, sequence: Tensor, signals: Tensor, covariates: Tensor) -> Tensor:
        """Predict without gates, shape `(genes,)`: one pass of the trunk, and not one a state besides."""
        if not self.reads_bases:
            return self._read_out(None, covariates)
        base, gated = self._encode(self._encode_bases(sequence), self.chosen(signals))
        return self._read_out(self._hidden(base + gated), covariates)

    def background(self, signals: Tensor) -> Tensor:
        """Take the signals that gates weigh out of those that are read."""
        return signals[..., self._gated]

    def chosen(self, signals: Tensor) -> Tensor:
        """Take the signals that are read out of all."""
        return signals[..., self._read]

    @torch.no_grad()
    def set_dictionary(self, found: Dictionary) -> None:
        """Take states and their frequencies; only with `states=dictionary`."""
        assert isinstance(self.gates, DictionaryGates)
        self.gates.states.copy_(found.states)
        self.prior.copy_(found.prior)

    def _encode_bases(self, sequence: Tensor) -> Tensor | None:
        if self.sequence_encoder is None:
            return None
        one_hot = functional.one_hot(sequence.long().clamp(max=N_BASES), N_BASES + 1)[..., :N_BASES]
        encoded: Tensor = self.sequence_encoder(self._pooled(one_hot.to(self.sequence_encoder.weight.dtype)))
        return encoded

    def _encode(self, of_bases: Tensor | None, signals: Tensor) -> tuple[Tensor, Tensor]:
        """Give what no gate weighs and what gates do, each `(genes, positions, width)`."""
        if self.signal_encoder is None:
            assert of_bases is not None
            return of_bases, torch.zeros_like(of_bases)
        pooled = self._pooled(signals)
        weight, bias = self.signal_encoder.weight, self.signal_encoder.bias
        if self._ungated and self._gated:
            # The constant belongs to no signal: it is not gated where some signals are not.
            kept = functional.linear(pooled[..., self._ungated], weight[:, self._ungated], bias)
            gated = functional.linear(pooled[..., self._gated], weight[:, self._gated])
            return (kept if of_bases is None else of_bases + kept), gated
        gated = self.signal_encoder(pooled)
        return (torch.zeros_like(gated) if of_bases is None else of_bases), gated

    def _pooled(self, values: Tensor) -> Tensor:
        """Average over `pool` bases; the encoders are linear, so that before them is as after."""
        pool = self.config.pool
        genes, length, numbers = values.shape
        return values if pool == 1 else values.reshape(genes, length // pool, pool, numbers).mean(dim=2)

    def _hidden(self, encoded: Tensor) -> Tensor:
        """Read along the window and average the positions that count, `(genes, width)`."""
        read: Tensor = self.trunk(encoded)
        if self.config.readout == "centre":
            length = read.shape[1]
            centre = min(length, max(1, self.config.centre_bp // self.config.pool))
            start = (length - centre) // 2
            read = read[:, start : start + centre]
        return read.mean(dim=1)

    def _read_out(self, hidden: Tensor | None, covariates: Tensor) -> Tensor:
        parts = [] if hidden is None else [hidden]
        if self.config.covariates and covariates.shape[-1]:
            parts.append(covariates)
        read: Tensor = self.head(torch.cat(parts, dim=-1))
        return read.squeeze(-1)

    def _adjusted(self, hidden: Tensor, covariates: Tensor) -> Tensor:
        """Average over the states `(genes, n_states, width)`, before or after the head."""
        if self.config.adjust == "hidden":
            return self._read_out(torch.einsum("gsw,s->gw", hidden, self.prior), covariates)
        each = covariates[:, None].expand(-1, hidden.shape[1], -1)
        return self._read_out(hidden, each) @ self.prior


def _make_gates(config: PrismConfig, n_signals: int) -> ConditionalGates | DictionaryGates:
    if config.states == "dictionary":
        return DictionaryGates(SEGMENTS * n_signals, n_states=config.n_states, width=config.width)
    return ConditionalGates(n_signals, n_states=config.n_states, width=config.width)


def _head(given: int, width: int) -> nn.Sequential:
    return nn.Sequential(_linear(given, width), nn.ReLU(), _linear(width, width), nn.ReLU(), _linear(width, 1))


def _linear(given: int, made: int) -> nn.Linear:
    """Make a linear map whose constant starts at 0, as all of the release do."""
    layer = nn.Linear(given, made)
    nn.init.zeros_(layer.bias)
    return layer
