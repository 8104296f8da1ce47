"""A fitted predictor on disk: tensors and JSON, never a pickle.

Belongs here: the format, and what a predictor was trained on. Does not: what the tensors mean (each predictor).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog import FeatureIdentity
from catalog.runtime.files import replacing, write_atomic
from catalog.runtime.locations import required_path
from loaders import GeneDataset
from loaders.settings import Orientation

FORMAT = 2
"""Since 2 a checkpoint records the whole identity of the features, and which way the bins ran."""
TENSORS, DOCUMENT = "model.safetensors", "checkpoint.json"
_VERSIONS = ("genomic-featurestore", "torch", "transformers", "lightning", "numpy")


class CheckpointError(ValueError):
    """A folder that cannot be read as a checkpoint."""


class OtherStore(ValueError):
    """Features that a predictor was not trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """The features that a predictor reads: those of other stores mean something else, whatever their shape."""

    identity: FeatureIdentity
    """Of the feature set, with the channels that were read."""
    n_bins: int
    orient: Orientation | None
    """Which way the bins ran; None for a checkpoint of format 1, which does not say: it is not compared."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels that were read, in order."""
        assert self.identity.channels is not None, "every checkpoint names its channels"
        return self.identity.channels

    @classmethod
    def of(cls, dataset: GeneDataset) -> "TrainedOn":
        """Say what a dataset holds."""
        return cls(identity=dataset.identity, n_bins=dataset.n_bins, orient=dataset.orient)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "TrainedOn":
        """Read what `asdict` gave, or what a checkpoint of format 1 has in its place."""
        recorded = document.get("identity") or {
            "fingerprint": document["fingerprint"],
            "channels": document["channel_names"],
        }
        names = dict.fromkeys(field.name for field in fields(FeatureIdentity)) | recorded
        identity = FeatureIdentity(**names | {"channels": tuple(recorded["channels"])})
        return cls(identity=identity, n_bins=document["n_bins"], orient=document.get("orient"))

    def check(self, dataset: GeneDataset, *, allow_other_store: bool = False) -> None:
        """Refuse windows that a predictor cannot read.

        Parameters
        ----------
        allow_other_store
            Take features of another extractor, fingerprint or assembly, or with other channel names, as long as there
            are as many; not other windows.

        Raises
        ------
        OtherStore
            If the features are others.
        ValueError
            If the windows have another length, other bins, or run another way.
        """
        if dataset.n_bins != self.n_bins:
            raise ValueError(
                f"the predictor reads {self.n_bins} bins, but the windows have {dataset.n_bins}; "
                f"set dataset.n_bins = {self.n_bins}"
            )
        self._check_windows(dataset)
        names = tuple(dataset.channel_names)
        if len(names) != len(self.channel_names):
            raise OtherStore(
                f"the predictor reads {len(self.channel_names)} channels ({_some(self.channel_names)}), but the dataset"
                f" has {len(names)} ({_some(names)}); open it with `channels={list(self.channel_names[:2])!r}` and so "
                "on, as in training"
            )
        if allow_other_store:
            return
        difference = self.identity.first_difference(dataset.identity)
        if difference is not None:
            raise OtherStore(
                f"the predictor was trained on {difference} as the dataset has; use the store and channels that it was "
                "trained on, train again, or force it with `allow_other_store=True`"
            )

    def _check_windows(self, dataset: GeneDataset) -> None:
        """Refuse windows of other bins, or that run another way: there is no forcing those."""
        bin_size, other = self.identity.bin_size, dataset.identity.bin_size
        if bin_size is not None and bin_size != other:
            raise ValueError(
                f"the predictor was trained on bins of {bin_size} bp, but those of the dataset have {other} bp; use a "
                "store of such bins, or train again"
            )
        if self.orient not in (None, dataset.orient):
            raise ValueError(
                f"the predictor was trained on windows of orient={self.orient!r}, but the dataset has "
                f"orient={dataset.orient!r}; open it with `orient={self.orient!r}`, or train again"
            )


class Checkpoint(NamedTuple):
    """What a folder holds."""

    kind: str
    """Which predictor it is: a name of `model.registry.model_names`, or an ensemble."""
    trained_on: TrainedOn
    settings: dict[str, Any]
    """What that predictor needs, with its tensors, to be made again."""
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
    directory = required_path(directory)
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
    directory = required_path(directory)
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
        return Checkpoint(
            kind=document["kind"],
            trained_on=TrainedOn.from_json(document["trained_on"]),
            settings=document["settings"],
            tensors=load_file(directory / TENSORS),
        )
    except (json.JSONDecodeError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory} is a damaged checkpoint ({error!r}); fit and save it again") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
