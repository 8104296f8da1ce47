"""Overlays of real variants against the FASTA and the chain that `bcftools consensus` writes."""

import gzip
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT
from overlay_stores import SEEN, SPELLED, build_overlay_in_process, spelled, spelled_store, write_vcf

import featurestore
from builders.extractors.sequence import bases
from builders.overlays.request import OverlayRequest
from catalog import Fasta
from featurestore.testing import random_sequences, write_fasta

DATA = Path(os.environ.get("FEATURESTORE_SHARED", ROOT.parent / "shared")) / "data"
TOOLS = [tool for tool in ("bcftools", "bgzip", "tabix") if shutil.which(tool) is None]
needs_tools = pytest.mark.skipif(bool(TOOLS), reason=f"{', '.join(TOOLS)} not installed: the oracle of these tests")
BIN = 64


def consensus(fasta: Path, vcf: Path, haplotype: int, folder: Path) -> tuple[Path, Path]:
    """Write the haplotype's FASTA and chain."""
    packed, out, chain = folder / "s.vcf.gz", folder / f"h{haplotype}.fa", folder / f"h{haplotype}.chain"
    packed.write_bytes(subprocess.run(["bgzip", "-c", vcf], check=True, capture_output=True).stdout)
    subprocess.run(["tabix", "-f", "-p", "vcf", packed], check=True)
    subprocess.run(
        ["bcftools", "consensus", "-H", str(haplotype), "-s", "S", "-f", fasta, "-c", chain, "-o", out, packed],
        check=True,
        capture_output=True,
    )
    return out, chain


def lifted_by_chain(chain: Path, position: int) -> int:
    """Lift a position as a chain says; within a gap to what follows the bases that have partners."""
    lines = chain.read_text().split("\n")
    at, own = 0, 0
    for line in lines[1:]:
        if not line:
            break
        size, *gaps = map(int, line.split())
        if position < at + size or not gaps:
            return own + position - at
        at, own = at + size, own + size
        if position < at + gaps[0]:
            return own + min(position - at, gaps[1])
        at, own = at + gaps[0], own + gaps[1]
    return own + position - at


def check(fasta: Path, lines: Sequence[str], tmp_path: Path, *, haplotype: int) -> dict[str, int]:
    """Compare every bin of an overlay with the oracle's; give the counts of the alleles."""
    vcf = write_vcf(tmp_path / "s.vcf", lines)
    store = spelled_store(str(tmp_path / "real.store"), fasta, bin_size=BIN)
    request = OverlayRequest(
        feature_set="spelled", vcf=vcf, fasta=str(fasta), haplotype=haplotype, extractor=SPELLED, device="cpu",
        unphased="first" if haplotype == 1 else "second",
    )  # fmt: skip
    plan = build_overlay_in_process(store.url, request)
    personal, chain = consensus(fasta, vcf, haplotype, tmp_path)
    ((contig, length),) = store.assembly.lengths.items()
    whole = featurestore.RowRequest(contig, 0, 0, store["spelled"].n_rows(contig, 0))
    (before,), (after,) = (
        reader.rows([whole]) for reader in (store["spelled"], store["spelled"].with_overlay(f"S/{haplotype}"))
    )
    touched = set(plan.bins[contig][0].tolist())
    assert 0 < len(touched) < len(before)
    with Fasta(personal) as sequence:
        for row in range(len(before)):
            if row not in touched:
                assert after[row].tobytes() == before[row].tobytes()
            if row * BIN + BIN // 2 < length:  # the chain ends with the contig
                centre = lifted_by_chain(chain, row * BIN + BIN // 2)
                seen = bases(sequence, contig, centre - BIN // 2 - SEEN, centre + BIN // 2 + SEEN)
                assert after[row].tolist() == spelled(seen[None])[0].astype(np.float16).tolist()
    return plan.overlay.counts


def calls(path: Path, *, first: int, end: int, genotype: str | None = None) -> list[list[str]]:
    """Contig, position from `first` on, REF, ALT and genotype of the records in `[first, end)`."""
    found = []
    with gzip.open(path, "rt") as file:
        for line in file:
            if line.startswith("#"):
                continue
            columns = line.split("\t")
            position = int(columns[1])
            if first <= position - 1 and position - 1 + len(columns[3]) <= end:
                told = genotype or columns[9].split(":")[0].strip()
                found.append([columns[0], str(position - first), columns[3], columns[4], told])
    return found


@needs_tools
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not there")
@pytest.mark.parametrize("haplotype", [1, 2])
def test_phased_calls_of_na12878_with_their_indels_and_overlaps(tmp_path: Path, haplotype: int) -> None:
    first, end = 9_800_000, 10_000_000
    records = calls(DATA / "vcf_grch38/PG_NA12878_hg38-chr21.vcf.gz", first=first, end=end)
    letters = list(random_sequences({"chr21": end - first}, seed=2)["chr21"])
    for _, position, ref, _, _ in records:  # chromosome 21 itself is not at hand: its bases where variants are
        for offset, base in enumerate(ref):
            letters[int(position) - 1 + offset] = base
    fasta = write_fasta(tmp_path / "chr21.fa", {"chr21": "".join(letters)})
    counts = check(fasta, [" ".join(record) for record in records], tmp_path, haplotype=haplotype)
    assert counts["applied"] > 100
    assert any(len(ref) != len(alt) for _, _, ref, alt, _ in records)


@needs_tools
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not there")
def test_unphased_calls_on_chromosome_20_of_grch37(tmp_path: Path) -> None:
    first, end = 9_999_000, 10_101_000
    with Fasta(DATA / "hg19_chr20_mostly_n/ucsc.hg19.chr20.unittest.fasta.gz") as whole:
        fasta = write_fasta(tmp_path / "chr20.fa", {"chr20": whole.fetch("chr20", first, end).tobytes().decode()})
    records = calls(DATA / "hg19_chr20_mostly_n/nist.b37_chr20_100kbp_at_10mb.vcf.gz", first=first, end=end)
    assert len(records) == 221
    counts = check(fasta, [" ".join(record) for record in records], tmp_path, haplotype=2)
    assert "REF mismatch" not in counts
    request = OverlayRequest(feature_set="spelled", vcf=tmp_path / "s.vcf", fasta=str(fasta), extractor=SPELLED)
    with pytest.raises(ValueError, match="heterozygous and not phased"):
        build_overlay_in_process(str(tmp_path / "real.store"), request)


@needs_tools
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not there")
def test_snvs_of_the_slice_of_chromosome_22(tmp_path: Path) -> None:
    first, end = 32_000_000, 32_300_000
    with Fasta(DATA / "grch38_regions/chr22_32000000-32300000.hg38.fa") as whole:
        fasta = write_fasta(tmp_path / "chr22.fa", {"chr22": whole.fetch("chr22", 0, end - first).tobytes().decode()})
    path = DATA / "vcf_grch38/strelka_grch38_admix_pass_snvs.vcf.gz"  # somatic: without genotypes
    records = calls(path, first=first, end=end, genotype="1|1")
    counts = check(fasta, [" ".join(record) for record in records], tmp_path, haplotype=1)
    assert counts == {"applied": 148}
