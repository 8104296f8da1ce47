"""Damaged and odd genomes, and indexes beside them: the bases that an obvious parser gives, or one sentence."""

import gzip
import os
import re
from pathlib import Path

import pytest
from fasta_server import bgzip
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import assert_one_sentence, bounded, mutated, repeated

from catalog import Assembly, Fasta, FastaError
from featurestore.testing import assembly_of

pytestmark = pytest.mark.filterwarnings("ignore:.* has no bases for some headers")

TEXT = b">chr1 one\nACGTACGTAC\nGGTTAANNNN\nACG\n>2\nTTTTacgtrC\nTTTTACGTAC\n>chrM circular\nACGTACGTTTACGTAA\n"
TEXTS = [
    TEXT,
    TEXT.replace(b"\n", b"\r\n"),
    TEXT.replace(b"\n", b"\r"),
    b"\xef\xbb\xbf" + TEXT,
    TEXT.replace(b"\n", b" \n"),
    TEXT.replace(b">2", b">empty\n\n\n>2"),
    TEXT.replace(b"T", b"U").replace(b"one", b"\xe9n\xe8"),
    b"".join(b">s%d\n%s\n" % (number, b"ACGT" * number) for number in range(1, 9)),
]
TOKENS = [
    b"\0",
    b"\n",
    b"\n\n",
    b"\r",
    b" \n",
    b"\t",
    b">",
    b"\n>x\n",
    b"\n>chr1\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"U",
    b";",
]
INDEX = b"chr1\t23\t10\t10\t11\n2\t20\t39\t10\t11\nchrM\t16\t77\t16\t17\n"
NUMBERS = [b"\t0\t", b"\t1\t", b"\t-1\t", b"\t10\t", b"\t1e3\t", b"\t9223372036854775807\t", b"\t%d\t" % 10**30]


def parsed(text: bytes) -> dict[str, str]:
    """Read FASTA the slow and obvious way; sequences without bases are left out."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in re.split(r"\r\n|\r|\n", text.removeprefix(b"\xef\xbb\xbf").decode("latin-1")):
        if line.startswith(">"):
            name = re.split(r"[ \t\v\f]+", line[1:].strip(" \t\v\f"))[0].encode("latin-1").decode()
            assert name not in found
            found[name] = []
        elif line.strip():
            found[name].append(line.rstrip(" \t\v\f").replace("U", "T").replace("u", "t"))
    return {name: "".join(lines) for name, lines in found.items() if lines}


def unpacked(data: bytes) -> bytes:
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def check(path: Path) -> None:
    """Hold a file to the law: the bases of the obvious parser, or a refusal that names it."""
    before = sorted(path.parent.iterdir())
    found: dict[str, str] | None = None
    assembly: Assembly | None = None
    with bounded(seconds=2, mebibytes=64):
        try:
            with Fasta(path) as fasta:
                found = {name: bases_of(fasta, name, length) for name, length in fasta.lengths.items()}
            assembly = Assembly.from_fasta(path)
        except (FastaError, OSError) as error:
            assert_one_sentence(error, about=str(path))
    assert sorted(path.parent.iterdir()) == before
    if found is not None:
        assert found == parsed(unpacked(path.read_bytes()))
        assert assembly is None or assembly.contigs == assembly_of(found).contigs


def bases_of(fasta: Fasta, contig: str, length: int) -> str:
    """Fetch a contig, the second half first."""
    second = fasta.fetch(contig, length // 2, length).tobytes()
    whole = fasta.fetch(contig, 0, length).tobytes()
    assert whole.endswith(second)
    return whole.decode()


def check_text(folder: Path, data: bytes) -> None:
    path = folder / "genome.fa"
    path.write_bytes(data)
    check(path)


def check_index(folder: Path, *, fai: bytes, gzi: bytes | None) -> None:
    path = folder / "genome.fa"
    path.write_bytes(TEXT if gzi is None else bgzip(TEXT, 40))
    Path(f"{path}.fai").write_bytes(fai)
    if gzi is not None:
        Path(f"{path}.gzi").write_bytes(gzi)
    os.utime(path, ns=(0, 0))
    check(path)


def true_gzi() -> bytes:
    folder = Path(os.environ["FEATURESTORE_CACHE"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "true.fa.gz"
    path.write_bytes(bgzip(TEXT, 40))
    with Fasta(path) as fasta:
        return fasta.index.gzi


@repeated(150, 6_000)
def test_a_damaged_text_is_read_rightly_or_refused(n_examples: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=n_examples)
    @given(mutated(TEXTS, tokens=TOKENS))
    def law(data: bytes) -> None:
        check_text(tmp_path_factory.mktemp("text"), data)

    law()


@repeated(60, 3_000)
def test_any_bytes_after_a_header_are_read_rightly_or_refused(
    n_examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = st.lists(st.sampled_from([*TOKENS, b"ACGT", b"acgtn", b">c", b">d x"]) | st.binary(max_size=5))

    @settings(max_examples=n_examples)
    @given(lines)
    def law(parts: list[bytes]) -> None:
        check_text(tmp_path_factory.mktemp("bytes"), b">a\n" + b"".join(parts))

    law()


@repeated(80, 3_000)
def test_a_damaged_compressed_file_is_read_rightly_or_refused(
    n_examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=n_examples)
    @given(mutated([gzip.compress(TEXT, mtime=0), bgzip(TEXT, 40), bgzip(TEXT), gzip.compress(TEXTS[2], mtime=0)]))
    def law(data: bytes) -> None:
        check_text(tmp_path_factory.mktemp("packed"), data)

    law()


@repeated(120, 5_000)
def test_a_damaged_index_beside_the_file_gives_the_bases_of_the_file_or_is_refused(
    n_examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    swapped = INDEX.replace(b"chr1", b"x").replace(b"2\t20", b"chr1\t20").replace(b"x", b"2")
    others = [INDEX, swapped, b"".join(reversed(INDEX.splitlines(keepends=True))), INDEX.replace(b"10\t11", b"9\t10")]

    @settings(max_examples=n_examples)
    @given(mutated(others, tokens=[*NUMBERS, b"\n", b"\t", b"2", b"chr1"]))
    def law(fai: bytes) -> None:
        check_index(tmp_path_factory.mktemp("fai"), fai=fai, gzi=None)

    law()


@repeated(80, 3_000)
def test_damaged_block_offsets_beside_the_file_give_the_bases_of_the_file_or_are_refused(
    n_examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokens = [(0).to_bytes(8, "little"), (40).to_bytes(8, "little"), (1 << 61).to_bytes(8, "little"), b"\xff" * 8]

    @settings(max_examples=n_examples)
    @given(mutated([true_gzi()], tokens=tokens))
    def law(gzi: bytes) -> None:
        check_index(tmp_path_factory.mktemp("gzi"), fai=INDEX, gzi=gzi)

    law()
