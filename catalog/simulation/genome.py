"""Simulated genomes with a known regulatory grammar: sequence, genes, annotations, expression, and ground truth.

    from catalog.simulation.genome import simulate
    simulation = simulate(Path("demo-genome"))

Belongs here: planting elements and writing the files. Does not: the rules and their parameters
(`catalog.simulation.grammar`), motifs (`catalog.motifs`), features, models.

`catalog.simulation.grammar.GRAMMAR` has the rules in full, and `simulation.json` repeats them. In short, a gene has a
promoter of class A or B and strength s, and enhancers of the same letter 50 to 450 kb away add up to E, each weakened
by its distance:

    log expression = base of the class + 2 s + 2 s E + noise
    expression     = max(0, exp(log expression) - 1)

A promoter without sites (s = 0) responds to no enhancer, so the effects are not additive. The numbers are round and
biologically plausible; they were not tuned to any model's advantage.
"""

import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.random import Generator
from numpy.typing import NDArray

from catalog.motifs import IUPAC, find_motif
from catalog.runtime.files import PARTIAL
from catalog.simulation.grammar import DISTAL, ELEMENT_BP, GRAMMAR, PROXIMAL, SITE_SLOT_BP, SimulationConfig

_BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
_PROMOTER_GC = 0.65
_CPG_DECAY = 0.75
_TATA_UPSTREAM_BP = 30
_SITES_OF_STRENGTH_1 = 8
_NO_SUMMARY = 0.25
_LINE_BASES = 60
_TRUTH: dict[str, pl.DataType] = {
    **dict.fromkeys(("element_id", "element", "contig"), pl.String()),
    **dict.fromkeys(("start", "end"), pl.Int64()),
    "class": pl.String(),
    "strength": pl.Float64(),
    "sites": pl.List(pl.Struct({"motif": pl.String(), "start": pl.Int64(), "strand": pl.String()})),
    **dict.fromkeys(("gene_id", "strand"), pl.String()),
    "tss": pl.Int64(),
    "acting_enhancers": pl.List(pl.String()),
    **dict.fromkeys(("enhancer_sum", "noiseless_log_expression"), pl.Float64()),
}
"""Columns of `truth.parquet`; those from `gene_id` on are null for enhancers."""
_TISSUES = ("liver", "brain", "heart", "testis", "lymph node", "skin", "kidney", "placenta")


class Simulation(NamedTuple):
    """Paths of the files of one simulated genome."""

    genome: Path
    """FASTA, upper case."""
    genes: Path
    """TSV: gene_id, symbol, contig, strand, tss (0-based), biotype."""
    targets: Path
    """TSV: gene_id, expression (TPM-like, >= 0)."""
    annotations: Path
    """TSV in the manner of NCBI Gene, made up: gene_id, ncbi_gene_id, symbol, name, aliases, designations, summary."""
    truth: Path
    """Parquet: one row a promoter or enhancer, its sites, and for promoters the gene's noiseless log expression."""
    description: Path
    """JSON: the config, the grammar in words, the noise."""


class _Site(NamedTuple):
    """One planted motif: `start` in bp on the forward strand."""

    motif: str
    start: int
    strand: str
    word: bytes
    """Bases on the forward strand."""


class _Element(NamedTuple):
    """A promoter or an enhancer: 1 kb from `start`."""

    kind: str
    contig: str
    start: int
    cls: str
    strand: str
    """The gene's; `+` for enhancers, which have none."""
    strength: float
    sites: list[_Site]

    @property
    def middle(self) -> int:
        """The start site of a promoter (0-based bp)."""
        return self.start + ELEMENT_BP // 2


def simulate(out: Path, config: SimulationConfig | None = None) -> Simulation:
    """Make a genome and everything that a model of expression needs, with the ground truth.

    The same config gives the same bytes. The default takes seconds and 85 MB of disk. Files that are there already are
    replaced, all of them or, after an error, none.

    Parameters
    ----------
    out
        Folder to write into; made if it is missing.
    config
        Size and rules; None for the default.

    Raises
    ------
    NotADirectoryError
        If `out` is a file.
    OSError
        If it cannot be written; `out` is left as it was.
    """
    config = config or SimulationConfig()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; give a folder for the simulated genome")
    was_there = out.is_dir()
    out.mkdir(parents=True, exist_ok=True)
    files, partial = _files_in(out), out / f".{uuid.uuid4().hex}{PARTIAL}"
    try:
        partial.mkdir()
        _write(_files_in(partial), config)
        for written, path in zip(_files_in(partial), files, strict=True):
            os.replace(written, path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not was_there:
            with suppress(OSError):  # another process may have written there
                out.rmdir()
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(out)  # a full disk is told without any name
        raise
    partial.rmdir()
    return files


def _write(files: Simulation, config: SimulationConfig) -> None:
    # One random stream for each purpose: more noise or other annotations leave the genome unchanged.
    layout_rng, sequence_rng, noise_rng, text_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(config.seed).spawn(4)
    )
    elements = _elements(config, layout_rng)
    _write_genome(files.genome, elements, config, sequence_rng)

    truth = _truth(elements, config)
    promoters = truth.filter(pl.col("element") == "promoter")
    noiseless = promoters["noiseless_log_expression"].to_numpy()
    noise_sd = float(noiseless.std()) * math.sqrt(1 / config.noiseless_share - 1)
    log_expression = noiseless + noise_sd * noise_rng.standard_normal(len(noiseless))
    genes = _genes(promoters)

    truth.write_parquet(files.truth)
    genes.write_csv(files.genes, separator="\t")
    genes.select("gene_id", expression=np.maximum(0.0, np.expm1(log_expression))).write_csv(
        files.targets, separator="\t", float_precision=6
    )
    _annotations(genes, promoters["class"].to_list(), config, text_rng).write_csv(files.annotations, separator="\t")
    description = {
        "format": 1,
        "note": "A simulated genome: no sequence, gene or annotation in it is real.",
        "config": asdict(config),
        "n_enhancers": config.n_enhancers,
        "noise_sd": noise_sd,
        "grammar": list(GRAMMAR),
    }
    files.description.write_text(json.dumps(description, indent=2) + "\n")


def _files_in(out: Path) -> Simulation:
    return Simulation(
        genome=out / "genome.fa",
        genes=out / "genes.tsv",
        targets=out / "targets.tsv",
        annotations=out / "annotations.tsv",
        truth=out / "truth.parquet",
        description=out / "simulation.json",
    )


def _elements(config: SimulationConfig, rng: Generator) -> list[_Element]:
    """Place promoters and enhancers at random, contig by contig, sorted by position."""
    elements = []
    for index in range(config.n_contigs):
        n_genes, n_enhancers = (
            len(range(index, total, config.n_contigs)) for total in (config.n_genes, config.n_enhancers)
        )
        n = n_genes + n_enhancers
        # Uniform over all layouts without overlap, without rejection: sample points on the contig with the elements
        # removed, then insert each element at its point.
        free = config.contig_length - config.leading_n - n * ELEMENT_BP
        points = np.sort(rng.integers(0, free + 1, n))
        starts = config.leading_n + points + ELEMENT_BP * np.arange(n)
        is_promoter = rng.permutation(n) < n_genes
        make = {True: _promoter, False: _enhancer}
        elements += [
            make[bool(promoter)](f"sim{index + 1}", int(start), config, rng)
            for start, promoter in zip(starts, is_promoter, strict=True)
        ]
    return elements


def _promoter(contig: str, start: int, config: SimulationConfig, rng: Generator) -> _Element:
    cls = "A" if rng.random() < config.class_a_share else "B"
    strand = _strand(rng)
    n_sites = int(rng.integers(0, config.max_promoter_sites + 1))
    sites = []
    taken: tuple[int, ...] = ()
    if cls == "B":
        length = len(find_motif("TATA").consensus)
        tss = start + ELEMENT_BP // 2
        first = tss - _TATA_UPSTREAM_BP if strand == "+" else tss + _TATA_UPSTREAM_BP - length + 1
        sites.append(_site("TATA", first, strand, rng))
        taken = tuple({(first - start) // SITE_SLOT_BP, (first + length - 1 - start) // SITE_SLOT_BP})
    sites += _cluster(PROXIMAL[cls], n_sites, start, rng, taken=taken)
    return _Element("promoter", contig, start, cls, strand, n_sites / config.max_promoter_sites, sites)


def _enhancer(contig: str, start: int, config: SimulationConfig, rng: Generator) -> _Element:
    cls = "A" if rng.random() < 0.5 else "B"
    n_sites = int(rng.integers(config.min_enhancer_sites, config.max_enhancer_sites + 1))
    sites = _cluster(DISTAL[cls], n_sites, start, rng)
    return _Element("enhancer", contig, start, cls, "+", n_sites / _SITES_OF_STRENGTH_1, sites)


def _cluster(
    motifs: tuple[str, ...], n_sites: int, start: int, rng: Generator, *, taken: tuple[int, ...] = ()
) -> list[_Site]:
    """Put sites into slots of the element that begins at `start`, one a slot, so that none overlaps another."""
    slots = [slot for slot in range(ELEMENT_BP // SITE_SLOT_BP) if slot not in taken]
    sites = []
    for slot in sorted(rng.choice(slots, n_sites, replace=False).tolist()):
        motif = motifs[int(rng.integers(len(motifs)))]
        room = SITE_SLOT_BP - len(find_motif(motif).consensus)
        sites.append(_site(motif, start + slot * SITE_SLOT_BP + int(rng.integers(room + 1)), _strand(rng), rng))
    return sites


def _site(motif: str, start: int, strand: str, rng: Generator) -> _Site:
    consensus = find_motif(motif).consensus
    word = "".join(IUPAC[letter][int(rng.integers(len(IUPAC[letter])))] for letter in consensus).encode()
    return _Site(motif, start, strand, word if strand == "+" else word.translate(_COMPLEMENT)[::-1])


def _strand(rng: Generator) -> str:
    return "+" if rng.random() < 0.5 else "-"


def _write_genome(path: Path, elements: list[_Element], config: SimulationConfig, rng: Generator) -> None:
    with path.open("wb") as file:
        for name in _contig_names(config):
            sequence = _background(config, rng)
            for element in elements:
                if element.contig == name:
                    _plant(element, sequence, rng)
            file.write(f">{name} simulated\n".encode())
            whole = len(sequence) // _LINE_BASES * _LINE_BASES
            lines = np.full((whole // _LINE_BASES, _LINE_BASES + 1), ord("\n"), dtype=np.uint8)
            lines[:, :_LINE_BASES] = sequence[:whole].reshape(-1, _LINE_BASES)
            file.write(lines.data)
            if whole < len(sequence):
                file.write(sequence[whole:].tobytes() + b"\n")


def _background(config: SimulationConfig, rng: Generator) -> NDArray[np.uint8]:
    """Draw one contig without its elements: ASCII, shape `(contig_length,)`."""
    sequence = np.empty(config.contig_length, dtype=np.uint8)
    for start in range(0, config.contig_length, config.isochore_bp):
        gc = float(np.clip(rng.normal(config.gc_mean, config.gc_sd), 0.2, 0.8))
        part = sequence[start : start + config.isochore_bp]
        part[:] = _random_bases(len(part), gc, rng)
    cpg = np.flatnonzero((sequence[:-1] == ord("C")) & (sequence[1:] == ord("G")))
    fate = rng.random(len(cpg))
    sequence[cpg[fate < _CPG_DECAY / 2]] = ord("T")
    sequence[cpg[(fate >= _CPG_DECAY / 2) & (fate < _CPG_DECAY)] + 1] = ord("A")
    sequence[: config.leading_n] = ord("N")
    return sequence


def _random_bases(length: int, gc: float, rng: Generator) -> NDArray[np.uint8]:
    """Draw independent bases; the G+C share is rounded to 1/128, since a base is looked up by a random byte."""
    n_gc = 2 * round(128 * gc)
    n_at = 256 - n_gc
    of_byte = np.repeat(_BASES, [n_at // 2, n_gc // 2, n_gc // 2, n_at // 2])
    return of_byte[rng.integers(0, 256, length, dtype=np.uint8)]


def _plant(element: _Element, sequence: NDArray[np.uint8], rng: Generator) -> None:
    if element.kind == "promoter" and element.cls == "A":
        sequence[element.start : element.start + ELEMENT_BP] = _random_bases(ELEMENT_BP, _PROMOTER_GC, rng)
    for site in element.sites:
        sequence[site.start : site.start + len(site.word)] = np.frombuffer(site.word, dtype=np.uint8)


def _truth(elements: list[_Element], config: SimulationConfig) -> pl.DataFrame:
    """Tabulate every element, and for each promoter its regulation and the noiseless log expression."""
    numbers = {"promoter": count(1), "enhancer": count(1)}
    ids = [f"{element.kind}{next(numbers[element.kind]):06d}" for element in elements]
    regulation = _regulation(ids, elements, config)
    rows = []
    for name, element in zip(ids, elements, strict=True):
        row = {
            "element_id": name,
            "element": element.kind,
            "contig": element.contig,
            "start": element.start,
            "end": element.start + ELEMENT_BP,
            "class": element.cls,
            "strength": element.strength,
            "sites": [{"motif": site.motif, "start": site.start, "strand": site.strand} for site in element.sites],
        }
        if element.kind == "promoter":
            gene_id = f"SIMG{name.removeprefix('promoter')}"
            row |= {"gene_id": gene_id, "strand": element.strand, "tss": element.middle, **next(regulation)}
        rows.append(row)
    return pl.DataFrame(rows, schema=_TRUTH)


def _regulation(ids: list[str], elements: list[_Element], config: SimulationConfig) -> Iterator[dict[str, Any]]:
    """Apply the grammar to each promoter, in order."""
    named = list(zip(ids, elements, strict=True))
    enhancers = {
        (contig, cls): [(name, e) for name, e in named if (e.kind, e.contig, e.cls) == ("enhancer", contig, cls)]
        for contig in _contig_names(config)
        for cls in "AB"
    }
    base = {"A": config.base_a, "B": config.base_b}
    for promoter in elements:
        if promoter.kind != "promoter":
            continue
        candidates = enhancers[promoter.contig, promoter.cls]
        distances = np.array([abs(e.middle - promoter.middle) for _, e in candidates], dtype=np.float64)
        strengths = np.array([e.strength for _, e in candidates], dtype=np.float64)
        acts = (distances >= config.min_distance) & (distances <= config.max_distance)
        enhancer_sum = float((strengths[acts] * np.exp(-distances[acts] / config.decay)).sum())
        response = config.promoter_effect + config.enhancer_effect * enhancer_sum
        yield {
            "acting_enhancers": [candidates[index][0] for index in np.flatnonzero(acts)],
            "enhancer_sum": enhancer_sum,
            "noiseless_log_expression": base[promoter.cls] + promoter.strength * response,
        }


def _genes(promoters: pl.DataFrame) -> pl.DataFrame:
    number = pl.col("gene_id").str.strip_prefix("SIMG").cast(pl.Int64).cast(pl.String)
    return promoters.select(
        "gene_id",
        pl.concat_str(pl.lit("SIM"), number).alias("symbol"),
        "contig",
        "strand",
        "tss",
        pl.lit("protein_coding").alias("biotype"),
    )


def _annotations(genes: pl.DataFrame, classes: list[str], config: SimulationConfig, rng: Generator) -> pl.DataFrame:
    """Generate annotation text; `GRAMMAR` says what in it is informative."""
    rows = []
    for index, (gene_id, symbol, cls) in enumerate(zip(genes["gene_id"], genes["symbol"], classes, strict=True)):
        number = index + 1
        is_right = rng.random() < config.wording_accuracy
        is_housekeeping = (cls == "A") == is_right
        tissue = _TISSUES[int(rng.integers(len(_TISSUES)))]
        kind = "housekeeping-like" if is_housekeeping else "tissue-specific"
        seen = "Broad expression in many tissues" if is_housekeeping else f"Restricted expression toward {tissue}"
        has_summary = rng.random() >= _NO_SUMMARY
        rows.append(
            {
                "gene_id": gene_id,
                "ncbi_gene_id": str(999_000_000 + number),
                "symbol": symbol,
                "name": f"simulated gene {number}, {kind}",
                "aliases": f"{symbol}A|SG-{number}",
                "designations": f"simulated protein {number}|hypothetical protein {symbol}",
                "summary": f"This simulated gene is {kind}. {seen}. [made up, not from NCBI]" if has_summary else None,
            }
        )
    return pl.DataFrame(rows)


def _contig_names(config: SimulationConfig) -> list[str]:
    return [f"sim{index + 1}" for index in range(config.n_contigs)]
