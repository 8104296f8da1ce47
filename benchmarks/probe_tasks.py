"""Write tasks for `featurestore probe` from real measurements.

    python benchmarks/probe_tasks.py --data shared/data --out tasks
    featurestore probe --task tasks/yeast.tsv --features kmer:4,kmer:5 --heads ridge,cnn --out yeast
    featurestore probe --task tasks/cage.tsv --fasta tasks/cage.fa --features kmer:4,puffin:puffin.pth --out cage
    featurestore probe --task tasks/splice.tsv --fasta tasks/splice.fa --features splice:80nt.pt --out splice
    featurestore probe --task tasks/rampage.tsv --fasta chr1_2.fa.gz --features kmer:3,puffin:puffin.pth --out rampage

- yeast: 6,370 promoters, padded with N at the end.
- cage: 16 rows of 1,024 bp of each of 65 windows of hg38, log(1 + mean) of CAGE and DNase tracks; the file's split.
- splice: exon ends of GENCODE v19 in a piece of chr22, moved to GRCh38 by one offset that their GT and AG confirm, and
  as many other GT and AG of the same piece; 16 bp around each. With them the six ends of TUBB8's introns in the first
  110,000 bp of chr10 of GRCh37 (exons of SpliceAI 1.3.1, `annotations/grch37.txt`), the test part of `tubb8.tsv`.
- mpra: for `featurestore variants` and `zero-shot`, elements of saturation mutagenesis as contigs (`mpra.fa`), their
  variants with at least ten barcodes (`mpra.vcf`) and measured effects (`mpra_effects.tsv`).
- rampage: 1,000 bp around the summits of GM12878 RAMPAGE peaks in pieces of chr1 and chr2, log(1 + RPM).
"""

import argparse
import csv
import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import variants_mpra

from catalog import Fasta

Rows = list[dict[str, object]]


def yeast(data: Path, out: Path) -> None:
    """Write the promoters of yeast."""
    with gzip.open(data / "yeast_promoters" / "demo_train.txt.gz", "rt") as file:
        rows = [line.split() for line in file]
    longest = max(len(sequence) for sequence, _ in rows)
    write(out / "yeast.tsv", [{"sequence": text.ljust(longest, "N"), "expression": value} for text, value in rows])


def cage(data: Path, out: Path) -> None:
    """Write the middle 1,024 bp of 16 equal pieces of each window."""
    folder = data / "baskerville_tiny_hg38"
    kept = np.load(folder / "baskerville_tiny_hg38.npz")
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)[kept["seq"]]
    with (out / "cage.fa").open("wb") as file:
        for number, sequence in enumerate(letters):
            file.write(b">w%02d\n%s\n" % (number, sequence.tobytes()))
    tracks = list(csv.DictReader((folder / "targets.txt").open(), delimiter="\t"))
    of_kind = {
        kind: [place for place, track in enumerate(tracks) if track["description"].startswith(kind.upper())]
        for kind in ("cage", "dnase")
    }
    splits = [line.split()[3] for line in (folder / "sequences.bed").read_text().splitlines()]
    rows: Rows = []
    for number, values in enumerate(kept["target"].astype(np.float64)):
        for first in range(48, 2048, 128):  # bins of 32 bp
            start = 32_768 + first * 32
            row: dict[str, object] = {"contig": f"w{number:02d}", "start": start, "end": start + 1024}
            bins = values[first : first + 32]
            row |= {kind: round(float(np.log1p(bins[:, places].mean())), 5) for kind, places in of_kind.items()}
            rows.append(row | {"split": splits[number]})
    write(out / "cage.tsv", rows)


def splice(data: Path, out: Path) -> None:
    """Write exon ends with GT or AG, and as many other GT and AG of the same piece; and the same of TUBB8, to test."""
    first, last = 32_000_000, 32_300_000
    ends = {"+": set(), "-": set()}
    with gzip.open(data / "geuvadis_chr22" / "gencode.v19.annotation.chr22.gtf.gz", "rt") as file:
        exons: dict[str, list[tuple[int, int, str]]] = {}
        for line in file:
            words = line.split("\t")
            if len(words) > 8 and words[2] == "exon":
                name = words[8].split('transcript_id "')[1].split('"')[0]
                exons.setdefault(name, []).append((int(words[3]) - 1, int(words[4]), words[6]))
    for parts in exons.values():
        parts.sort()
        for left, right in pairwise(parts):  # an intron: [end of left, start of right)
            ends[left[2]] |= {(left[1], "donor" if left[2] == "+" else "acceptor")}
            ends[left[2]] |= {(right[0], "acceptor" if left[2] == "+" else "donor")}
    with Fasta(str(data / "grch38_regions" / "chr22.n_padded.hg38.fa.gz")) as fasta:
        bases = fasta.fetch("chr22", first, last).tobytes().upper().decode()
    with gzip.open(data / "spliceai_golden" / "test.fa.gz", "rt") as file:
        other = "".join(line.strip() for line in file if not line.startswith(">")).upper()
    (out / "splice.fa").write_text(f">chr22_32000000\n{bases}\n>chr10\n{other}\n")
    seen, best = max(
        (
            sum(
                _is_site(bases, at - offset - first, kind, strand)
                for strand, sites in ends.items()
                for at, kind in sites
            ),
            offset,
        )
        for offset in range(395_900, 396_100)
    )
    there = {
        (at - best - first, strand)
        for strand, sites in ends.items()
        for at, kind in sites
        if _is_site(bases, at - best - first, kind, strand)
    }
    inside = sum(first <= at - best < last for sites in ends.values() for at, _ in sites)
    print(f"splice: {seen} of {inside} exon ends have GT or AG at the offset {best}")
    others = _other_sites(bases, range(100, last - first - 100), there)
    chosen = np.random.default_rng(0).choice(len(others), len(there), replace=False)
    rows = _around("chr22_32000000", there, [others[one] for one in sorted(chosen)])
    rows = [row | {"fold": (first + int(str(row["start"]))) // 1000 % 5} for row in rows]
    write(out / "splice.tsv", rows)
    ends_of_tubb8 = {(end, "-") for end in (94_054, 94_553, 94_665, 94_742, 94_852, 95_120)}
    tested = _around("chr10", ends_of_tubb8, _other_sites(other, range(92_891, 95_529), ends_of_tubb8))
    trained = [row | {"split": "validation" if row.pop("fold") == 4 else "train"} for row in rows]
    write(out / "tubb8.tsv", trained + [row | {"split": "test"} for row in tested])


def _other_sites(bases: str, places: range, known: set[tuple[int, str]]) -> list[tuple[int, str]]:
    """Give the other places where an intron could end by its letters, on either strand."""
    return [
        (place, strand)
        for place in places
        for strand in "+-"
        if (place, strand) not in known and any(_is_site(bases, place, kind, strand) for kind in ("donor", "acceptor"))
    ]


def _around(contig: str, sites: set[tuple[int, str]], others: list[tuple[int, str]]) -> Rows:
    """Give 16 bp around each, by position; of two that share a base a site, or the first."""
    kept: list[int] = []
    rows: Rows = []
    for site, places in ((1, sorted(sites)), (0, others)):
        for place, strand in places:
            if all(abs(place - one) >= 16 for one in kept):
                kept.append(place)
                rows.append({"contig": contig, "start": place - 8, "end": place + 8, "strand": strand, "site": site})
    return sorted(rows, key=lambda row: int(str(row["start"])))


def _is_site(bases: str, place: int, kind: str, strand: str) -> bool:
    """Tell whether the intron that ends at a place has the letters of its kind there."""
    if not 2 <= place <= len(bases) - 2:
        return False
    if (kind == "donor") == (strand == "+"):  # the intron is to the right
        return bases[place : place + 2] == ("GT" if strand == "+" else "CT")
    return bases[place - 2 : place] == ("AG" if strand == "+" else "AC")


def rampage(data: Path, out: Path) -> None:
    """Write the peaks whose 1,000 bp lie in the pieces of chr1 and chr2."""
    folder = data / "gm12878_rampage"
    with gzip.open(folder / "ENCSR000AEI.GM12878.txt.gz", "rt") as file:
        rpm = {words[0]: float(words[4]) for words in map(str.split, file)}
    lengths = {"chr1": 1_000_000, "chr2": 2_333_275}
    rows: Rows = []
    with gzip.open(folder / "hg38-rPeak-Summary.tsv.gz", "rt") as file:
        for words in map(str.split, file):
            contig, strand, summit = words[0], words[5], int(words[8])
            if words[3] in rpm and 500 <= summit <= lengths.get(contig, 0) - 500:
                row: dict[str, object] = {
                    "contig": contig,
                    "start": summit - 500,
                    "end": summit + 500,
                    "strand": strand,
                }
                rows.append(row | {"activity": round(float(np.log1p(rpm[words[3]])), 5)})
    rows.sort(key=lambda row: (str(row["contig"]), int(str(row["start"]))))
    kept: Rows = []
    group, contig, end = -1, "", 0
    for row in rows:  # peaks that overlap stay in one fold
        if row["contig"] != contig or int(str(row["start"])) >= end:
            group += 1
        contig, end = str(row["contig"]), int(str(row["end"]))
        kept.append(row | {"fold": group % 5})
    write(out / "rampage.tsv", kept)


def mpra(data: Path, out: Path) -> None:
    """Write elements of saturation mutagenesis with their variants, and what was measured of these."""
    table = variants_mpra.read(data)
    texts = variants_mpra.sequences(table)
    variants_mpra.write_genome(out / "mpra.fa", texts)
    kept = variants_mpra.alleles(table.filter(pl.col("Barcodes") >= variants_mpra.LEAST_BARCODES), texts)
    variants_mpra.write_vcf(out / "mpra.vcf", kept)
    write(out / "mpra_effects.tsv", kept.with_columns(element="contig").to_dicts())


def write(path: Path, rows: Rows) -> None:
    """Write a task as text."""
    pl.DataFrame(rows).write_csv(path, separator="\t")
    print(f"{path}: {len(rows):,} rows")


def main() -> None:
    """Write all tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for make in (yeast, cage, splice, rampage, mpra):
        make(given.data, given.out)


if __name__ == "__main__":
    main()
