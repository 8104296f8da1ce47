"""A damaged bigWig is read, or refused in one sentence; it neither crashes, nor hangs, nor takes all memory."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from bigwig_files import write_bigwig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import LONGEST_MESSAGE, bounded, repeated

from builders.tracks.bigwig import BigWig
from builders.tracks.bigwig_layout import NotABigWig

LENGTHS = {"chr1": 50_000, "chr2": 300}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    some = [(start, start + 7, float(start % 90)) for start in range(0, 49_000, 11)]
    path = tmp_path_factory.mktemp("bigwig") / "whole.bw"
    return write_bigwig(path, LENGTHS, {"chr1": some, "chr2": [(5, 9, 1.0)]}).read_bytes()


@repeated(60, 3_000)
def test_a_bigwig_with_changed_bytes_is_read_or_refused(n_examples: int, whole: bytes, tmp_path: Path) -> None:
    # Headers and trees lie at both ends of the file, its blocks of values between.
    near_an_end = st.integers(0, 700) | st.integers(len(whole) - 4_000, len(whole) - 1)
    places = st.lists(near_an_end | st.integers(0, len(whole) - 1), min_size=1, max_size=4)

    @given(places, st.lists(st.integers(0, 255), min_size=4, max_size=4), st.booleans())
    @settings(max_examples=n_examples, suppress_health_check=list(HealthCheck))
    def law(places: list[int], values: list[int], is_wide: bool) -> None:
        data = bytearray(whole)
        for place, value in zip(places, values, strict=False):
            data[place : place + (8 if is_wide else 1)] = bytes([value]) * (8 if is_wide else 1)
        path = tmp_path / "x.bw"
        path.write_bytes(data)
        with bounded():
            told = refusal(path)
        assert told is None or (len(told) < LONGEST_MESSAGE and ("fetch it again" in told or "give " in told))

    law()


def refusal(path: Path) -> str | None:
    """Read five contigs; give the sentence of a refusal."""
    try:
        with closing(BigWig(str(path))) as file:
            for contig, length in list(file.lengths.items())[:5]:
                file.read_into(contig, 0, np.zeros(min(length, 60_000)), uncovered=0.0)
    except NotABigWig as error:
        return str(error)
    return None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9, 0.999])
def test_a_bigwig_that_is_cut_anywhere_is_refused(whole: bytes, tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.bw"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(NotABigWig, match=r"is empty|cut short|begins with"):
        BigWig(str(path))
