"""What a model of measured signals does with them: gates, occlusion, and both of its predictions.

    from model.explain.signals import interpret_signals
    print(interpret_signals(open_run("run"), dataset, Path("figures")).files)

Belongs here: the numbers, and which files there are. Does not: drawing them (`model.explain.signal_figures`).

A hidden signal holds its mean over the training genes, and a hidden base is N. Both are out of distribution where a
gene is active: what changes is what the model makes of it, not what the genome would.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from catalog.runtime.progress import bar
from loaders import GeneDataset, data_loader
from model.device import choose_device
from model.explain import signal_figures
from model.explain.files import FigureFiles, Interpretation
from model.networks.prism.expression import PREDICTIONS, PrismModel
from model.networks.prism.features import SignalFeatures
from model.predictors.ensemble import members_of
from model.predictors.predictor import NetworkPredictor, Predictor, require_readable
from model.runs.folder import Run

SEGMENTS = 20
"""Parts of a window that are hidden one after the other, at most."""
SEQUENCE = "sequence"
_UNKNOWN = 4
_TITLE = "What the model does with measured signals: pictures, and their numbers as Parquet."
_CAPTIONS = {
    "observational_against_do": "Both predictions of each gene, log(1 + expression): without gates, and averaged over "
    "the background states.",
    "gates": "The gate of each gene, state and component of the encoding, in (0, 1).",
    "signals_kept": "How much of each signal's encoding a gene's gates leave in each state: the norm of what is gated "
    "over that of the whole.",
    "occlusion": "Change of the prediction, log(1 + expression), with one signal hidden in one part of the window: its "
    "mean over the training genes in its place, or N for bases. `start` and `end` are bp from the TSS as the window "
    "runs; the row without them hides the whole window.",
}


def interpret_signals(
    run: Run, dataset: GeneDataset, out: Path, *, subset: str = "test", allow_other_store: bool = False
) -> Interpretation:
    """Write gates by gene and channel, occlusion by signal and position, and both predictions side by side.

    Parameters
    ----------
    run
        Of `model.runs.folder.open_run`, that reads measured signals. Of an ensemble, changes and predictions are means
        over its members, and gates those of the first, since states of several have no common order.
    dataset
        Genes with windows as long as the predictor reads.
    out
        Folder; made if need be, and files of the same names are replaced.
    subset
        Genes to look at: `test`, `validation`, `train` or `all`.

    Raises
    ------
    OtherStore, ValueError
        If the features are not those of training, there are no such genes, or the model is no Prism.
    """
    run.predictor.allow_other_store = allow_other_store
    genes = dataset if subset == "all" else dataset.subset(getattr(run.split, subset))
    if not len(genes):
        raise ValueError(f"there are no {subset} genes in the tables; name another `subset=`")
    require_readable(run.predictor, genes)
    batches = SignalBatches(run, genes)
    files, left_out = FigureFiles(out), {}
    hidden = occlusion(batches)
    files.add("occlusion", hidden, signal_figures.occlusion(hidden))
    if batches.models[0].config.n_states:
        both = both_predictions(batches)
        files.add("observational_against_do", both, signal_figures.both_predictions(both))
        gates = gates_of(batches)
        files.add("gates", gates, signal_figures.gates(gates))
        files.add_numbers("signals_kept", signals_kept(batches))
    else:
        left_out["gates and averaged prediction"] = f"{run.predictor.name} was trained with n_states=0"
    files.add_captions(_TITLE, _CAPTIONS, left_out)
    return Interpretation(files.written, left_out)


class SignalBatches:
    """The genes of a run on the device of its models, batch by batch.

    Parameters
    ----------
    is_shown
        Whether progress is shown on stderr.

    Raises
    ------
    ValueError
        If the model is no Prism.
    """

    def __init__(self, run: Run, genes: GeneDataset, *, is_shown: bool = True) -> None:
        members = [member for member in members_of(run.predictor) if isinstance(member, NetworkPredictor)]
        self.models = prism_models(run.predictor)
        if not self.models:
            raise ValueError(f"{run.predictor.name} has neither gates nor parts to hide; interpret a run of prism")
        self.genes = genes
        self._is_shown = is_shown
        self._training = members[0].training
        self._device = choose_device(self._training.device)
        for model in self.models:
            model.to(self._device).eval()

    def __iter__(self) -> Iterator[SignalFeatures]:
        done = 0
        with bar("reading genes", unit="genes") if self._is_shown else nullcontext(lambda *_: None) as show:
            for batch in data_loader(self.genes, batch_size=self._training.batch_size):
                features: Any = batch.features
                yield features.to(self._device)
                done += len(batch.indices)
                show(done, len(self.genes))

    def of_genes(self, columns: Mapping[str, Any], *, each: int = 1) -> pl.DataFrame:
        """Put columns beside the genes' ids and symbols, so many rows a gene."""
        ids = self.genes.genes.select("gene_id", "symbol")
        repeated = ids[np.repeat(np.arange(len(ids)), each)]
        return repeated.with_columns(pl.Series(name, values) for name, values in columns.items())


def prism_models(predictor: Predictor) -> list[PrismModel]:
    """List the models of a predictor, or of an ensemble's members, that are a Prism."""
    networks = [member.model for member in members_of(predictor) if isinstance(member, NetworkPredictor)]
    return [model for model in networks if isinstance(model, PrismModel)]


@torch.no_grad()
def both_predictions(batches: SignalBatches) -> pl.DataFrame:
    """Predict each gene both ways: gene_id, symbol, observational, do, observed; log(1 + expression), null unknown."""
    found: dict[str, list[Tensor]] = {name: [] for name in PREDICTIONS}
    for features in batches:
        outputs = [(model, model.network(*model.inputs(features))) for model in batches.models]
        for name, parts in found.items():
            each = [model.to_log1p(getattr(output, name)) for model, output in outputs]
            parts.append(torch.stack(each).mean(dim=0).cpu())
    observed = batches.genes.targets.log1p().numpy()
    columns = {name: torch.cat(parts).numpy() for name, parts in found.items()} | {"observed": observed}
    return batches.of_genes(columns).with_columns(pl.col("observed").fill_nan(None))


@torch.no_grad()
def gates_of(batches: SignalBatches) -> pl.DataFrame:
    """Give the gates of each gene, a row a state and component: gene_id, symbol, state, component, gate."""
    found = _gates(batches)
    genes, states, width = found.shape
    places = {
        "state": np.tile(np.repeat(np.arange(states), width), genes),
        "component": np.tile(np.arange(width), genes * states),
    }
    return batches.of_genes(places | {"gate": found.reshape(-1)}, each=states * width)


@torch.no_grad()
def signals_kept(batches: SignalBatches) -> pl.DataFrame:
    """Give how much of a signal's encoding the gates of each state leave: gene_id, symbol, state, signal, kept."""
    model, found = batches.models[0], _gates(batches)
    network = model.network
    assert network.signal_encoder is not None, "states gate signals"
    weight = network.signal_encoder.weight.cpu().numpy()
    names = model.config.gated_signals(model.names.signals)
    read = model.config.named_signals(model.names.signals)
    of_signal = np.stack([weight[:, read.index(name)] for name in names])
    left = np.linalg.norm(found[:, :, None, :] * of_signal, axis=-1)
    kept = left / np.maximum(np.linalg.norm(of_signal, axis=-1), 1e-12)
    genes, states, signals = kept.shape
    columns: dict[str, Any] = {
        "state": np.tile(np.repeat(np.arange(states), signals), genes),
        "signal": list(names) * (genes * states),
        "kept": kept.reshape(-1),
    }
    return batches.of_genes(columns, each=states * signals)


def _gates(batches: SignalBatches) -> NDArray[np.float32]:
    """Compute the gates of every gene, `(genes, n_states, width)`."""
    model, found = batches.models[0], []
    assert model.network.gates is not None, "asked of a model with states"
    for features in batches:
        _, signals, _ = model.inputs(features)
        found.append(model.network.gates(model.network.background(model.network.chosen(signals))).cpu())
    return torch.cat(found).numpy()


class HiddenPart(NamedTuple):
    """What is hidden: a signal, or `sequence`, in a part of the windows."""

    name: str
    bases: slice
    """As the window runs, counted from its first base."""
    is_whole: bool


def occlusion(batches: SignalBatches, *, segments: int = SEGMENTS) -> pl.DataFrame:
    """Hide each signal, and the bases, in each part of the windows and whole.

    Costs `1 + (signals + 1) * (segments + 1)` predictions of the genes; they are read once.

    Returns
    -------
    One row a signal (`sequence` for the bases) and part: signal, start, end (bp from the TSS as the window runs, end
    excluded; null for the whole window), mean_change and mean_absolute_change (log(1 + expression), hidden minus
    whole).
    """
    hidden, change = changes_by_part(batches, segments=segments)
    tss = batches.genes.n_bins // 2
    rows = [
        (part.name, *((None, None) if part.is_whole else (part.bases.start - tss, part.bases.stop - tss)))
        for part in hidden
    ]
    frame = pl.DataFrame(rows, schema={"signal": pl.String, "start": pl.Int64, "end": pl.Int64}, orient="row")
    return frame.with_columns(
        mean_change=pl.Series(change.mean(axis=1)), mean_absolute_change=pl.Series(np.abs(change).mean(axis=1))
    )


@torch.no_grad()
def changes_by_part(
    batches: SignalBatches, *, segments: int = SEGMENTS
) -> tuple[list[HiddenPart], NDArray[np.float64]]:
    """Say what `occlusion` hides, and how each gene's prediction changes, shape `(hidden, genes)`."""
    model, length = batches.models[0], batches.genes.n_bins
    read = model.config.named_signals(model.names.signals)
    # Parts of equal length where some number of them divides the window: longer ones would count for more.
    equal = max(number for number in range(1, segments + 1) if length % number == 0)
    segments = equal if 2 * equal >= segments else min(segments, length)
    edges = np.linspace(0, length, segments + 1).round().astype(int).tolist()
    parts = [(slice(0, length), True), *((slice(first, end), False) for first, end in pairwise(edges))]
    names = ([SEQUENCE] if model.config.sequence else []) + list(read)
    hidden = [HiddenPart(name, *part) for name in names for part in parts]
    changes = [np.empty((len(hidden), 0))]
    for features in batches:
        whole = _predicted(batches.models, features)
        each = [_predicted(batches.models, _hidden(model, features, one.name, one.bases)) - whole for one in hidden]
        changes.append(torch.stack(each).double().cpu().numpy())
    return hidden, np.concatenate(changes, axis=1)


@torch.no_grad()
def predict_without(batches: SignalBatches, hidden: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Predict with everything hidden at some bases: signals hold their means over the training genes, and bases are N.

    Parameters
    ----------
    hidden
        Which bases, as the windows run, shape `(genes, length)`.

    Returns
    -------
    log(1 + expression), shape `(genes,)`.
    """
    mask, found = torch.from_numpy(np.ascontiguousarray(hidden)), [np.empty(0, dtype=np.float32)]
    done = 0
    for features in batches:
        chosen = mask[done : done + len(features)].to(features.sequence.device)
        done += len(features)
        signals = torch.where(chosen[..., None], batches.models[0].mean_signal.to(features.signals), features.signals)
        without = SignalFeatures(features.sequence.masked_fill(chosen, _UNKNOWN), signals, features.covariates)
        found.append(_predicted(batches.models, without).float().cpu().numpy())
    return np.concatenate(found)


def _predicted(models: list[PrismModel], features: Any) -> Tensor:
    prompts = [""] * len(features)
    return torch.stack([model.to_log1p(model(features, prompts)) for model in models]).mean(dim=0)


def _hidden(model: PrismModel, features: SignalFeatures, name: str, part: slice) -> SignalFeatures:
    sequence, signals = features.sequence, features.signals
    if name == SEQUENCE:
        sequence = sequence.clone()
        sequence[:, part] = _UNKNOWN
    else:
        column = model.names.signals.index(name)
        signals = signals.clone()
        signals[:, part, column] = model.mean_signal[column].to(signals.dtype)
    return SignalFeatures(sequence, signals, features.covariates)
