"""Shuffles keep their dinucleotides, and a motif's effect is a mean over them."""

from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.attribution.importance import motif_effect
from builders.attribution.request import ImportanceRequest
from builders.attribution.shuffle import dinucleotide_shuffle
from featurestore.cli.main import main

GENOME = "".join(np.random.default_rng(9).choice(list("ACGT"), 600))


def shuffled(text: str, seed: int) -> str:
    found = dinucleotide_shuffle(np.frombuffer(text.encode(), dtype=np.uint8), np.random.default_rng(seed))
    return found.tobytes().decode()


@given(st.text("ACGT", max_size=80) | st.text("AC", max_size=30), st.integers(0, 99))
def test_a_shuffle_has_each_dinucleotide_as_often_and_the_same_ends(text: str, seed: int) -> None:
    found = shuffled(text, seed)
    assert Counter(pairwise(found)) == Counter(pairwise(text))
    assert (found[:1], found[-1:]) == (text[:1], text[-1:])


@pytest.mark.parametrize("text", ["AACAGCA", "ACCATGGA", "ACGTACGA"])
def test_every_sequence_with_these_dinucleotides_is_drawn_and_each_as_often(text: str) -> None:
    whole = {"".join(one) for one in permutations(text)}
    possible = {one for one in whole if Counter(pairwise(one)) == Counter(pairwise(text)) and one[0] == text[0]}
    drawn = Counter(shuffled(text, seed) for seed in range(2000))
    assert set(drawn) == possible
    expected = 2000 / len(possible)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in drawn.values())


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(f">c\n{GENOME}\n>short\n{'ACGT' * 20}NN\n")
    return tmp_path / "g.fa"


def asked(genome: Path, **more: Any) -> ImportanceRequest:
    chosen: dict[str, Any] = {"region": "c:101-164", "motif": "ggGGGG", "bin_size": 64, "backgrounds": 40}
    return ImportanceRequest(fasta=str(genome), out=genome.with_name("out.parquet"), **(chosen | more))


def test_the_effect_is_the_mean_difference_with_and_without_the_motif(genome: Path) -> None:
    report = motif_effect(asked(genome, channels=("GC",), at=7))
    (row,) = pl.read_parquet(report.out).to_dicts()
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(40):
        plain = dinucleotide_shuffle(np.frombuffer(GENOME[100:164].encode(), dtype=np.uint8), rng).tobytes().decode()
        whole = plain[:7] + "GGGGGG" + plain[13:]
        differences.append(sum(letter in "GC" for letter in whole) / 64 - sum(letter in "GC" for letter in plain) / 64)
    assert row["effect"] == pytest.approx(np.mean(differences), abs=1e-6)
    assert row["deviation"] == pytest.approx(np.std(differences, ddof=1), abs=1e-6)
    half = 1.959964 * np.std(differences, ddof=1) / 40**0.5
    assert (row["low"], row["high"]) == pytest.approx((row["effect"] - half, row["effect"] + half), abs=1e-6)
    assert row["background"] == pytest.approx(sum(letter in "GC" for letter in GENOME[100:164]) / 64, abs=1e-6)


def test_a_seed_gives_the_same_table_and_the_motif_lies_in_the_middle_if_no_place_is_given(genome: Path) -> None:
    tables = [motif_effect(asked(genome, **more)).table for more in ({}, {"at": 29}, {"seed": 1})]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param("--region c:101-164 --motif GGNGG", "letters A, C, G, T; got 'GGNGG'", id="N in the motif"),
        pytest.param("--region c:101-164 --motif GG --backgrounds 29", "at least 30", id="few backgrounds"),
        pytest.param("--region c:101-164 --motif GG --at 63", "from 0 to 62; got 63", id="outside"),
        pytest.param("--region c:101-102 --motif GGG", "shorter than the motif", id="too long"),
        pytest.param("--region c:590-600 --motif GG --bin-size 64", "lie past the contig", id="past the end"),
        pytest.param("--region short:70-82 --motif GG --bin-size 8", "some are not A, C, G or T", id="N"),
        pytest.param("--region c:101-164 --motif GG --channels X", "no channel 'X'", id="channel"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(
    words: str, message: str, genome: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = genome.with_name("out.parquet")
    assert main(["motif-effect", "--fasta", str(genome), "--out", str(out), *words.split()]) in (1, 2)
    assert message in capsys.readouterr().err
    assert not out.exists()
