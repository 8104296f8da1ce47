"""What bins attend to in a GTA, and which bins a model reads out: figures 6 to 10 of the GTA paper as numbers.

Belongs here: tables of attention, prototypes and readouts. Does not: drawing them (`model.explain.figures`), a whole
run (`model.explain.interpret`).

The formulas are ours: the paper (Honig et al., arXiv 2410.01858) shows what such figures hold, not how each number is
made. Bins are numbered from the left of the window, heads from 0, prototypes as `GTA.prototype_names` has them.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders import GeneDataset, data_loader
from model.device import choose_device
from model.explain.occlusion import bin_distances
from model.networks.alignment import AlignsBins
from model.networks.readout import WeighsBins
from model.predictors.predictor import NetworkPredictor, Predictor, require_readable


class Attention(NamedTuple):
    """How the bins of some genes attend to the prototypes."""

    gene_ids: list[str]
    weights: NDArray[np.float32]
    """Shape `(genes, bins, heads, prototypes)`; they sum to 1 over the prototypes."""
    distances: NDArray[np.int64]
    """Of each bin from that of the TSS, shape `(bins,)` (bp)."""
    prototypes: list[str]

    def over_heads(self) -> NDArray[np.float32]:
        """Average the heads, shape `(genes, bins, prototypes)`: figure 7."""
        return np.asarray(self.weights.mean(axis=2))

    def highest(self) -> NDArray[np.int64]:
        """Give each gene's highest prototype, shape `(genes,)`: its mean over the heads has the largest weight of all.

        Figure 8 shows that prototype's weight by bin.
        """
        return np.asarray(self.over_heads().max(axis=1).argmax(axis=-1))

    def highest_table(self) -> pl.DataFrame:
        """Lay the weight of each gene's `highest` prototype out: gene_id, bin, distance_bp, prototype, weight."""
        chosen = self.highest()
        weights = self.over_heads()[np.arange(len(chosen)), :, chosen]
        names = pl.Series([self.prototypes[index] for index in chosen.tolist()])
        table = self._table(weights, "weight")
        return table.insert_column(
            3, names.gather(np.repeat(np.arange(len(chosen)), weights.shape[1])).alias("prototype")
        )

    def best(self) -> NDArray[np.int64]:
        """Give the prototype of the largest weight, shape `(genes, bins, heads)`."""
        return np.asarray(self.weights.argmax(axis=-1))

    def table(self) -> pl.DataFrame:
        """Lay the weights out: gene_id, bin, distance_bp, head, prototype, weight."""
        return self._table(self.weights, "weight", head=self._heads, prototype=self.prototypes)

    def over_heads_table(self) -> pl.DataFrame:
        """Lay `over_heads` out: gene_id, bin, distance_bp, prototype, weight."""
        return self._table(self.over_heads(), "weight", prototype=self.prototypes)

    def best_table(self) -> pl.DataFrame:
        """Lay `best` out: gene_id, bin, distance_bp, head, prototype, and its weight."""
        names = np.asarray(self.prototypes, dtype=object)[self.best()]
        return self._table(names, "prototype", head=self._heads).with_columns(weight=self.weights.max(axis=-1).ravel())

    @property
    def _heads(self) -> range:
        return range(self.weights.shape[2])

    def _table(self, values: NDArray[Any], name: str, **axes: Sequence[Any]) -> pl.DataFrame:
        table = _long(values, name, gene_id=self.gene_ids, bin=range(len(self.distances)), **axes)
        return _with_distance(table, self.distances)


class ChannelScores(NamedTuple):
    """By how many standard deviations each channel is higher where a head attends to a prototype: figures 6 and 10."""

    weighted: NDArray[np.float64]
    """Mean of the bins weighted by their attention, shape `(heads, prototypes, channels)`."""
    highest: NDArray[np.float64]
    """Mean of the bins in which the prototype has the head's largest weight, of the same shape; NaN if none has."""
    of_weighted: NDArray[np.int64]
    """The prototype of each head whose weight varies most over the bins, shape `(heads,)`."""
    of_highest: NDArray[np.int64]
    """Likewise, that which is the highest in nearest to half of the bins."""
    prototypes: list[str]
    channels: list[str]

    def by_head(self, way: Literal["weighted", "highest"] = "weighted") -> pl.DataFrame:
        """Lay one prototype of each head out: head, prototype, channel, z (figure 6, in either way)."""
        z, chosen = (self.weighted, self.of_weighted) if way == "weighted" else (self.highest, self.of_highest)
        frame = _long(z[np.arange(len(chosen)), chosen], "z", head=range(len(chosen)), channel=self.channels)
        named = [self.prototypes[index] for index in chosen.tolist()]
        prototype = pl.Series(named).gather(frame["head"])
        return frame.with_columns(prototype=prototype).select("head", "prototype", "channel", "z")

    def all_heads(self, *, max_channels: int = 40) -> pl.DataFrame:
        """Lay every prototype of every head out, weighted, for the channels of the largest |z|: figure 10."""
        largest = np.abs(self.weighted).max(axis=(0, 1))
        kept = np.sort(np.argsort(-largest, kind="stable")[:max_channels])
        names = [self.channels[channel] for channel in kept]
        heads = range(len(self.weighted))
        return _long(self.weighted[..., kept], "z", head=heads, prototype=self.prototypes, channel=names)


@torch.no_grad()
def channel_scores(predictor: NetworkPredictor, dataset: GeneDataset) -> ChannelScores:
    """Tell which channels are high or low where a head attends to a prototype: figures 6 and 10.

    With `a`, the weight of a prototype in each bin, channel `x` has

        z = (sum(a x) / sum(a) - mean(x)) / sd(x)

    over all bins of all genes: by how many of its standard deviations it is higher where the head attends. It is the
    correlation of `a` and `x` times sd(a) / mean(a), so it is near 0 for a head that attends evenly; 0 for a channel
    that is constant. In the other way `a` is 1 in the bins in which that prototype has the head's largest weight, and 0
    in the others.

    Figure 6 shows one prototype a head: the one whose `a` has the largest standard deviation, since one that is alike
    everywhere does not tell bins apart. Takes 16 bytes a head, prototype and channel.
    """
    model = _ready(predictor, dataset)
    device = model.feature_mean.device
    total: list[Tensor | float] = [0.0] * 7
    bins = 0
    for batch in data_loader(dataset, batch_size=predictor.training.batch_size):
        # z is the same on any scale, and on this one squares keep their digits.
        features = model.standardise_features(batch.features.to(device))
        a = model.attention(features).flatten(0, 1).double()
        x = features.flatten(0, 1).double()
        top = torch.zeros_like(a).scatter_(-1, a.argmax(dim=-1, keepdim=True), 1.0)
        added = [x.sum(0), x.square().sum(0), a.square().sum(0)]
        added += [part for of in (a, top) for part in (of.sum(0), torch.einsum("bhp,bc->hpc", of, x))]
        bins, total = bins + len(x), [so_far + part for so_far, part in zip(total, added, strict=True)]
    x, xx, aa, a, ax, top, top_x = (torch.as_tensor(part).cpu() / bins for part in total)
    spread = (xx - x.square()).clamp(min=0).sqrt()
    unit = torch.where(spread > 1e-9, spread, torch.inf)
    # A prototype that is always or never the highest tells nothing apart; of those, the one that is.
    varies = torch.where(top > 0, top * (1 - top), -1.0)
    return ChannelScores(
        weighted=((ax / a[..., None] - x) / unit).numpy(),
        highest=((top_x / top[..., None] - x) / unit).numpy(),
        of_weighted=(aa - a.square()).argmax(dim=-1).numpy(),
        of_highest=varies.argmax(dim=-1).numpy(),
        prototypes=model.prototype_names(),
        channels=list(model.channel_names),
    )


def channels_by_head(predictor: NetworkPredictor, dataset: GeneDataset) -> pl.DataFrame:
    """Tell which channels are high or low where a head attends to its prototype: `ChannelScores.by_head`."""
    return channel_scores(predictor, dataset).by_head()


@torch.no_grad()
def attention_of(predictor: NetworkPredictor, dataset: GeneDataset, gene_ids: Sequence[str]) -> Attention:
    """Give the cross-attention of some genes: figures 7 (mean over the heads) and 8 (highest prototype).

    Takes 0.8 MB a gene at 251 bins, 8 heads and 100 prototypes.

    Parameters
    ----------
    gene_ids
        Which genes of the dataset, in the order wanted.
    """
    model = _ready(predictor, dataset)
    place = {gene: index for index, gene in enumerate(dataset.gene_ids)}
    features = dataset[[place[gene] for gene in gene_ids]].features.to(model.feature_mean.device)
    weights = model.attention(model.standardise_features(features))
    return Attention(list(gene_ids), weights.cpu().numpy(), _distances(dataset), model.prototype_names())


@torch.no_grad()
def bins_read(predictor: NetworkPredictor, dataset: GeneDataset) -> pl.DataFrame:
    """Tell which bins a model reads out: figure 9.

    What a bin holds when it is read has passed through the model: with a language model, it may speak for others.

    Returns
    -------
    One row a part and bin: part, bin, distance_bp, value. Of a readout that keeps k bins, `selected`: the share of the
    genes in which the bin is kept; k in all. Of one that takes averages, `average 0` and on: the weight of the bin,
    mean over the genes; 1 in all for each. Of one that takes sums, `sum 0` and on: the share of the sum that the bin
    adds, likewise.

    Raises
    ------
    ValueError
        If the model's readout does neither (`weighs_bins`).
    """
    if not weighs_bins(predictor):
        raise ValueError(
            f"{predictor.name} does not choose among bins when it reads them out; ask a model whose readout is topk, "
            "pooled or summed"
        )
    model: Any = _ready(predictor, dataset)
    given: list[Tensor] = []
    hook = model.readout.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    total, readings = torch.zeros(1), 0
    try:
        for batch in data_loader(dataset, batch_size=predictor.training.batch_size):
            model(batch.features.to(model.feature_mean.device), batch.prompts)
            weights = model.readout.bin_weights(given.pop())
            total, readings = total + weights.double().sum(dim=0).cpu(), readings + len(weights)
    finally:
        hook.remove()
    part = model.readout.part
    parts = [part] if part == "selected" else [f"{part} {index}" for index in range(len(total))]
    frame = _long((total / readings).numpy(), "value", part=parts, bin=range(dataset.n_bins))
    return _with_distance(frame, _distances(dataset))


def weighs_bins(predictor: Predictor) -> TypeGuard[NetworkPredictor]:
    """Whether the readout keeps or weighs bins, so that it has a figure 9."""
    return isinstance(predictor, NetworkPredictor) and isinstance(getattr(predictor.model, "readout", None), WeighsBins)


def aligns_bins(predictor: Predictor) -> TypeGuard[NetworkPredictor]:
    """Whether bins attend to prototypes in its model, so that it has figures 6, 7, 8 and 10."""
    return (
        isinstance(predictor, NetworkPredictor)
        and isinstance(predictor.model, AlignsBins)
        and bool(predictor.model.prototype_names())
    )


def prototypes_table(predictor: NetworkPredictor) -> pl.DataFrame:
    """Say what each prototype is mixed from: prototype, tokens and channels, the five of the largest weight each."""
    model: Any = predictor.model
    mixes = {
        name: [[mixed._asdict() for mixed in mix] for mix in mixed_of]
        for name, mixed_of in (("tokens", model.prototype_tokens()), ("channels", model.prototype_channels()))
    }
    part = pl.List(pl.Struct({"text": pl.String(), "weight": pl.Float64()}))
    return pl.DataFrame(
        {"prototype": model.prototype_names(), **mixes},
        schema={"prototype": pl.String(), "tokens": part, "channels": part},
    )


def _ready(predictor: NetworkPredictor, dataset: GeneDataset) -> Any:
    """Give the model where it predicts, after checking that it can read the dataset."""
    require_readable(predictor, dataset)
    return predictor.model.to(choose_device(predictor.training.device)).eval()


def _distances(dataset: GeneDataset) -> NDArray[np.int64]:
    return bin_distances(dataset.n_bins, dataset.windows.bin_size)


def _with_distance(table: pl.DataFrame, distances: NDArray[np.int64]) -> pl.DataFrame:
    """Insert the distance from the TSS after the number of the bin."""
    column = pl.Series("distance_bp", distances[table["bin"].to_numpy()])
    return table.insert_column(table.get_column_index("bin") + 1, column)


def _long(values: NDArray[Any], name: str, **axes: Sequence[Any]) -> pl.DataFrame:
    """Lay an array out with one row a number: a column for each axis, and one of the numbers."""
    places = np.indices(values.shape, dtype=np.int32).reshape(values.ndim, -1)
    labels = {axis: pl.Series(list(of)).gather(at) for (axis, of), at in zip(axes.items(), places, strict=True)}
    return pl.DataFrame({**labels, name: values.ravel()})
