"""A fitted predictor on disk: tensors and JSON, never a pickle.

Belongs here: the format, and what a predictor was trained on. Does not: what the tensors mean (each predictor).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog.files import replacing, write_atomic
from loaders import GeneDataset

FORMAT = 1
TENSORS, DOCUMENT = "model.safetensors", "checkpoint.json"
_VERSIONS = ("genomic-featurestore", "torch", "transformers", "lightning", "numpy")


class CheckpointError(ValueError):
    """A folder that cannot be read as a checkpoint."""


class OtherStore(ValueError):
    """Features that a predictor was not trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """The features that a predictor reads: those of other stores mean something else, whatever their shape."""

    fingerprint: str
    """Of the feature set (`FeatureSet.fingerprint`)."""
    channel_names: tuple[str, ...]
    n_bins: int

    @classmethod
    def of(cls, dataset: GeneDataset) -> "TrainedOn":
        """Say what a dataset holds."""
        return cls(fingerprint=dataset.fingerprint, channel_names=tuple(dataset.channel_names), n_bins=dataset.n_bins)

    def check(self, dataset: GeneDataset, *, allow_other_store: bool = False) -> None:
        """Refuse windows that a predictor cannot read.

        Parameters
        ----------
        allow_other_store
            Take features of another fingerprint or with other channel names, as long as there are as many.

        Raises
        ------
        OtherStore
            If the features are others.
        ValueError
            If the windows have another length.
        """
        if dataset.n_bins != self.n_bins:
            raise ValueError(
                f"the predictor reads {self.n_bins} bins, but the windows have {dataset.n_bins}; "
                f"set dataset.n_bins = {self.n_bins}"
            )
        names = tuple(dataset.channel_names)
        if len(names) != len(self.channel_names):
            raise OtherStore(
                f"the predictor reads {len(self.channel_names)} channels ({_some(self.channel_names)}), but the dataset"
                f" has {len(names)} ({_some(names)}); open it with channels={list(self.channel_names[:2])!r} and so on,"
                " as in training"
            )
        if allow_other_store:
            return
        if names != self.channel_names:
            ours, other = next(pair for pair in zip(self.channel_names, names, strict=True) if pair[0] != pair[1])
            raise OtherStore(
                f"the predictor reads channel {ours!r} where the dataset has {other!r}; open the dataset with the "
                "channels of training, in that order, or force it with allow_other_store=True"
            )
        if dataset.fingerprint != self.fingerprint:
            raise OtherStore(
                f"the predictor was trained on features {self.fingerprint}, but the dataset has {dataset.fingerprint}: "
                "other weights, options or code made them; use the store it was trained on, train again, or force it "
                "with allow_other_store=True (--allow-other-store)"
            )


class Checkpoint(NamedTuple):
    """What a folder holds."""

    kind: str
    """Which predictor it is: a name of `model.predictors.predictor.PREDICTORS`."""
    trained_on: TrainedOn
    settings: dict[str, Any]
    """What that predictor needs beside its tensors to be made again."""
    tensors: dict[str, Tensor]


def write_checkpoint(
    directory: str | os.PathLike[str],
    *,
    kind: str,
    trained_on: TrainedOn,
    settings: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write `model.safetensors` and `checkpoint.json`; the JSON comes last, so a broken write is no checkpoint."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DOCUMENT).unlink(missing_ok=True)
    with replacing(directory / TENSORS) as partial:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial)
    document = {
        "format": FORMAT,
        "kind": kind,
        "trained_on": asdict(trained_on),
        "settings": dict(settings),
        "versions": {name: version(name) for name in _VERSIONS},
    }
    write_atomic(directory / DOCUMENT, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def read_checkpoint(directory: str | os.PathLike[str]) -> Checkpoint:
    """Read what `write_checkpoint` wrote.

    Raises
    ------
    CheckpointError
        If the folder holds no checkpoint, a damaged one, or one of a later format.
    """
    directory = Path(directory)
    if not (directory / DOCUMENT).is_file():
        raise CheckpointError(
            f"{directory} holds no {DOCUMENT}; give the folder that a predictor's save(...) wrote, or fit and save"
            " again"
        )
    try:
        document = json.loads((directory / DOCUMENT).read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            raise CheckpointError(
                f"{directory} is a checkpoint of format {document['format']}, and this version reads {FORMAT}; "
                "update genomic-featurestore"
            )
        trained_on = document["trained_on"]
        return Checkpoint(
            kind=document["kind"],
            trained_on=TrainedOn(**trained_on | {"channel_names": tuple(trained_on["channel_names"])}),
            settings=document["settings"],
            tensors=load_file(directory / TENSORS),
        )
    except (json.JSONDecodeError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory} is a damaged checkpoint ({error!r}); fit and save it again") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
