"""Windows of alleles: held to slow, obvious versions, and left-aligning to bcftools norm."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.variants.windows import (
    Allele,
    Anchor,
    Frame,
    check,
    kind_of,
    left_aligned,
    placed,
    repeats_neighbour,
)

GENOME = "".join(np.random.default_rng(0).choice(list("ACGT"), 400))
REPETITIVE = "CTTTAAAAAAAACACACACACGTGTGTGGATGATGATTTTTTTCAGCAGCAGCAGT" * 3


def bases_of(text: str):  # type: ignore[no-untyped-def]
    return lambda start, end: text[start:end].encode()


def frame(length: int, anchor: Anchor) -> Frame:
    return Frame(input_length=length, centre=length // 2, anchor=anchor, longest=length)


def window(text: str, allele: Allele, where: Frame, begin: int, *, is_alt: bool) -> str:
    found = placed(allele, where, begin, bases_of(text), len(text), is_alt=is_alt)
    return found if isinstance(found, str) else found.tobytes().decode()


alleles = st.builds(
    lambda position, size, alt: Allele(position, GENOME[position : position + size], alt),
    st.integers(150, 250),
    st.integers(1, 12),
    st.text("ACGT", min_size=1, max_size=12),
)


@given(alleles, st.sampled_from(["sei", "left", "centre"]), st.integers(40, 90))
def test_both_alleles_are_windows_of_the_two_sequences(allele: Allele, anchor: Anchor, length: int) -> None:
    where = frame(length, anchor)
    changed = GENOME[: allele.position] + allele.alt + GENOME[allele.position + len(allele.ref) :]
    ref_begin, alt_begin = where.of_ref(allele), where.of_alt(allele)
    ref = window(GENOME, allele, where, ref_begin, is_alt=False)
    alt = window(GENOME, allele, where, alt_begin, is_alt=True)
    assert ref == GENOME[allele.position - ref_begin :][:length]
    assert alt == changed[allele.position - alt_begin :][:length]


@given(alleles)
def test_the_windows_of_sei_are_those_of_selene(allele: Allele) -> None:
    """POS counts from 1; REF is centred, an insertion is trimmed on both sides, a deletion draws bases in."""
    position, ref, alt = allele
    half, where = 32, frame(64, "sei")
    start = position + 1 + len(ref) // 2 - half
    assert window(GENOME, allele, where, where.of_ref(allele), is_alt=False) == GENOME[start : start + 64]
    found = window(GENOME, allele, where, where.of_alt(allele), is_alt=True)
    if len(alt) >= len(ref):
        whole = GENOME[start:position] + alt + GENOME[position + len(ref) : start + 64]
        trimmed = (len(alt) - len(ref)) // 2
        assert found == whole[trimmed : trimmed + 64]
    else:
        left = GENOME[start - len(ref) // 2 + len(alt) // 2 : position]
        right = GENOME[position + len(ref) : start + 64 + -(-len(ref) // 2) - -(-len(alt) // 2)]
        assert found == left + alt + right


def test_a_single_base_lies_at_2047_of_seis_4096() -> None:
    assert frame(4096, "sei").of_ref(Allele(5000, "A", "C")) == 2047
    assert frame(4096, "centre").of_ref(Allele(5000, "A", "C")) == 2048


@pytest.mark.parametrize(
    ("ref", "alt", "kind"),
    [
        ("A", "*", "star"),
        ("A", "<DEL>", "symbolic"),
        ("A", "<*>", "symbolic"),
        ("A", "A[chr2:5[", "symbolic"),
        ("A", ".C", "symbolic"),
        ("A", "R", "not_acgtn"),
        ("R", "A", "not_acgtn"),
        ("A", "CN", None),
    ],
)
def test_what_has_no_sequence_is_named(ref: str, alt: str, kind: str | None) -> None:
    assert kind_of(alt, ref) == kind


def test_alleles_near_the_ends_of_a_contig_and_long_ones_are_named() -> None:
    where = frame(20, "left")
    assert check(Allele(-1, "A", "C"), bases_of(GENOME), 400) == "near_end"
    assert check(Allele(399, GENOME[399] + "A", "C"), bases_of(GENOME), 400) == "near_end"
    assert check(Allele(5, "ACGT"["ACGT".index(GENOME[5]) - 1], "C"), bases_of(GENOME), 400) == "ref_mismatch"
    for position, expected in ((9, "near_end"), (10, 20), (390, 20), (391, "near_end")):
        found = window(GENOME, Allele(position, GENOME[position], "N"), where, 10, is_alt=True)
        assert (found if isinstance(expected, str) else len(found)) == expected
    assert window(GENOME, Allele(100, GENOME[100], "A" * 11), where, 10, is_alt=True) == "too_long"


def test_an_insertion_equal_to_what_lies_beside_it_is_flagged() -> None:
    bases, length = bases_of("GGACGTACCA"), 10
    assert repeats_neighbour(Allele(5, "T", "TACGT"), bases, length)  # before it
    assert repeats_neighbour(Allele(5, "T", "TACC"), bases, length)  # after it
    assert not repeats_neighbour(Allele(5, "T", "TACG"), bases, length)
    assert not repeats_neighbour(Allele(5, "T", "G"), bases, length)
    assert not repeats_neighbour(Allele(4, "GT", "G"), bases, length)


repetitive = st.builds(
    lambda position, size, alt: Allele(position, REPETITIVE[position : position + size], alt),
    st.integers(1, len(REPETITIVE) - 12),
    st.integers(1, 8),
    st.text("ACGT", min_size=1, max_size=8),
) | st.integers(1, len(REPETITIVE) - 12).flatmap(
    lambda at: st.integers(2, 9).map(lambda size: Allele(at, REPETITIVE[at : at + size], REPETITIVE[at]))
)


@given(repetitive)
def test_left_aligning_changes_no_sequence_and_nothing_twice(allele: Allele) -> None:
    found = left_aligned(allele, bases_of(REPETITIVE))

    def changed(one: Allele) -> str:
        return REPETITIVE[: one.position] + one.alt + REPETITIVE[one.position + len(one.ref) :]

    assert changed(found) == changed(allele)
    assert REPETITIVE[found.position :].startswith(found.ref)
    assert left_aligned(found, bases_of(REPETITIVE)) == found
    assert found.position <= allele.position + min(len(allele.ref), len(allele.alt))


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="needs bcftools (apt install bcftools)")
def test_left_aligning_is_that_of_bcftools_norm(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    chosen = []
    for _ in range(600):
        at, size = int(rng.integers(0, len(REPETITIVE) - 12)), int(rng.integers(1, 8))
        ref = REPETITIVE[at : at + size]
        options = (ref[0], ref + REPETITIVE[at + size : at + 2 * size], "".join(rng.choice(list("ACGT"), size)))
        alt = options[int(rng.integers(0, 3))]
        if alt != ref:
            chosen.append(Allele(at, ref, alt))
    (tmp_path / "g.fa").write_text(f">c\n{REPETITIVE}\n")
    header = f"##fileformat=VCFv4.2\n##contig=<ID=c,length={len(REPETITIVE)}>\n"
    header += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    lines = [f"c\t{one.position + 1}\t{n}\t{one.ref}\t{one.alt}\t.\t.\t.\n" for n, one in enumerate(chosen)]
    (tmp_path / "v.vcf").write_text(header + "".join(lines))
    command = ["bcftools", "norm", "-f", tmp_path / "g.fa", "--site-win", "1000000", tmp_path / "v.vcf"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    expected = {}
    for line in printed.splitlines():
        if not line.startswith("#"):
            _, position, number, ref, alt, *_ = line.split("\t")
            expected[int(number)] = Allele(int(position) - 1, ref, alt)
    found = {number: left_aligned(one, bases_of(REPETITIVE)) for number, one in enumerate(chosen)}
    assert found == expected
