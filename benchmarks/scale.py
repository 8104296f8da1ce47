"""Stores of many genomes, on paper and by simulation: size, cost of a build, reads of an epoch, 1,000 workers.

    python benchmarks/scale.py        # writes benchmarks/results/scale.json and the tables of docs/scale.md

Counts come from the layout that a store has (`featurestore.format.layout`, `builders.plan`), speeds from what was
measured (`benchmarks/results`). Prices are assumptions, given here.
"""

import heapq
import json
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.plan import BuildPlan, make_plan
from catalog import Assembly, Channel, Contig, FeatureSet
from catalog.assembly import sha512t24u
from featurestore.format.layout import chunk_bins, shard_bins

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "scale.md"
# Lengths of chr1-22, X and Y of GRCh38 (bp): UCSC's hg38.chrom.sizes.
HG38 = (
    *(248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636),
    *(138394717, 133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345),
    *(83257441, 80373285, 58617616, 64444167, 46709983, 50818468, 156040895, 57227415),
)
SETS = {"40 channels": 40, "21,907 channels": 21907}
OFFSETS = (0, 2048)
GENES = 19_338
"""Windows of an epoch: as many as MANE Select v1.4 has transcripts, at random places."""
N_BINS = 251
GPU_HOUR = 3.0
"""Price of an hour of one H100 (dollars): an assumption, put your own."""
GB_MONTH, THOUSAND_GETS = 0.023, 0.0004
"""List prices of S3 Standard in us-east-1 (dollars): https://aws.amazon.com/s3/pricing/."""
GETS_PER_PREFIX = 5500
"""GET a second that S3 gives each prefix: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html."""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What one reader asks of an object store in an epoch."""

    requests: int
    """One a chunk of each window, and one a shard for its index."""
    bytes: int
    """Before compression."""
    distinct_chunks: int
    """Chunks that a mirror on the local disk fetches, once."""
    distinct_bytes: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """A simulated build."""

    hours: float
    ideal_hours: float
    """All bins, over all workers."""
    executions: int
    tasks: int
    scheduler_share: float
    """Part of the time that the scheduler is busy."""


def genome() -> Assembly:
    """Make an assembly with the lengths of GRCh38; its digests are of the names, since there is no sequence."""
    names = [f"chr{number}" for number in (*range(1, 23), "X", "Y")]
    digests = ["SQ." + sha512t24u(name.encode()) for name in names]
    contigs = [
        Contig(name=name, length=length, digest=digest)
        for name, length, digest in zip(names, HG38, digests, strict=True)
    ]
    return Assembly.of("hg38-lengths", tuple(contigs))


def features(n_channels: int, *, wanted_shard_bins: int = 16384) -> FeatureSet:
    """Describe a set in bins of 4,096 bp, laid out as a build lays it out."""
    return FeatureSet(
        name="set",
        extractor="sei",
        fingerprint="scale",
        channels=tuple(Channel(name=str(index)) for index in range(n_channels)),
        bin_size=4096,
        offsets=OFFSETS,
        pad=(0.0,) * n_channels,
        chunk_bins=chunk_bins(n_channels),
        shard_bins=shard_bins(n_channels, wanted_shard_bins),
    )


def plan_of(feature_set: FeatureSet) -> BuildPlan:
    """Plan its build, as `featurestore plan` does."""
    assembly = genome()
    return make_plan([feature_set], assembly, list(assembly.lengths), offsets=feature_set.offsets)


def epoch_reads(feature_set: FeatureSet, *, windows: int = GENES, n_bins: int = N_BINS, seed: int = 0) -> Reads:
    """Count what an epoch of windows reads, at places drawn evenly over the genome."""
    lengths = np.asarray(HG38)
    rng = np.random.default_rng(seed)
    contigs = rng.choice(len(lengths), size=windows, p=lengths / lengths.sum())
    placed = feature_set.grid.place(rng.integers(0, lengths[contigs]), n_bins)
    rows = np.asarray(
        [[feature_set.grid.n_bins(int(length), phase) for length in lengths] for phase in range(len(OFFSETS))]
    )
    first = np.maximum(placed.first_bins, 0) // feature_set.chunk_bins
    last = (np.minimum(placed.first_bins + n_bins, rows[placed.phases, contigs]) - 1) // feature_set.chunk_bins
    touched = [
        (contig, phase, chunk)
        for contig, phase, low, high in zip(
            contigs.tolist(), placed.phases.tolist(), first.tolist(), last.tolist(), strict=True
        )
        for chunk in range(low, high + 1)
    ]
    chunk_bytes = feature_set.chunk_bins * len(feature_set.channels) * feature_set.value_type.item_bytes
    chunks_a_shard = feature_set.shard_bins // feature_set.chunk_bins
    distinct = set(touched)
    shards = {(contig, phase, chunk // chunks_a_shard) for contig, phase, chunk in distinct}
    return Reads(
        requests=len(touched) + len(shards),
        bytes=len(touched) * chunk_bytes,
        distinct_chunks=len(distinct),
        distinct_bytes=len(distinct) * chunk_bytes,
        shards=len(shards),
    )


def simulate_build(
    bins: list[int],
    *,
    workers: int,
    bins_per_second: float,
    scheduler_s: float,
    deaths_per_hour: float = 0.0,
    restart_s: float = 60.0,
    seed: int = 0,
) -> Run:
    """Simulate a build: a scheduler hands out a shard at a time; a worker that dies starts again, as does its shard.

    Parameters
    ----------
    bins
        Bins of each shard.
    scheduler_s
        Scheduler's own time a shard (s).
    deaths_per_hour
        Of each worker, at random.
    """
    rng = np.random.default_rng(seed)
    waiting = deque(sorted(bins, reverse=True))
    free = [(0.0, worker) for worker in range(workers)]
    returned: list[tuple[float, int]] = []
    scheduler_free, end, executions = 0.0, 0.0, 0
    while waiting or returned:
        now, worker = heapq.heappop(free)
        while returned and (returned[0][0] <= now or not waiting):
            when, size = heapq.heappop(returned)
            now = max(now, when)
            waiting.appendleft(size)
        size = waiting.popleft()
        scheduler_free = max(now, scheduler_free) + scheduler_s
        needed = size / bins_per_second
        survived = rng.exponential(3600 / deaths_per_hour) if deaths_per_hour else np.inf
        executions += 1
        if survived < needed:
            heapq.heappush(returned, (scheduler_free + survived, size))
            heapq.heappush(free, (scheduler_free + survived + restart_s, worker))
            continue
        end = max(end, scheduler_free + needed)
        heapq.heappush(free, (scheduler_free + needed, worker))
    return Run(
        hours=end / 3600,
        ideal_hours=sum(bins) / bins_per_second / workers / 3600,
        executions=executions,
        tasks=len(bins),
        scheduler_share=executions * scheduler_s / end,
    )


def sei_speed() -> float:
    """Bins a second of Sei on one H100 in bf16, as measured."""
    rows = json.loads((RESULTS / "sei_forward_cuda.json").read_text())["rows"]
    return next(float(row["bins_per_s"]) for row in rows if row["name"] == "ours" and row["precision"] == "bf16")


def scheduler_time() -> float:
    """Dask's own time a shard (s), as measured."""
    return float(json.loads((RESULTS / "build.json").read_text())["rows"]["dask"]["ms"]) / 1000


def tables() -> str:
    """Write the tables of the page."""
    return "\n\n".join((_stores(), _builds(), _reads(), _workers()))


def _table(header: str, rows: list[str]) -> str:
    return "\n".join((header, "|" + "---|" * (header.count("|") - 1), *rows))


def _size(n_bytes: float) -> str:
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:,.1f} {unit}"
    return f"{n_bytes / 1e6:,.0f} MB"


def _stores() -> str:
    rows = []
    for name, n_channels in SETS.items():
        plan = plan_of(features(n_channels))
        for count in (1, 100, 1000):
            size = plan.bytes * count
            what = f"{count:,} genome{'s' if count > 1 else ''}"
            month = f"${size / 1e9 * GB_MONTH:,.3f}"
            rows.append(
                f"| {name} | {what} | {plan.n_bins * count:,} | {_size(size)} | {plan.objects * count:,} | {month} |"
            )
    return _table("| features | stores of | bins | before compression | objects | S3 a month |", rows)


def _builds() -> str:
    plan, speed = plan_of(features(40)), sei_speed()
    rows = []
    for count in (1, 100, 1000):
        hours = plan.n_bins * count / speed / 3600
        rows.append(f"| {count:,} | {plan.n_bins * count:,} | {hours:,.2f} | ${hours * GPU_HOUR:,.2f} |")
    return _table("| genomes | bins | H100 hours | dollars |", rows)


def _reads() -> str:
    rows = []
    for name, n_channels in SETS.items():
        reads = epoch_reads(features(n_channels))
        for readers in (1, 1000):
            gets = reads.requests * readers
            rows.append(
                f"| {name} | {readers:,} | {gets:,} | {_size(reads.bytes * readers)} | "
                f"${gets / 1000 * THOUSAND_GETS:,.2f} | "
                f"{gets / GETS_PER_PREFIX:,.0f} s | {_size(reads.distinct_bytes)} |"
            )
    header = "| features | readers | GET an epoch | bytes | dollars | at 5,500 GET/s | a mirror holds, each |"
    return _table(header, rows)


def _workers() -> str:
    rows = []
    cases = (("1 genome", 1, 16384), ("1 genome, --shard-bins 512", 1, 512), ("1,000 genomes", 1000, 16384))
    for name, count, wanted in cases:
        bins = [task.n_bins for task in plan_of(features(40, wanted_shard_bins=wanted)).tasks] * count
        for deaths in (0.0, 0.5):
            run = simulate_build(
                bins, workers=1000, bins_per_second=sei_speed(), scheduler_s=scheduler_time(), deaths_per_hour=deaths
            )
            rows.append(
                f"| {name} | {run.tasks:,} | {deaths:g} | {run.hours * 3600:,.1f} s | "
                f"{run.ideal_hours / run.hours:.0%} | "
                f"{run.executions - run.tasks:,} | {run.scheduler_share:.0%} |"
            )
    header = "| build | shards | deaths a worker and hour | wall time | of ideal | shards done again | scheduler busy |"
    return _table(header, rows)


def with_tables(page: str) -> str:
    """Put the tables into the page, between their marks."""
    made = iter(tables().split("\n\n"))
    marked = r"<!-- table -->\n(?:\|.*\n|\n)*<!-- end -->"
    return re.sub(marked, lambda _: f"<!-- table -->\n\n{next(made)}\n\n<!-- end -->", page)


if __name__ == "__main__":
    counts = {name: vars(epoch_reads(features(n))) for name, n in SETS.items()}
    (RESULTS / "scale.json").write_text(json.dumps({"reads": counts, "sei_bins_per_s": sei_speed()}, indent=1) + "\n")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
