"""Chunks hold the records of a file, in their order, and never split a site."""

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.variants.chunks import read_chunks, write_chunks
from builders.variants.read import Record

RECORDS = st.lists(
    st.builds(
        Record,
        contig=st.sampled_from(["1", "chrX", "Ω"]),
        position=st.integers(0, 3),
        id=st.none() | st.text(max_size=3),
        ref=st.sampled_from(["A", "acg"]),
        alts=st.lists(st.sampled_from(["T", "<DEL>", "*"]), max_size=3).map(tuple),
    ),
    max_size=30,
)


@given(RECORDS, st.integers(1, 6))
def test_chunks_hold_all_records_with_alleles_and_split_no_site(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "records.jsonl"
    write_chunks(iter(records), size, path)
    chunks = read_chunks(path)
    held = [chunk.records() for chunk in chunks]
    kept = [record for record in records if record.alts]
    assert [record for chunk in held for record in chunk] == kept
    assert [chunk.n_alleles for chunk in chunks] == [sum(len(one.alts) for one in chunk) for chunk in held]
    for before, after in pairwise(held):
        assert (before[-1].contig, before[-1].position) != (after[0].contig, after[0].position)
        assert sum(len(one.alts) for one in before) >= size
    for chunk in held:
        sites = [list(group) for _, group in groupby(chunk, key=lambda one: (one.contig, one.position))]
        assert sum(len(one.alts) for site in sites[:-1] for one in site) < size
