"""Anchored windows hold what the extractor says of each of their bins, whichever way a bin came to be known."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import featurestore
from builders.anchored.anchors import AnchorTask, plan_anchors, sources_of
from builders.anchored.run_anchors import build_anchors
from builders.execution.shard import collect
from builders.execution.tasks import Task
from builders.extractors.base import ExtractorOptions
from builders.extractors.source import ExtractorSource
from builders.plan import describe, make_plan
from builders.run import build
from builders.sequence import bases, scattered_sequences
from builders.source import compute
from builders.testing import CompositionExtractor
from catalog import Assembly, AssemblyMismatch, Channel, Fasta, FeatureSet, Grid, TableError
from catalog.genes.anchors import Anchor, in_order, read_anchors
from catalog.genes.table import read_genes
from featurestore import DamagedChunk, NotBuilt, Store, status_of, verify
from featurestore.anchored.declare import AnchorsMismatch, declare_anchored, read_anchored
from featurestore.anchored.layout import AnchorLayout, anchored_documents, describe_anchored
from featurestore.anchored.reader import AnchoredReader, UnknownAnchor, open_anchored
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.declarations import NotAStore
from featurestore.testing import ORIGIN, assembly_of, feature_set_of, random_sequences, write_fasta
from featurestore.upkeep.seal import seal

MANE = SHARED / "data" / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz"
COMPOSITION = "builders.testing:CompositionExtractor.from_options"
LENGTHS = {"chr1": 5003, "chr2": 640, "short": 5}
OPTIONS = ExtractorOptions(bin_size=16, device="cpu")
ANCHORS = [  # in the order that they are stored in
    Anchor("start", "chr1", 0, "+"),
    Anchor("near", "chr1", 1000),
    Anchor("nearer", "chr1", 1016, "-"),
    Anchor("nearest", "chr1", 1016, "+"),
    Anchor("odd", "chr1", 1021),
    Anchor("end", "chr2", 639, "-"),
    Anchor("all", "short", 2),
]
N_BINS = 11


def write_anchors(path: Path, anchors: Sequence[Anchor]) -> Path:
    rows = ["name\tcontig\tposition\tstrand", *("\t".join(map(str, anchor)) for anchor in anchors)]
    path.write_text("\n".join(rows) + "\n")
    return path


def by_hand(sequences: dict[str, str], anchor: Anchor, n_bins: int, bin_size: int = 16) -> list[list[int]]:
    """Count the bases of each bin of a window from the window's own sequence."""
    bases = sequences[anchor.contig].upper()
    first = anchor.centre - bin_size // 2 - n_bins // 2 * bin_size
    window = "".join(bases[p] if 0 <= p < len(bases) else "N" for p in range(first, first + n_bins * bin_size))
    bins = [window[start : start + bin_size] for start in range(0, len(window), bin_size)]
    return [[held.count(base) for base in "ACGTN"] for held in bins]


@pytest.fixture(scope="module")
def sequences() -> dict[str, str]:
    made = random_sequences(LENGTHS, seed=3)
    made["chr2"] = "n" * 200 + made["chr2"][200:].lower()
    return made


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory, sequences: dict[str, str]) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "tiny.fa", sequences)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_anchors(tmp_path_factory.mktemp("anchors") / "anchors.tsv", ANCHORS[::-1])


@pytest.fixture(scope="module")
def settings_of(fasta: Path, table: Path) -> dict[str, Any]:
    return {
        "anchors": table,
        "name": "some",
        "n_bins": N_BINS,
        "fasta": fasta,
        "extractor": COMPOSITION,
        "options": OPTIONS,
        "shard_anchors": 3,
        "workers": 1,
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, fasta: Path, settings_of: dict[str, Any]) -> Path:
    """A store with a grid on chr1, in two phases, and all anchors."""
    path = tmp_path_factory.mktemp("build") / "tiny.store"
    build(str(path), fasta=fasta, extractor=COMPOSITION, options=OPTIONS, offsets=(0, 8), contigs=["chr1"], workers=1)
    report = build_anchors(str(path), **settings_of)
    assert report.is_complete
    assert (report.planned, report.built, report.anchors) == (3, 3, 7)
    # A phase has a window in its place if the centre is 0 ("start", whose first 5 bins are outside) or 8 modulo 16.
    assert report.from_grid == N_BINS - 5 + 3 * N_BINS
    return path


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy.store"))


@pytest.fixture(scope="module")
def reader(built: Path) -> AnchoredReader:
    return open_anchored(featurestore.open(built), "composition", "some")


# What is built


class Counting(CompositionExtractor):
    """Remembers every sequence that it was asked for."""

    def __init__(self, bin_size: int) -> None:
        super().__init__(bin_size)
        self.seen: list[bytes] = []

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        self.seen += [row.tobytes() for row in sequence]
        return super().__call__(sequence)


def built_here(
    folder: Path,
    fasta: Path,
    anchors: Sequence[Anchor],
    *,
    n_bins: int,
    shard_anchors: int,
    offsets: tuple[int, ...],
    contigs: Sequence[str],
) -> tuple[Store, list[AnchorTask], Counting]:
    """Build a grid on some contigs, then anchors, in this process."""
    made = Counting(16)
    with Fasta(fasta) as genome:
        source = ExtractorSource(made, genome, bin_size=16)

        def do(task: Task) -> None:
            spans = task.spans(feature_sets[0])
            pad = {name: np.array(row) for name, row in pads.items()}
            pieces = compute(source, source.fetch(spans), pad) if spans else iter(())
            values = collect(pieces, feature_sets, sum(span.n_bins for span in spans))
            task.write(store, feature_sets, values, ORIGIN)

        assembly = Assembly.from_fasta(genome)
        store = featurestore.create(folder, assembly)
        pads = {"composition": (0.0, 0.0, 0.0, 0.0, 16.0), "length": (0.0,)}
        described = describe(made, Grid(bin_size=16, offsets=offsets), pads=pads, shard_bins=256)
        feature_sets = tuple(store.declare(item, contigs) for item in described)
        for shard in make_plan(feature_sets, assembly, contigs, offsets=offsets, store=store).tasks:
            do(shard)
        made.seen.clear()
        ordered = in_order(anchors, assembly)
        arrays = [
            declare_anchored(store, array, ordered)
            for array in describe_anchored(
                feature_sets, ordered, name="some", n_bins=n_bins, assembly=assembly.digest, shard_anchors=shard_anchors
            )
        ]
        tasks, todo = plan_anchors(store, arrays, ordered)
        assert todo == tasks
        for anchored in todo:
            do(anchored)
    return store, tasks, made


places = st.tuples(st.sampled_from(sorted(LENGTHS)), st.integers(0, 5002))


@given(
    st.lists(places, min_size=1, max_size=8, unique=True),
    st.integers(0, 12).map(lambda half: 2 * half + 1),
    st.integers(1, 5),
    st.lists(st.integers(0, 15), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(sorted(LENGTHS)), unique=True),
)
@settings(max_examples=40, deadline=None)
def test_every_bin_of_every_window_is_the_extractor_on_its_own_sequence(
    tmp_path_factory: pytest.TempPathFactory,
    sequences: dict[str, str],
    fasta: Path,
    where: list[tuple[str, int]],
    n_bins: int,
    shard_anchors: int,
    offsets: list[int],
    contigs: list[str],
) -> None:
    anchors = [Anchor(f"a{n}", contig, place % LENGTHS[contig]) for n, (contig, place) in enumerate(where)]
    store, tasks, made = built_here(
        tmp_path_factory.mktemp("s") / "s",
        fasta,
        anchors,
        n_bins=n_bins,
        shard_anchors=shard_anchors,
        offsets=tuple(offsets),
        contigs=contigs,
    )
    expected = [by_hand(sequences, anchor, n_bins) for anchor in anchors]
    names = [anchor.name for anchor in anchors]
    assert open_anchored(store, "composition", "some").windows(names).tolist() == expected
    lengths = open_anchored(store, "length", "some").windows(names)
    np.testing.assert_array_equal(lengths[..., 0], np.array(expected)[..., :4].sum(axis=-1))
    for task in tasks:
        sources = sources_of(task)
        ways = np.stack([sources.is_outside, sources.is_in_grid, sources.rows >= 0])
        assert (ways.sum(axis=0) == 1).all()
        assert len(set(zip(*sources.to_compute.tolist(), strict=True))) == sources.to_compute.shape[1]
    assert len(made.seen) <= sum(sources_of(task).to_compute.shape[1] for task in tasks)


def test_a_bin_is_computed_once_for_a_shard_and_not_at_all_if_the_grid_has_it(tmp_path: Path, fasta: Path) -> None:
    kwargs: dict[str, Any] = {"n_bins": 5, "shard_anchors": 9, "contigs": ["chr1"]}
    twins = [Anchor("a", "chr1", 1003), Anchor("b", "chr1", 1003 + 32), Anchor("c", "chr1", 1003)]
    _, (task,), made = built_here(tmp_path / "apart", fasta, twins, offsets=(0,), **kwargs)
    assert len(made.seen) == sources_of(task).to_compute.shape[1] == 5 + 2
    # The bins of these windows begin at 1003 - 8, 3 bp behind a multiple of 16: the phase of offset 13.
    _, (task,), made = built_here(tmp_path / "in grid", fasta, twins, offsets=(0, 13), **kwargs)
    assert made.seen == []
    assert sources_of(task).is_in_grid.all()
    key = layout.shard_key("composition@some", layout.ANCHORS, 0, 0)
    assert (tmp_path / "apart" / key).read_bytes() == (tmp_path / "in grid" / key).read_bytes()


@given(st.lists(st.integers(-40, 5020), min_size=1, max_size=20), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_sequences_from_scattered_starts_are_those_read_one_by_one(
    fasta: Path, starts: list[int], input_length: int
) -> None:
    ascending = np.array(sorted(starts))
    with Fasta(fasta) as genome:
        read = scattered_sequences(genome, "chr1", ascending, input_length)
        one_by_one = [bases(genome, "chr1", start, start + input_length) for start in ascending.tolist()]
    np.testing.assert_array_equal(read, one_by_one)


def test_building_again_does_nothing_and_a_lost_record_brings_back_its_shard_alone(
    built: Path, copied: Path, settings_of: dict[str, Any]
) -> None:
    again = build_anchors(str(copied), **settings_of)
    assert (again.planned, again.was_there, again.built, again.extractor_calls) == (3, 3, 0, 0)
    for name in ("composition", "length"):
        (copied / layout.commit_key(f"{name}@some", layout.ANCHORS, 0, 1)).unlink()
    with pytest.raises(NotBuilt, match="nearest to end"):
        open_anchored(featurestore.open(copied), "composition", "some").windows("nearest")
    mended = build_anchors(str(copied), **settings_of)
    assert (mended.built, mended.is_complete) == (1, True)
    for path in built.rglob("*"):
        if path.is_file() and "commits" not in path.parts:
            assert (copied / path.relative_to(built)).read_bytes() == path.read_bytes()


def test_a_store_needs_no_grid_to_have_anchors_and_may_get_one_later(
    tmp_path: Path, fasta: Path, sequences: dict[str, str], settings_of: dict[str, Any]
) -> None:
    url = str(tmp_path / "s")
    report = build_anchors(url, **settings_of | {"contigs": ["1"], "shard_anchors": None})
    assert (report.planned, report.anchors, report.from_grid, report.is_complete) == (1, 5, 0, True)
    # Windows of "nearer" and "nearest" are one, and that of "near" is one bin off; two more begin before base 0.
    assert (report.outside, report.shared) == (5, N_BINS + N_BINS - 1)
    assert report.computed == report.bins - report.outside - report.shared
    store = featurestore.open(url)
    assert store.contigs("composition") == []
    assert build(url, fasta=fasta, extractor=COMPOSITION, options=OPTIONS, offsets=(3,), workers=1).is_complete
    assert store.feature_set("composition").offsets == (0, 3)
    assert open_anchored(store, "composition", "some").windows("odd").tolist() == [by_hand(sequences, ANCHORS[4], 11)]


def test_a_poisoned_shard_is_reported_and_the_others_are_built(
    tmp_path: Path, table: Path, sequences: dict[str, str], settings_of: dict[str, Any]
) -> None:
    poisoned = sequences | {"short": "ACXGT"}
    fasta = write_fasta(tmp_path / "x.fa", poisoned)
    report = build_anchors(str(tmp_path / "s"), **settings_of | {"fasta": fasta})
    assert list(report.failed) == ["some shard 2 (anchors 6-6)"]
    assert "holds an X" in report.failed["some shard 2 (anchors 6-6)"]
    assert (report.built, report.is_complete) == (2, False)
    store = featurestore.open(tmp_path / "s")
    notes = [note.key for note in featurestore.FailureLog(store.objects, "composition@some")]
    assert notes == ["failures/composition@some/anchors/0-2.json"]
    reader = open_anchored(store, "composition", "some")
    assert reader.windows(["end"]).shape == (1, N_BINS, 5)
    with pytest.raises(NotBuilt, match=r"anchors all to all .*`featurestore build-anchors .* --name some --n-bins 11 "):
        reader.windows(["end", "all"])


# What is refused


@pytest.mark.parametrize(
    ("changed", "error", "mend"),
    [
        pytest.param({"n_bins": 5}, AnchorsMismatch, "another `name=`, or read windows of any", id="other bins"),
        pytest.param(
            {"contigs": ["chr1"]},
            AnchorsMismatch,
            "7 anchors, and this one has 5 on the contigs chosen; give "
            "the table and the contigs that they were begun with",
            id="other contigs",
        ),
        pytest.param({"n_bins": 250, "name": "even"}, ValueError, "got 250, take 251", id="even bins"),
        pytest.param({"n_bins": 0, "name": "none"}, ValueError, "got 0, take 1", id="no bins"),
        pytest.param({"name": "a@b"}, ValueError, "take letters, digits", id="name that is no folder"),
        pytest.param({"shard_anchors": 0}, ValueError, "at least 1 anchor", id="empty shards"),
        pytest.param({"scheduler": "tcp://x:1"}, ValueError, "not both", id="two sorts of workers"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    copied: Path, settings_of: dict[str, Any], changed: dict[str, Any], error: type[Exception], mend: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    with pytest.raises(error, match=mend):
        build_anchors(str(copied), **settings_of | changed)
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_of_two_builders_with_different_tables_one_is_refused(tmp_path: Path) -> None:
    assembly = assembly_of({"c": "ACGT" * 50})
    store = featurestore.create(tmp_path / "s", assembly)
    described = store.declare(feature_set_of(Grid(bin_size=16)), ())

    def laid_out(anchors: Sequence[Anchor]) -> AnchorLayout:
        (array,) = describe_anchored(
            [described], anchors, name="some", n_bins=3, assembly=assembly.digest, shard_anchors=1
        )
        return array

    mine, theirs = [Anchor("a", "c", 3)], [Anchor("b", "c", 5)]
    # They have begun, and only their first object is there.
    first = f"{laid_out(theirs).path}/values/zarr.json"
    store.objects.create(first, anchored_documents(laid_out(theirs), theirs)[first])
    with pytest.raises(AnchorsMismatch, match="another `name=`"):
        declare_anchored(store, laid_out(mine), mine)
    assert declare_anchored(store, laid_out(theirs), theirs) == laid_out(theirs)
    assert open_anchored(store, "demo", "some").anchors == theirs


def test_the_shards_that_are_there_keep_their_size(copied: Path, settings_of: dict[str, Any]) -> None:
    (copied / layout.commit_key("length@some", layout.ANCHORS, 0, 1)).unlink()
    report = build_anchors(str(copied), **settings_of | {"shard_anchors": 2})
    assert (report.planned, report.built) == (3, 1)


def test_no_feature_set_can_have_the_name_of_an_anchored_array() -> None:
    with pytest.raises(ValueError, match="pattern"):
        feature_set_of(Grid(), name=str(ArrayKey("demo", "mane")))


# What is read


@given(st.lists(st.sampled_from([anchor.name for anchor in ANCHORS]), max_size=9), st.sampled_from([1, 3, 7, 11]))
@settings(deadline=None)
def test_a_smaller_window_is_the_middle_of_a_larger_one(
    reader: AnchoredReader, sequences: dict[str, str], names: list[str], n_bins: int
) -> None:
    found = reader.windows(names, n_bins)
    assert found.shape == (len(names), n_bins, 5)
    assert found.dtype == np.float16
    anchors = {anchor.name: anchor for anchor in ANCHORS}
    assert found.tolist() == [by_hand(sequences, anchors[name], n_bins) for name in names]


def test_windows_are_those_of_the_grid_where_a_phase_has_the_anchor_in_the_middle(
    built: Path, reader: AnchoredReader
) -> None:
    names = ["start", "near", "nearer", "nearest", "odd"]
    chosen = [anchor for anchor in reader.anchors if anchor.name in names]
    grid = featurestore.open(built)["composition"].windows("chr1", [anchor.centre for anchor in chosen], 5)
    exact = np.flatnonzero(grid.residuals == 0)
    assert len(exact) == 4
    for number in exact:
        np.testing.assert_array_equal(reader.windows(chosen[number].name, 5)[0], grid.values[number])


def test_the_table_comes_back_in_the_order_of_the_assembly(reader: AnchoredReader) -> None:
    assert reader.anchors == ANCHORS
    assert reader.names[:2] == ["start", "near"]
    assert reader.contigs[-1] == "short"
    assert reader.centres.tolist() == [anchor.centre for anchor in ANCHORS]
    assert reader.n_bins == N_BINS


def test_xarray_opens_an_anchored_array_with_its_coordinates(built: Path, reader: AnchoredReader) -> None:
    opened = xr.open_zarr(built, group="anchored/composition/some", consolidated=False)
    assert {"anchor", "contig", "centre", "strand", "bin", "channel"} == set(opened.coords)
    assert opened["values"].dims == ("anchor", "bin", "channel")
    assert opened["strand"].values.tolist() == [anchor.strand for anchor in ANCHORS]
    assert opened["bin"].values.tolist() == list(range(-8 - 5 * 16, 5 * 16, 16))
    np.testing.assert_array_equal(opened["values"].sel(anchor="odd").values, reader.windows("odd")[0])
    assert list(zarr.open_group(built, path="anchored/composition", mode="r").group_keys()) == ["some"]


def test_windows_that_cannot_be_read_are_refused(reader: AnchoredReader, built: Path) -> None:
    with pytest.raises(UnknownAnchor, match=r"no anchor TP53; it has start, near, .*"):
        reader.windows(["near", "TP53"])
    for n_bins in (4, 13, -1):
        with pytest.raises(
            ValueError, match=f"odd number of bins, at most 11; got {n_bins}; read others from the grid"
        ):
            reader.windows("near", n_bins)
    with pytest.raises(NotBuilt, match=r"no anchors 'mane' for 'length'; it has some\. `featurestore build-anchors"):
        open_anchored(featurestore.open(built), "length", "mane")
    with pytest.raises(NotBuilt, match="no feature set 'classes'"):
        open_anchored(featurestore.open(built), "classes", "some")


def test_a_sealed_store_stays_so_until_anchors_are_added(copied: Path, settings_of: dict[str, Any]) -> None:
    store = featurestore.open(copied)
    seal(store)
    assert build_anchors(str(copied), **settings_of).built == 0
    assert store.manifest() is not None
    assert build_anchors(str(copied), **settings_of | {"name": "new", "contigs": ["short"]}).built == 1
    assert store.manifest() is None
    found = verify(store, crc=True)
    assert (found.faults, found.missing, found.orphans, found.strangers) == ([], 0, [], [])
    assert open_anchored(store, "length", "new").windows("all").shape == (1, N_BINS, 1)


def test_a_copy_brings_anchored_arrays_along(copied: Path, tmp_path: Path) -> None:
    store = featurestore.open(copied)
    report = featurestore.copy(copied, tmp_path / "b")
    assert report.is_complete
    assert featurestore.copy(tmp_path / "b", tmp_path / "c").copied == report.copied
    assert featurestore.copy(copied, tmp_path / "c").copied == 0
    hashes = {seal(featurestore.open(path)).manifest.top_hash for path in (copied, tmp_path / "b", tmp_path / "c")}
    assert len(hashes) == 1
    here, there = (
        open_anchored(featurestore.open(path), "composition", "some") for path in (store.url, tmp_path / "c")
    )
    np.testing.assert_array_equal(there.windows(there.names), here.windows(here.names))


def test_status_counts_anchored_arrays(copied: Path) -> None:
    store = featurestore.open(copied)
    (copied / layout.commit_key("length@some", layout.ANCHORS, 0, 1)).unlink()
    rows = [row for row in status_of(store).phases if row.contig == layout.ANCHORS]
    shown = [(row.feature_set, row.shards, row.committed, row.bins) for row in rows]
    assert shown == [("composition@some", 3, 3, 7 * N_BINS), ("length@some", 3, 2, 4 * N_BINS)]
    assert not status_of(store).is_complete


def test_a_damaged_shard_is_never_read_as_features(copied: Path) -> None:
    shard = copied / layout.shard_key("composition@some", layout.ANCHORS, 0, 1)
    data = bytearray(shard.read_bytes())
    data[7] ^= 1
    shard.write_bytes(data)
    store = featurestore.open(copied)
    with pytest.raises(DamagedChunk, match="verify"):
        open_anchored(store, "composition", "some").windows(["nearest", "odd", "end"])
    shard.unlink()
    with pytest.raises(DamagedChunk, match="verify"):
        open_anchored(store, "composition", "some").windows(["nearest", "odd", "end"])
    assert open_anchored(store, "composition", "some").windows(["near"]).shape == (1, N_BINS, 5)


@pytest.mark.parametrize("column", ["anchor", "contig", "centre", "strand"])
def test_a_damaged_table_is_refused_and_building_again_mends_it(
    built: Path, copied: Path, settings_of: dict[str, Any], column: str
) -> None:
    folder = copied / "anchored" / "length" / "some"
    chunk = folder / column / "c" / "0"
    for damaged in (None, chunk.read_bytes()[:-3]):
        chunk.unlink()
        if damaged is not None:
            chunk.write_bytes(damaged)
        with pytest.raises(DamagedChunk, match="damaged table of anchors; `featurestore build-anchors"):
            open_anchored(featurestore.open(copied), "length", "some")
        assert build_anchors(str(copied), **settings_of).built == 0
        assert open_anchored(featurestore.open(copied), "length", "some").anchors == ANCHORS


def test_one_of_two_descriptions_is_enough_and_without_both_there_is_an_error(copied: Path) -> None:
    store = featurestore.open(copied)
    group, values = ("anchored/length/some/zarr.json", "anchored/length/some/values/zarr.json")
    whole = read_anchored(store, "length", "some")
    text = (copied / group).read_text()
    (copied / group).write_text(text.replace('"n_bins": 11', '"n_bins": 13'))
    assert read_anchored(store, "length", "some") == whole
    (copied / values).write_text("{")
    with pytest.raises(NotAStore, match=r"put zarr.json or values/zarr.json of a copy there"):
        read_anchored(store, "length", "some")


# How it is laid out


@given(st.integers(1, 30_000), st.integers(0, 300).map(lambda half: 2 * half + 1), st.integers(1, 100))
def test_chunks_and_shards_keep_to_their_sizes(n_channels: int, n_bins: int, shard_anchors: int) -> None:
    wide = feature_set_of(Grid(), n_channels=1).model_copy(
        update={"channels": (Channel(name="c"),) * n_channels, "pad": (0.0,) * n_channels}
    )
    anchors = [Anchor(str(number), "c", number) for number in range(20)]
    (array,) = describe_anchored([wide], anchors, name="some", n_bins=n_bins, assembly="", shard_anchors=shard_anchors)
    chunk, shard = array.chunk_shape, array.shard_shape
    assert chunk[0] == 1
    assert 2 * chunk[1] * chunk[2] <= 512 << 10
    assert shard[1] % chunk[1] == 0
    assert n_bins <= shard[1] < n_bins + shard[1] // chunk[1] + chunk[1]
    assert shard[0] <= shard_anchors
    assert shard[0] == 1 or 2 * shard[0] * shard[1] * shard[2] <= 256 << 20
    spans = [array.anchor_span(number) for number in range(array.n_shards)]
    assert [anchor for span in spans for anchor in range(*span)] == list(range(20))


def test_feature_sets_of_one_pass_share_their_shards() -> None:
    def of_width(n_channels: int) -> FeatureSet:
        return feature_set_of(Grid(), n_channels=n_channels, name=f"wide{n_channels}")

    anchors = [Anchor(str(number), "c", number) for number in range(100)]
    narrow, wide = describe_anchored(
        [of_width(2), of_width(21_907)], anchors, name="some", n_bins=251, assembly="", shard_anchors=65
    )
    assert narrow.shard_shape == (24, 251, 2)
    assert wide.shard_shape == (24, 253, 21_907)
    assert wide.chunk_shape == (1, 11, 21_907)


# The table


def test_genes_are_anchored_at_their_start_sites(tmp_path: Path) -> None:
    assembly = assembly_of(random_sequences({"chr2": 900, "chr1": 500}))
    path = tmp_path / "genes.bed"
    path.write_text(
        "chr1\t10\t40\tplus\t0\t+\nchr1\t10\t40\tminus\t0\t-\n2\t700\t800\tother\t0\t+\n9\t1\t2\toff\t0\t+\n"
    )
    expected = [Anchor("other", "chr2", 700, "+"), Anchor("plus", "chr1", 10, "+"), Anchor("minus", "chr1", 39, "-")]
    assert read_anchors(path, assembly) == expected
    assert read_anchors(path, assembly, contigs=["1"]) == expected[1:]
    with pytest.raises(ValueError, match=r"no anchor on chr3?2?; name other contigs"):
        read_anchors(write_anchors(tmp_path / "a.tsv", [Anchor("a", "chr1", 3)]), assembly, contigs=["chr2"])


@pytest.mark.parametrize(
    ("text", "error", "mend"),
    [
        pytest.param("a\tchr1\t3\na\tchr1\t9\n", TableError, "give each one its own, as in a-1 and a-2", id="repeats"),
        pytest.param("\tchr1\t3\n", TableError, "row 1 of .* lacks name", id="no name"),
        pytest.param("a\tchr1\t\n", TableError, "fill it in, or remove the row", id="no position"),
        pytest.param("a\tchr1\t3.5\n", TableError, "must hold whole numbers", id="half a base"),
        pytest.param("", TableError, "put an anchor on each line", id="no rows"),
        pytest.param("a\tchr9\t3\n", AssemblyMismatch, "rename its contigs", id="another assembly"),
        pytest.param("a\tchr1\t500\n", AssemblyMismatch, "take a gene table of that assembly", id="past the end"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, error: type[Exception], mend: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("name\tcontig\tposition\n" + text)
    with pytest.raises(error, match=mend):
        read_anchors(path, assembly_of(random_sequences({"chr1": 500})))


def test_a_table_of_anchors_lacks_no_column_and_has_known_strands(tmp_path: Path) -> None:
    assembly = assembly_of(random_sequences({"chr1": 500}))
    path = tmp_path / "a.tsv"
    path.write_text("name\tposition\na\t3\n")
    with pytest.raises(
        TableError, match="no column contig: it has name, position; a table of anchors has name, contig"
    ):
        read_anchors(path, assembly)
    path.write_text("name\tcontig\tposition\tstrand\na\tchr1\t3\tforward\n")
    with pytest.raises(TableError, match=r"write them as '\+', '-', or '\.'"):
        read_anchors(path, assembly)


@pytest.mark.skipif(not MANE.exists(), reason="needs the MANE summary in FEATURESTORE_SHARED")
def test_every_mane_gene_of_a_chromosome_is_an_anchor() -> None:
    genes = read_genes(MANE).filter(contig="chr22")
    contigs = assembly_of({"chr22": "A"}).contigs[0].model_copy(update={"length": 50_818_468})
    anchors = read_anchors(MANE, Assembly.of("chr22 of GRCh38", (contigs,)))
    assert {(anchor.name, anchor.centre) for anchor in anchors} == set(zip(genes["gene_id"], genes["tss"], strict=True))
    assert [anchor.centre for anchor in anchors] == sorted(genes["tss"])


# The command


def test_the_command_builds_and_reports(
    copied: Path, table: Path, fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--anchors", str(table), "--fasta", str(fasta), "--bin-size", "16", "--n-bins", "3", "--workers", "1"]
    command = ["build-anchors", str(copied), *arguments, "--extractor", COMPOSITION]
    assert main([*command, "--name", "new"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 shards committed, 1 by this run: 21 bins" in said
    assert "7 anchors: " in said
    assert main([*command, "--name", "new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["was_there"] == 1
    assert main([*command, "--name", "some"]) == 2
    assert "give another `--name`" in capsys.readouterr().err
