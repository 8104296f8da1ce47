"""A fitted predictor on disk: tensors and JSON, never a pickle.

Belongs here: the format, and what a predictor was trained on. Does not: what the tensors mean (each predictor).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog import FeatureIdentity
from catalog.runtime.files import replacing
from catalog.runtime.locations import required_path
from catalog.runtime.weight_files import cut_short, refuse_pointer
from loaders import GeneDataset
from loaders.settings import Orientation
from model.saved_document import file_digest, read_document, write_document

FORMAT = 2
"""Since 2 a checkpoint records the whole identity of the features, and which way the bins ran."""
TENSORS, DOCUMENT = "model.safetensors", "checkpoint.json"
_VERSIONS = ("genomic-featurestore", "torch", "transformers", "lightning", "numpy")


_MEND = "fit and save it again"
LONGEST = 1 << 20
"""Bins a window: more than any genome has contigs for, few enough to make tables of."""


class _Saved(BaseModel):
    """What `checkpoint.json` says."""

    model_config = ConfigDict(strict=True, frozen=True)

    kind: str
    trained_on: dict[str, Any]
    settings: dict[str, Any]
    tensors: str | None = None
    """Digest of the tensors; earlier versions wrote none."""


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
        full = {
            "identity": dict.fromkeys(field.name for field in fields(FeatureIdentity)) | recorded,
            "n_bins": document["n_bins"],
            "orient": document.get("orient"),
        }
        # As JSON, since that has no tuples.
        read = _TRAINED_ON.validate_json(json.dumps(full), strict=True)
        if not read.identity.channels or not 1 <= read.n_bins <= LONGEST:
            raise ValueError(f"a predictor reads at least 1 channel, and 1 to {LONGEST:,} bins")
        return read

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


_TRAINED_ON = TypeAdapter(TrainedOn)


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
    _require_finite(kind, tensors)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DOCUMENT).unlink(missing_ok=True)
    with replacing(directory / TENSORS) as partial:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial)
    document = {
        "format": FORMAT,
        "kind": kind,
        "trained_on": asdict(trained_on),
        "settings": dict(settings),
        "tensors": file_digest(directory / TENSORS),
        "versions": {name: version(name) for name in _VERSIONS},
    }
    write_document(directory / DOCUMENT, document)


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
        document = read_document(directory / DOCUMENT, mend=_MEND, raises=CheckpointError)
        known = int(document.get("format", 0))
        if known > FORMAT:
            raise CheckpointError(
                f"{directory} is a checkpoint of format {known}, and this version reads {FORMAT}; update "
                "genomic-featurestore"
            )
        saved = _Saved.model_validate(document)
        return Checkpoint(
            kind=saved.kind,
            trained_on=TrainedOn.from_json(saved.trained_on),
            settings=saved.settings,
            tensors=_read_tensors(directory / TENSORS, saved.tensors),
        )
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise damaged(directory, error) from error


def damaged(directory: Path, error: Exception) -> CheckpointError:
    """Make the error of a checkpoint that says something that no predictor can be made of."""
    reason = str(error) if str(error).strip() else repr(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return CheckpointError(f"{directory} is a damaged checkpoint ({' '.join(reason.split())}); {_MEND}")


def _read_tensors(path: Path, written: str | None) -> dict[str, Tensor]:
    """Read tensors as they were written; those of an earlier version have no digest."""
    refuse_pointer(path)
    if written is not None and file_digest(path) != written:
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) is not what was saved with {DOCUMENT} (its digest is another "
            f"one), so this is a damaged checkpoint; {_MEND}"
        )
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{cut_short(path, error)}: a damaged checkpoint; {_MEND}") from error
    _require_finite(str(path), tensors)
    return tensors


def _require_finite(owner: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are NaN or infinite: predictions would be too."""
    spoiled = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
    if spoiled:
        raise CheckpointError(
            f"{owner}: {len(spoiled)} of {len(tensors)} tensors hold NaN or infinity ({_some(spoiled)}); the training "
            "diverged, or the file is damaged: train again with `restart=True`, with a lower learning_rate"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
