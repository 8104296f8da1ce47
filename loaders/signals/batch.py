"""Batches of genes with signals: as they travel to a device, and as a model reads them.

Belongs here: both forms, and all that is done on the device: repeating wide bins, turning, scaling. Does not: reading
(`loaders.signals.rows`), which genes (`loaders.signals.dataset`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from loaders.signals.scaling import SignalScaling

N_CODE = 4
"""Code of an unknown base; A, C, G, T are 0 to 3."""


class SignalGeneBatch(NamedTuple):
    """Some genes, ready for a model."""

    sequence: Tensor
    """Bases, shape `(genes, length)`, uint8: 0 to 3 = A, C, G, T; 4 = N, also past the end of a contig."""
    signals: Tensor
    """Signals by base, shape `(genes, length, signals)`, float32; past the end of a contig what the set has for it."""
    covariates: Tensor
    """Shape `(genes, covariates)`, float32; no column where there are none."""
    targets: Tensor
    """Expression as measured, shape `(genes,)`, or `(genes, tasks)` of several columns, float32; NaN where it is not
    known."""
    indices: Tensor
    """Place of each gene in the dataset, shape `(genes,)`, int64."""


def collate(batches: Sequence[SignalGeneBatch], **_: Any) -> SignalGeneBatch:
    """Concatenate batches of genes; torch's `default_collate` knows it, so a plain DataLoader does it too."""
    return SignalGeneBatch(*(torch.cat(tensors) for tensors in zip(*batches, strict=True)))


default_collate_fn_map[SignalGeneBatch] = collate


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What turns bins as stored into signals by base."""

    length: int
    """Bases of a window (bp)."""
    bin_sizes: tuple[int, ...]
    """Of each set of signals (bp)."""
    pads: tuple[float, ...]
    """Of the columns of all sets: what a base outside the contig has."""
    columns: tuple[int, ...]
    """Those to give, by number among the columns of all sets, one set after the other."""
    turned_columns: tuple[int, ...]
    """Those in their places where a window is turned: of a stranded pair the other one."""
    turned_signs: tuple[float, ...]
    """What these are multiplied by: -1 where a strand is stored as negative values."""
    scaling: SignalScaling


class StoredGenes(NamedTuple):
    """Some genes as the store holds them: what travels to a device, in bins and types of the store.

    `loaders.prefetch` moves it like any batch; `finished` is then computed there.
    """

    sequence: Tensor
    """Bases along the forward strand, shape `(genes, length)`, uint8."""
    bins: tuple[Tensor, ...]
    """Bins of each set that cover the windows, shape `(genes, n_bins, channels)`, in the type of the store."""
    shifts: tuple[Tensor, ...]
    """Bases of the first bin that lie before each window, for each set, shape `(genes,)`, int64."""
    cut: Tensor
    """Which windows leave their contig, by place in the batch, int64."""
    inside: Tensor
    """First and end base of these that lie on it, shape `(windows that are cut, 2)`, int64."""
    turned: Tensor
    """Which windows are turned, by place in the batch, int64."""
    covariates: Tensor
    targets: Tensor
    indices: Tensor
    recipe: Recipe

    def finished(self) -> SignalGeneBatch:
        """Make the batch that a model reads, on the device where this one lies."""
        recipe, turned = self.recipe, self.turned
        every = self._by_base()
        sequence, signals = self.sequence, _selected(every, recipe.columns)
        if len(turned):
            sequence = sequence.index_copy(0, turned, complemented(sequence.index_select(0, turned).flip(1)))
            reverse = _selected(every.index_select(0, turned).flip(1), recipe.turned_columns)
            if any(sign != 1 for sign in recipe.turned_signs):
                reverse = reverse * reverse.new_tensor(recipe.turned_signs)
            signals = signals.index_copy(0, turned, reverse)
        signals = recipe.scaling.apply(signals)
        return SignalGeneBatch(sequence, signals, self.covariates, self.targets, self.indices)

    def _by_base(self) -> Tensor:
        """Give all columns by base, forward and as stored, shape `(genes, length, columns)`, float32."""
        recipe = self.recipe
        by_base = [
            at_bases(bins, shift, bin_size=size, length=recipe.length).float()
            for bins, shift, size in zip(self.bins, self.shifts, recipe.bin_sizes, strict=True)
        ]
        if not by_base:
            return self.covariates.new_zeros(len(self.indices), recipe.length, 0)
        every = by_base[0] if len(by_base) == 1 else torch.cat(by_base, dim=2)
        if not len(self.cut):
            return every
        # The last bin of a contig may reach past it.
        bases = torch.arange(recipe.length, device=every.device)
        is_inside = (bases >= self.inside[:, :1]) & (bases < self.inside[:, 1:])
        cut = torch.where(is_inside[..., None], every.index_select(0, self.cut), every.new_tensor(recipe.pads))
        return every.index_copy(0, self.cut, cut)


def _selected(signals: Tensor, columns: tuple[int, ...]) -> Tensor:
    if columns == tuple(range(signals.shape[-1])):
        return signals
    # An eighth of what indexing by a list takes.
    return signals.index_select(-1, torch.tensor(columns, dtype=torch.int64, device=signals.device))


def complemented(sequence: Tensor) -> Tensor:
    """Give the other strand's bases, in the same order; N stays."""
    # 3 - 4 is 255 in uint8, which the limit makes an N again.
    return ((N_CODE - 1) - sequence).clamp_(max=N_CODE)


def at_bases(bins: Tensor, shifts: Tensor, *, bin_size: int, length: int) -> Tensor:
    """Repeat bins for each of their bases.

    Parameters
    ----------
    bins
        Shape `(genes, n_bins, channels)`.
    shifts
        Bases of the first bin before the window, in [0, bin_size), shape `(genes,)`.

    Returns
    -------
    Shape `(genes, length, channels)`, in the type of the bins.
    """
    if bin_size == 1:
        return bins
    n_genes, n_bins, n_channels = bins.shape
    bases = torch.arange(length, device=bins.device)
    rows = torch.div(shifts[:, None] + bases, bin_size, rounding_mode="floor")
    rows = rows + torch.arange(n_genes, device=bins.device)[:, None] * n_bins
    return bins.reshape(-1, n_channels).index_select(0, rows.flatten()).view(n_genes, length, n_channels)
