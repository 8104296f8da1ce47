"""Many trainings from one store: models by context length, and by blocks of the language model.

Belongs here: which trainings, their tables in the form of tables 1 and 2 of the GTA paper (arXiv 2410.01858). Does not:
one training and its scores (`model.runs.workflow`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from catalog import Split
from catalog.runtime.files import replacing, write_atomic
from loaders import GeneDataset
from model.language.untrained import make_untrained_backbone
from model.predictors.build import default_training, reads_language
from model.predictors.factory import factory_of
from model.registry import model_names
from model.runs.folder import open_run
from model.runs.request import UNTRAINED, TrainRequest
from model.runs.workflow import evaluate, train
from model.saved_document import read_document, write_document

_SCORES = "scores.json"
_COLUMNS = {
    "model": pl.String,
    "n_bins": pl.Int64,
    "layers": pl.Int64,
    "n_train": pl.Int64,
    "n_test": pl.Int64,
    "spearman": pl.Float64,
    "two_sd": pl.Float64,
    "pearson": pl.Float64,
    "mse": pl.Float64,
    "mae": pl.Float64,
    "trainable_parameters": pl.Int64,
    "seconds": pl.Float64,
    "table": pl.Int64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The models, context lengths and numbers of blocks to compare."""

    models: Sequence[str]
    """Names of `model.registry.model_names`."""
    n_bins: Sequence[int]
    """Bins a window."""
    layers: Sequence[int] = ()
    """Blocks of the language model, for the models that read with one, at the longest window."""

    def __post_init__(self) -> None:
        for name in ("models", "n_bins", "layers"):  # a point that is named twice is trained once
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        unknown = [name for name in self.models if name not in model_names()]
        if unknown or not self.models:
            raise ValueError(
                f"no model is called {', '.join(unknown) or '(none)'}; there are {', '.join(model_names())}"
            )
        if not self.n_bins or min(self.n_bins) < 1 or (self.layers and min(self.layers) < 1):
            raise ValueError(f"n_bins and layers count from 1; got {list(self.n_bins)} and {list(self.layers)}")
        if self.layers and not any(map(reads_language, self.models)):
            raise ValueError(
                f"layers are those of a language model, and {', '.join(self.models)} read with none; add gta-best, or "
                "leave `layers=` out"
            )

    def points(self) -> list["SweepPoint"]:
        """List what the tables show, table 1 first; a training may stand in both."""
        found = [SweepPoint(1, model, n_bins, None) for n_bins in self.n_bins for model in self.models]
        for model in self.models:
            factory = factory_of(model)
            language = factory.language(factory.config)
            if language is not None:
                own = language.max_layers
                longest = max(self.n_bins)
                found += [SweepPoint(2, model, longest, None if layers == own else layers) for layers in self.layers]
        return found


class SweepPoint(NamedTuple):
    """One training, and the table that shows it."""

    table: int
    model: str
    n_bins: int
    layers: int | None
    """None for the model's own."""

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.model}-{self.n_bins}" + ("" if self.layers is None else f"-{self.layers}-layers")


def run_sweep(
    dataset: GeneDataset,
    split: Split,
    sweep: Sweep,
    request: TrainRequest,
    *,
    out: Path,
    draws: int = 5000,
    say: Callable[[str], None] = lambda line: None,
) -> pl.DataFrame:
    """Train and score every point, and write the tables after each.

    A point that is finished is not trained again; `request.restart` trains all anew.

    Parameters
    ----------
    dataset
        All genes; its context length is set to that of each point in turn.
    request
        How each is trained; its model is that of the point.
    out
        Folder for `tables.md`, `scores.csv`, `scores.parquet`, and the runs.

    Returns
    -------
    One row a point: model, n_bins, layers (null where there is no language model), n_train, n_test, spearman, two_sd,
    pearson, mse, mae, trainable_parameters, seconds, table (1: by context, 2: by layers).

    Raises
    ------
    ValueError
        If the language model has fewer blocks than `sweep.layers`.
    OtherTraining
        If the folder holds a sweep of another configuration.
    """
    if sweep.layers and "layers" in request.settings:
        raise ValueError("the sweep compares numbers of layers, so leave `layers=` out of the settings")
    out.mkdir(parents=True, exist_ok=True)
    if request.backbone == UNTRAINED and any(map(reads_language, sweep.models)):
        blocks = max(sweep.layers, default=2)
        place = make_untrained_backbone(
            out / f"backbone-{blocks}", _prompts(dataset, sweep, request), layers=blocks, seed=request.seed
        )
        request = replace(request, backbone=str(place))
    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    points = sweep.points()
    for number, point in enumerate(points, 1):
        is_anew = request.restart and point.folder not in {earlier.folder for earlier in points[: number - 1]}
        of_point = replace(request, restart=is_anew)
        say(f"{number} of {len(points)}: {point.folder} ...")
        rows.append(
            _score_point(dataset.with_n_bins(point.n_bins), split, point, of_point, out / "runs" / point.folder, draws)
        )
        frame = pl.DataFrame(rows, schema=_COLUMNS)
        _write(out, frame, draws, unit="bp" if dataset.windows.bin_size == 1 else "bins")
        say(
            f"{number} of {len(points)}: {point.folder}, Spearman {_score(rows[-1])}, "
            f"{time.perf_counter() - started:.0f} s so far"
        )
    return frame


def _prompts(dataset: GeneDataset, sweep: Sweep, request: TrainRequest) -> Sequence[str]:
    """Give the texts that the tokenizer of an untrained language model learns from: as the first model reads them."""
    if dataset.annotations is None:
        return dataset.prompts
    first = next(filter(reads_language, sweep.models))
    return dataset.with_prompts(replace(request, model=first).prompt_settings(dataset.prompt_settings)).prompts


def _score_point(
    dataset: GeneDataset, split: Split, point: SweepPoint, request: TrainRequest, folder: Path, draws: int
) -> dict[str, Any]:
    if point.layers is not None:
        request = replace(request, settings={**request.settings, "layers": point.layers})
    if default_training(point.model) is None:  # a closed form has nothing to set
        request = replace(request, settings={})
    # The baselines are models of the sweep like any other.
    summary = train(dataset, split, replace(request, model=point.model, baselines=False), out=folder)
    try:
        kept = read_document(folder / _SCORES, mend="score it again", raises=ValueError)
    except (OSError, ValueError):
        kept = {}
    if kept.get("draws") != draws or kept.get("summary") != summary:
        kept = {"draws": draws, "summary": summary} | _scored(dataset, folder, point, request, draws)
        write_document(folder / _SCORES, kept)
    row = kept["summary"] | kept["scores"] | {"model": point.model, "layers": kept["layers"]}
    return {name: row.get(name) for name in _COLUMNS} | {"table": point.table}


def _scored(dataset: GeneDataset, folder: Path, point: SweepPoint, request: TrainRequest, draws: int) -> dict[str, Any]:
    run = open_run(folder, device=request.device)
    model = getattr(run.predictor, "model", None)
    backbone = getattr(model, "backbone", None)
    blocks = None if backbone is None else backbone.layers
    if point.layers is not None and blocks != point.layers:
        raise ValueError(
            f"{point.layers} blocks were to be compared, and {request.backbone} has {blocks}; leave the larger "
            "numbers out of `layers=`, or take a larger language model"
        )
    return {"layers": blocks, "scores": evaluate(run, dataset, draws=draws)}


def _write(out: Path, frame: pl.DataFrame, draws: int, *, unit: str) -> None:
    with replacing(out / "scores.csv") as partial:
        frame.write_csv(partial)
    with replacing(out / "scores.parquet") as partial:
        frame.write_parquet(partial)
    write_atomic(out / "tables.md", tables(frame, draws=draws, unit=unit).encode())


def tables(frame: pl.DataFrame, *, draws: int, unit: str = "bins") -> str:
    """Write what `run_sweep` gives as Markdown: Spearman ± two standard deviations by context, then by layers."""
    by_context = frame.filter(table=1)
    lengths = by_context["n_bins"].unique(maintain_order=True).to_list()
    scores = {(row["model"], row["n_bins"]): _score(row) for row in by_context.iter_rows(named=True)}
    cost = {row["model"]: row for row in by_context.sort("n_bins").iter_rows(named=True)}
    lines = [
        f"Spearman ± two standard deviations over {draws} bootstraps of {frame['n_test'][0]} test genes. Parameters "
        "are those that are trained; seconds are of training, at the longest context here.",
        "",
        f"Table 1: by context length ({unit})",
        "",
        *_markdown(
            ["model", *map(str, lengths), "parameters", "seconds"],
            [
                [model, *(scores.get((model, length), "") for length in lengths), *_cost(row)]
                for model, row in cost.items()
            ],
        ),
    ]
    by_layers = frame.filter(table=2)
    if len(by_layers):
        lines += [
            "",
            f"Table 2: by blocks of the language model, at {by_layers['n_bins'][0]} bins",
            "",
            *_markdown(
                ["model", "blocks", "Spearman", "parameters", "seconds"],
                [
                    [row["model"], str(row["layers"]), _score(row), *_cost(row)]
                    for row in by_layers.iter_rows(named=True)
                ],
            ),
        ]
    return "\n".join(lines) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _score(row: dict[str, Any]) -> str:
    return "undefined" if row["spearman"] is None else f"{row['spearman']:.3f} ± {row['two_sd']:.3f}"


def _cost(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['trainable_parameters']:,}", f"{row['seconds']:.1f}"
