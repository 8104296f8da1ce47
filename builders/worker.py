"""What one worker does: load the extractor once, then build one shard after the other.

Belongs here: the work on one shard, with and without Dask around it. Does not: which shards (`builders.plan`), the
cluster (`builders.run`).
"""

import importlib.metadata
import logging
import platform
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from distributed import WorkerPlugin, get_worker
from numpy.typing import NDArray

from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.plan import ShardTask
from builders.sequence import UNKNOWN, bin_sequences, is_unknown
from catalog import Fasta, FeatureSet
from featurestore import ContigLayout, Origin, Store, write_shard
from featurestore import open as open_store

_PLUGIN = "featurestore-extractor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the workers of one build share; small, since it travels with every task."""

    store_url: str
    storage_options: tuple[tuple[str, Any], ...]
    fasta: Path
    feature_sets: tuple[str, ...]
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a worker reports of a shard: figures, never arrays."""

    task: ShardTask
    seconds: float
    extractor_calls: int
    bytes: int
    """Size of the shard's objects (bytes)."""


class ExtractorPlugin(WorkerPlugin):
    """Loads the extractor once in each worker, also in one that joins later."""

    name = _PLUGIN

    def __init__(self, extractor: str, options: ExtractorOptions) -> None:
        self._name = extractor
        self._options = options
        self.extractor: Extractor | None = None
        self.device = ""
        """What the worker computes on, for the record."""

    def setup(self, worker: Any) -> None:
        """Make the extractor on this worker's own device."""
        # A shard that fails is told to the client, which reports it; its traceback here would say the same again.
        logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
        device = self._own_device(worker)
        self.device = _device_name(device)
        self.extractor = load_extractor(self._name, replace(self._options, device=device))

    def _own_device(self, worker: Any) -> str:
        asked = self._options.device
        if asked not in ("auto", "cuda") or not str(worker.name).isdigit():
            return asked
        n_gpus = gpu_count()
        # Workers of one host are named 0, 1, ...: each takes its own card.
        return f"cuda:{int(worker.name) % n_gpus}" if n_gpus else asked


_calls = 0


def calls_made() -> int:
    """Count the calls of any extractor that this process has made."""
    return _calls


def compute(extractor: Extractor, sequences: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
    """Call an extractor and check that it keeps its promises.

    Raises
    ------
    ValueError
        If a set is missing, has another shape than its channels say, or holds NaN or infinity.
    """
    global _calls
    _calls += 1
    features = extractor(sequences)
    for name, channels in extractor.channels.items():
        expected = (len(sequences), len(channels))
        if name not in features or features[name].shape != expected:
            got = features[name].shape if name in features else "nothing"
            raise ValueError(f"extractor {extractor.name} gave {got} for {name!r}, expected shape {expected}")
        if not np.isfinite(features[name]).all():
            raise ValueError(
                f"extractor {extractor.name} gave NaN or infinity in {name!r}; NaN means never built, so it is no "
                "value: check its weights and its input"
            )
    return features


def pad_rows(extractor: Extractor) -> dict[str, list[float]]:
    """Compute the row that stands for sequence that is all N, for each feature set, as float16 stores it."""
    unknown = np.full((1, extractor.input_length), UNKNOWN, dtype=np.uint8)
    return {name: rows[0].astype(np.float16).tolist() for name, rows in compute(extractor, unknown).items()}


def build_shard(extractor: Extractor, task: ShardTask, job: Job, *, device: str = "cpu") -> Receipt:
    """Compute one shard of every feature set and commit it.

    Bins that are N throughout take the set's pad row: the extractor has seen that sequence once already.

    Parameters
    ----------
    device
        What it is computed on, for the record.
    """
    started = time.perf_counter()
    fasta, store, feature_sets = _opened(job)
    layouts = {item.name: ContigLayout(item, store.assembly.lengths[task.contig]) for item in feature_sets}
    values = {name: np.empty((task.n_bins, layout.shape[2]), dtype=np.float16) for name, layout in layouts.items()}
    grid = next(iter(layouts.values())).feature_set.grid
    calls = 0
    for first in range(task.first, task.end, extractor.batch_size):
        end = min(first + extractor.batch_size, task.end)
        sequences = bin_sequences(fasta, task.contig, grid, task.phase, first, end, extractor.input_length)
        rows = np.arange(first, end) - task.first
        unknown = is_unknown(sequences)
        known = rows[~unknown]
        if known.size:
            features = compute(extractor, np.ascontiguousarray(sequences[~unknown]))
            calls += 1
        for name, layout in layouts.items():
            values[name][rows[unknown]] = layout.feature_set.pad
            if known.size:
                with np.errstate(over="ignore"):  # a value too large becomes infinite, which the writer refuses
                    values[name][known] = features[name]
    origin = Origin(
        run=job.run,
        device=device,
        seconds=time.perf_counter() - started,
        versions=_versions(),
    )
    commits = [
        write_shard(
            store.objects,
            layout,
            values[name],
            contig=task.contig,
            phase=task.phase,
            shard=task.shard,
            origin=origin,
        )
        for name, layout in layouts.items()
    ]
    return Receipt(
        task=task,
        seconds=time.perf_counter() - started,
        extractor_calls=calls,
        bytes=sum(commit.size for commit in commits),
    )


def pad_rows_on_worker() -> dict[str, list[float]]:
    """`pad_rows` with the worker's own extractor."""
    return pad_rows(_plugin()[0])


def build_shard_on_worker(task: ShardTask, job: Job) -> Receipt:
    """`build_shard` with the worker's own extractor."""
    extractor, device = _plugin()
    return build_shard(extractor, task, job, device=device)


def _plugin() -> tuple[Extractor, str]:
    plugin = get_worker().plugins[_PLUGIN]
    assert isinstance(plugin, ExtractorPlugin)
    assert plugin.extractor is not None
    return plugin.extractor, plugin.device


@lru_cache(maxsize=1)
def _opened(job: Job) -> tuple[Fasta, Store, tuple[FeatureSet, ...]]:
    """Open what every task of a job reads, once: a set of 21,907 channels is described in more than a megabyte."""
    store = open_store(job.store_url, storage_options=dict(job.storage_options))
    return Fasta(job.fasta), store, tuple(store.feature_set(name) for name in job.feature_sets)


def gpu_count() -> int:
    """Count the GPUs that torch sees; 0 where there is no torch."""
    try:
        import torch
    except ModuleNotFoundError:
        return 0
    return int(torch.cuda.device_count())


def _device_name(device: str) -> str:
    """Name what `device` stands for: the GPU's model, or the processor's kind."""
    if device == "cpu" or not gpu_count():
        return f"cpu {platform.machine()}"
    import torch

    return str(torch.cuda.get_device_name(None if device == "auto" else device))


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("genomic-featurestore", "numpy", "zarr", "numcodecs", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
