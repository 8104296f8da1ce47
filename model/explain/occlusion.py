"""Ablation of bins: predict again with some of them hidden.

    from model.explain.occlusion import contribution_by_distance, knock_out
    changes = knock_out(predictor, dataset, enhancers)

Belongs here: hiding bins, by distance and by element. Does not: attention (`model.explain.attention`).

A hidden bin holds the mean bin of the training windows: for a model that standardises its features, zeros. Such
bins are out of distribution: mean features are rare in training, most of all at a TSS.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from catalog.genes.frames import Table, as_polars
from loaders import GeneBatch, GeneDataset, data_loader
from model.evaluation.metrics import bootstrap
from model.networks import positions
from model.predictors.ensemble import members_of
from model.predictors.predictor import NetworkPredictor, Predictor

_PAIRS = 4096
"""Genes that are read with an element hidden before the next are laid out: 1 MB of masks at 251 bins."""


def predict_occluded(
    predictor: Predictor, dataset: GeneDataset, hidden: ArrayLike, *, fill: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Predict with some bins of each window hidden.

    Parameters
    ----------
    predictor
        Any that is fitted; it reads the windows as in `predict`.
    hidden
        Which bins are hidden, shape `(genes, n_bins)`, bool.
    fill
        What a hidden bin holds, shape `(channels,)`. None for the mean bin of the training windows, as the model keeps
        it (`own_fill`).

    Returns
    -------
    log(1 + expression), float32, shape `(genes,)`, or `(genes, tasks)` from a model with named tasks.

    Raises
    ------
    ValueError
        If the mask or the fill has another shape, or no fill is given and the predictor keeps none.
    """
    mask = np.asarray(hidden)
    if mask.dtype != np.bool_ or mask.shape != (len(dataset), dataset.n_bins):
        raise ValueError(
            f"hidden says for each gene and bin whether it is hidden: bool of shape {(len(dataset), dataset.n_bins)}, "
            f"got {mask.dtype} of shape {mask.shape}"
        )
    return predictor.predict(_Occluded(dataset, range(len(dataset)), mask, _fill(predictor, dataset, fill)))


def contribution_by_distance(
    predictor: Predictor,
    dataset: GeneDataset,
    distances: Sequence[int] | None = None,
    *,
    fill: ArrayLike | None = None,
    draws: int = 5000,
) -> pl.DataFrame:
    """Score predictions from bins near the TSS alone: all bins farther than a distance are hidden.

    The model is not trained again, so this measures how it uses far bins, not what another could learn from them.

    Parameters
    ----------
    distances
        Farthest bin that is seen, counted from the bin of the TSS (bp); at 0 it is seen alone. None for those of
        `spread_distances`. Each costs one prediction of all the genes.
    fill
        See `predict_occluded`.
    draws
        Bootstrap draws for `two_sd`, the same for all distances.

    Returns
    -------
    One row a distance: distance_bp, spearman, two_sd (both null where the predictions are all equal) over the genes
    whose target is known, and mean_absolute_change, of log(1 + expression), against the whole window, over all genes.

    Raises
    ------
    ValueError
        If fewer than 3 targets are known, or the model has several tasks; and as `predict_occluded`.
    """
    bin_size = dataset.windows.bin_size
    if distances is None:
        distances = spread_distances(dataset.n_bins, bin_size)
    known = dataset.targets.isfinite().numpy()
    if known.ndim == 1 and known.sum() < 3:
        raise ValueError(f"{known.sum()} genes have a target, and a rank correlation takes at least 3; give more genes")
    whole = _one_a_gene(predictor.predict(dataset))
    away = bin_distances(dataset.n_bins, bin_size)
    predictions = []
    for distance in distances:
        hidden = np.broadcast_to(np.abs(away) > distance, (len(dataset), dataset.n_bins))
        predictions.append(predict_occluded(predictor, dataset, hidden, fill=fill))
    ranked = bootstrap(np.stack(predictions)[:, known], np.log1p(dataset.targets.numpy()[known]), draws).spearman
    estimates = [ranked.estimate(place) for place in range(len(distances))]
    return pl.DataFrame(
        {
            "distance_bp": list(distances),
            "spearman": [estimate.value for estimate in estimates],
            "two_sd": [estimate.two_sd for estimate in estimates],
            "mean_absolute_change": [float(np.abs(prediction - whole).mean()) for prediction in predictions],
        }
    ).with_columns(pl.col("spearman", "two_sd").fill_nan(None))


def knock_out(
    predictor: Predictor, dataset: GeneDataset, elements: Table, *, fill: ArrayLike | None = None
) -> pl.DataFrame:
    """Knock out (ablate) one element at a time, such as an enhancer, from each gene whose window holds it.

    Every bin that the element touches is hidden whole, with whatever else lies in it: for an element near the TSS, the
    promoter too. Costs one prediction a row of the result.

    Parameters
    ----------
    elements
        Columns contig, start, end (0-based, half-open, bp); others are not read.
    fill
        See `predict_occluded`.

    Returns
    -------
    One row for each gene and element of which at least a base lies in its window: gene_id, element (row of `elements`),
    distance_bp (middle of the element minus TSS on the forward strand), change (of log(1 + expression), without the
    element minus with it).

    Raises
    ------
    UnknownContig, ValueError
        If elements lie on a contig that the assembly lacks, or have no length, or the model has several tasks; and as
        `predict_occluded`.
    """
    elements = as_polars(elements)
    dataset = dataset.unjittered()
    whole = _one_a_gene(predictor.predict(dataset))
    row = _fill(predictor, dataset, fill)
    pairs = _pairs(dataset, elements)
    changes = [np.empty(0, dtype=np.float32)]
    for first in range(0, len(pairs), _PAIRS):
        part = pairs[first : first + _PAIRS]
        places = part["place"].to_numpy()
        bins = np.arange(dataset.n_bins)
        hidden = (bins >= part["first"].to_numpy()[:, None]) & (bins < part["end"].to_numpy()[:, None])
        changes.append(predictor.predict(_Occluded(dataset, places.tolist(), hidden, row)) - whole[places])
    return pairs.select("gene_id", "element", "distance_bp").with_columns(change=np.concatenate(changes))


def mean_bin(dataset: GeneDataset) -> NDArray[np.float64]:
    """Average each channel over all bins of all windows, shape `(channels,)`: a `fill` for predictors without one."""
    sums = [batch.features.double().mean(dim=1).sum(dim=0) for batch in data_loader(dataset)]
    return np.asarray((torch.stack(sums).sum(dim=0) / len(dataset)).cpu())


def own_fill(predictor: Predictor) -> NDArray[np.float32] | None:
    """Give the mean bin of the training windows, shape `(channels,)`, where a predictor keeps it.

    Torch models that standardise their features do; of an ensemble, that of the first member. Others give None.
    """
    first = members_of(predictor)[0]
    if isinstance(first, NetworkPredictor) and first.model.features == "standardised":
        return np.asarray(first.model.feature_mean.cpu())
    return None


def bin_distances(n_bins: int, bin_size: int) -> NDArray[np.int64]:
    """Give how far each bin lies from that of the TSS, negative to its left, shape `(n_bins,)` (bp, whole bins)."""
    return np.asarray(positions.distances(n_bins) * bin_size)


def spread_distances(n_bins: int, bin_size: int, count: int = 12) -> list[int]:
    """Choose up to `count` distances from 0 to a window's reach, each a similar factor beyond the last (bp)."""
    reach = int(positions.distances(n_bins).abs().max())
    steps = {0, *np.geomspace(reach, 1, count - 1).round().astype(int).tolist()} if reach else {0}
    return [step * bin_size for step in sorted(steps)]


class _Occluded(GeneDataset):
    """Some genes of a dataset, each as often as it is named, with some bins of each hidden."""

    def __init__(self, dataset: GeneDataset, places: Sequence[int], hidden: NDArray[np.bool_], fill: Tensor) -> None:
        super().__init__(
            dataset.windows.subset(places),
            dataset.genes[list(places)],
            prompts=[dataset.prompts[place] for place in places],
            targets=dataset.targets[list(places)].tolist(),
        )
        self._hidden = torch.from_numpy(np.ascontiguousarray(hidden))
        self._fill = fill

    @overload
    def __getitem__(self, index: int) -> GeneBatch: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> GeneBatch: ...
    def __getitem__(self, index: int | slice | Sequence[int]) -> GeneBatch:
        """Read some genes, with their bins hidden."""
        batch = super().__getitem__(index)
        place = batch.features.device
        hidden = self._hidden[batch.indices][..., None].to(place)
        return batch._replace(features=torch.where(hidden, self._fill.to(place), batch.features))


def _fill(predictor: Predictor, dataset: GeneDataset, given: ArrayLike | None) -> Tensor:
    row = own_fill(predictor) if given is None else np.asarray(given)
    if row is None:
        raise ValueError(
            f"{predictor.name} keeps no mean bin to put in the place of hidden ones; give `fill=mean_bin(train)`, of "
            "its training genes"
        )
    if row.shape != (len(dataset.channel_names),):
        raise ValueError(
            f"fill holds one number a channel, shape {(len(dataset.channel_names),)}; got shape {row.shape}"
        )
    return torch.from_numpy(row.astype(np.float32))


def _one_a_gene(prediction: NDArray[np.float32]) -> NDArray[np.float32]:
    if prediction.ndim == 2:
        raise ValueError(
            f"the model predicts {prediction.shape[1]} tasks, and this takes one number a gene; call predict_occluded, "
            "which gives a column a task"
        )
    return prediction


def _pairs(dataset: GeneDataset, elements: pl.DataFrame) -> pl.DataFrame:
    """List each gene with each element in its window: gene_id, element, distance_bp, place, and the bins [first, end).

    `place` is the gene's in the dataset.
    """
    missing = [name for name in ("contig", "start", "end") if name not in elements.columns]
    if missing:
        raise ValueError(f"elements have the columns contig, start and end (bp); {', '.join(missing)} is missing")
    starts, ends = (elements[name].to_numpy().astype(np.int64) for name in ("start", "end"))
    if (ends <= starts).any():
        wrong = int(np.argmax(ends <= starts))
        raise ValueError(
            f"an element ends after it starts; row {wrong} runs from {starts[wrong]} to {ends[wrong]}: give 0-based, "
            "half-open positions"
        )
    windows, assembly = dataset.windows, dataset.windows.assembly
    own = {name: assembly.resolve(name) for name in elements["contig"].unique().to_list()}
    contigs = elements["contig"].replace_strict(own, return_dtype=pl.String).to_numpy()
    on = {contig: np.flatnonzero(contigs == contig) for contig in own.values()}
    bin_size, n_bins = windows.bin_size, dataset.n_bins
    first_bases = windows.placed(range(len(dataset))).starts.tolist()
    none = np.empty(0, dtype=np.int64)
    found = [(none, none)]
    for place, (contig, base) in enumerate(zip(windows.contigs, first_bases, strict=True)):
        near = on.get(contig, none)
        inside = near[(starts[near] < base + n_bins * bin_size) & (ends[near] > base)]
        found.append((np.full(len(inside), place), inside))
    gene, element = (np.concatenate(columns) for columns in zip(*found, strict=True))
    bases = np.asarray(first_bases, dtype=np.int64)[gene]
    first = np.maximum((starts[element] - bases) // bin_size, 0)
    end = np.minimum(-(-(ends[element] - bases) // bin_size), n_bins)
    turned = windows.is_reversed[gene]
    return pl.DataFrame(
        {
            "gene_id": np.asarray(dataset.gene_ids, dtype=object)[gene],
            "element": element,
            "distance_bp": (starts[element] + ends[element]) // 2 - windows.centres[gene],
            "place": gene,
            "first": np.where(turned, n_bins - end, first),
            "end": np.where(turned, n_bins - first, end),
        },
        schema={"gene_id": pl.String} | dict.fromkeys(("element", "distance_bp", "place", "first", "end"), pl.Int64),
    )
