"""A tiny store of genes whose expression follows a signal and a covariate, with the tables beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from signal_stores import described, write_set

from catalog import Grid
from catalog.value_type import Values
from featurestore.store import create
from featurestore.testing import assembly_of, random_sequences

LENGTHS = {"chr1": 9_000, "chr2": 3_000, "chr3": 3_000}
SPACING = 150
"""Bases from one TSS to the next."""
REACH = 64
"""Bases either side of a TSS over which its signals are raised."""


@dataclass(frozen=True)
class PrismFiles:
    """Where everything lies."""

    store: Path
    genes: Path
    targets: Path
    covariates: Path

    def tables(self) -> list[str]:
        """Give the options of a verb."""
        return [f"--genes={self.genes}", f"--targets={self.targets}", f"--store={self.store}"]

    def signals(self) -> list[str]:
        """Give the options of a training."""
        return ["--signals", "marks,wide", "--sequence", "bases", f"--covariates={self.covariates}", "--context", "128"]


def write_prism_files(folder: Path) -> PrismFiles:
    """Write a store with the sets `bases` (1 bp), `marks` (active and background, 1 bp) and `wide` (32 bp), and tables.

    log(1 + expression) is the level of `active` around the TSS plus 0.3 times the covariate `length`.
    """
    rng = np.random.default_rng(0)
    sequences = random_sequences(LENGTHS)
    store = create(folder / "genome.store", assembly_of(sequences))
    places = [(contig, tss) for contig, end in LENGTHS.items() for tss in range(SPACING, end - SPACING, SPACING)]
    level, covariates = rng.uniform(0.2, 3, (len(places), 2)), rng.normal(size=(len(places), 2))
    marks = {contig: np.abs(rng.normal(0.1, 0.05, (end, 2))) for contig, end in LENGTHS.items()}
    for (contig, tss), raised in zip(places, level, strict=True):
        marks[contig][tss - REACH : tss + REACH] += raised

    def bases(contig: str) -> Values:
        codes = np.full(256, 4, dtype=np.uint8)
        codes[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)
        return codes[np.frombuffer(sequences[contig].encode(), dtype=np.uint8)][:, None]

    def wide(contig: str) -> Values:
        padded = np.pad(marks[contig][:, :1], ((0, -len(marks[contig]) % 32), (0, 0)))
        return padded.reshape(-1, 32, 1).mean(axis=1).astype(np.float32)

    write_set(store, described("bases", Grid(bin_size=1), "uint8", ("base",), (4.0,)), bases)
    names = ("active", "background")
    write_set(
        store,
        described("marks", Grid(bin_size=1), "float16", names, (0.0, 0.0)),
        lambda contig: marks[contig].astype(np.float16),
    )
    write_set(store, described("wide", Grid(bin_size=32), "float32", ("coarse",), (0.0,)), wide)
    ids = [f"ENSG{number:011}" for number in range(len(places))]
    genes = {"gene_id": ids, "contig": [contig for contig, _ in places], "tss": [tss for _, tss in places]}
    expression = np.expm1(1 + level[:, 0] + 0.3 * covariates[:, 0]).clip(min=0)
    files = PrismFiles(store=folder / "genome.store", **{name: folder / f"{name}.tsv" for name in _TABLES})
    strand = ["+-"[number % 2] for number in range(len(ids))]
    pl.DataFrame(genes | {"strand": strand}).write_csv(files.genes, separator="\t")
    pl.DataFrame({"gene_id": ids, "expression": expression}).write_csv(files.targets, separator="\t")
    told = {"gene_id": ids, "length": covariates[:, 0], "gc": covariates[:, 1]}
    pl.DataFrame(told).write_csv(files.covariates, separator="\t")
    return files


_TABLES = ("genes", "targets", "covariates")
