"""FASTA files and what they digest to: the same bases however they are packed, and a word where something is wrong."""

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from Bio import bgzf
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from catalog import Assembly, Contig, Fasta, FastaError, UnknownContig
from catalog.assembly import sha512t24u
from catalog.runtime.folders import cache_directory
from featurestore.testing import assembly_of, random_sequences

REGIONS = SHARED / "data" / "grch38_regions"
needs_data = pytest.mark.skipif(not REGIONS.is_dir(), reason=f"no real inputs at {REGIONS}; set FEATURESTORE_SHARED")

# Three blocks of bgzip, 65,536 bytes each as Bio.bgzf writes them, and a mixture of cases and unusual bases.
SEQUENCES = random_sequences({"chr1": 150_000, "chr2": 601, "chrM": 7}, seed=5)
SEQUENCES["chr2"] = "NNNnnn" + SEQUENCES["chr2"][6:300] + "RYkm-*" + SEQUENCES["chr2"][306:].lower()


def fasta_text(sequences: dict[str, str], *, width: int = 60, newline: str = "\n") -> bytes:
    lines = []
    for contig, bases in sequences.items():
        lines += [f">{contig} described at length", *(bases[at : at + width] for at in range(0, len(bases), width))]
    return (newline.join(lines) + newline).encode()


def write_plain(path: Path, text: bytes) -> Path:
    path = path.with_suffix(".fa")
    path.write_bytes(text)
    return path


def write_gzip(path: Path, text: bytes) -> Path:
    path = path.with_suffix(".gz.fa.gz")
    path.write_bytes(gzip.compress(text))
    return path


def write_bgzip(path: Path, text: bytes) -> Path:
    path = path.with_suffix(".fa.gz")
    with bgzf.BgzfWriter(str(path)) as file:  # type: ignore[no-untyped-call]  # Biopython has no annotations here
        file.write(text)
    return path


def write_bgzip_by_another_name(path: Path, text: bytes) -> Path:
    return write_bgzip(path.with_name("renamed"), text).rename(path.with_suffix(".fa.bgzipped"))


def write_crlf(path: Path, text: bytes) -> Path:
    return write_plain(path.with_suffix(".crlf.fa"), text.replace(b"\n", b"\r\n"))


def write_without_last_newline(path: Path, text: bytes) -> Path:
    return write_plain(path.with_suffix(".bare.fa"), text.rstrip(b"\n"))


def write_on_long_lines(path: Path, text: bytes) -> Path:
    return write_plain(path.with_suffix(".long.fa"), fasta_text(SEQUENCES, width=1 << 20))


WRITERS = [
    pytest.param(write_plain, id="plain"),
    pytest.param(write_gzip, id="gzip"),
    pytest.param(write_bgzip, id="bgzip"),
    pytest.param(write_bgzip_by_another_name, id="bgzip under another name"),
    pytest.param(write_crlf, id="Windows line ends"),
    pytest.param(write_without_last_newline, id="no newline at the end"),
    pytest.param(write_on_long_lines, id="a line a sequence"),
]
Writer = Callable[[Path, bytes], Path]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("packed")
    return [writer.values[0](folder / "genome", fasta_text(SEQUENCES)) for writer in WRITERS]  # type: ignore[operator]


@pytest.mark.parametrize("write", WRITERS)
def test_a_genome_is_the_same_assembly_however_it_is_packed(write: Writer, tmp_path: Path) -> None:
    assembly = Assembly.from_fasta(write(tmp_path / "genome", fasta_text(SEQUENCES)))
    assert assembly.contigs == assembly_of(SEQUENCES).contigs
    assert assembly.digest == assembly_of(SEQUENCES).digest
    assert assembly.lengths == {contig: len(bases) for contig, bases in SEQUENCES.items()}
    assert list(assembly.lengths) == list(SEQUENCES)


@given(st.sampled_from(sorted(SEQUENCES)), st.data())
@settings(max_examples=150, deadline=None)
def test_any_range_is_that_of_the_sequence(packed: list[Path], contig: str, data: st.DataObject) -> None:
    bases = SEQUENCES[contig]
    start = data.draw(st.integers(0, len(bases) - 1))
    end = data.draw(st.integers(start + 1, min(len(bases), start + 300)))
    with Fasta(data.draw(st.sampled_from(packed))) as fasta:
        assert fasta.fetch(contig, start, end).tobytes().decode() == bases[start:end]


def test_a_range_may_begin_and_end_where_a_bgzip_block_does(tmp_path: Path) -> None:
    header = ">c\n"
    bases = random_sequences({"c": 2 * 65_536}, seed=2)["c"]
    path = write_bgzip(tmp_path / "edge", f"{header}{bases}\n".encode())
    edge = 65_536 - len(header)
    with Fasta(path) as fasta:
        for start, end in [(edge - 1, edge), (edge, edge + 1), (edge - 3, edge + 3), (edge, edge + 65_536)]:
            assert fasta.fetch("c", start, end).tobytes().decode() == bases[start:end]


@given(st.integers(1, 9), st.lists(st.text("ACGTN", min_size=1, max_size=40), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_the_width_of_the_lines_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, width: int, contigs: list[str]
) -> None:
    sequences = {f"c{place}": bases for place, bases in enumerate(contigs)}
    path = write_plain(tmp_path_factory.mktemp("width") / "a", fasta_text(sequences, width=width))
    assert Assembly.from_fasta(path).contigs == assembly_of(sequences).contigs


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (5, 3), (0, 8)])
def test_a_range_outside_the_contig_is_refused(packed: list[Path], start: int, end: int) -> None:
    with Fasta(packed[0]) as fasta, pytest.raises(ValueError, match="does not lie in chrM, which has 7 bases"):
        fasta.fetch("chrM", start, end)


# Known answers


def test_a_sequence_digests_as_ga4gh_says() -> None:
    # The worked example of the GA4GH refget documentation.
    assert sha512t24u(b"ACGT") == "aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"


def test_a_collection_digests_as_ga4gh_says(tmp_path: Path) -> None:
    # `base.fa`, the worked example of the GA4GH refget sequence collections documentation.
    path = write_plain(tmp_path / "base", b">chrX\nTTGGGGAA\n>chr1\nGGAA\n>chr2\nGCGC\n")
    assembly = Assembly.from_fasta(path)
    assert [contig.digest for contig in assembly.contigs] == [
        "SQ.iYtREV555dUFKg2_agSJW6suquUyPpMw",
        "SQ.YBbVX0dLKG1ieEDCiMmkrTZFt_Z5Vdaj",
        "SQ.AcLxtBuKEPk_7PGE_H4dGElwZHCujwH6",
    ]
    assert assembly.digest == "XZlrcEGi6mlopZ2uD8ObHkQB1d0oDwKk"


@needs_data
def test_the_human_mitochondrion_digests_as_refget_servers_have_it() -> None:
    assembly = Assembly.from_fasta(REGIONS / "chrM.hg38.fa")
    assert assembly.lengths == {"chrM": 16_569}
    assert assembly.contigs[0].digest == "SQ.k3grVkjY-hoWcCUojHw6VU6GE3MZ8Sct"


@needs_data
def test_a_real_bgzipped_file_is_read_with_the_indexes_beside_it() -> None:
    before = sorted(REGIONS.iterdir())
    with Fasta(REGIONS / "genome.chr1_chr2_chrM.fa.gz") as genome, Fasta(REGIONS / "chrM.hg38.fa") as alone:
        assert genome.lengths["chrM"] == 16_569
        assert (genome.fetch("chrM", 0, 16_569) == alone.fetch("chrM", 0, 16_569)).all()
    assert sorted(REGIONS.iterdir()) == before


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text("ACGTN", min_size=1, max_size=9), min_size=2))
def test_case_does_not_matter_and_order_and_names_do(sequences: dict[str, str]) -> None:
    digest = assembly_of(sequences).digest
    assert assembly_of({contig: bases.lower() for contig, bases in sequences.items()}).digest == digest
    assert assembly_of(sequences, name="another name").digest == digest
    assert assembly_of(dict(reversed(sequences.items()))).digest != digest
    assert assembly_of({f"chr{contig}": bases for contig, bases in sequences.items()}).digest != digest
    assert assembly_of({contig: bases + "A" for contig, bases in sequences.items()}).digest != digest


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text("ACGT", min_size=1), min_size=1, max_size=4))
def test_an_assembly_survives_json(sequences: dict[str, str]) -> None:
    assembly = assembly_of(sequences)
    assert Assembly.model_validate_json(assembly.model_dump_json()) == assembly


def test_a_record_that_was_edited_is_refused() -> None:
    document = assembly_of({"chr1": "ACGT", "chr2": "GG"}).model_dump()
    document["contigs"][0]["name"] = "chr3"
    with pytest.raises(ValidationError, match="the record was edited"):
        Assembly.model_validate(document)


def test_a_contig_has_at_least_one_base() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Contig(name="chr1", length=0, digest="SQ.x")


# Names of contigs


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        ("chr1", "chr1"),
        ("chr1", "1"),
        ("1", "chr1"),
        ("chrX", "X"),
        ("chrM", "MT"),
        ("chrM", "M"),
        ("chrM", "chrMT"),
        ("MT", "chrM"),
        ("MT", "M"),
    ],
)
def test_either_spelling_of_a_contig_finds_it(has: str, wanted: str) -> None:
    assert assembly_of({"chr22": "A", has: "C"}).resolve(wanted) == has


def test_a_contig_under_its_own_name_is_preferred() -> None:
    assembly = assembly_of({"chr1": "A", "1": "C"})
    assert [assembly.resolve(name) for name in ("1", "chr1")] == ["1", "chr1"]


def test_an_unknown_contig_is_refused_with_those_that_there_are() -> None:
    few = assembly_of({"chr1": "A", "chr2": "C"}, name="small")
    with pytest.raises(UnknownContig, match=r"^small has no contig 'chr9'; it has chr1, chr2$"):
        few.resolve("chr9")
    many = assembly_of({f"chr{number}": "A" for number in range(1, 12)})
    with pytest.raises(UnknownContig, match=r"chr8, \.\.\.$"):
        many.resolve("chrX")


@pytest.mark.parametrize(
    ("file", "name"),
    [("hg38.fa.gz", "hg38"), ("hg38.fasta", "hg38"), ("GRCh38.p14.fna.bgz", "GRCh38.p14"), ("genome", "genome")],
)
def test_an_assembly_is_called_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    if file.endswith("gz"):
        write_bgzip(tmp_path / "x", b">c\nAC\n").rename(path)
    else:
        path.write_bytes(b">c\nAC\n")
    assert Assembly.from_fasta(path).name == name
    assert Assembly.from_fasta(path, name="mine").name == "mine"


# Files that cannot be read


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        pytest.param("a.fa", b"", "is empty.*fetch it again", id="empty"),
        pytest.param(
            "a.fa", b"chr1\t5\t10\n", r"is not FASTA: it begins with b'chr1.*expected '>'.*give a \.fa", id="BED"
        ),
        pytest.param("a.fa", b"\x28\xb5\x2f\xfd....", "zstandard-compressed.*`bgzip genome.fa`", id="zstandard"),
        pytest.param("a.fa.bz2", b"BZh91AY....", "bzip2-compressed.*`bgzip genome.fa`", id="bzip2"),
        pytest.param("a.fa.xz", b"\xfd7zXZ\x00....", "xz-compressed.*`bgzip genome.fa`", id="xz"),
        pytest.param("a.fa.zip", b"PK\x03\x04....", "zip-compressed.*`bgzip genome.fa`", id="zip"),
        pytest.param("a.2bit", b"\x43\x27\x41\x1a....", "UCSC 2bit.*twoBitToFa", id="2bit"),
        pytest.param("a.fa.gz", b">c\nACGT\n", "plain text under a compressed file's name; rename it", id="misnamed"),
        pytest.param("a.fa.gz", gzip.compress(b""), r"a\.fa\.gz is empty.*fetch it again", id="nothing gzipped"),
        pytest.param("a.fa.gz", gzip.compress(b"chr1"), r"a\.fa\.gz is not FASTA", id="no FASTA gzipped"),
        pytest.param("a.fa.gz", gzip.compress(gzip.compress(b">c\nAC\n")), "twice; unpack it once", id="gzipped twice"),
        pytest.param("a.fa", b">c\nACGT\n>d\n", "no sequence for d;.*fetch it again", id="header at the end"),
        pytest.param("a.fa", b">c\nAC\n>d\n\n\n", "no sequence for d;.*fetch it again", id="blank lines at the end"),
        pytest.param("a.fa", b">c\n", "no sequence for c;.*fetch it again", id="header alone"),
        pytest.param("a.fa", b">c\nAC\n>c\nGG\n", '"c"; .*give each sequence a name of its own', id="a name twice"),
        pytest.param("a.fa", b">\nACGT\n", "give each sequence a name", id="no name"),
        pytest.param("a.fa", b">c\nACGT\nAC\nACGT\n", "line 3.*seqkit seq -w 60", id="a short line within"),
        pytest.param("a.fa", b">c\nACGT\nACGT\nACGTACG\n", "different widths.*seqkit seq -w 60", id="a long last line"),
        pytest.param("a.fa", b">c\nAC T\n", "line 2 has a blank among the bases of c", id="a space among the bases"),
        pytest.param("a.fa", b">c\nAC\xc3\xa9T\n", "fetch the file again", id="bytes that are no letters"),
    ],
)
def test_what_is_no_usable_fasta_is_refused_with_the_mend(
    tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(FastaError, match=message):
        Assembly.from_fasta(tmp_path / file)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_missing_file_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no FASTA file at .*absent\.fa; give the path of a \.fa"):
        Assembly.from_fasta(tmp_path / "absent.fa")
    with pytest.raises(FileNotFoundError, match="no FASTA file"):
        Assembly.from_fasta(tmp_path)


def test_a_truncated_bgzip_file_is_refused(tmp_path: Path) -> None:
    path = write_bgzip(tmp_path / "cut", fasta_text(SEQUENCES))
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(FastaError, match=r"lacks the end mark of bgzip.*fetch it again"):
        Fasta(path)


@pytest.mark.parametrize("kept", [0.5, 0.999], ids=["half", "all but the checksum"])
def test_a_truncated_gzip_file_is_refused_and_leaves_no_copy(tmp_path: Path, kept: float) -> None:
    path = write_gzip(tmp_path / "cut", fasta_text(SEQUENCES))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(FastaError, match=r"truncated or damaged gzip file.*fetch it again"):
        Fasta(path)
    assert not list(cache_directory().rglob("*.partial"))


@pytest.mark.parametrize("write", WRITERS[1:3])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_flipped_bit_in_a_compressed_file_is_noticed(write: Writer, share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "flip", fasta_text(SEQUENCES))
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0b100
    path.write_bytes(data)
    with pytest.raises(FastaError, match="fetch it again"):
        Assembly.from_fasta(path)


INDEX = "c\t6\t3\t4\t5\nd\t2\t14\t2\t3\n"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        pytest.param("c\t6\n", "cannot be indexed", id="half a line"),
        pytest.param("c\tsix\t3\t4\t5\n", "cannot be indexed", id="no number"),
        pytest.param("c\t6\t3\t4\t5\n", "goes on after the last base in its index", id="a sequence too few"),
        pytest.param(INDEX.replace("2\t14", "9\t14"), "ends before the last base in its index", id="another file's"),
        pytest.param(INDEX.replace("6\t3\t4", "6\t3\t0"), "the index is, or belongs to another", id="no bases a line"),
        pytest.param(INDEX.replace("6\t3", "6\t2"), "does not have the 6 bases", id="a sequence one byte off"),
        pytest.param(INDEX.replace("c\t6", "c\t9"), "does not have the 9 bases", id="a sequence too long"),
        pytest.param("", "holds no sequence", id="empty"),
    ],
)
def test_a_damaged_index_beside_the_file_is_refused_by_name(tmp_path: Path, index: str, message: str) -> None:
    path = write_plain(tmp_path / "a", b">c\nACGT\nAC\n>d\nGG\n")
    Path(f"{path}.fai").write_text(index)
    with pytest.raises(FastaError, match=rf"{message}.*remove .*a\.fa\.fai"):
        Assembly.from_fasta(path)
    Path(f"{path}.fai").write_text(INDEX)
    assert Assembly.from_fasta(path).contigs == assembly_of({"c": "ACGTAC", "d": "GG"}).contigs


def test_a_file_shorter_than_its_index_is_refused(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "a", b">c\nACGT\nAC\n>d\nGGGG\n")
    Path(f"{path}.fai").write_text("c\t6\t3\t4\t5\nd\t4\t14\t4\t5\n")
    path.write_bytes(path.read_bytes()[:-3])
    os.utime(path, ns=(0, 0))
    with pytest.raises(FastaError, match=r"ends before the last base in its index.*truncated.*fetch the file again"):
        Fasta(path)


def test_an_index_older_than_the_file_is_not_used(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "a", b">c\nACGT\n")
    Path(f"{path}.fai").write_text("old\t4\t5\t4\t5\n")
    os.utime(f"{path}.fai", ns=(0, 0))
    assert Assembly.from_fasta(path).lengths == {"c": 4}
    assert Path(f"{path}.fai").read_text().startswith("old")


# The folder of the user, and the cache


@pytest.mark.parametrize("write", WRITERS)
def test_the_folder_of_the_file_is_not_written_to(write: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    path = write(folder / "a", fasta_text(SEQUENCES))
    before = {entry.name: entry.stat().st_mtime_ns for entry in folder.iterdir()}
    folder.chmod(0o555)
    try:
        assert Assembly.from_fasta(path).digest == assembly_of(SEQUENCES).digest
    finally:
        folder.chmod(0o755)
    assert {entry.name: entry.stat().st_mtime_ns for entry in folder.iterdir()} == before


def test_digests_are_kept_while_the_file_stays_and_made_again_after(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "a", b">c\nACGT\n")
    first = Assembly.from_fasta(path)
    with Fasta(path) as fasta:
        kept = fasta.cache / "contigs.json"
    made = kept.stat().st_ino
    assert Assembly.from_fasta(path) == first
    assert kept.stat().st_ino == made, "the bases were read again"
    path.write_bytes(b">c\nTTTTT\n")
    assert Assembly.from_fasta(path).contigs == assembly_of({"c": "TTTTT"}).contigs


@pytest.mark.parametrize("write", WRITERS[:3])
def test_a_file_whose_time_stamp_was_set_back_is_read_anew(write: Writer, tmp_path: Path) -> None:
    # As `cp -p` and `rsync -t` do: the size and the time of change are those of the former file.
    path = write(tmp_path / "a", fasta_text({"c": "ACGT"}))
    Assembly.from_fasta(path)
    time_stamp = path.stat().st_mtime_ns
    write(tmp_path / "a", fasta_text({"c": "TTGT"}))
    os.utime(path, ns=(time_stamp, time_stamp))
    with Fasta(path) as fasta:
        assert fasta.fetch("c", 0, 4).tobytes() == b"TTGT"
    assert Assembly.from_fasta(path).contigs == assembly_of({"c": "TTGT"}).contigs


@pytest.mark.parametrize(
    "damage",
    ["", "{", "null", "5", "[]", "{}", '[{"name": "c"}]', '[{"name": "c", "length": 9, "digest": "SQ.x"}]'],
)
def test_damaged_digests_in_the_cache_are_made_again(tmp_path: Path, damage: str) -> None:
    path = write_plain(tmp_path / "a", b">c\nACGT\n")
    expected = Assembly.from_fasta(path)
    with Fasta(path) as fasta:
        kept = fasta.cache / "contigs.json"
    whole = kept.read_text()
    kept.write_text(damage)
    assert Assembly.from_fasta(path) == expected
    assert kept.read_text() == whole


@pytest.mark.parametrize("write", WRITERS[:3])
@pytest.mark.parametrize("kept", [0, 9], ids=["emptied", "cut short"])
def test_anything_damaged_in_the_cache_is_made_again(write: Writer, kept: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a", fasta_text(SEQUENCES))
    with Fasta(path) as fasta:
        cache = fasta.cache
    derived = sorted(entry.name for entry in cache.iterdir())
    assert derived
    for name in derived:
        (cache / name).write_bytes((cache / name).read_bytes()[:kept])
        assert Assembly.from_fasta(path).digest == assembly_of(SEQUENCES).digest, name
    assert sorted(entry.name for entry in cache.iterdir()) == sorted([*derived, "contigs.json"])


def test_a_file_from_a_clock_that_runs_ahead_is_indexed_once(tmp_path: Path) -> None:
    path = write_bgzip(tmp_path / "future", fasta_text(SEQUENCES))
    future = time.time_ns() + 10**15
    os.utime(path, ns=(future, future))
    with Fasta(path) as fasta:
        indexes = {entry: entry.stat().st_ino for entry in fasta.cache.iterdir()}
    assert Assembly.from_fasta(path).digest == assembly_of(SEQUENCES).digest
    assert {entry: entry.stat().st_ino for entry in indexes} == indexes
