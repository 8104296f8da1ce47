"""Anchored windows hold what the extractor says of each of their bins, whichever way a bin came to be known."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anchor_stores import ANCHORS, COMPOSITION, LENGTHS, N_BINS, OPTIONS, by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import featurestore
from builders.anchored.anchors import AnchorTask, plan_anchors, sources_of
from builders.anchored.run_anchors import build_anchors
from builders.execution.shard import collect
from builders.execution.tasks import Task
from builders.extractors import sequence
from builders.extractors.sequence import bases, scattered_sequences
from builders.extractors.source import ExtractorSource
from builders.plan import describe, make_plan
from builders.run import build
from builders.source import compute
from builders.testing import CompositionExtractor
from catalog import Assembly, Fasta, Grid
from catalog.genes.anchors import Anchor, in_order
from featurestore import NotBuilt, Store
from featurestore.anchored.declare import AnchorsMismatch, declare_anchored
from featurestore.anchored.layout import AnchorLayout, anchored_documents, describe_anchored
from featurestore.anchored.reader import open_anchored
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.testing import ORIGIN, assembly_of, feature_set_of, write_fasta

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


@given(st.lists(st.integers(-40, 5020), min_size=1, max_size=20), st.integers(1, 40), st.integers(0, 300))
@settings(max_examples=50, deadline=None)
def test_sequences_from_scattered_starts_are_those_read_one_by_one(
    fasta: Path, starts: list[int], input_length: int, read_through: int
) -> None:
    ascending = np.array(sorted(starts))
    with Fasta(fasta) as genome, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "_READ_THROUGH_BP", read_through)
        patch.setattr(sequence, "_REGION_BP", 1000)
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
    # One letter in 640, at an anchor: more than 1 % would be no genome.
    centre = next(anchor.centre for anchor in ANCHORS if anchor.contig == "chr2")
    poisoned = sequences | {"chr2": sequences["chr2"][:centre] + "X" + sequences["chr2"][centre + 1 :]}
    fasta = write_fasta(tmp_path / "x.fa", poisoned)
    report = build_anchors(str(tmp_path / "s"), **settings_of | {"fasta": fasta})
    assert list(report.failed) == ["some shard 1 (anchors 3-5)"]
    assert "holds an X" in report.failed["some shard 1 (anchors 3-5)"]
    assert (report.built, report.is_complete) == (2, False)
    store = featurestore.open(tmp_path / "s")
    notes = [note.key for note in featurestore.FailureLog(store.objects, "composition@some")]
    assert notes == ["failures/composition@some/anchors/0-1.json"]
    reader = open_anchored(store, "composition", "some")
    assert reader.windows(["all"]).shape == (1, N_BINS, 5)
    with pytest.raises(NotBuilt, match=r"anchors nearest to end .*`featurestore build-anchors .* --n-bins 11 "):
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
