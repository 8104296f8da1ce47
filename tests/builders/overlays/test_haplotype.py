"""The arithmetic of edits against a haplotype that is written out base by base."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from naive_haplotype import NaiveHaplotype

from builders.overlays.haplotype import Edit, Edits


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, list[Edit]]:
    reference = draw(st.text("ACGT", min_size=1, max_size=40))
    edits, position = [], 0
    while position <= len(reference) and draw(st.booleans()):
        start = draw(st.integers(position, len(reference)))
        removed = draw(st.integers(0, min(4, len(reference) - start)))
        added = draw(st.text("acgt", min_size=0 if removed else 1, max_size=4))
        edits.append(Edit(start, removed, added.encode()))
        position = start + removed + (0 if removed else 1)
    return reference, edits


def fetch_of(reference: str):  # type: ignore[no-untyped-def]
    letters = np.frombuffer(reference.encode(), dtype=np.uint8)

    def fetch(start: int, end: int) -> np.ndarray:
        assert 0 <= start <= end <= len(letters), "only bases inside the contig are read"
        return letters[start:end]

    return fetch


@given(edited(), st.data())
def test_bases_of_any_stretch_are_those_of_the_haplotype_written_out(
    made: tuple[str, list[Edit]], data: st.DataObject
) -> None:
    reference, edits = made
    naive, fast = NaiveHaplotype(reference, edits), Edits.of(edits)
    length = fast.length(len(reference))
    assert length == len(naive.letters)
    start = data.draw(st.integers(0, length))
    end = data.draw(st.integers(start, length))
    assert fast.bases(start, end, fetch_of(reference)).tobytes().decode() == "".join(naive.letters[start:end])


@given(edited())
def test_every_position_is_lifted_as_base_by_base(made: tuple[str, list[Edit]]) -> None:
    reference, edits = made
    naive = NaiveHaplotype(reference, edits)
    positions = np.arange(-3, len(reference) + 4)
    assert Edits.of(edits).lift(positions).tolist() == [naive.lift(position) for position in positions.tolist()]


@given(edited(), st.integers(0, 6), st.integers(0, 6))
def test_a_stretch_that_is_not_touched_has_the_bases_of_the_reference_around_its_lifted_centre(
    made: tuple[str, list[Edit]], left: int, right: int
) -> None:
    reference, edits = made
    naive, fast = NaiveHaplotype(reference, edits), Edits.of(edits)
    untouched = NaiveHaplotype(reference, [])
    centres = np.arange(-8, len(reference) + 8)
    touched = fast.touches(centres - left, centres + right + 1)
    for centre, is_touched in zip(centres.tolist(), touched.tolist(), strict=True):
        if not is_touched:
            lifted = naive.lift(centre)
            assert naive.window(lifted, left, right + 1) == untouched.window(centre, left, right + 1)


def test_an_insertion_touches_only_stretches_that_hold_both_bases_beside_it() -> None:
    edits = Edits.of([Edit(10, 0, b"TT")])
    starts = np.array([5, 9, 10, 8])
    assert edits.touches(starts, np.array([10, 11, 15, 11])).tolist() == [False, True, False, True]
