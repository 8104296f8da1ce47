"""Bins of tracks equal what a loop over bases says of the same file; what cannot be meant is refused."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyBigWig
import pytest
from bigwig_files import assembly_of, per_base, write_bigwig
from checkout import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.plan import describe, make_plan
from builders.source import SourceChanged, SourceOptions, pad_rows
from builders.testing import SourceTests
from builders.tracks import TrackSettings, TrackSource
from builders.tracks.bigwig_layout import NotABigWig
from catalog import AssemblyMismatch, Grid

LENGTHS = {"chr1": 5_003, "short": 5}
INTERVALS = {
    "chr1": [(10, 300, 1.5), (300, 301, -2.0), (700, 2_000, 0.25), (4_990, 5_003, 7.0)],
    "short": [(1, 3, 4.0)],
}


def source_of(places: Mapping[str, Path], lengths: Mapping[str, int], bin_size: int = 1, **chosen: Any) -> TrackSource:
    tracks = {name: str(place) for name, place in places.items()}
    return TrackSource(
        SourceOptions(assembly=assembly_of(lengths), bin_size=bin_size), TrackSettings(tracks=tracks, **chosen)
    )


class TestTracks(SourceTests):
    factory: ClassVar[str] = "tracks"
    assembly: ClassVar[Any] = assembly_of(LENGTHS)
    other_settings: ClassVar[Mapping[str, Any]] = {"summary": "max"}

    @pytest.fixture
    def chosen(self, tmp_path: Path) -> Mapping[str, Any]:
        one = write_bigwig(tmp_path / "one.bw", LENGTHS, INTERVALS)
        two = write_bigwig(tmp_path / "two.bw", LENGTHS, {"chr1": [(0, 5_003, 3.0)]})
        return {"tracks": {"one": str(one), "two": str(two)}}


# Values


@st.composite
def intervals(draw: st.DrawFn, length: int) -> list[tuple[int, int, float]]:
    """Ascending intervals within a contig, some of them NaN, at least one not."""
    edges = sorted(draw(st.sets(st.integers(0, length), min_size=2, max_size=12)))
    # Multiples of 1/8, so that sums do not depend on their order.
    values = st.integers(-800, 4_000).map(lambda number: number / 8)
    kept = draw(st.lists(st.sampled_from([True, True, False]), min_size=len(edges) - 1, max_size=len(edges) - 1))
    kept[draw(st.integers(0, len(kept) - 1))] = True
    found = [
        (start, end, draw(values | st.just(math.nan)))
        for start, end, is_there in zip(edges, edges[1:], kept, strict=False)
        if is_there
    ]
    return found if any(value == value for _, _, value in found) else [(found[0][0], found[0][1], 1.0), *found[1:]]


SUMMARIES = {"mean": np.mean, "sum": np.sum, "max": np.max}
TRANSFORMS = {"none": lambda value: value, "log1p": math.log1p, "arcsinh": math.asinh}


def by_hand(
    bases: NDArray[np.float64], start: int, bin_size: int, *, summary: str, transform: str, clip: float | None
) -> float:
    """Summarise one bin, base by base."""
    held = [bases[place] if 0 <= place < len(bases) else np.nan for place in range(start, start + bin_size)]
    value = float(SUMMARIES[summary]([0.0 if math.isnan(base) else base for base in held]))
    value = value if clip is None else min(max(value, -clip), clip)
    return TRANSFORMS[transform](value)


@pytest.mark.parametrize("summary", SUMMARIES)
@pytest.mark.parametrize("transform", TRANSFORMS)
@given(
    st.data(),
    st.integers(1, 90),
    st.sampled_from([1, 2, 7, 32, 128]),
    st.integers(-200, 200),
    st.none() | st.integers(1, 50).map(float),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_bin_is_what_a_loop_over_its_bases_says(
    tmp_path: Path,
    summary: str,
    transform: str,
    data: st.DataObject,
    length: int,
    bin_size: int,
    start: int,
    clip: float | None,
) -> None:
    drawn = data.draw(intervals(length))
    if transform == "log1p":
        drawn = [(first, end, abs(value)) for first, end, value in drawn]
    path = write_bigwig(tmp_path / "t.bw", {"chr1": length}, {"chr1": drawn})
    chosen = {"summary": summary, "transform": transform, "clip": clip}
    n_bins = data.draw(st.integers(1, 12))
    with closing(source_of({"t": path}, {"chr1": length}, bin_size, **chosen)) as source:
        found = source.read("chr1", start, n_bins)["tracks"][:, 0]
        bases = per_base(drawn, length)
        expected = [by_hand(bases, start + number * bin_size, bin_size, **chosen) for number in range(n_bins)]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-30)
        np.testing.assert_array_equal(source.read("chr1", length, 2)["tracks"], [pad_rows(source)["tracks"]] * 2)


@given(st.data(), st.integers(1, 60), st.sampled_from([1, 3, 8]), st.integers(0, 50))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_gaps_are_refused_exactly_where_a_base_of_the_contig_is_not_covered(
    tmp_path: Path, data: st.DataObject, length: int, bin_size: int, start: int
) -> None:
    drawn = data.draw(intervals(length))
    path = write_bigwig(tmp_path / "t.bw", {"chr1": length}, {"chr1": drawn})
    bases = per_base(drawn, length)[start : start + bin_size * 2]
    with closing(source_of({"t": path}, {"chr1": length}, bin_size, gaps="error")) as source:
        if np.isnan(bases).any():
            first = start + int(np.isnan(bases).argmax())
            with pytest.raises(ValueError, match=rf"does not cover chr1:{first}, .*`gaps=\"zero\"`"):
                source.read("chr1", start, 2)
        else:
            whole = np.zeros(bin_size * 2)
            whole[: len(bases)] = bases
            expected = whole.reshape(2, bin_size).mean(axis=1)
            np.testing.assert_allclose(source.read("chr1", start, 2)["tracks"][:, 0], expected, rtol=1e-6)


DATA = SHARED / "data/bigwig_chr22_hg38"
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; FEATURESTORE_SHARED says where")
REAL = {
    "accessibility": DATA / "acc.GM12878.chr22.bw",
    "plus": DATA / "GM12878.ds.chr22.pl.bw",
    "minus": DATA / "GM12878.ds.chr22.mn.bw",
}


@pytest.fixture(scope="module")
def gm12878() -> Iterator[TrackSource]:
    with pyBigWig.open(str(REAL["accessibility"])) as file:
        lengths = file.chroms()
    with closing(source_of(REAL, lengths)) as source:
        yield source


@real
def test_10_000_random_positions_of_real_files_equal_pybigwig(gm12878: TrackSource) -> None:
    rng = np.random.default_rng(0)
    # A hundred windows of a hundred bases; half of them where there is signal.
    starts = np.concatenate([rng.integers(0, 50_818_368, 50), rng.integers(17_000_000, 50_000_000, 50)])
    found = np.stack([gm12878.read("chr22", int(start), 100)["tracks"] for start in starts])
    for column, path in enumerate(REAL.values()):
        with pyBigWig.open(str(path)) as file:
            expected = np.stack([file.values("chr22", int(s), int(s) + 100, numpy=True) for s in starts])
        np.testing.assert_array_equal(found[:, :, column], np.nan_to_num(expected))
    assert (found != 0).sum() > 1_000


@real
def test_what_real_files_lack_is_said(gm12878: TrackSource) -> None:
    assert "plus: the file lacks GL000009.2, GL000194.1," in gm12878.notes[0]
    assert "(15); bins there count as not covered" in gm12878.notes[0]
    lengths = {"chr22": 50_818_468, "chrM": 16_569}
    with closing(source_of({"acc": REAL["accessibility"]}, lengths)) as source:
        assert source.notes[-1] == "acc: 38 contigs of the file are not in the assembly, and are left out"


@real
def test_a_file_of_another_assembly_is_refused_by_the_length_of_a_contig() -> None:
    hg19 = next(DATA.glob("wgEncodeCaltech*"))
    with pytest.raises(AssemblyMismatch, match=r"chr22 has 51,304,566 bp in it and 50,818,468 in the store"):
        source_of({"rna": hg19}, {"chr22": 50_818_468})


def test_a_human_genome_at_1_bp_is_planned_at_18_5_gb_beside_220_mb_around_genes(tmp_path: Path) -> None:
    lengths = {"chr1": 3_088_269_832, "chrM": 16_569}
    files = {}
    for number in range(3):
        intervals = {"chrM": [(0, 10, number + 1.0)]}
        files[str(number)] = write_bigwig(tmp_path / f"{number}.bw", {"chrM": 16_569}, intervals)
    with closing(source_of(files, lengths)) as source:
        sets = describe(source, Grid(bin_size=1))
    plan = make_plan(sets, assembly_of(lengths), lengths, offsets=(0,))
    assert (plan.bytes, plan.anchored_bytes()) == (18_529_718_406, 220_524_000)
    advice = plan.anchored_advice() or ""
    assert "18,377 genes are 220,524,000 bytes, at most: recommended for models that read near genes" in advice
    assert max(task.n_bins for task in plan.tasks) * 3 * 2 <= 64 << 20


# Contigs


def test_1_is_chr1_and_a_contig_that_the_file_lacks_counts_as_not_covered_and_is_said(tmp_path: Path) -> None:
    path = write_bigwig(tmp_path / "t.bw", {"1": 100}, {"1": [(0, 100, 2.0)]})
    with closing(source_of({"t": path}, {"chr1": 100, "chr2": 50})) as source:
        assert source.read("chr1", 98, 4)["tracks"].tolist() == [[2], [2], [0], [0]]
        assert source.read("chr2", 0, 2)["tracks"].tolist() == [[0], [0]]
        assert source.notes == (
            "t: the file lacks chr2; bins there count as not covered",
            "t: the file names contigs otherwise: 1 for chr1",
        )
    with (
        closing(source_of({"t": path}, {"chr1": 100, "chr2": 50}, gaps="error")) as strict,
        pytest.raises(ValueError, match="does not cover chr2:0"),
    ):
        strict.read("chr2", 0, 2)


def test_a_file_without_a_shared_contig_is_refused(tmp_path: Path) -> None:
    path = write_bigwig(tmp_path / "t.bw", {"scaffold_1": 100}, {"scaffold_1": [(0, 100, 2.0)]})
    with pytest.raises(AssemblyMismatch, match=r"shares no contig with tiny: it has scaffold_1, and the assembly chr1"):
        source_of({"t": path}, {"chr1": 100})


# Bad files


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_bigwig(tmp_path / "t.bw", LENGTHS, INTERVALS)


def test_nan_stored_inside_counts_as_not_covered_and_is_counted(tmp_path: Path) -> None:
    path = write_bigwig(tmp_path / "t.bw", {"chr1": 100}, {"chr1": [(0, 10, 2.0), (10, 30, math.nan), (40, 50, 1.0)]})
    with closing(source_of({"t": path}, {"chr1": 100}, 20)) as source:
        assert source.read("chr1", 0, 2)["tracks"][:, 0].tolist() == [1.0, 0.0]
        assert source.notes == ("t: 20 bases are stored as NaN, and count as not covered",)


def test_negative_values_are_refused_with_log1p_before_anything_is_read(whole: Path) -> None:
    with pytest.raises(ValueError, match=r"values down to -2 \(.*log1p takes no negative ones; take `transform=\"arcs"):
        source_of({"t": whole}, LENGTHS, transform="log1p")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_short_is_refused(whole: Path, share: float) -> None:
    data = whole.read_bytes()
    whole.write_bytes(data[: int(share * len(data))])
    with pytest.raises(NotABigWig, match=r"cut short.*fetch it again"):
        source_of({"t": whole}, LENGTHS)


def test_an_empty_file_a_bigbed_and_other_files_are_told_apart(tmp_path: Path, whole: Path) -> None:
    def refusal(data: bytes) -> str:
        path = tmp_path / "x.bw"
        path.write_bytes(data)
        with pytest.raises(NotABigWig) as caught:
            source_of({"t": path}, LENGTHS)
        return str(caught.value)

    head = whole.read_bytes()
    assert "is empty" in refusal(b"")
    assert "is a bigBed, which holds intervals and no signal" in refusal(0x8789F2EB.to_bytes(4, "little") + head[4:])
    assert "is no bigWig: it begins with b'chr1\\t0\\t1'" in refusal(b"chr1\t0\t100\t1.5\n")
    with pytest.raises(ValueError, match="git-lfs pointer"):
        refusal(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(FileNotFoundError, match="no bigWig at"):
        source_of({"t": tmp_path / "absent.bw"}, LENGTHS)


def test_a_file_that_covers_nothing_is_refused(tmp_path: Path, whole: Path) -> None:
    path = write_bigwig(tmp_path / "e.bw", {"chr1": 100}, {})
    with pytest.raises(NotABigWig, match="its index is none"):
        source_of({"t": path}, {"chr1": 100})
    data = bytearray(whole.read_bytes())
    summary = int.from_bytes(data[44:52], "little")
    data[summary : summary + 8] = bytes(8)  # the number of covered bases
    whole.write_bytes(data)
    with pytest.raises(ValueError, match="track 't' covers no base"):
        source_of({"t": whole}, LENGTHS)


def test_a_file_twice_is_refused_and_a_file_that_changed_stops_the_build(tmp_path: Path, whole: Path) -> None:
    copy = tmp_path / "copy.bw"
    copy.write_bytes(whole.read_bytes())
    with (
        closing(source_of({"a": whole, "b": copy}, LENGTHS)) as source,
        pytest.raises(ValueError, match="tracks 'a' and 'b' are the same file"),
    ):
        _ = source.fingerprint
    with closing(source_of({"a": whole}, LENGTHS)) as source:
        source.read("chr1", 0, 5)
        write_bigwig(whole, LENGTHS, {"chr1": [(0, 10, 1.0)]})
        with pytest.raises(SourceChanged, match="changed: it had"):
            source.read("chr1", 0, 5)


def test_the_fingerprint_is_that_of_content_and_options_and_credentials_are_not_recorded(
    tmp_path: Path, whole: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.bw"
    elsewhere.write_bytes(whole.read_bytes())
    with closing(source_of({"a": whole}, LENGTHS, track_options={"secret": "hunter2"})) as one:
        with closing(source_of({"a": elsewhere}, LENGTHS)) as moved:
            assert one.fingerprint == moved.fingerprint
        others = [{"summary": "sum"}, {"gaps": "error"}, {"clip": 3.0}, {"transform": "arcsinh"}]
        found = {one.fingerprint}
        for chosen in others:
            with closing(source_of({"a": whole}, LENGTHS, **chosen)) as other:
                found.add(other.fingerprint)
        with closing(source_of({"b": whole}, LENGTHS)) as renamed:
            found.add(renamed.fingerprint)
        assert len(found) == 2 + len(others)
        assert "hunter2" not in json.dumps(one.options)
        assert "hunter2" not in repr(TrackSettings(tracks={"a": "x"}, track_options={"secret": "hunter2"}))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        pytest.param({"tracks": {}}, "give `tracks=` at least one", id="no track"),
        pytest.param({"tracks": {"a,b": "x.bw"}}, "cannot name a channel", id="a comma in a name"),
        pytest.param({"tracks": {"a": " "}}, "has no file", id="no file"),
        pytest.param({"tracks": {"a": "x.bw"}, "clip": 0.0}, "above 0 and finite", id="clip of nothing"),
    ],
)
def test_settings_that_mean_nothing_are_refused(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackSettings(**chosen)
