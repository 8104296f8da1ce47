"""The data that `benchmarks/read_windows.py` reads: feature stores and the same values as other tools keep them."""

import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import featurestore
from benchmarks.null_extractor import NullExtractor
from builders.source import checked
from catalog import Assembly, Channel, Contig, FeatureSet
from featurestore.format import layout
from featurestore.format.writer import Origin, write_shard

CONTIG = "chr1"
SET = "null"
BIN_SIZE = 16
"""Reading does not depend on it (bp); small, so that sequence costs nothing."""
WIDE_CHANNELS = 21_907
"""Profiles of Sei."""
SHARD_BINS = 16_384
_ORIGIN = Origin(run="benchmark", device="cpu", seconds=0.0, versions={})


@dataclass(frozen=True, slots=True)
class Made:
    """A store of one feature set on one contig and one phase, so that every tool sees one array."""

    path: Path
    feature_set: FeatureSet
    n_bins: int

    @property
    def array_path(self) -> Path:
        """Where plain zarr finds the array `(phase, bin, channel)`."""
        return self.path / layout.values_path(SET, CONTIG)

    def shard_paths(self) -> list[Path]:
        """Give the files of the shards, in order."""
        count = -(-self.n_bins // self.feature_set.shard_bins)
        return [self.path / layout.shard_key(SET, CONTIG, 0, shard) for shard in range(count)]


def narrow_store(path: Path, n_bins: int) -> Made:
    """Build a store of 40 channels in realistic shards, calling an extractor that costs nothing."""
    extractor = NullExtractor(BIN_SIZE)
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)

    def rows(count: int) -> NDArray[np.float16]:
        sequences = bases[rng.integers(0, 4, size=(count, BIN_SIZE))]
        return np.asarray(checked(extractor, extractor(sequences), count)[SET], dtype=np.float16)

    described = _described(
        extractor.channels[SET],
        extractor.fingerprint,
        extractor(np.full((1, BIN_SIZE), ord("N"), dtype=np.uint8))[SET][0].tolist(),
        SHARD_BINS,
    )
    shards = range(0, n_bins, SHARD_BINS)
    return _store(path, described, n_bins, (rows(min(SHARD_BINS, n_bins - first)) for first in shards))


def wide_store(path: Path, n_shards: int, wanted_bins: int) -> Made:
    """Build a store of 21,907 channels; every shard holds the same values, which are as smooth as the narrow ones."""
    shard_bins = layout.shard_bins(WIDE_CHANNELS, wanted_bins)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((shard_bins, WIDE_CHANNELS), dtype=np.float32) * 0.05
    np.cumsum(values, axis=0, out=values)
    values += rng.standard_normal(values.shape, dtype=np.float32) * 0.02
    channels = tuple(Channel(name=f"c{index}") for index in range(WIDE_CHANNELS))
    described = _described(channels, "wide", [0.0] * WIDE_CHANNELS, shard_bins)
    half = values.astype(np.float16)
    del values
    return _store(path, described, n_shards * shard_bins, (half for _ in range(n_shards)))


def hdf5_file(path: Path, values: NDArray[np.float16]) -> str:
    """Write the values as a chunked HDF5 dataset `values`, and say how they are compressed.

    Chunks are those of the store. Compression is zstd as there, if the plugin for it is installed, else gzip. There is
    no checksum, as in nearly all HDF5 files; the store has one in every chunk.
    """
    h5py, plugins = optional("h5py"), optional("hdf5plugin")
    assert h5py is not None
    # The level that zarr's own zstd takes by default.
    compression = plugins.Zstd(clevel=3) if plugins else {"compression": "gzip", "compression_opts": 1}
    with h5py.File(path, "w") as file:
        file.create_dataset("values", data=values, chunks=(256, values.shape[1]), **compression)
    return "zstd" if plugins else "gzip (hdf5plugin is absent)"


def optional(name: str) -> Any:
    """Import a module that may be absent: then None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def drop_from_page_cache(paths: Iterable[Path]) -> None:
    """Ask the kernel to forget the contents of some files, once they are on disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _described(channels: tuple[Channel, ...], fingerprint: str, pad: list[float], shard_bins: int) -> FeatureSet:
    return FeatureSet(
        name=SET,
        extractor=SET,
        fingerprint=fingerprint,
        channels=channels,
        bin_size=BIN_SIZE,
        offsets=(0,),
        pad=tuple(pad),
        chunk_bins=layout.chunk_bins(len(channels)),
        shard_bins=shard_bins,
    )


def _store(path: Path, feature_set: FeatureSet, n_bins: int, shards: Iterable[NDArray[np.float16]]) -> Made:
    contig = Contig(name=CONTIG, length=n_bins * BIN_SIZE, digest="SQ." + "A" * 32)
    store = featurestore.create(path, Assembly.of("benchmark", (contig,)))
    store.declare(feature_set, [CONTIG])
    placed = layout.ContigLayout(feature_set, contig.length)
    for shard, values in enumerate(shards):
        write_shard(store.objects, placed, values, contig=CONTIG, phase=0, shard=shard, origin=_ORIGIN)
    return Made(path, feature_set, n_bins)
