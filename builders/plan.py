"""Dry run of a build: its shards, bins, bytes and hours. Computes and writes nothing.

Belongs here: the task list, pure but for listing commit records. Does not: running it (`builders.run`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from builders.execution.source_spec import SourceSpec, assembly_of, describe_source
from builders.execution.tasks import ShardTask
from builders.request import BuildRequest
from builders.source import Source, notes_of
from catalog import Assembly, Channel, FeatureSet, Grid
from catalog.value_type import Dtype, value_type
from featurestore import ContigLayout, StorageOptions, Store, last_run_speed, open_store
from featurestore.format import layout

DEFAULT_SHARD_BINS = 16_384
"""67 Mbp of the default bins: of the order of a minute for a motif scan on a core, or for Sei on a large GPU."""
_DEFAULT_SHARD_BASES = DEFAULT_SHARD_BINS * 4096
_DEFAULT_SHARD_BYTES = 64 << 20
"""Three shards are in the memory of each worker."""

GENES, GENE_BP = 18_377, 2_000
"""Genes of the benchmark of Xpresso, EPInformer, Seq2Exp and Prism, and the bases around each start site that Prism
reads: what small bins of whole contigs are compared with."""
_LARGEST_SMALL_BIN = 256
_SMALL_STORE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The shards of a build, and those of them that are still to be built."""

    feature_sets: tuple[FeatureSet, ...]
    tasks: tuple[ShardTask, ...]
    todo: tuple[ShardTask, ...]
    flops_per_bin: float
    measured_speed: float = 0.0
    """Of the last run that built these feature sets in this store, all workers (bins/s); 0 if none did."""
    notes: tuple[str, ...] = ()
    """Sentences on letters of the genome that are read as others."""
    source_notes: tuple[str, ...] = ()
    """Sentences of the source on what it lacks, and its licence."""

    @property
    def n_bins(self) -> int:
        """Bins of all shards."""
        return sum(task.n_bins for task in self.tasks)

    @property
    def bins_todo(self) -> int:
        """Bins of the shards still to be built."""
        return sum(task.n_bins for task in self.todo)

    @property
    def bytes(self) -> int:
        """Size of all values before compression (bytes): the store is not larger."""
        return self.n_bins * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return sum(len(item.channels) * item.value_type.item_bytes for item in self.feature_sets)

    @property
    def objects(self) -> int:
        """Objects that the whole build writes: shards, records, and metadata of groups and arrays (a seal adds one)."""
        contigs = len({task.contig for task in self.tasks})
        return len(self.feature_sets) * (2 * len(self.tasks) + 2 * contigs + 6) + 2

    def anchored_bytes(self, *, genes: int = GENES, gene_bp: int = GENE_BP) -> int:
        """Size of the same features in windows around genes only, before compression (bytes)."""
        return genes * -(-gene_bp // self.feature_sets[0].bin_size) * self._row_bytes

    def anchored_advice(self) -> str | None:
        """Compare small bins of whole contigs with windows around genes, and recommend one; None for large bins."""
        item = self.feature_sets[0]
        if item.bin_size > _LARGEST_SMALL_BIN:
            return None
        anchored = self.anchored_bytes()
        beside = f"windows of {GENE_BP:,} bp around {GENES:,} genes are {anchored:,} bytes, at most: "
        if self.bytes <= _SMALL_STORE_BYTES or self.bytes <= 4 * anchored:
            return f"{beside}recommended are whole contigs, which serve windows of any length anywhere"
        n_bins = GENE_BP // item.bin_size // 2 * 2 + 1
        return (
            f"{beside}recommended for models that read near genes alone (anchored, {n_bins:,} bins around each start "
            "site); whole contigs for windows of other lengths and places"
        )

    def hours(self, bins_per_second: float) -> float:
        """Time that the shards still to be built take at a given speed (hours)."""
        return self.bins_todo / bins_per_second / 3600

    def to_json(self) -> dict[str, object]:
        """Give the figures as plain JSON."""
        return {
            "feature_sets": {item.name: len(item.channels) for item in self.feature_sets},
            "bin_size": self.feature_sets[0].bin_size,
            "offsets": list(self.feature_sets[0].offsets),
            "shards": len(self.tasks),
            "shards_todo": len(self.todo),
            "bins": self.n_bins,
            "bins_todo": self.bins_todo,
            "bytes": self.bytes,
            "anchored_bytes": self.anchored_bytes(),
            "objects": self.objects,
            "flops": self.n_bins * self.flops_per_bin,
            "flops_todo": self.bins_todo * self.flops_per_bin,
            "notes": list(self.notes),
            "source_notes": list(self.source_notes),
        }


def describe(
    source: Source,
    grid: Grid,
    *,
    pads: Mapping[str, Sequence[float]] | None = None,
    shard_bins: int | None = None,
    dtype: Dtype = "float16",
) -> tuple[FeatureSet, ...]:
    """Describe the feature sets that a source writes on a grid.

    Parameters
    ----------
    pads
        The source's pad row of each set; zeros stand in where only sizes matter.
    shard_bins
        Bins a shard at the most, None for `default_shard_bins`; rounded so that the sets of one pass share their
        shards.
    dtype
        Of the values: `float16`, `float32` or `uint8`.
    """
    item_bytes = value_type(dtype).item_bytes
    widths = [len(channels) for channels in source.channels.values()]
    wanted = default_shard_bins(source, grid.bin_size, max(widths) * item_bytes) if shard_bins is None else shard_bins
    if wanted < 1:
        raise ValueError(f"a shard has at least 1 bin, got shard_bins={wanted}")
    sizes = {width: layout.chunk_bins(width, item_bytes, bin_size=grid.bin_size, most=wanted) for width in widths}
    shards = [layout.shard_bins(width, wanted, item_bytes, bin_size=grid.bin_size) for width in widths]
    coarsest = max(sizes.values())
    common = max(coarsest, min(shards) // coarsest * coarsest)
    return tuple(
        FeatureSet(
            name=name,
            extractor=source.name,
            fingerprint=source.fingerprint,
            channels=channels,
            bin_size=grid.bin_size,
            offsets=grid.offsets,
            pad=_pad(channels, pads[name], dtype) if pads is not None else (0.0,) * len(channels),
            chunk_bins=sizes[len(channels)],
            shard_bins=common,
            dtype=dtype,
            licence=source.licence,
            citation=source.citation,
            options=source.options,
        )
        for name, channels in source.channels.items()
    )


def default_shard_bins(source: Source, bin_size: int, row_bytes: int) -> int:
    """Choose the bins of a shard.

    The work of a network goes with its bins: 16,384. That of another source goes with the bases: 67 Mbp of them, but
    no more small bins than have 64 MB of values, `row_bytes` each.
    """
    if source.flops_per_bin:
        return DEFAULT_SHARD_BINS
    return max(DEFAULT_SHARD_BINS, min(_DEFAULT_SHARD_BASES // bin_size, _DEFAULT_SHARD_BYTES // row_bytes))


def _pad(channels: Sequence[Channel], values: Sequence[float], dtype: Dtype) -> tuple[float, ...]:
    """Give the pad row as the set stores it."""
    names = [channel.name for channel in channels]
    stored = value_type(dtype).encode(np.asarray([values]), where="the row for no data", channels=names)
    return tuple(stored[0].tolist())


def plan_build(store_url: str, request: BuildRequest) -> BuildPlan:
    """Plan the build that `builders.run.run_build` would carry out; computes and writes nothing.

    The store need not exist. One that does must be of the same assembly and source (AssemblyMismatch,
    FingerprintMismatch), and what it has is not planned again.
    """
    spec = describe_source(request, assembly=assembly_of(store_url, request))
    with closing(spec.make()) as source:
        return _planned(store_url, request, source, spec)


def _planned(store_url: str, request: BuildRequest, source: Source, spec: SourceSpec) -> BuildPlan:
    assembly = spec.assembly
    chosen = chosen_contigs(assembly, request.contigs)
    grid = Grid(bin_size=request.bin_size, offsets=request.offsets)
    described = describe(source, grid, shard_bins=request.shard_bins, dtype=request.dtype)
    store = existing_store(store_url, assembly, described, storage_options=request.storage_options)
    known = set(store.feature_sets()) if store is not None else set()
    if store is not None:
        described = tuple(store.agreed(item) if item.name in known else item for item in described)
    made = make_plan(
        described, assembly, chosen, offsets=request.offsets, store=store, flops_per_bin=source.flops_per_bin
    )
    is_known = store is not None and described[0].name in known
    speed = last_run_speed(store, described[0].name) if store is not None and is_known else 0.0
    return replace(made, measured_speed=speed, notes=spec.notes, source_notes=notes_of(source))


def chosen_contigs(assembly: Assembly, contigs: Sequence[str] | None) -> list[str]:
    """Give the assembly's own names of the contigs to build, each once; all where none are named.

    Raises
    ------
    UnknownContig
        If the assembly has no such contig.
    ValueError
        If the name of one is too long for a store.
    """
    chosen = list(dict.fromkeys(map(assembly.resolve, contigs))) if contigs else list(assembly.lengths)
    layout.require_contig_keys(chosen)
    return chosen


def existing_store(
    url: str,
    assembly: Assembly,
    feature_sets: Sequence[FeatureSet],
    *,
    storage_options: StorageOptions | None = None,
) -> Store | None:
    """Open the store if it is there, and refuse to add to it what does not belong."""
    try:
        store = open_store(url, storage_options=storage_options)
    except FileNotFoundError:
        return None
    store.require_assembly(assembly)
    known = set(store.feature_sets())
    for item in feature_sets:
        if item.name in known:
            store.agreed(item)
    return store


def make_plan(
    feature_sets: Sequence[FeatureSet],
    assembly: Assembly,
    contigs: Iterable[str],
    *,
    offsets: Sequence[int],
    store: Store | None = None,
    flops_per_bin: float = 0.0,
) -> BuildPlan:
    """List the shards of some feature sets on some contigs.

    Parameters
    ----------
    feature_sets
        Those that one source writes; they share their phases and shards.
    offsets
        Phases to build (bp); the sets may have more.
    store
        Whose commit records say what is done already; None where there is no store yet.
    """
    done = [store.commits(item.name).shards() if store is not None else {} for item in feature_sets]
    tasks: list[ShardTask] = []
    todo: list[ShardTask] = []
    for contig in contigs:
        key = layout.contig_key(contig)
        shape = ContigLayout(feature_sets[0], assembly.lengths[contig])
        for phase in (phase for phase, offset in enumerate(feature_sets[0].offsets) if offset in offsets):
            for shard in range(shape.n_shards(phase)):
                task = ShardTask(contig, phase, shard, *shape.shard_span(phase, shard))
                tasks.append(task)
                if not all((phase, shard) in shards.get(key, set()) for shards in done):
                    todo.append(task)
    return BuildPlan(tuple(feature_sets), tuple(tasks), tuple(todo), flops_per_bin)
