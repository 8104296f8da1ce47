"""Stores with overlays, built in this process with the work of a worker, for tests of personal genomes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.execution.shard import ShardBuilder
from builders.extractors.base import ExtractorOptions
from builders.overlays.request import OverlayRequest
from builders.overlays.run import OverlayPlan, declare_and_list, plan_overlay
from builders.plan import describe, make_plan
from builders.request import BuildRequest
from builders.run import start_job
from builders.source import pad_rows
from catalog import Channel, Grid
from featurestore import Store, create
from featurestore import open as open_store

SPELLED = "overlay_stores:SpelledExtractor"
SEEN = 10
"""Bases that it sees on either side of a bin (bp)."""
HEADER = '##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'


class SpelledExtractor:
    """Three numbers below 2,000 that depend on each base and its place; it sees more than the bin."""

    name = "spelled"
    flops_per_bin = 0.0
    batch_size = 64
    licence = "none needed"
    citation = ""
    options: dict[str, JsonValue] = {}  # noqa: RUF012  # as the protocol has it

    def __init__(self, options: ExtractorOptions) -> None:
        self.input_length = options.bin_size + 2 * SEEN
        self.fingerprint = hashlib.sha256(f"spelled {self.input_length}".encode()).hexdigest()

    @property
    def channels(self) -> dict[str, tuple[Channel, ...]]:
        return {"spelled": tuple(Channel(name=name) for name in "abc")}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {"spelled": spelled(sequence)}


def spelled(sequence: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The three numbers of each sequence, `(sequences, 3)`."""
    codes = np.zeros(256, dtype=np.int64)
    for code, letters in enumerate(("Aa", "Cc", "Gg", "Tt"), start=1):
        codes[list(letters.encode())] = code
    weights = np.random.default_rng(0).integers(1, 2000, (sequence.shape[1], 3))
    return (codes[sequence] @ weights % 2000).astype(np.float32)


def build_in_process(url: str, request: BuildRequest) -> Store:
    """Build a feature set as `run_build` does, without workers."""
    started = start_job(url, request, stage=lambda name: None)
    grid = Grid(bin_size=request.bin_size, offsets=request.offsets)
    pads = {name: row.tolist() for name, row in pad_rows(started.source).items()}
    store = create(url, started.job.source.assembly, storage_options=request.storage_options)
    described = describe(started.source, grid, pads=pads, shard_bins=request.shard_bins, dtype=request.dtype)
    contigs = list(store.assembly.lengths)
    agreed = [store.declare(item, contigs) for item in described]
    worker = ShardBuilder(started.job.source.make(), started.job)
    for task in make_plan(agreed, store.assembly, contigs, offsets=grid.offsets).tasks:
        worker.build(task)
    worker.source.close()
    return open_store(url, storage_options=request.storage_options)


def build_overlay_in_process(url: str, request: OverlayRequest, *, most_shards: int | None = None) -> OverlayPlan:
    """Build an overlay as `build_overlay` does, without workers; no more than some of its shards."""
    plan = plan_overlay(url, request)
    work = declare_and_list(plan)
    worker = ShardBuilder(plan.job.source.make(), plan.job)
    for task in list(work.todo)[:most_shards]:
        worker.build(task)
    worker.source.close()
    return plan


def spelled_store(url: str, fasta: Path, *, bin_size: int = 16, offsets: Sequence[int] = (0,)) -> Store:
    """Build the reference of a small genome."""
    request = BuildRequest(
        fasta=str(fasta), extractor=SPELLED, bin_size=bin_size, offsets=tuple(offsets), shard_bins=64, device="cpu"
    )
    return build_in_process(url, request)


def write_vcf(path: Path, lines: Sequence[str], samples: Sequence[str] = ("S",)) -> Path:
    """Write a VCF of `CONTIG POS REF ALT GT...` lines (POS from 1)."""
    rows = [line.split() for line in lines]
    contigs = "".join(f"##contig=<ID={name}>\n" for name in dict.fromkeys(row[0] for row in rows))
    columns = "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples])
    text = "\n".join("\t".join([*row[:2], ".", *row[2:4], ".", "PASS", ".", "GT", *row[4:]]) for row in rows)
    path.write_text(HEADER + contigs + columns + "\n" + text + "\n" * bool(rows))
    return path
