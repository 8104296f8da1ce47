"""Whether a fitted GTA has found the enhancers that were planted: by hiding them, and by looking into the model."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from catalog.simulation.grammar import SimulationConfig
from loaders import GeneDataset, data_loader
from model.explain.occlusion import bin_distances, knock_out
from model.networks.gta import GTA
from model.networks.readout import SummedReadout
from model.predictors.predictor import Predictor
from model.predictors.torch_predictor import TorchPredictor

MOST_GENES = 500
"""Test genes that are looked at; each is read again for every enhancer in its window."""
_BANDS = ((50_000, 150_000), (150_000, 250_000), (250_000, 350_000), (350_000, 450_000))


def explain(predictor: Predictor, test: GeneDataset, truth: Path) -> dict[str, Any]:
    """Ask a fitted `gta-best` about the first test genes; give plain JSON."""
    genes = test.subset(test.gene_ids[:MOST_GENES])
    elements = pl.read_parquet(truth)
    # `knock_out` calls the row of an element `element`; here that is its kind.
    enhancers = elements.filter(pl.col("element") == "enhancer").drop("element")
    promoters = elements.filter(pl.col("element") == "promoter")
    assert isinstance(predictor, TorchPredictor)
    assert isinstance(predictor.model, GTA)
    return {
        "genes": len(genes),
        "knock_out": _knocked_out(predictor, genes, enhancers, promoters),
        "bins": _found_bins(predictor.model.eval(), genes, elements, promoters),
    }


def auroc(scores: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """Give the chance that a positive scores higher than a negative; ties count half."""
    ranks = rankdata(scores)
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    return float((ranks[is_positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _knocked_out(
    predictor: Predictor, genes: GeneDataset, enhancers: pl.DataFrame, promoters: pl.DataFrame
) -> dict[str, Any]:
    """Hide each enhancer in turn, and compare those that act on the gene with those of the other kind as near."""
    rules = SimulationConfig()
    acting = promoters.select("gene_id", "acting_enhancers", promoter="strength").explode("acting_enhancers")
    kinds = enhancers.with_row_index("element").select(
        pl.col("element").cast(pl.Int64), "element_id", enhancer="strength"
    )
    found = (
        knock_out(predictor, genes, enhancers)
        .with_columns(pl.col("element").cast(pl.Int64), away=pl.col("distance_bp").abs())
        .filter(pl.col("away").is_between(rules.min_distance, rules.max_distance))
        .join(kinds, on="element")
        .join(acting, left_on=["gene_id", "element_id"], right_on=["gene_id", "acting_enhancers"], how="left")
        .with_columns(
            acts=pl.col("promoter").is_not_null(),
            # What the grammar says that the gene loses of its log expression.
            planted=-rules.enhancer_effect
            * pl.col("promoter")
            * pl.col("enhancer")
            * (-pl.col("away") / rules.decay).exp(),
        )
    )
    acts = found.filter("acts")
    others = found.filter(~pl.col("acts"))
    return {
        "acting": _mean(acts["change"]),
        "others_as_near": _mean(others["change"]),
        "auroc_acting_against_others": auroc(-found["change"].to_numpy().astype(np.float64), found["acts"].to_numpy()),
        "spearman_with_the_planted_loss": float(spearmanr(acts["change"], acts["planted"])[0]),
        "by_distance": [
            {
                "from_bp": first,
                "to_bp": end,
                "acting": _mean(acts.filter(pl.col("away").is_between(first, end, closed="left"))["change"]),
                "planted": float(acts.filter(pl.col("away").is_between(first, end, closed="left"))["planted"].mean()),  # type: ignore[arg-type]  # a float
                "others": _mean(others.filter(pl.col("away").is_between(first, end, closed="left"))["change"]),
            }
            for first, end in _BANDS
        ],
    }


def _mean(changes: pl.Series) -> dict[str, float]:
    values = changes.to_numpy().astype(np.float64)
    return {"mean": values.mean(), "two_se": 2 * values.std(ddof=1) / len(values) ** 0.5, "n": len(values)}


def _found_bins(model: GTA, genes: GeneDataset, elements: pl.DataFrame, promoters: pl.DataFrame) -> dict[str, Any]:
    """Rank the far bins of each window by what the model makes of them; bins with an enhancer should lead."""
    enhancer, acting, empty = _labels(genes, elements, promoters)
    parts = [_looked_into(model, batch.features, batch.prompts) for batch in data_loader(genes, batch_size=32)]
    selected = np.concatenate([one for one, _ in parts])
    attention = np.concatenate([one for _, one in parts])
    wanted, any_kind = acting | empty, enhancer | empty
    # The head and prototype that tell enhancers best are chosen on half of the genes, and judged on the other half.
    half = len(genes) // 2
    first, last = any_kind[:half], any_kind[half:]
    by_prototype = [
        auroc(attention[:half][first][:, column], enhancer[:half][first]) for column in range(attention.shape[-1])
    ]
    chosen = int(np.argmax(np.abs(np.array(by_prototype) - 0.5)))
    sign = 1 if by_prototype[chosen] > 0.5 else -1
    return {
        "selected_bins_auroc_acting_enhancers": auroc(selected[wanted], acting[wanted]),
        "selected_bins_auroc_enhancers_of_the_other_kind": auroc(
            selected[any_kind & ~acting], (enhancer & ~acting)[any_kind & ~acting]
        ),
        "attention_auroc_enhancers": auroc(sign * attention[half:][last][:, chosen], enhancer[half:][last]),
        "bins_with_an_acting_enhancer": int(acting.sum()),
        "bins_without_element": int(empty.sum()),
    }


def _labels(
    genes: GeneDataset, elements: pl.DataFrame, promoters: pl.DataFrame
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell of each bin, `(genes, n_bins)`: is there an enhancer, does one act on the gene, is there no element at all.

    Only bins as far from the TSS as enhancers act, and inside the contig, count.
    """
    rules, bin_size = SimulationConfig(), genes.windows.reader.feature_set.bin_size
    away = np.abs(bin_distances(genes.n_bins, bin_size))
    is_far = (away >= rules.min_distance) & (away <= rules.max_distance)
    acting_of = dict(promoters.select("gene_id", "acting_enhancers").iter_rows())
    shape = (len(genes), genes.n_bins)
    enhancer, acting, taken = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, bool)
    lengths = genes.windows.reader.assembly.lengths
    plan = genes.windows.reader.plan(genes.genes["contig"].to_list(), genes.genes["tss"].to_numpy(), genes.n_bins)
    for row, (gene, contig) in enumerate(genes.genes.select("gene_id", "contig").iter_rows()):
        starts = plan.starts[row]
        taken[row] |= (starts < 0) | (starts + bin_size > lengths[contig])
        near = elements.filter(
            (pl.col("contig") == contig)
            & (pl.col("end") > int(starts[0]))
            & (pl.col("start") < int(starts[-1]) + bin_size)
        )
        for name, kind, start, end in near.select("element_id", "element", "start", "end").iter_rows():
            touched = (starts < end) & (starts + bin_size > start)
            taken[row] |= touched
            if kind == "enhancer":
                enhancer[row] |= touched
                acting[row] |= touched & (name in acting_of[gene])
    return enhancer & is_far, acting & is_far, ~taken & is_far


def _looked_into(model: GTA, features: Tensor, prompts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give what each bin adds to the prediction by way of the sums, and its attention by head and prototype.

    The first, shape `(genes, n_bins)`: the amounts that the readout gives a bin, times their weight by distance, times
    the derivative of the prediction by the sum; to first order what the gene would lose without the bin. The second,
    shape `(genes, n_bins, heads * prototypes)`.
    """
    readout = model.readout
    assert isinstance(readout, SummedReadout)
    seen: list[Tensor] = []
    hook = readout.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    with torch.no_grad():
        model(features, prompts)
        attention = model.alignment.attention(model.standardise_features(features), model.prototypes()).flatten(2)
    hook.remove()
    parts = (readout.amounts(seen[0]) * readout.by_distance(features.shape[1]).T).detach()
    sums = parts.sum(dim=1).requires_grad_()
    centre = seen[0][:, features.shape[1] // 2]
    (slope,) = torch.autograd.grad(readout.head(readout.norm(torch.cat([centre, sums], dim=1))).sum(), sums)
    return (parts * slope[:, None]).sum(dim=-1).double().numpy(), attention.double().numpy()
