"""Checkpoints of a training after each epoch, to resume it when it was stopped.

Belongs here: that state as tensors and JSON, the training that it is of. Does not: the finished model
(`model.predictors.checkpoint`), the loop (`model.training.fit`).

`resume.json` names the file of tensors and is replaced after that file is whole, so that a process killed at any moment
leaves the last finished epoch behind.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog import FeatureIdentity
from model.saved_config import current_names, with_defaults
from model.saved_document import file_digest, read_document, write_document
from model.training.config import TrainConfig
from model.training.report import Epoch

_DOCUMENT = "resume.json"
_TENSORS = "resume-{epoch}.safetensors"
_SHOWN = 5
"""Differences that an error names."""
_SINCE_IDENTITY = {
    "assembly": "assembly_digest",
    "feature set": "name",
    "extractor": "extractor",
    "bin size": "bin_size",
    "type of values": "dtype",
}
"""Field of `FeatureIdentity` by the name that it has in a record; records of before hold the fingerprint alone."""


class OtherTraining(ValueError):
    """A folder with the state of another training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of a training after an epoch."""

    identity: Mapping[str, Any]
    """Everything that decides the outcome; plain JSON."""
    epochs: tuple[Epoch, ...]
    best: Mapping[str, Tensor]
    """The model as it was after its best epoch."""
    model: Mapping[str, Tensor]
    """The model as it is."""
    moments: Mapping[str, Tensor]
    """What the optimiser keeps of each parameter, by `<number of the parameter>.<name>`."""
    groups: list[dict[str, Any]]
    """Settings of the optimiser's groups; plain JSON."""
    schedule: Mapping[str, Any]
    """State of the schedule; plain JSON."""
    is_stopped: bool
    """Early stopping ended it."""

    def optimiser_state(self) -> dict[str, Any]:
        """Give what `torch.optim.Optimizer.load_state_dict` takes."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in self.moments.items():
            number, kind = name.split(".")
            state.setdefault(int(number), {})[kind] = value
        # JSON has no tuples.
        groups = [group | {"betas": tuple(group["betas"])} for group in self.groups]
        return {"state": state, "param_groups": groups}


def moments_of(optimiser_state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Name what an optimiser keeps, as `Progress.moments` does."""
    return {
        f"{number}.{kind}": value for number, kept in optimiser_state["state"].items() for kind, value in kept.items()
    }


def write_progress(folder: Path, progress: Progress) -> None:
    """Replace the state that a folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = folder / _TENSORS.format(epoch=len(progress.epochs))
    parts = {"best": progress.best, "model": progress.model, "moments": progress.moments}
    # Cloned, since safetensors refuses tensors that share memory, as best and model do after a best epoch.
    save_file(
        {
            f"{part}/{name}": value.detach().cpu().contiguous().clone()
            for part, values in parts.items()
            for name, value in values.items()
        },
        tensors,
    )
    document = {
        "identity": progress.identity,
        "tensors": tensors.name,
        "tensors_digest": file_digest(tensors),
        "epochs": [[None if math.isnan(value) else value for value in epoch] for epoch in progress.epochs],
        "groups": progress.groups,
        "schedule": progress.schedule,
        "is_stopped": progress.is_stopped,
    }
    write_document(folder / _DOCUMENT, document)
    for old in folder.glob(_TENSORS.format(epoch="*")):
        if old != tensors:
            old.unlink()


def read_progress(folder: Path, identity: Mapping[str, Any]) -> Progress | None:
    """Read the state of a training; None if the folder holds none, or none that is whole.

    Raises
    ------
    OtherTraining
        If it is the state of another training.
    """
    try:
        document = read_document(folder / _DOCUMENT, mend="remove it", raises=ValueError)
        written = dict(document["identity"])
        written["training"] = with_defaults(
            current_names(written["training"], TrainConfig), TrainConfig, names=identity["training"]
        )
        refuse_other(folder, written, dict(identity))
        path = folder / Path(document["tensors"]).name
        if document.get("tensors_digest") not in (None, file_digest(path)):
            return None
        tensors = load_file(path)
        named = [name.split("/", 1) for name in tensors]
        parts: dict[str, dict[str, Tensor]] = {"best": {}, "model": {}, "moments": {}}
        for part, name in named:
            parts[part][name] = tensors[f"{part}/{name}"]
        epochs = [Epoch(*(math.nan if value is None else value for value in row)) for row in document["epochs"]]
        return Progress(
            identity=identity,
            epochs=tuple(epochs),
            groups=document["groups"],
            schedule=document["schedule"],
            is_stopped=document["is_stopped"],
            **parts,
        )
    except OtherTraining:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        # Damaged, or none there: training from the start gives the same.
        return None


def has_progress(folder: Path) -> bool:
    """Say whether a training was begun there whose state was not cleared."""
    return (folder / _DOCUMENT).exists()


def clear_progress(folder: Path) -> None:
    """Remove the state, once the finished model is saved."""
    (folder / _DOCUMENT).unlink(missing_ok=True)
    for tensors in folder.glob(_TENSORS.format(epoch="*")):
        tensors.unlink()


def identity_record(features: FeatureIdentity) -> dict[str, Any]:
    """Give what decides the meaning of features as plain JSON; their channels, which may be many, as a digest."""
    return {"features": features.fingerprint, "channels": digest_of(features.channels or ())} | {
        name: getattr(features, field) for name, field in _SINCE_IDENTITY.items()
    }


def refuse_other(folder: Path, recorded: Mapping[str, Any], decided: Mapping[str, Any]) -> None:
    """Raise `OtherTraining`, naming what differs, unless both are the same JSON.

    What an earlier version did not record of the features is not compared.
    """
    now = json.loads(json.dumps(dict(decided)))
    compared = sorted({*recorded, *now} - {name for name in _SINCE_IDENTITY if name not in recorded})
    different = [name for name in compared if recorded.get(name) != now.get(name)]
    if different:
        shown = "; ".join(
            f"{name}: {_short(recorded.get(name))} there, {_short(now.get(name))} now" for name in different[:_SHOWN]
        )
        if len(different) > _SHOWN:
            shown += f"; and {len(different) - _SHOWN} more"
        raise OtherTraining(
            f"{folder} holds a training of another configuration ({shown}); give another folder with `out=`, or "
            "`restart=True` to remove that one and begin anew"
        )


def digest_of(values: Iterable[Any]) -> str:
    """Hash tensors or JSON values into 16 hexadecimal digits."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous()
            total.update(f"{value.dtype} {list(value.shape)}".encode())
            total.update(value.reshape(-1).view(torch.uint8).numpy().data)
        else:
            total.update(json.dumps(value).encode() + b"\n")
    return total.hexdigest()[:16]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
