"""Intervals: 0-based and half-open inside, 1-based and closed where people read and write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Interval

CONTIGS = ["chr1", "1", "HLA-A*01:01", "scaffold:7"]


@st.composite
def intervals(draw: st.DrawFn, *, low: int = 0) -> Interval:
    start = draw(st.integers(low, 40))
    return Interval(draw(st.sampled_from(CONTIGS)), start, start + draw(st.integers(1, 20)))


@given(intervals())
def test_what_is_written_is_read_back(interval: Interval) -> None:
    assert Interval.parse(str(interval)) == interval


@given(intervals(low=-40))
def test_an_interval_is_as_long_as_it_holds_bases(interval: Interval) -> None:
    assert len(interval) == len(range(interval.start, interval.end))


@given(intervals(low=-40), intervals(low=-40))
def test_intervals_overlap_where_they_share_a_base(one: Interval, other: Interval) -> None:
    shared = set(range(one.start, one.end)) & set(range(other.start, other.end))
    assert one.overlaps(other) == other.overlaps(one) == (one.contig == other.contig and bool(shared))


@pytest.mark.parametrize(
    ("region", "contig", "start", "end"),
    [
        pytest.param("chr1:1-1", "chr1", 0, 1, id="the first base"),
        pytest.param("chr1:1,001-2,000", "chr1", 1000, 2000, id="commas between thousands"),
        pytest.param("HLA-A*01:01:5-9", "HLA-A*01:01", 4, 9, id="colon and hyphen in the contig"),
    ],
)
def test_a_region_counts_from_1_and_includes_its_end(region: str, contig: str, start: int, end: int) -> None:
    assert Interval.parse(region) == Interval(contig, start, end)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        pytest.param("chr1", "contig:start-end, as in chr1:1,001-2,000; got 'chr1'", id="contig alone"),
        pytest.param("chr1:5", "contig:start-end", id="one position"),
        pytest.param(":1-2", "contig:start-end", id="no contig"),
        pytest.param("chr1:a-b", "contig:start-end", id="no numbers"),
        pytest.param("chr1:,-,", "contig:start-end", id="commas alone"),
        pytest.param("chr1:1-2\n", "contig:start-end", id="line break after it"),
        pytest.param("chr1:0-10", "1-based, so at least 1; got 'chr1:0-10'", id="position 0"),
        pytest.param("chr1:10-5", r"start < end, got \[9, 5\)", id="backwards"),
    ],
)
def test_what_is_no_region_is_refused(region: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interval.parse(region)


@pytest.mark.parametrize("end", [5, 4], ids=["empty", "backwards"])
def test_an_interval_without_bases_is_refused(end: int) -> None:
    with pytest.raises(ValueError, match=rf"at least one base: start < end, got \[5, {end}\)"):
        Interval("chr1", 5, end)
