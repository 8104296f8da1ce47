"""Matrices out of a MEME file, counted as by hand."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.extractors.base import ExtractorOptions
from builders.extractors.motif.extractor import MotifExtractor, MotifSettings, scores, threshold, words_by_score
from builders.extractors.motif.files import MemeFileError, read_meme
from builders.testing import ExtractorTests

BIN = 48
HEAD = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n"


def drawn(lengths: list[int], seed: int = 0) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return [rng.dirichlet([0.3] * 4, size=length) for length in lengths]


def write_meme(path: Path, matrices: list[NDArray[np.float64]], sites: str = "nsites= 50 ") -> Path:
    text = HEAD
    for number, matrix in enumerate(matrices):
        text += f"\nMOTIF M{number:03d} NAME{number}\n"
        text += f"letter-probability matrix: alength= 4 w= {len(matrix)} {sites}E= 0\n"
        text += "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in matrix)
    path.write_text(text)
    return path


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    matrices = drawn([4, 12, 30])
    found = read_meme(write_meme(tmp_path / "m.meme", matrices))
    assert [(one.name, one.other_name, one.sites) for one in found] == [
        (f"M{number:03d}", f"NAME{number}", 50.0) for number in range(3)
    ]
    for one, matrix in zip(found, matrices, strict=True):
        np.testing.assert_allclose(one.probabilities, matrix, atol=2e-6)
    assert read_meme(write_meme(tmp_path / "m.meme", matrices, sites=""))[0].sites == 20


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), length=st.integers(1, 6), rate=st.sampled_from([1e-3, 1e-2, 0.2]))
def test_the_threshold_of_a_matrix_is_that_of_all_words(seed: int, length: int, rate: float) -> None:
    scored = scores(0.99 * drawn([length], seed)[0] + 0.0025)
    every = np.array([scored[range(length), word].sum() for word in product(range(4), repeat=length)])
    counted = words_by_score(scored)
    assert counted.sum() == 4**length
    assert counted[every - every.min()].min() >= 1
    lowest = threshold(scored, rate, least_share=None)
    allowed = [score for score in np.unique(every) if np.mean(every >= score) <= rate]
    assert lowest == (min(allowed) if allowed else None)


def test_more_motifs_than_a_table_holds_and_longer_ones_than_it_looks_at_are_counted_as_by_hand(tmp_path: Path) -> None:
    matrices = drawn([3, 7, 8, 9, 16, 17, 25] * 6)
    extractor = MotifExtractor(
        bin_size=BIN, settings=MotifSettings(pwms=write_meme(tmp_path / "m.meme", matrices), false_positive_rate=0.02)
    )
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)
    bases = letters[np.random.default_rng(1).choice(5, size=(7, BIN), p=[0.24] * 4 + [0.04])]
    found = extractor(bases)["motif"]
    for column, motif in enumerate(extractor.motifs):
        length = len(motif.scored)
        strands = (motif.scored, motif.scored[::-1, ::-1])
        for row, text in enumerate(bases):
            words = [text[start : start + length].tobytes().decode() for start in range(BIN - length + 1)]
            places = [["ACGT".index(base) for base in word] for word in words if "N" not in word]
            matches = [any(one[range(length), word].sum() >= motif.lowest for one in strands) for word in places]
            assert found[row, column] == sum(matches)
    assert found[:, :-3].sum() > 50


def test_the_fingerprint_is_of_the_matrices_and_not_of_the_file(tmp_path: Path) -> None:
    one = MotifSettings(pwms=write_meme(tmp_path / "one.meme", drawn([9, 12])))
    same = MotifSettings(pwms=write_meme(tmp_path / "two.meme", drawn([9, 12])), feature_set="jaspar")
    other = MotifSettings(pwms=write_meme(tmp_path / "three.meme", drawn([9, 12], seed=1)))
    prints = [MotifExtractor(bin_size=BIN, settings=chosen).fingerprint for chosen in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing\n", "has no line `MEME version"),
        (HEAD.replace("ACGT", "ACGU"), "is of another alphabet"),
        (HEAD, "holds no motif"),
        (HEAD + "letter-probability matrix: w= 1\n 1 0 0 0\n", "line 6 .*without a line `MOTIF name`"),
        (
            HEAD + "MOTIF A\nletter-probability matrix: w= 2\n 1 0 0 0\n",
            "line 7 .*: 1 rows .*expected w=2",
        ),
        (HEAD + "MOTIF A\nletter-probability matrix: w= 1\n 1 1 0 0\n", "add up to 1"),
        (HEAD + "MOTIF A\nletter-probability matrix: w= 1\n nan 0 0 1\n", "add up to 1"),
        (HEAD + 2 * "MOTIF A\nletter-probability matrix: w= 1\n 1 0 0 0\n\n", "holds A twice"),
    ],
)
def test_what_is_no_file_of_motifs_is_refused_with_the_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.meme").write_text(text)
    with pytest.raises(MemeFileError, match=message):
        read_meme(tmp_path / "m.meme")


def test_a_rate_without_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="is of matrices from a file"):
        MotifSettings(false_positive_rate=1e-3)


class TestMatrices(ExtractorTests):
    factory = "motif"
    options = ExtractorOptions(bin_size=BIN, device="cpu")
    other_settings = {"false_positive_rate": 1e-3}  # noqa: RUF012 - as the kit has it

    @pytest.fixture
    def chosen(self, tmp_path: Path) -> dict[str, object]:
        return {"pwms": str(write_meme(tmp_path / "m.meme", drawn([8, 10])))}
