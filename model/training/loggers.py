"""Experiment loggers beside `metrics.csv`: TensorBoard, Weights & Biases, MLflow, by Lightning's own.

Belongs here: which logger, which of its runs a training goes on with, and what is said where one cannot be had. Does
not: `metrics.csv` (`model.training.lightning_module`), the training (`model.training.fit`).

Where they log to is theirs to say, by the variables of their own that a user has set: WANDB_MODE, WANDB_PROJECT,
MLFLOW_TRACKING_URI, ...; without these, MLflow's database lies in the folder of the run.
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from catalog.runtime.plugins import how_to_install
from model.saved_document import read_document, write_document
from model.training.config import TrainConfig

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "mlflow": ("mlflow",)}
_PROJECT = "genomic-featurestore"
_MLFLOW_URI = "MLFLOW_TRACKING_URI"
_DOCUMENT = "logged.json"
FILES = (_DOCUMENT, "tensorboard", "wandb", "mlflow", "mlflow.db")
"""What a run's folder may hold of them."""


def require_log(config: TrainConfig) -> None:
    """Refuse, with a ModuleNotFoundError, a log whose library is not installed."""
    names = _PACKAGES.get(config.log, ())
    if not names or any(importlib.util.find_spec(name) for name in names):
        return
    how = "pip install tensorboard" if config.log == "tensorboard" else how_to_install(config.log)
    raise ModuleNotFoundError(
        f'`log="{config.log}"` needs the package {names[0]}, which is not installed: {how}, or take `log="csv"`',
        name=names[0],
    )


def open_loggers(config: TrainConfig, folder: Path | None) -> list[Logger]:
    """Open the logger that a training asks for; one that was stopped goes on with the run that it logged to.

    Raises
    ------
    ModuleNotFoundError
        If its library is not installed.
    ValueError
        If it refuses: nobody is logged in, or the tracking server does not answer.
    """
    if config.log == "csv" or folder is None:
        return []
    require_log(config)
    if config.log == "tensorboard":
        return [TensorBoardLogger(folder, name="", version="tensorboard")]
    folder.mkdir(parents=True, exist_ok=True)
    before = _run_before(folder, config.log)
    set_by_user = os.environ.get(_MLFLOW_URI)
    try:
        logger = _wandb(folder, before) if config.log == "wandb" else _mlflow(folder, before)
        version = logger.version if config.log == "mlflow" else logger.experiment.id
        if before is None:
            logger.log_hyperparams(config.to_json())
    except Exception as error:  # theirs have no common class
        raise ValueError(
            f"{config.log} does not take this run: {' '.join(str(error).split())}; {_MENDS[config.log]}, or take "
            '`log="csv"`'
        ) from error
    finally:
        if set_by_user is None:
            os.environ.pop(_MLFLOW_URI, None)  # MLflow sets it, and the next training has a folder of its own
    write_document(folder / _DOCUMENT, {config.log: version})
    return [logger]


_MENDS = {
    "wandb": "log in with `wandb login`, or set WANDB_MODE=offline",
    "mlflow": f"see what MLFLOW_TRACKING_URI names, or remove {_DOCUMENT} from the run's folder to log to another run",
}


def close_loggers(loggers: Sequence[Logger]) -> None:
    """End what is logged, so that the next training of this process logs to a run of its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _wandb(folder: Path, before: str | None) -> WandbLogger:
    project = os.environ.get("WANDB_PROJECT", _PROJECT)
    return WandbLogger(name=folder.name, save_dir=folder, id=before, project=project)


def _mlflow(folder: Path, before: str | None) -> MLFlowLogger:
    return MLFlowLogger(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT),
        run_name=folder.name,
        # Not a folder of files, MLflow's own default: it is no longer kept up, and refused by default since 3.
        tracking_uri=os.environ.get(_MLFLOW_URI, f"sqlite:///{(folder / 'mlflow.db').resolve()}"),
        artifact_location=None if _MLFLOW_URI in os.environ else (folder / "mlflow").resolve().as_uri(),
        run_id=before,
    )


def _run_before(folder: Path, log: str) -> str | None:
    """Give the id of the run that a training in this folder logged to; None if there was none."""
    try:
        found = read_document(folder / _DOCUMENT, mend="remove it", raises=ValueError).get(log)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None
