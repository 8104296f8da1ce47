"""The folder of one training run: its request, split and checkpoints.

Belongs here: `run.json`, and the layout of the folder. Does not: the checkpoint's own files
(`model.predictors.checkpoint`), a training that is not finished (`model.training.resume`).

A folder holds `run.json` from the start, then `checkpoint.json` and `model.safetensors` of the trained model,
`metrics.csv`, `scored.json` with its scores by length of the windows, `baselines/` with a checkpoint of each,
`controls/` with a whole run of each, `backbone/` if the language model was made on the spot, and `member-0/`, ... for
an ensemble.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from catalog import Split
from catalog.ncbi.prompts import PromptSettings
from catalog.runtime import tables
from catalog.runtime.locations import required_path
from catalog.runtime.settings import apply_settings
from loaders import GeneDataset
from model.device import precision_name
from model.predictors.checkpoint import DOCUMENT, TENSORS, CheckpointError
from model.predictors.ensemble import members_of
from model.predictors.predictor import NetworkPredictor, Predictor
from model.predictors.saved import load_predictor
from model.runs.genes import WindowRecord
from model.runs.signal_inputs import SignalRecord
from model.saved_config import current_names, with_defaults
from model.saved_document import read_document, write_document
from model.training.loggers import FILES as LOGGED
from model.training.resume import clear_progress, has_progress, refuse_other

SUBSETS = ("train", "validation", "test")
_MEND = "train again with `restart=True`"
_RUN = "run.json"
_BASELINES = "baselines"
_CONTROLS = "controls"
_SCORED = "scored.json"
"""Beside `run.json`, since it is written after the run is finished."""
_SCORES = TypeAdapter(dict[int, float])
_SETTING = "setting "


class _Record(BaseModel):
    """What `run.json` says."""

    model_config = ConfigDict(strict=True, frozen=True)

    feature_set: str
    split: dict[str, list[str]]
    tasks: list[str] = []
    windows: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    signals: dict[str, Any] | None = None
    asked: dict[str, Any] = {}
    """What decided the training."""
    summary: dict[str, Any] | None = None
    """None until it is finished."""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A trained model with what it was trained on."""

    predictor: Predictor
    feature_set: str
    split: Split
    tasks: tuple[str, ...] = ()
    """Names of what is predicted, if several; columns of the targets."""
    baselines: tuple[Predictor, ...] = ()
    """Closed forms that were fitted on the same split."""

    windows: WindowRecord = field(default_factory=WindowRecord)
    """What it read."""
    prompt_settings: PromptSettings = field(default_factory=PromptSettings)
    """How the prompts that it read were written."""
    signals: SignalRecord | None = None
    """Signals and covariates that it read; None of windows of bins."""
    folder: Path | None = None
    """Where it lies; None if it was put together otherwise."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What decided the training; empty where it is not known."""
    scored: Mapping[int, float] = field(default_factory=dict)
    """Spearman on held-out genes by bins a window, as far as it was evaluated."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """What `model.runs.workflow.train` returned."""
    command: str = ""
    """The line that trained it; empty where it is not known."""

    def reads(self, dataset: GeneDataset) -> GeneDataset:
        """Give a dataset with prompts as the run learned from; texts of one's own stay as they are."""
        if dataset.annotations is None or dataset.prompt_settings == self.prompt_settings:
            return dataset
        return dataset.with_prompts(self.prompt_settings)

    def with_n_bins(self, n_bins: int | None) -> "Run":
        """Give the run with all its predictors reading so many bins a window; None for those of training.

        Nothing is trained again, and the copy shares the weights.

        Raises
        ------
        ValueError
            If a predictor cannot read windows of that length.
        """
        if n_bins is None:
            return self
        baselines = tuple(baseline.with_n_bins(n_bins) for baseline in self.baselines)
        return replace(self, predictor=self.predictor.with_n_bins(n_bins), baselines=baselines)


def finished_run(out: Path, decided: Mapping[str, Any], *, configs: Sequence[type] = ()) -> dict[str, Any] | None:
    """Give the summary of the run that a folder holds; None where it is not finished, or there is none.

    Parameters
    ----------
    decided
        Everything that decides what is learned; plain JSON.
    configs
        The dataclasses whose fields are in it: they say what a field was called when the folder was written.

    Raises
    ------
    OtherTraining
        If the folder holds another run that has come as far as its first epoch; it says what differs.
    """
    is_whole = (out / DOCUMENT).is_file()
    if not (out / _RUN).exists() or not (is_whole or any(map(has_progress, _folders(out)))):
        return None
    there = _read_record(out)
    before = with_defaults(current_names(there.asked, *configs), *configs, names=decided)
    if "precision" in before:
        before["precision"] = precision_name(before["precision"])
    # Not compared where an earlier version did not record them.
    before = {name: value for name, value in decided.items() if name.startswith(_SETTING)} | before
    refuse_other(out, before, decided)
    return there.summary if is_whole else None


def shared_name(name: str) -> str:
    """Give the entry, among what decides a run, of a setting of the model whose name is that of another entry."""
    return f"{_SETTING}{name}"


def begin_run(
    out: Path,
    decided: Mapping[str, Any],
    *,
    feature_set: str,
    windows: WindowRecord,
    split: Split,
    prompt_settings: PromptSettings | None = None,
    tasks: Sequence[str] = (),
    signals: SignalRecord | None = None,
    joined: Mapping[str, Any] | None = None,
    restart: bool = False,
) -> None:
    """Write the request into the folder; `restart` removes the run that is there first.

    `joined` says how genes, targets and annotations met (`loaders.joining`).
    """
    if restart:
        _remove(out)
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "feature_set": feature_set,
        "windows": windows.to_json(),
        "prompts": {} if prompt_settings is None else prompt_settings.to_json(),
        "tasks": list(tasks),
        **({} if signals is None else {"signals": signals.to_json()}),
        "joined": joined and dict(joined),
        "split": json.loads(split.to_json()),
    }
    _write(out, document | {"asked": dict(decided)})


def finish_run(out: Path, predictor: Predictor, baselines: Sequence[Predictor], summary: Mapping[str, Any]) -> None:
    """Write what was learned, and that the run is finished."""
    predictor.save(out)
    for baseline in baselines:
        baseline.save(out / _BASELINES / baseline.name)
    _write(out, _read(out) | {"summary": dict(summary)})
    for folder in _folders(out):
        clear_progress(folder)


def open_run(directory: str | os.PathLike[str], *, device: str = "auto") -> Run:
    """Load what was trained.

    Raises
    ------
    CheckpointError
        If the folder is no run, or not a whole one.
    """
    folder = required_path(directory)
    if (folder / _RUN).is_file() and not (folder / DOCUMENT).is_file():
        raise CheckpointError(
            f"{folder} holds a run that is not finished; the same `featurestore train` goes on with it"
        )
    predictor = load_predictor(folder)
    for member in members_of(predictor):
        if isinstance(member, NetworkPredictor):
            member.training = replace(member.training, device=device)
    document = _read_record(folder)
    baselines = tuple(load_predictor(path.parent) for path in sorted(folder.glob(f"{_BASELINES}/*/{DOCUMENT}")))
    try:
        split, windows = Split.from_json(json.dumps(document.split)), WindowRecord.from_json(document.windows)
        prompts = apply_settings(PromptSettings(), document.prompts)
        signals = None if document.signals is None else SignalRecord.from_json(document.signals)
    except ValueError as error:
        raise _no_record(folder, error) from error
    return Run(
        predictor,
        document.feature_set,
        split,
        tuple(document.tasks),
        baselines,
        windows,
        prompts,
        signals=signals,
        folder=folder,
        asked=document.asked,
        scored=_read_scores(folder),
        summary=document.summary or {},
        command=document.command,
    )


def record_command(folder: Path, line: str) -> None:
    """Note the command line that trained a finished run, where its folder can be written to."""
    document = _read(folder)
    if document.get("command") != line:
        with suppress(OSError):
            _write(folder, document | {"command": line})


def learning_curves(run: Run) -> dict[str, pl.DataFrame]:
    """Read the `metrics.csv` of a run, or of each member of an ensemble by its name; nothing of a closed form."""
    folders = [] if run.folder is None else _folders(run.folder)
    files = {folder: folder / "metrics.csv" for folder in folders}
    return {
        folder.name: tables.read_table(path).cast(pl.Float64, strict=False)
        for folder, path in files.items()
        if path.is_file()
    }


def record_score(run: Run, spearman: float) -> None:
    """Note in a run's folder how it scored with windows as long as it reads now, where the folder can be written to."""
    if run.folder is not None:
        scores = {**_read_scores(run.folder), run.predictor.n_bins: spearman}
        with suppress(OSError):
            write_document(run.folder / _SCORED, {str(length): score for length, score in sorted(scores.items())})


def _read_scores(folder: Path) -> dict[int, float]:
    """Read what `record_score` wrote; nothing if it is damaged."""
    try:
        return _SCORES.validate_python(read_document(folder / _SCORED, mend="evaluate again", raises=ValueError))
    except (OSError, ValueError):
        return {}


def control_folder(run: Path, name: str) -> Path:
    """Say where the run of a control lies, in the folder of the run that it belongs to."""
    return run / _CONTROLS / name


def controls_of(run: Path) -> list[Path]:
    """List the folders of a run's controls that are finished."""
    return sorted(document.parent for document in run.glob(f"{_CONTROLS}/*/{DOCUMENT}"))


def _read(folder: Path) -> dict[str, Any]:
    try:
        return read_document(folder / _RUN, mend=_MEND, raises=CheckpointError)
    except OSError as error:
        raise CheckpointError(f"{folder} has no whole {_RUN} ({error}); {_MEND}") from error


def _read_record(folder: Path) -> _Record:
    document = _read(folder)
    try:
        return _Record.model_validate(document)
    except ValidationError as error:
        raise _no_record(folder, error) from error


def _no_record(folder: Path, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())
    return CheckpointError(f"{folder / _RUN} is no record of a run ({reason}); {_MEND}")


def _write(folder: Path, document: Mapping[str, Any]) -> None:
    write_document(folder / _RUN, document)


def _folders(out: Path) -> list[Path]:
    """Give the places where a training of the run may have stopped."""
    return [out, *out.glob("member-*")]


def _remove(folder: Path) -> None:
    """Remove what runs write, but for a language model, which is written anew, and nothing else that may lie there."""
    clear_progress(folder)
    logged = [folder / name for name in LOGGED]
    for path in (*(folder / name for name in (_RUN, DOCUMENT, TENSORS, _SCORED, "metrics.csv")), *logged):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    for part in (folder / _BASELINES, folder / _CONTROLS, *logged, *folder.glob("member-*")):
        if part.is_dir():
            shutil.rmtree(part)
