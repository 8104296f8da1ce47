"""Letters of a genome: U is T, IUPAC codes are counted, and what is no nucleotide sequence is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Assembly, Fasta, FastaError
from catalog.assembly import read_genome
from catalog.fasta.letters import UnusualLetters, unusual, upper_case
from featurestore.testing import assembly_of, random_sequences, write_fasta

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV" * 4


@given(st.text("ACGTNacgtnUuRyKm-*EF", max_size=80))
def test_unusual_letters_are_those_that_are_counted_one_by_one(text: str) -> None:
    counted = {letter: text.upper().count(letter) for letter in "URYKM-*EF"}
    letters = np.frombuffer(text.encode(), dtype=np.uint8)
    assert upper_case(letters).tobytes() == text.upper().encode()
    assert unusual(upper_case(letters)) == {letter: number for letter, number in counted.items() if number}


def test_rna_is_read_as_the_dna_that_it_is(tmp_path: Path) -> None:
    dna = random_sequences({"c": 500, "d": 70})
    rna = {name: bases.replace("T", "U")[:-5] + bases[-5:].lower().replace("t", "u") for name, bases in dna.items()}
    path = write_fasta(tmp_path / "rna.fa", rna)
    for _ in ("counted", "remembered"):
        with Fasta(path) as fasta:
            assembly, letters = read_genome(fasta)
            assert fasta.fetch("c", 0, 500).tobytes().decode() == dna["c"][:-5] + dna["c"][-5:].lower()
        assert assembly.contigs == assembly_of(dna).contigs
        n_us = sum(bases.count("T") for bases in dna.values())
        assert letters.notes() == [f"U is read as T ({n_us:,} bases)"]


def test_codes_of_several_bases_count_as_n_and_are_said_to(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "g.fa", {"c": "ACGT" * 200 + "RRRYk", "d": "ACGT" * 50 + "-M"})
    with Fasta(path) as fasta:
        assembly, letters = read_genome(fasta)
    assert assembly.contigs == Assembly.from_fasta(path).contigs
    assert letters.notes() == [
        "6 IUPAC codes count as N (R 3, K 1, M 1, Y 1)",
        "1 letters that are no nucleotides count as N (- 1)",
    ]


def test_an_ordinary_genome_needs_no_note(tmp_path: Path) -> None:
    with Fasta(write_fasta(tmp_path / "g.fa", {"c": "ACGTNacgtn" * 9})) as fasta:
        assert read_genome(fasta).letters.notes() == []


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        pytest.param({"P1": PROTEIN}, r"of the 280 letters of 'P1' stand for no nucleotides \(Q .*, L ", id="protein"),
        pytest.param(
            {"c": "ACGT" * 50, "P1": PROTEIN, "P2": PROTEIN}, r"'P1' \(and 1 more contigs\)", id="proteins after DNA"
        ),
        pytest.param({"c": "ACGT" * 50 + "X" * 3}, r"3 of the 203 letters of 'c'.*\(X 3\).*write N where", id="mask"),
    ],
)
def test_what_is_no_nucleotide_sequence_is_refused_by_name(
    tmp_path: Path, sequences: dict[str, str], message: str
) -> None:
    path = write_fasta(tmp_path / "g.fa", sequences)
    for _ in ("counted", "remembered"):
        with pytest.raises(FastaError, match=rf"g\.fa is no genome: .*{message}"):
            Assembly.from_fasta(path)


@given(st.integers(0, 400), st.integers(1, 400))
def test_one_in_a_hundred_is_the_limit(n_others: int, length: int) -> None:
    letters = UnusualLetters({"c": {"X": n_others, "R": length, "U": length}})
    if n_others * 100 <= length:
        letters.require_nucleotides({"c": length}, shown="g.fa")
    else:
        with pytest.raises(FastaError, match="is no genome"):
            letters.require_nucleotides({"c": length}, shown="g.fa")
