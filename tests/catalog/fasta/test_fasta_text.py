"""Texts of FASTA as people have them: read where there is no doubt, else refused with the mend that fits."""

import gzip
import itertools
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Assembly, Fasta, FastaError
from catalog.fasta import file as fasta_file
from catalog.fasta import source as fasta_source
from catalog.fasta.scan import FastaRecord, NotIndexable, scan
from featurestore.testing import assembly_of

READ = {"c": "ACGTAC", "d": "GG"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b">c\nACGT\nAC\n\n\n>d\nGG\n\n\n", id="blank lines between sequences"),
        pytest.param(b">c\n\n\nACGT\nAC\n>d\nGG\n", id="blank lines below a header"),
        pytest.param(b"\n\r\n>c\nACGT\nAC\n>d\nGG\n", id="blank lines at the top"),
        pytest.param(b"\xef\xbb\xbf>c\r\nACGT\r\nAC\r\n>d\r\nGG\r\n", id="a byte order mark"),
        pytest.param(b">c\rACGT\rAC\r>d\rGG\r", id="line breaks of old Macs"),
        pytest.param(b">c Esp\xe8ce\nACGT\nAC\n>d\nGG\n", id="a Latin-1 letter in a description"),
        pytest.param(b">c \nACGT  \nAC\n>d\nGG   \n", id="blanks at the ends of lines"),
        pytest.param(b"> c\nACGT\nAC\n>\td\nGG\n", id="a blank before the name"),
        pytest.param(b">c -> d\nACGT\nAC\n>d\nGG", id="an arrow in a description"),
        pytest.param(b">c\nACGTAC\n>d\nGG", id="a line a sequence"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_what_leaves_no_doubt_is_read(tmp_path: Path, text: bytes, pack: type[bytes]) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(pack(text))
    with Fasta(path) as fasta:
        assert {name: fasta.fetch(name, 1, length).tobytes() for name, length in fasta.lengths.items()} == {
            "c": b"CGTAC",
            "d": b"G",
        }
    assert Assembly.from_fasta(path).contigs == assembly_of(READ).contigs


def test_a_sequence_without_bases_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(b">void\n>c\nACGT\nAC\n>empty\n\n>d\nGG\n")
    for _ in ("made", "cached"):
        with pytest.warns(UserWarning, match=r"a\.fa has no bases for some headers.*left out: void, empty"):
            assert Assembly.from_fasta(path).contigs == assembly_of(READ).contigs
    # As samtools writes it.
    Path(f"{path}.fai").write_text("void\t0\t6\t0\t0\nc\t6\t9\t4\t5\nempty\t0\t24\t0\t0\nd\t2\t28\t2\t3\n")
    with pytest.warns(UserWarning, match="left out: void, empty"), Fasta(path) as fasta:
        assert fasta.fetch("d", 0, 2).tobytes() == b"GG"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b">c\nACGT\n\nAC\n", "line 3 is blank amid the bases of c; rewrap", id="a blank line within"),
        pytest.param(b">c\nACGT\n\n\nACGT\n", "line 3 is blank amid", id="two blank lines within"),
        pytest.param(b">c\nACGT\nACGT \nAC\n", "line 3 of c ends otherwise than", id="a blank at one line's end"),
        pytest.param(b">c\nACGT\nACGT\r\nAC\n", "line 3 of c ends .*another line break", id="another break"),
        pytest.param(b">c\nACG\xe9\n", "line 2 has the byte 0xe9 among the bases of c", id="a Latin-1 letter"),
        pytest.param(b">c\nACGT\n\0\0\n", "line 3 has the byte 0x00", id="zeros"),
        pytest.param(b">c\nACGT>d\nAC\n", "line 2 has a '>' .*two files were joined", id="two files joined"),
        pytest.param(b">c\nAC\nA>\n", "line 3 has a '>'", id="a lone mark"),
        pytest.param(b">c\rACGT\n>d\rGG\r", "'>' among the bases", id="breaks of both kinds"),
        pytest.param(b">c\nAC\n>d\rGG\n", "line 3 has a line break of another kind", id="a header of another kind"),
        pytest.param(b">c\nAC    \n" * 2, "line 2 of c ends in blanks; rewrap", id="many blanks"),
        pytest.param(b">c\nAC\n>c\nGG\n", 'called "c"; give each sequence a name of its own', id="a name twice"),
        pytest.param(b">c\nAC\n> \nGG\n", "line 3 has no name", id="no name"),
        pytest.param(b">c\xe9\nAC\n", "line 1 is not short, printable text", id="a name in Latin-1"),
        pytest.param(b">" + b"c" * 2000 + b"\nAC\n", "line 1 is not short", id="a name of 2,000 letters"),
        pytest.param(b"c\nAC\n", "line 1 is no header", id="no header"),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1 << 21])
def test_what_has_no_index_is_refused_by_line_with_the_mend(text: bytes, message: str, step: int) -> None:
    with pytest.raises(NotIndexable, match=message):
        scan(text[at : at + step] for at in range(0, len(text), step))


def test_a_text_is_found_the_same_however_it_arrives() -> None:
    text = b">c words\r\nACGT\r\nAC\r\n\r\n>void\r\n>d\r\nGG"
    expected = [FastaRecord("c", 6, 10, 4, 6), FastaRecord("void", 0, 29, 0, 0), FastaRecord("d", 2, 33, 2, 2)]
    for step in range(1, len(text) + 1):
        assert scan(text[at : at + step] for at in range(0, len(text), step)) == expected


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(1, 25), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_base_lies_where_its_record_says(lengths: list[int], width: int, line_break: str) -> None:
    bases = ["ACGTN" * 12] * len(lengths)
    lines = []
    for number, length in enumerate(lengths):
        lines += [f">{number}", *(bases[number][at : min(at + width, length)] for at in range(0, length, width))]
    text = (line_break.join(lines) + line_break).encode()
    records = scan([text])
    assert [record.length for record in records] == lengths
    for record in records:
        found = "".join(chr(text[record.position(base)]) for base in range(record.length))
        assert found == bases[0][: record.length]


# Sizes


def test_a_sequence_on_one_line_is_read_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fasta_source, fasta_file):
        monkeypatch.setattr(module, "STEP_BYTES", 1 << 18)
    text = b">c\n" + b"ACGT" * (1 << 23) + b"\n>d\nGG\n"
    path = tmp_path / "a.fa.gz"
    path.write_bytes(gzip.compress(text, compresslevel=1))
    tracemalloc.start()
    try:
        lengths = Assembly.from_fasta(path).lengths
        assert tracemalloc.get_traced_memory()[1] < len(text) / 1.5
    finally:
        tracemalloc.stop()
    assert lengths == {"c": 1 << 25, "d": 2}


def test_a_header_without_an_end_is_refused_while_it_is_read() -> None:
    endless = itertools.chain([b">c words"], itertools.repeat(b"x" * 10_000))
    with pytest.raises(NotIndexable, match="line 1 is longer than 1 MiB; shorten it"):
        scan(endless)


def test_more_sequences_than_an_assembly_has_are_refused_while_they_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catalog.fasta.scan._MOST_SEQUENCES", 50)
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield b">s%d\nAC\n" % len(taken)

    with pytest.raises(NotIndexable, match=r"more than 50 sequences.*seqkit seq -m 10000"):
        scan(endless())
    assert len(taken) < 60


# Files that are no files of sequences


def test_a_pipe_is_refused_with_the_mend(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FastaError, match=r"is a pipe or a device.*write it to a file first \(`cat .*pipe > FILE`\)"):
        Fasta(tmp_path / "pipe")
    with pytest.raises(FastaError, match="is a pipe or a device"):
        Fasta("/dev/null")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"@read\nACGT\n+\nFFFF\n", "as FASTQ does; give the genome's", id="FASTQ"),
        pytest.param(">c\nACGT\n".encode("utf-16"), "UTF-16; save it as plain text", id="UTF-16"),
    ],
)
def test_another_kind_of_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.fa").write_bytes(content)
    with pytest.raises(FastaError, match=message):
        Fasta(tmp_path / "a.fa")
