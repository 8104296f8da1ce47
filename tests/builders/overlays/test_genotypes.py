"""Which allele of a record a haplotype has, and what is counted."""

import numpy as np
import pytest

from builders.overlays.genotypes import HaplotypeRules, read_haplotype
from builders.overlays.haplotype import Edit
from builders.variants.read import Genotype, Record
from featurestore.testing import assembly_of

REFERENCE = "ACGTACGTACGTACGTACGT"
ASSEMBLY = assembly_of({"chr1": REFERENCE})


def fetch(contig: str, start: int, end: int) -> np.ndarray:
    return np.frombuffer(REFERENCE[start:end].encode(), dtype=np.uint8)


def record(position: int, ref: str, alts: str, genotype: str, contig: str = "chr1") -> Record:
    is_phased = "|" in genotype or len(genotype) == 1
    copies = tuple(None if one == "." else int(one) for one in genotype.replace("|", "/").split("/"))
    return Record(
        contig=contig,
        position=position,
        id=None,
        ref=ref,
        alts=tuple(alts.split(",")),
        genotypes=(Genotype(copies, is_phased=is_phased),),
    )


def edits_of(*records: Record, **rules: object) -> tuple[list[Edit], dict[str, int]]:
    chosen = HaplotypeRules(**{"haplotype": 1} | rules)  # type: ignore[arg-type]
    made = read_haplotype(records, ASSEMBLY, chosen, fetch)
    if "chr1" not in made.edits:
        return [], made.counts
    held, letters, at = made.edits["chr1"], made.edits["chr1"].letters.tobytes(), 0
    edits = []
    for start, removed, added in zip(held.starts, held.removed, held.added, strict=True):
        edits.append(Edit(int(start), int(removed), letters[at : at + added]))
        at += int(added)
    return edits, made.counts


@pytest.mark.parametrize(
    ("genotype", "haplotype", "expected"),
    [
        pytest.param("0|1", 1, [], id="the reference's allele on the first haplotype"),
        pytest.param("0|1", 2, [Edit(4, 1, b"C")], id="the other one on the second"),
        pytest.param("2|1", 1, [Edit(4, 1, b"G")], id="the second of two ALT alleles"),
        pytest.param("1/1", 2, [Edit(4, 1, b"C")], id="a homozygote needs no phase"),
        pytest.param("1", 2, [Edit(4, 1, b"C")], id="one copy is that of either haplotype"),
        pytest.param("0|0|1", 3, [Edit(4, 1, b"C")], id="the third of three copies"),
        pytest.param(".|1", 1, [], id="unknown on this haplotype"),
        pytest.param("./.", 1, [], id="unknown"),
    ],
)
def test_the_allele_of_a_haplotype_is_that_at_its_place(genotype: str, haplotype: int, expected: list[Edit]) -> None:
    edits, counts = edits_of(record(4, "A", "C,G", genotype), haplotype=haplotype)
    assert edits == expected
    assert counts["applied"] == len(expected)
    assert counts.get("missing genotype", 0) == genotype.startswith(".")


def test_a_haplotype_beyond_the_copies_is_refused_by_number() -> None:
    with pytest.raises(ValueError, match="has 2 copies, and none is number 3"):
        edits_of(record(4, "A", "C", "0|1"), haplotype=3)


@pytest.mark.parametrize(
    ("unphased", "expected"),
    [("first", []), ("second", [Edit(4, 1, b"C")]), ("n", [Edit(4, 1, b"N")])],
)
def test_an_unphased_heterozygote_is_refused_unless_it_is_said_what_to_take(
    unphased: str, expected: list[Edit]
) -> None:
    het = record(4, "A", "C", "0/1")
    assert edits_of(het, unphased=unphased)[0] == expected
    with pytest.raises(ValueError, match=r"chr1:5 A>C is 0/1, heterozygous and not phased.*`unphased=first`"):
        edits_of(het)


@pytest.mark.parametrize(
    ("alt", "reason"),
    [
        ("*", "star"),
        ("<DEL>", "symbolic"),
        ("A[chr1:9[", "symbolic"),
        (".A", "symbolic"),
        ("R", "not ACGTN"),
    ],
)
def test_an_alt_that_is_no_sequence_is_counted_and_left_out(alt: str, reason: str) -> None:
    edits, counts = edits_of(record(4, "A", alt, "1|1"))
    assert edits == []
    assert counts == {"applied": 0, reason: 1}


def test_a_ref_that_the_genome_does_not_have_is_counted_or_refused() -> None:
    wrong = [record(4, "G", "C", "1|1"), record(19, "TA", "T", "1|1")]  # the second one ends behind the contig
    assert edits_of(*wrong) == ([], {"applied": 0, "REF mismatch": 2})
    with pytest.raises(ValueError, match="chr1:5 G>C has a REF that the genome does not have"):
        edits_of(*wrong, mismatches="refuse")


def test_the_first_of_overlapping_variants_wins_by_position_and_then_by_the_order_of_the_file() -> None:
    deletion, snv, later = record(4, "ACG", "A", "1|1"), record(6, "G", "T", "1|1"), record(7, "T", "A", "1|1")
    assert edits_of(later, deletion, snv) == ([Edit(5, 2, b""), Edit(7, 1, b"A")], {"applied": 2, "overlapping": 1})
    first, second = record(4, "A", "C", "1|1"), record(4, "A", "G", "1|1")
    assert edits_of(second, first)[0] == [Edit(4, 1, b"G")]


def test_an_insertion_whose_first_base_was_replaced_comes_behind_it() -> None:
    edits, counts = edits_of(record(4, "A", "C", "1|1"), record(4, "A", "ATT", "1|1"))
    assert edits == [Edit(4, 1, b"C"), Edit(5, 0, b"TT")]
    assert counts == {"applied": 2}


def test_first_and_last_base_of_a_contig_can_be_replaced() -> None:
    assert edits_of(record(0, "A", "T", "1|1"), record(19, "T", "TG", "1|1"))[0] == [
        Edit(0, 1, b"T"),
        Edit(20, 0, b"G"),
    ]


def test_contigs_by_another_name_are_found_and_those_of_another_assembly_are_counted() -> None:
    edits, counts = edits_of(record(4, "A", "C", "1|1", contig="1"), record(4, "A", "C", "1|1", contig="chrUn"))
    assert edits == [Edit(4, 1, b"C")]
    assert counts == {"applied": 1, "missing contig": 1}
    with pytest.raises(ValueError, match=r"no variant lies on tiny.*the file has chrUn"):
        edits_of(record(4, "A", "C", "1|1", contig="chrUn"))


def test_the_digest_is_of_the_samples_own_records_in_their_order() -> None:
    one, other = record(4, "A", "C", "0|1"), record(4, "A", "C", "0/1")
    rules = HaplotypeRules(haplotype=1, unphased="first")
    digests = {read_haplotype([item], ASSEMBLY, rules, fetch).variants for item in (one, one, other)}
    assert len(digests) == 2
