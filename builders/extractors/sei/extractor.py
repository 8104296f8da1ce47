"""Sei as an extractor: sequence classes, chromatin profiles, and the embedding before them.

Belongs here: the strand rule, the projection to classes, channels, what the values depend on.
Does not: the network and its files (`builders.extractors.sei.network`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions
from builders.extractors.sei.classes import N_CLUSTERS, SEQUENCE_CLASSES, class_channels
from builders.extractors.sei.settings import SeiSettings
from builders.extractors.sei.variant_score import class_scores, histone_profiles
from catalog import Channel
from catalog.runtime.lines import read_lines
from catalog.runtime.plugins import how_to_install
from catalog.runtime.weight_files import refuse_pointer, sha256_of_file

try:
    import torch

    from builders.extractors.networks.torch_device import usable_device
    from builders.extractors.sei.batches import GpuRunner, HostRunner, Runner, batch_that_fits
    from builders.extractors.sei.inference import FastSei, features, features_of_onehot
    from builders.extractors.sei.network import (
        INPUT_LENGTH,
        N_CHANNELS,
        N_SPLINES,
        SeiNetwork,
        encode,
        load_sei,
        read_checkpoint,
    )
    from builders.extractors.sei.pointwise import can_fuse
    from builders.extractors.sei.precision import ERROR_SOURCE, MEASURED_ERRORS, TOLERANCES, checked_precision
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"the sei extractor needs torch: {how_to_install('torch')}") from error

__all__ = ["OUTPUTS", "SeiExtractor", "SeiNetwork", "encode", "load_sei"]

OUTPUTS = ("classes", "profiles", "embedding")
"""Feature sets that one forward pass yields."""
RESULTS = {"float16": torch.float16, "float32": torch.float32}
"""Types in which features leave the device."""

_GPU_BATCH = 256
"""Bins a batch at most: 512 strands fill a large GPU, and more only take memory."""
_CODE_VERSION = 2
"""Part of the fingerprint: raise it with any change here or in the network that changes values."""


class SeiExtractor:
    """Run the published Sei network on both strands of each bin and average.

    All three sets are the same for a sequence and for its reverse complement: profiles are averaged over the strands
    after the sigmoid, classes are projected from the averaged profiles, and of the embedding, too, the mean is taken.
    (Spline `b` of one strand lies where spline `15 - b` of the other does, so the mean blends the mirrored places of a
    bin; in return no reader has to know on which strand a bin was computed.)

    Parameters
    ----------
    weights
        `sei.pth` as published, or a safetensors file with the same parameters. Read at the first call.
    projector
        `projvec_targets.npy`, shape `(61, n_profiles)`; needed for `classes`.
    outputs
        Feature sets to return, of `OUTPUTS`: `classes` (61 channels), `profiles` (21,907), `embedding` (15,360).
    precision
        `fp32`: float32 throughout and TF32 off; profiles and class scores lie within 2e-5 of float64 arithmetic.
        `tf32` (GPUs of NVIDIA only) and `bf16` are faster and less exact: `MEASURED_ERRORS` of
        `builders.extractors.sei.precision` says by how much, and so do `options`.
    names
        `target.names`, one profile a line; without it profiles are named by number.
    device
        `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one.
    fused
        Whether to do what lies between convolutions in one Triton kernel each, on a GPU: the same values, 1.13 times as
        fast in bf16 on an H100. None for wherever it can be done; True is refused on a CPU.
    results
        `float16` or `float32`: the type of what a call returns. None for float16 from a GPU, as stores keep it, which
        halves what crosses the bus; and float32 from a CPU.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    SeiCheckpointError
        If `weights` is not a checkpoint of Sei.
    ValueError
        If an option has no such value, or the files do not fit each other.
    """

    name: str = "sei"
    input_length: int = INPUT_LENGTH
    flops_per_bin: float = 2 * 108.42e9  # both strands, two a multiply-add; the convolutions are 98.5 % of it
    licence: str = (
        "Computed with Sei, which is licensed for academic and research use only; "
        "commercial use needs a licence from Princeton University"
    )
    citation: str = "Chen, Wong, Troyanskaya, Zhou, Nature Genetics 2022, doi:10.1038/s41588-022-01102-2"

    def __init__(
        self,
        weights: Path,
        projector: Path | None = None,
        outputs: tuple[str, ...] = ("classes",),
        precision: str = "fp32",
        *,
        names: Path | None = None,
        device: str = "auto",
        results: str | None = None,
        fused: bool | None = None,
    ) -> None:
        self.outputs = _known_outputs(outputs)
        self.device = _known_device(device)
        self.precision = checked_precision(precision, "cpu" if device == "cpu" else None)
        if results is not None and results not in RESULTS:
            raise ValueError(f"sei returns {' or '.join(RESULTS)}, not {results!r}")
        if "classes" in outputs and projector is None:
            raise ValueError(
                "the classes of Sei are a projection of its profiles: give projector=projvec_targets.npy, which lies "
                "next to sei.pth in sei_model.tar.gz; or ask for outputs=('profiles',)"
            )
        self.weights = weights
        self.projector = projector
        self.names = names
        is_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        # Bins a call. A GPU takes them in several batches, so that copies of one overlap with computing the next.
        self.batch_size = 1024 if is_gpu else 8
        if fused and not is_gpu:
            raise ValueError("fused steps are kernels for GPUs, and the device is a CPU; use fused=False")
        self._fused = is_gpu and can_fuse() if fused is None else fused
        self._results = RESULTS[results or ("float16" if is_gpu else "float32")]
        for path in (weights, projector, names):
            if path is not None and path.is_file():
                refuse_pointer(path)
        self.n_profiles = len(read_checkpoint(weights)["classifier.2.bias"])
        self._directions = None if projector is None else _read_directions(projector, self.n_profiles)
        makers = {
            "classes": class_channels,
            "profiles": lambda: _profile_channels(names, self.n_profiles),
            "embedding": _embedding_channels,
        }
        self._channels = {output: makers[output]() for output in self.outputs}

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: SeiSettings) -> "SeiExtractor":
        """Make the extractor that the options describe; `bin_size` is not among what Sei can choose.

        Raises
        ------
        ValueError
            As the constructor says.
        """
        return cls(
            settings.weights,
            settings.projector,
            outputs=("classes",) if options.outputs is None else options.outputs,
            precision=settings.precision,
            names=settings.names,
            device=options.device,
            results=settings.results,
            fused=settings.fused,
        )

    @property
    def tolerance(self) -> float:
        """Largest difference that another device may make, as a share of a channel's largest value."""
        return TOLERANCES[self.precision]

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Channels of the requested sets."""
        return self._channels

    @property
    def options(self) -> dict[str, JsonValue]:
        """What decides the values, for people: files by name and digest."""
        return {
            "weights": self.weights.name,
            "weights_sha256": self._digests["weights"],
            "projector": None if self.projector is None else self.projector.name,
            "projector_sha256": self._digests["projector"],
            "outputs": list(self.outputs),
            "precision": self.precision,
            "precision_error": {**MEASURED_ERRORS[self.precision], "source": ERROR_SOURCE},
        }

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the contents of both files, the precision, and the version of this code.

        The requested sets, the names of profiles and the device do not enter. The first use reads the weights
        once (seconds for the published file), and remembers their digest for other processes of this user.
        """
        decisive = {
            "extractor": self.name,
            "version": _CODE_VERSION,
            "precision": self.precision,
            "n_profiles": self.n_profiles,
            **self._digests,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Compute features of bins, both strands in one batch.

        Parameters
        ----------
        sequence
            ASCII bases in either case, shape `(bins, 4096)`, uint8. Any number: they are taken in batches that fit.

        Returns
        -------
        For each requested set `(bins, channel)`, in the type that `results` says.

        Raises
        ------
        ValueError
            If the shape or type of `sequence` is another.
        MemoryError
            If the device has no room for a single bin.
        """
        if sequence.ndim != 2 or sequence.shape[1] != INPUT_LENGTH or sequence.dtype != np.uint8:
            raise ValueError(
                f"Sei reads ASCII bases of shape (batch, {INPUT_LENGTH}), uint8; got {sequence.shape}, "
                f"{sequence.dtype}; take the {INPUT_LENGTH} bases around the centre of each bin, and fill up with N"
            )
        return self._runner(sequence)

    def variant_channels(self, score: str) -> tuple[str, ...]:
        """Give the 40 sequence classes of the score `sei_class`; a ValueError for others, or without their files."""
        if score != "sei_class":
            raise ValueError(f"sei has the score sei_class of its own, not {score}")
        if "profiles" not in self.outputs or self._directions is None or self.names is None:
            raise ValueError(
                "`scores=sei_class` projects profiles whose histone marks are normalised: give `outputs=profiles`, and "
                "set projector and names"
            )
        if self._results is torch.float16:
            raise ValueError(
                "`scores=sei_class` is a difference of profiles, which float16 rounds: set results=float32"
            )
        return tuple(label for label, _ in SEQUENCE_CLASSES)

    def variant_scores(
        self, score: str, windows: NDArray[np.uint8], pairs: Sequence[tuple[int, int]]
    ) -> NDArray[np.floating[Any]]:
        """Compute the score of `variant_channels`, shape `(pairs, 40)`."""
        assert self._directions is not None
        profiles = self(windows)["profiles"]
        ref, alt = np.array(pairs).T
        histones = histone_profiles([channel.name for channel in self._channels["profiles"]])
        return class_scores(profiles[ref], profiles[alt], self._directions[: len(SEQUENCE_CLASSES)], histones)

    def encoded(self, sequence: NDArray[np.uint8]) -> torch.Tensor:
        """Encode bins one-hot, `(bins, 4, 4096)`."""
        return encode(torch.tensor(sequence, device=usable_device(self.device)))

    def predicted(self, onehot: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the requested sets of encoded bins by the published layers, which have gradients, in float32."""
        directions = None if self._directions is None else torch.from_numpy(self._directions).to(onehot.device)
        return features_of_onehot(self._published, directions, onehot, self.outputs)

    @cached_property
    def _published(self) -> SeiNetwork:
        return load_sei(self.weights, device=usable_device(self.device))

    @cached_property
    def _runner(self) -> Runner:
        device = usable_device(self.device)
        checked_precision(self.precision, device.type)
        network = FastSei(
            load_sei(self.weights), precision=self.precision, device=device, fused=self._fused, release=True
        )
        directions = None if self._directions is None else torch.from_numpy(self._directions).to(device)

        def compute(bases: torch.Tensor) -> dict[str, torch.Tensor]:
            return features(network, directions, bases, self.outputs)

        if device.type == "cpu":
            return HostRunner(compute, size=self.batch_size, dtype=self._results)
        free_bytes, _ = torch.cuda.mem_get_info(device)
        # Two strands; and a CUDA graph keeps its memory while the last, smaller batch is computed.
        size = batch_that_fits(free_bytes, 2 * 2 * network.bytes_each, at_most=_GPU_BATCH)
        return GpuRunner(compute, device=device, size=size, dtype=self._results)

    @cached_property
    def _digests(self) -> dict[str, str | None]:
        return {
            "weights": sha256_of_file(self.weights),
            "projector": None if self.projector is None else sha256_of_file(self.projector),
        }


def _known_outputs(outputs: tuple[str, ...]) -> tuple[str, ...]:
    if not outputs or not set(outputs) <= set(OUTPUTS):
        raise ValueError(f"sei has the outputs {', '.join(OUTPUTS)}; got {', '.join(outputs) or 'none'}")
    return tuple(output for output in OUTPUTS if output in outputs)


def _known_device(device: str) -> str:
    kind, _, index = device.partition(":")
    if device not in ("auto", "cpu", "cuda") and not (kind == "cuda" and index.isdecimal()):
        raise ValueError(f"a device is cpu, cuda, cuda:0, cuda:1, ..., or auto; got {device!r}")
    return device


def _read_directions(path: Path, n_profiles: int) -> NDArray[np.float32]:
    """Read the projection and scale each row to length 1: a class score is profile . v / |v|, nothing centred."""
    if not path.is_file():
        raise FileNotFoundError(f"no projector at {path}; expected projvec_targets.npy of sei_model.tar.gz")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic != b"\x93NUMPY":  # numpy would try it as a zip or a pickle
        raise ValueError(f"{path} is no array that numpy can read (it begins {magic!r}); expected projvec_targets.npy")
    try:
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of many kinds, since numpy parses the header as Python
        raise ValueError(f"{path} is no array that numpy can read ({error}); expected projvec_targets.npy") from error
    if vectors.shape != (N_CLUSTERS, n_profiles) or vectors.dtype.kind not in "fiu":
        found = f"{vectors.shape}, {vectors.dtype}"
        raise ValueError(
            f"{path} must hold numbers of shape ({N_CLUSTERS}, {n_profiles}): a row for each cluster, a column for "
            f"each profile of the weights; got {found}; use projvec_targets.npy of the release that the weights are of"
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.all(np.isfinite(norms) & (norms > 0)):
        raise ValueError(f"{path} has rows that are zero or not finite, and no direction; fetch it again")
    directions: NDArray[np.float32] = (vectors / norms).astype(np.float32)
    return directions


def _profile_channels(path: Path | None, n_profiles: int) -> tuple[Channel, ...]:
    if path is None:
        return tuple(Channel(name=f"profile{index:05d}") for index in range(n_profiles))
    if not path.is_file():
        raise FileNotFoundError(f"no names of profiles at {path}; expected target.names of sei_model.tar.gz")
    lines = [line.decoded(path) for line in read_lines(path)]
    if len(lines) != n_profiles or len(set(lines)) != n_profiles:
        raise ValueError(
            f"{path} has {len(lines)} lines, {len(set(lines))} of them distinct, but the weights predict {n_profiles} "
            "profiles; use target.names of the release that the weights are of, or leave names out"
        )
    return tuple(Channel(name=line, group=_target(line)) for line in lines)


def _target(line: str) -> str:
    """Give the second field of `cell | target | source`: the mark, the factor, or the assay."""
    fields = line.split(" | ")
    return fields[1] if len(fields) > 1 else ""


def _embedding_channels() -> tuple[Channel, ...]:
    return tuple(
        Channel(name=f"c{channel:03d}b{spline:02d}", group=f"c{channel:03d}")
        for channel in range(N_CHANNELS)
        for spline in range(N_SPLINES)
    )
