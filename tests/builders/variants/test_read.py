"""Reading variants: every allele in order, genotypes with their phase, and files that are damaged."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import SHARED

from builders.variants.read import Genotype, VariantFile, VcfError

DECLARED = (
    '##fileformat=VCFv4.2\n##contig=<ID=chr1,length=1000>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
)
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
REAL = SHARED / "data" / "vcf_grch38" / "PG_NA12878_hg38-chr21.vcf.gz"


def written(path: Path, *records: str, samples: str = "") -> Path:
    """Records as `POS REF ALT [GT ...]`."""
    lines = []
    for record in records:
        position, ref, alt, *genotypes = record.split(" ")
        lines.append(
            "\t".join(["chr1", position, ".", ref, alt, ".", ".", ".", *(["GT", *genotypes] * bool(genotypes))])
        )
    columns = COLUMNS + "".join(f"\t{name}" for name in ["FORMAT", *samples.split()] if samples)
    path.write_text(DECLARED + "\n".join([columns, *lines, ""]))
    return path


def test_every_alt_of_every_record_comes_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vcf", "10 A C,<DEL>,*", "5 r N[chr2:3[", "7 GT .", "7 R Y")
    found = [(one.contig, one.position, one.ref, one.alts) for one in VariantFile(path)]
    assert found == [
        ("chr1", 9, "A", ("C", "<DEL>", "*")),
        ("chr1", 4, "r", ("N[chr2:3[",)),
        ("chr1", 6, "GT", ()),
        ("chr1", 6, "R", ("Y",)),
    ]


def test_genotypes_are_those_of_the_chosen_samples_with_their_phase(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vcf", "10 A C 0|1 ./. 1", "11 A C,G 0/2 1|. 0/1/1", samples="S1 S2 S3")
    first, second = VariantFile(path, samples=["S3", "S1", "S2"])
    assert first.genotypes == (Genotype((1,), True), Genotype((0, 1), True), Genotype((None, None), False))
    assert second.genotypes == (Genotype((0, 1, 1), False), Genotype((0, 2), False), Genotype((1, None), True))
    assert next(iter(VariantFile(path))).genotypes == ()


def test_line_ends_of_windows_and_a_missing_last_one_change_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vcf", "10 A C", "11 A CT")
    text = path.read_text()
    other = tmp_path / "b.vcf"
    for changed in (text.replace("\n", "\r\n"), text.rstrip("\n")):
        other.write_bytes(changed.encode())
        assert list(VariantFile(other)) == list(VariantFile(path))


@pytest.mark.parametrize(
    ("records", "samples", "message"),
    [
        (["10 A C", "x A C"], "", "cannot be read after chr1:10 A>C"),
        (["10 A C 0|7"], "S1", "has 1 ALT alleles, and the genotype"),
        (["10 A C 0|1 0|1"], "S1 S1", "names no sample twice"),
    ],
    ids=["a position that is no number", "an allele that is not there", "a sample twice"],
)
def test_a_damaged_file_is_an_error_that_says_where(
    records: list[str], samples: str, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.vcf", *records, samples=samples)
    with pytest.raises(VcfError, match=message):
        list(VariantFile(path, samples=samples.split()[:1]))


def test_an_empty_line_is_an_error_that_says_where(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vcf", "10 A C", "20 A C")
    path.write_text(path.read_text().replace("\nchr1\t20", "\n\nchr1\t20"))
    with pytest.raises(VcfError, match="cannot be read after chr1:10 A>C: the next line is damaged or empty"):
        list(VariantFile(path))


def test_a_file_without_header_or_sample_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.vcf").write_text("chr1\t10\t.\tA\tC\n")
    with pytest.raises(VcfError, match="no header of a VCF"):
        VariantFile(tmp_path / "a.vcf")
    with pytest.raises(VcfError, match="has no sample 'S9'; it has none"):
        VariantFile(written(tmp_path / "b.vcf", "10 A C"), samples=["S9"])
    with pytest.raises(FileNotFoundError, match="no file of variants"):
        VariantFile(tmp_path / "c.vcf")


@pytest.mark.skipif(shutil.which("bgzip") is None, reason="needs bgzip (apt install tabix)")
def test_a_packed_file_that_breaks_off_anywhere_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vcf", *(f"{1 + n % 900} A {'ACGT' * (n % 9)}C" for n in range(9000)))
    subprocess.run(["bgzip", "-k", path], check=True)
    whole = (tmp_path / "a.vcf.gz").read_bytes()
    packed = gzip.compress(path.read_bytes())
    assert len(list(VariantFile(tmp_path / "a.vcf.gz"))) == 9000
    broken = tmp_path / "b.vcf.gz"
    for data in (whole[: len(whole) * 2 // 3], whole[:-28], packed[: len(packed) // 2]):
        broken.write_bytes(data)
        with pytest.raises(VcfError, match=r"fetch (it|the file) again"):
            list(VariantFile(broken))


@pytest.mark.skipif(not REAL.is_file(), reason=f"no real variants at {REAL}; set FEATURESTORE_SHARED")
def test_real_calls_are_read_whole() -> None:
    count = sum(len(one.alts) for one in VariantFile(REAL))
    lines = [line.split("\t") for line in gzip.decompress(REAL.read_bytes()).decode().splitlines() if line[0] != "#"]
    assert count == sum(len(fields[4].split(",")) for fields in lines)
