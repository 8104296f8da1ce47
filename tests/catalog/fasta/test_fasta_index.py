"""The index of a FASTA file: what others make of the same file, and a word where it cannot be one."""

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyfaidx
import pytest
from Bio import bgzf as bio
from fasta_server import PLACES, FastaServer, Place, bgzip, names, on_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import Fasta, FastaError, FastaIndex
from catalog.fasta.bgzf import END, BlockTable, gzi_of, inflated
from catalog.fasta.index import FastaRecord

biopython: Any = bio  # it has no annotations


def in_blocks(text: bytes, size: int) -> bytes:
    """Compress as Biopython does, in blocks of so many bytes."""
    out = io.BytesIO()
    writer = biopython.BgzfWriter(fileobj=out)
    for start in range(0, len(text), size):
        writer.write(text[start : start + size])
        writer.flush()
    out.write(END)
    return out.getvalue()


# Blocks


@given(st.binary(min_size=1, max_size=300), st.integers(1, 90), st.integers(1, 64))
@settings(deadline=None)
def test_blocks_unpack_to_what_biopython_reads_however_they_arrive(text: bytes, size: int, step: int) -> None:
    packed = in_blocks(text, size)
    chunks = [packed[at : at + step] for at in range(0, len(packed), step)]
    found = list(inflated(chunks))
    assert b"".join(data for _, data in found) == biopython.BgzfReader(fileobj=io.BytesIO(packed), mode="rb").read(1000)
    expected = [(start, length) for start, _, _, length in biopython.BgzfBlocks(io.BytesIO(packed))]
    assert [(start, len(data)) for start, data in found] == expected


@given(st.binary(min_size=1, max_size=300), st.integers(1, 90), st.data())
@settings(deadline=None)
def test_any_range_of_blocks_is_that_of_the_text_in_one_read(text: bytes, size: int, data: st.DataObject) -> None:
    packed = in_blocks(text, size)
    blocks = [(start, at) for start, _, at, length in biopython.BgzfBlocks(io.BytesIO(packed)) if length]
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text) + 10))
    reads = []

    def read(low: int, high: int) -> bytes:
        reads.append((low, high))
        return packed[low:high]

    table = BlockTable(gzi_of(blocks))
    assert bytes(table.read(read, len(packed), start, end)) == text[start:end]
    assert len(reads) == 1
    assert table.text_limit(len(packed)) >= len(text)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_in_a_block_is_noticed_or_changes_nothing(place: int, bit: int) -> None:
    text = b"ACGT" * 100
    packed = bytearray(in_blocks(text, 150))
    packed[place % len(packed)] ^= 1 << bit
    try:
        found = b"".join(data for _, data in inflated([bytes(packed)]))
    except ValueError:
        return  # noticed
    # What gzip keeps of a file's time and system, and what fills up the last byte of a block, is no text.
    assert found == text


def test_blocks_that_hold_other_text_than_the_table_says_are_refused() -> None:
    packed = in_blocks(b"ACGT" * 30, 40)
    (_, _), (second, at), (third, _) = [
        (start, at) for start, _, at, length in biopython.BgzfBlocks(io.BytesIO(packed)) if length
    ]
    table = BlockTable(gzi_of([(0, 0), (second, at + 1), (third, 80)]))
    with pytest.raises(ValueError, match=r"hold other text than the \.gzi says"):
        table.read(lambda low, high: packed[low:high], len(packed), 3, 30)


def test_a_block_beyond_the_end_of_the_file_is_refused_before_it_is_read() -> None:
    table = BlockTable(gzi_of([(0, 0), (1 << 60, 40)]))
    with pytest.raises(ValueError, match="and the file ends at byte 90"):
        table.read(lambda low, high: pytest.fail(f"read {low} to {high}"), 90, 3, 30)


@pytest.mark.parametrize(
    ("gzi", "message"),
    [
        pytest.param(b"", "does not hold the number of blocks that it claims", id="empty"),
        pytest.param(struct.pack("<QQQ", 2, 50, 50), "number of blocks that it claims", id="cut short"),
        pytest.param(struct.pack("<Q", 2**63), "number of blocks that it claims", id="more blocks than bytes"),
        pytest.param(struct.pack("<QQQ", 1, 2**63, 5), "beyond any file", id="beyond any file"),
        pytest.param(gzi_of([(50, 50), (50, 60)]), "do not follow one another", id="two blocks in one place"),
        pytest.param(gzi_of([(90, 50), (50, 60)]), "do not follow one another", id="backwards"),
        pytest.param(gzi_of([(50, 60), (90, 50)]), "do not follow one another", id="text backwards"),
        pytest.param(gzi_of([(50, 70_000)]), "at most 65,536 bytes", id="a block too large"),
    ],
)
def test_a_gzi_that_cannot_be_one_is_refused(gzi: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockTable(gzi)


# The index


RECORDS = (FastaRecord("c", 6, 3, 4, 5), FastaRecord("d", 2, 14, 2, 3))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
def test_the_index_is_the_one_that_pyfaidx_writes(tmp_path: Path, packed: bool) -> None:
    text = b">c with words\r\nACGT\r\nAC\r\n>d\r\nGG\r\n>e\nACGTACGT\nACG"
    path = tmp_path / ("a.fa.gz" if packed else "a.fa")
    path.write_bytes(in_blocks(text, 7) if packed else text)
    with Fasta(path) as fasta:
        made = fasta.index
    gzi = tmp_path / "theirs.gzi"
    pyfaidx.Faidx(str(path), indexname=str(tmp_path / "theirs.fai"), gzi_indexname=str(gzi)).close()
    theirs = FastaIndex.from_fai(
        (tmp_path / "theirs.fai").read_text(),
        version=made.version,
        packing="bgzf" if packed else "plain",
        gzi=gzi.read_bytes() if packed else b"",
    )
    assert made == theirs


@given(st.dictionaries(st.from_regex(r"[!-~]{1,9}", fullmatch=True), st.integers(1, 10**9), min_size=1), st.binary())
def test_an_index_survives_json_and_pickle(lengths: dict[str, int], gzi: bytes) -> None:
    records, offset = [], 3
    for name, length in lengths.items():
        records.append(FastaRecord(name, length, offset, 60, 61))
        offset += 2 * length + 5
    index = FastaIndex(version="5 bytes, mtime 7 ns", packing="plain", records=tuple(records), gzi=gzi)
    assert FastaIndex.from_json(index.to_json()) == index
    assert pickle.loads(pickle.dumps(index)) == index
    assert len({index, FastaIndex.from_json(index.to_json())}) == 1
    assert index.lengths == lengths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"packing": "zip"}, "plain, bgzf, gzip, got 'zip'", id="another packing"),
        pytest.param({"records": ()}, "holds no sequence", id="no sequence"),
        pytest.param({"records": (RECORDS[0], RECORDS[0])}, "the same name", id="a name twice"),
        pytest.param({"records": RECORDS[::-1]}, "c cannot begin at byte 3", id="backwards"),
        pytest.param({"records": (FastaRecord("c", 0, 3, 4, 5),)}, "no sequence for c", id="no bases"),
        pytest.param({"records": (FastaRecord("c", 6, 3, 0, 1),)}, "cannot have 0 bases in lines", id="empty lines"),
        pytest.param({"records": (FastaRecord("c", 6, 3, 4, 9),)}, "in lines of 9 bytes", id="long breaks"),
        pytest.param({"records": (FastaRecord("c", 6, -3, 4, 5),)}, "cannot begin at byte -3", id="before the file"),
        pytest.param({"records": (FastaRecord("c", 2**63, 3, 4, 5),)}, "with 9223372036854775808", id="endless"),
        pytest.param({"packing": "bgzf"}, r"a \.gzi of 0 bytes", id="bgzip without blocks"),
    ],
)
def test_what_cannot_be_the_index_of_a_file_is_refused(change: dict[str, object], message: str) -> None:
    whole: dict[str, Any] = {"version": "v", "packing": "plain", "records": RECORDS}
    FastaIndex(**whole)
    with pytest.raises(ValueError, match=message):
        FastaIndex(**(whole | change))


def test_a_truncated_or_changed_document_is_no_index() -> None:
    document = FastaIndex(version="v", packing="bgzf", records=RECORDS, gzi=gzi_of([(0, 0), (50, 9)])).to_json()
    for end in range(len(document)):
        with pytest.raises((ValueError, KeyError, TypeError)):
            FastaIndex.from_json(document[:end])


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda text: in_blocks(text, 9)], ids=["plain", "gzip", "bgzip"]
)
def test_a_genome_of_many_contigs_is_read_through_piece_by_piece(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    contigs = {f"c{number}": "ACGTN"[number % 5] * (1 + number % 13) for number in range(200)}
    path = tmp_path / "many.fa"
    path.write_bytes(pack("".join(f">{name}\n{bases}\n" for name, bases in contigs.items()).encode()))
    with Fasta(path) as fasta:
        assert {contig: bases.tobytes().decode() for contig, bases in fasta.pieces()} == contigs
        whole = np.concatenate([fasta.fetch(contig, 0, length) for contig, length in fasta.lengths.items()])
    assert whole.tobytes().decode() == "".join(contigs.values())


# An index of another file


TWO = {"chr1": "ACGT" * 60_000, "chr2": "TTTTG" * 48_000}
OTHER_ORDER = dict(reversed(TWO.items()))


def lines_of(sequences: dict[str, str]) -> bytes:
    return "".join(f">{name} of length {len(bases)}\n{bases}\n" for name, bases in sequences.items()).encode()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
@pytest.mark.parametrize("start", [0, 1, 200_000], ids=["the first base", "the second", "far from the header"])
def test_the_index_of_a_file_with_the_sequences_in_another_order_gives_no_bases(
    place: Place, packed: bool, start: int, server: FastaServer, tmp_path: Path
) -> None:
    name = f"{next(names)}.fa"
    content = bgzip(lines_of(TWO)) if packed else lines_of(TWO)
    with Fasta(on_disk("alone.fa", content, tmp_path, server)) as alone:
        gzi = alone.index.gzi
    with Fasta(on_disk("other.fa", lines_of(OTHER_ORDER), tmp_path, server)) as other:
        fai = "".join("\t".join(map(str, record)) + "\n" for record in other.index.records)
    url = place(name, content, tmp_path, server)
    for suffix, data in ((".fai", fai.encode()), (".gzi", gzi)):
        place(f"{name}{suffix}", data, tmp_path, server)
    with Fasta(url) as fasta:
        for read in (lambda: fasta.fetch("chr1", start, start + 9), lambda: list(fasta.pieces())):
            with pytest.raises(FastaError, match=rf"{name} does not have the header of chr.*remove .*{name}\.fai"):
                read()


def test_an_index_that_lacks_a_sequence_in_the_middle_gives_no_bases_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(b">c\nACGT\n>d\nGG\n>e\nTTT\n")
    Path(f"{path}.fai").write_text("c\t4\t3\t4\t5\ne\t3\t17\t3\t4\n")
    with Fasta(path) as fasta:
        assert fasta.fetch("c", 0, 4).tobytes() == b"ACGT"
        with pytest.raises(FastaError, match="does not have the header of e right before its bases"):
            fasta.fetch("e", 0, 3)
