"""Real measurements as the files that a user brings: a genome, bigWig tracks, tables of genes and of expression.

    from benchmarks.prism_data import baskerville, chromoformer
    files = chromoformer(SHARED / "chromoformer_demo", Path("work/chromoformer"))

Chromoformer's and Baskerville's data are cut-outs. Each becomes an assembly of its own, with one contig a cut-out, so
that nothing in it can be mixed up with the whole genome that it came from.
"""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog import read_gene_table
from catalog.simulation.genome import simulate
from catalog.simulation.grammar import SimulationConfig
from catalog.simulation.signals import simulate_signals

MARKS = ("H3K4me1", "H3K4me3", "H3K9me3", "H3K27me3", "H3K36me3", "H3K27ac", "H3K9ac")
BIN_BP = 32
"""Of Baskerville's tracks (bp)."""
WINDOW_BINS = 12
"""Bins whose CAGE is predicted: 384 bp."""
CONTEXT_BP = 2000
"""Bases around each window that have to lie in the tracks (bp)."""
CAGE = "neuroblastoma cell line:CHP-134"
"""Whose CAGE is predicted; no DNase and no RNA-seq of the set is of that cell line."""
_ALPHABET = np.frombuffer(b"ACGTN", dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a user brings, and which genes belong together."""

    genome: Path
    tracks: Mapping[str, Path]
    genes: Path
    targets: Path
    groups: Mapping[str, str]
    """Of each gene its chromosome (Chromoformer), or the part of the file's own split (Baskerville)."""


def chromoformer(source: Path, out: Path) -> Files:
    """Write Chromoformer's 100 promoters: a contig of 40,000 N a gene, seven histone marks at 1 bp, expression.

    Positions are those of the genes on the forward strand, the start site at 20,000. There is no sequence: hg19 of
    those places is not at hand.
    """
    marks: NDArray[np.float16] = np.load(source / "promoters_100x7x40000_float16.npz")["x"]
    with (source / "demo_meta.csv").open() as file:
        rows = list(csv.DictReader(file))
    names, length = [row["gene_id"] for row in rows], marks.shape[2]
    genes = [(name, name, row["strand"], length // 2) for name, row in zip(names, rows, strict=True)]
    return _written(
        out,
        contigs={name: np.full(length, 4, dtype=np.uint8) for name in names},
        tracks={
            mark: {name: (0, 1, values[place]) for name, values in zip(names, marks, strict=True)}
            for place, mark in enumerate(MARKS)
        },
        genes=genes,
        targets={row["gene_id"]: float(row["expression"]) for row in rows},
        groups={row["gene_id"]: row["chrom"] for row in rows},
    )


def baskerville(source: Path, out: Path) -> Files:
    """Write Baskerville's 65 windows: real sequence, ten DNase tracks of other cells in 32-bp bins, CAGE to predict.

    A "gene" is a window of 384 bp, of which 165 a cut-out have 2,000 bp of tracks around them. Its expression is the
    CAGE of both strands over the window, as stored (square roots of sums).
    """
    packed = np.load(source / "baskerville_tiny_hg38.npz")
    sequence: NDArray[np.uint8] = packed["seq"]
    values: NDArray[np.float16] = packed["target"]
    with (source / "targets.txt").open() as file:
        described = [row["description"] for row in csv.DictReader(file, delimiter="\t")]
    parts = [line.split()[3] for line in (source / "sequences.bed").read_text().splitlines()]
    names = [f"cut{number:02d}" for number in range(len(sequence))]
    crop = (sequence.shape[1] - values.shape[1] * BIN_BP) // 2
    cage = [place for place, text in enumerate(described) if text == f"CAGE:{CAGE}"]
    dnase = {text.removeprefix("DNASE:"): place for place, text in enumerate(described) if text.startswith("DNASE:")}
    half = CONTEXT_BP // 2 // BIN_BP + 1
    genes, targets, groups = [], {}, {}
    for name, part, tracks in zip(names, parts, values, strict=True):
        for first in range(0, len(tracks) - WINDOW_BINS + 1, WINDOW_BINS):
            middle = first + WINDOW_BINS // 2
            if not half <= middle <= len(tracks) - half:
                continue
            gene = f"{name}-{first}"
            genes.append((gene, name, "+", crop + middle * BIN_BP))
            targets[gene] = float(tracks[first : first + WINDOW_BINS, cage].astype(np.float32).sum())
            groups[gene] = part
    return _written(
        out,
        contigs=dict(zip(names, sequence, strict=True)),
        tracks={
            label: {name: (crop, BIN_BP, of_one[:, place]) for name, of_one in zip(names, values, strict=True)}
            for label, place in dnase.items()
        },
        genes=genes,
        targets=targets,
        groups=groups,
    )


def gm12878(shared: Path, out: Path) -> Files:
    """Write the genes of chr22 (hg38) with GM12878's accessibility at 1 bp, and Geuvadis expression.

    Genes are those of MANE that Geuvadis measured; expression is the median RPKM of its 358 individuals, whose
    lymphoblastoid cell lines are of GM12878's kind. Groups are fifths of the chromosome, by number of genes. The
    sequence is not at hand, and N.
    """
    with gzip.open(shared / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    medians = {row[3].partition(".")[0]: float(np.median(np.array(row[6:], dtype=np.float64))) for row in rows}
    table = read_gene_table(shared / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz").genes
    genes = [
        (row["gene_id"], "chr22", row["strand"], row["tss"])
        for row in table.filter(table["contig"] == "chr22").sort("tss").iter_rows(named=True)
        if row["gene_id"] in medians
    ]
    files = _written(
        out,
        contigs={"chr22": np.full(50_818_468, 4, dtype=np.uint8)},
        tracks={},
        genes=genes,
        targets={gene: medians[gene] for gene, *_ in genes},
        groups={gene: f"fifth {place * 5 // len(genes) + 1}" for place, (gene, *_) in enumerate(genes)},
    )
    return replace(files, tracks={"accessibility": shared / "bigwig_chr22_hg38" / "acc.GM12878.chr22.bw"})


def simulated(out: Path) -> Files:
    """Write a simulated genome of 82 Mbp, 2,000 genes on 12 contigs, with an active mark and a confounder.

    Genes are of the groups train, validation (one contig) and flipped: the contigs on which the confounder goes with
    expression the other way round.
    """
    simulate(out, SimulationConfig(seed=7, n_contigs=12, contig_length=6_825_000, n_genes=2000))
    signals = simulate_signals(out)
    flipped = json.loads(signals.description.read_text())["config"]["flipped"]
    with (out / "genes.tsv").open() as file:
        contigs = {row["gene_id"]: row["contig"] for row in csv.DictReader(file, delimiter="\t")}
    groups = {
        gene: "flipped" if contig in flipped else "validation" if contig == "sim8" else "train"
        for gene, contig in contigs.items()
    }
    return Files(
        genome=out / "genome.fa",
        tracks={"activity": signals.activity, "background": signals.background},
        genes=out / "genes.tsv",
        targets=out / "targets.tsv",
        groups=groups,
    )


Track = Mapping[str, tuple[int, int, NDArray[np.float16]]]
"""Of each contig: where the values begin (bp), how many bases share one (bp), and the values."""


def _written(
    out: Path,
    *,
    contigs: Mapping[str, NDArray[np.uint8]],
    tracks: Mapping[str, Track],
    genes: Sequence[tuple[str, str, str, int]],
    targets: Mapping[str, float],
    groups: Mapping[str, str],
) -> Files:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "genome.fa").open("wb") as file:
        for name, codes in contigs.items():
            file.write(f">{name}\n".encode() + _ALPHABET[codes].tobytes() + b"\n")
    lengths = {name: len(codes) for name, codes in contigs.items()}
    paths = {}
    for label, track in tracks.items():
        paths[label] = out / f"{label.replace(' ', '_')}.bw"
        _write_bigwig(paths[label], lengths, track)
    _write_table(
        out / "genes.tsv",
        ("gene_id", "symbol", "contig", "strand", "tss", "biotype"),
        ((gene, gene, contig, strand, tss, "protein_coding") for gene, contig, strand, tss in genes),
    )
    _write_table(out / "targets.tsv", ("gene_id", "expression"), targets.items())
    return Files(
        genome=out / "genome.fa", tracks=paths, genes=out / "genes.tsv", targets=out / "targets.tsv", groups=groups
    )


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(head)
        table.writerows(rows)


def _write_bigwig(path: Path, lengths: Mapping[str, int], track: Track) -> None:
    import pybigtools

    def intervals() -> Iterator[tuple[str, int, int, float]]:
        for contig in sorted(track):
            begin, step, values = track[contig]
            edges = np.flatnonzero(np.diff(values)) + 1  # neighbours of one value are one interval
            for first, end in zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True):
                yield contig, begin + first * step, begin + end * step, float(values[first])

    pybigtools.open(str(path), "w").write(dict(sorted(lengths.items())), intervals())
