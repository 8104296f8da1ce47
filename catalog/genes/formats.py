"""Built-in formats of gene tables: MANE, GTF, GFF3, BED and plain tables.

Belongs here: detecting the format, and one reader a format. Does not: formats of other distributions
(`catalog.genes.format_plugins`), what every gene table has in common, and where its genes lie on an assembly
(`catalog.genes.table`).
"""

import logging
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from catalog.genes.annotation import read_gff3, read_gtf, refuse_bad_spans, tss
from catalog.genes.identifiers import GENE_ID_NAMES, SYMBOL_NAMES, find_gene_ids, plain_ids
from catalog.genes.report import Group
from catalog.interval import Interval
from catalog.runtime import headers, tables
from catalog.runtime.lines import Line, TableError, read_lines
from catalog.runtime.tables import listed

_ROLE_NAMES = {
    "gene_id": GENE_ID_NAMES,
    "symbol": SYMBOL_NAMES,
    "contig": ("contig", "chrom", "chr", "chromosome", "seqnames", "seqname", "seqid", "chromosome_scaffold_name"),
    "strand": ("strand", "chr_strand"),
    "biotype": ("biotype", "gene_type", "gene_biotype", "type"),
}
_POSITION_HELP = "tss (0-based), tss_1based, or TSS in capitals (1-based, as in ExPecto's geneanno.csv)"
_SITES = {"transcription_start_site_tss": 1}
"""First base of columns of start sites that programs write, by plain name: BioMart's."""
_SPANS = {
    ("gene_start_bp", "gene_end_bp"): 1,  # BioMart
    ("txstart", "txend"): 0,  # UCSC's tables of genes: half-open
    ("chromstart", "chromend"): 0,  # UCSC's names of BED
}
_SAF = ["geneid", "chr", "start", "end", "strand"]
"""Columns that featureCounts reads (SAF) and writes before the samples; 1-based, exons joined by semicolons."""

_log = logging.getLogger("catalog.genes")  # the name that users of `read_genes` listen to
Dropped = dict[str, Group]
"""Rows left out, by reason."""

PLUS_CLINICAL = "plus_clinical"
"""Column that only the MANE reader gives: true for the rows of MANE Plus Clinical transcripts."""


def built_in_format_of(path: Path, opening: headers.Opening) -> str:
    """Detect which of `READERS` reads a file, from its first lines."""
    first = opening.first
    if first is None:
        raise TableError(
            f"{path} holds only comments; expected genes as MANE, GTF, GFF3, BED, or a table with a header"
        )
    fields = first.split("\t")
    if len(fields) >= 8 and fields[3].isdigit() and fields[4].isdigit() and tables.is_strand(fields[6]):
        return "gff3" if re.match(r"\s*\w+=", fields[-1]) else "gtf"
    if _is_bed(first):
        return "bed"
    names = headers.header_of(path).names
    if [tables.plain_name(name) for name in names[:5]] == _SAF:
        return "saf"
    return "mane" if "MANE_status" in names else "table"


def _is_bed(line: str) -> bool:
    fields = line.split("\t") if "\t" in line else line.split()
    return len(fields) >= 3 and fields[1].isdigit() and fields[2].isdigit()


def _read_mane(path: Path) -> tuple[pl.DataFrame, Dropped]:
    frame = tables.read_table(path)
    lacking = {
        "Ensembl_Gene", "Ensembl_nuc", "symbol", "MANE_status", "GRCh38_chr", "chr_start", "chr_end", "chr_strand",
    }.difference(frame.columns)  # fmt: skip
    if lacking:
        raise TableError(
            f"{path} is no MANE summary: it lacks {', '.join(sorted(lacking))}; it has {listed(frame.columns)}"
        )
    is_clinical = pl.col("MANE_status") == "MANE Plus Clinical"
    is_mane = is_clinical | (pl.col("MANE_status") == "MANE Select")
    mane = frame.filter(is_mane)
    # 1-based, both ends included.
    start = tables.whole_numbers(mane, "chr_start", path=path) - 1
    end = tables.whole_numbers(mane, "chr_end", path=path)
    gene = plain_ids("Ensembl_Gene")
    strand = tables.strands(mane["chr_strand"])
    genes = mane.select(
        pl.when(is_clinical)
        .then(pl.concat_str(gene, plain_ids("Ensembl_nuc"), separator="_"))
        .otherwise(gene)
        .alias("gene_id"),
        "symbol",
        pl.col("GRCh38_chr").alias("contig"),
        strand.alias("strand"),
        tss(start, end, strand),
        pl.lit("protein_coding").alias("biotype"),
        is_clinical.alias(PLUS_CLINICAL),
    )
    others = frame.filter(~is_mane.fill_null(value=False))
    return genes, {"neither MANE Select nor MANE Plus Clinical": Group.of(others["symbol"])}


def _read_gtf(path: Path) -> tuple[pl.DataFrame, Dropped]:
    return read_gtf(path), {}


def _read_gff3(path: Path) -> tuple[pl.DataFrame, Dropped]:
    return read_gff3(path), {}


def _read_saf(path: Path) -> tuple[pl.DataFrame, Dropped]:
    frame = tables.read_table(path)
    if frame.width < len(_SAF):
        raise TableError(f"{path} is no SAF: it has {listed(frame.columns)}; expected GeneID, Chr, Start, End, Strand")
    exons = frame.select(
        pl.col(frame.columns[0]).alias("gene_id"),
        *(
            pl.col(name).fill_null("").str.split(";").alias(role)
            for name, role in zip(frame.columns[1:5], _SAF[1:], strict=True)
        ),
    )
    counts = exons.select(pl.col(_SAF[1:]).list.len())
    ragged = counts.select(pl.any_horizontal(pl.col(name) != pl.col("chr") for name in _SAF[2:])).to_series()
    if ragged.any():
        raise TableError(
            f"{path} has genes whose Chr, Start, End and Strand name different numbers of exons, first "
            f"{listed(exons.filter(ragged)['gene_id'][:1].to_list())}; export it again"
        )
    exons = exons.with_row_index("row").explode(_SAF[1:], empty_as_null=True)
    start, end = (tables.whole_numbers(exons, name, path=path) for name in ("start", "end"))
    refuse_bad_spans(path, start, end, None)
    exons = exons.with_columns(start=start - 1, end=end, strand=tables.strands(exons["strand"]))
    # A gene with exons on two contigs is that on the first.
    exons = exons.filter(pl.col("chr") == pl.col("chr").first().over("row"))
    genes = exons.group_by("row", maintain_order=True).agg(
        pl.col("gene_id", "chr", "strand").first(), pl.col("start").min(), pl.col("end").max()
    )
    nothing = pl.lit(None, dtype=pl.String)
    found = genes.select("gene_id", nothing.alias("symbol"), contig="chr", strand="strand", biotype=nothing)
    return found.with_columns(tss(genes["start"], genes["end"], genes["strand"])), {}


def _bed_rows(path: Path, *, is_spaced: bool) -> Iterator[Line]:
    """Read the rows, those between blanks as between tabs."""
    for line in read_lines(path):
        if not line.startswith(headers.COMMENTS):
            yield Line.of(b"\t".join(line.split()), line.number) if is_spaced else line


def _read_bed(path: Path) -> tuple[pl.DataFrame, Dropped]:
    comments, first = headers.opening(path)
    first = first or ""
    rows = _bed_rows(path, is_spaced="\t" not in first)
    header = headers.header_comment(comments, first)
    if header is None and not _is_bed(first):
        header, rows = first, islice(rows, 1, None)
    n_fields = len(first.split("\t") if "\t" in first else first.split())
    names = headers.split(header) if header else [tables.nameless(number) for number in range(1, n_fields + 1)]
    if len(names) < 3:
        raise TableError(f"{path} is no BED file: it has {len(names)} columns, expected at least contig, start, end")
    frame = tables.frame_of(path, ["contig", "start", "end", *names[3:]], rows, "\t")
    start, end = (tables.whole_numbers(frame, name, path=path) for name in ("start", "end"))
    empty = frame.filter((end <= start) | (start < 0))
    if empty.height:
        raise TableError(
            f"{path} has {empty.height} rows that hold no base, first {listed(empty.row(0)[:3])}; BED is "
            "0-based and half-open (0 <= start < end): the one base p, counted from 1, is written p-1, p"
        )
    others = frame.drop("contig", "start", "end")
    roles = _named_roles(others) if header else _unnamed_roles(others)
    if "gene_id" not in roles:
        bases = zip(frame["contig"], start, end, strict=True)
        frame = frame.with_columns(
            pl.Series("region", [None if None in base else str(Interval(*base)) for base in bases], dtype=pl.String)
        )
        roles["gene_id"] = "region"
    strand = _strand(frame, roles)
    return _gathered(frame, {**roles, "contig": "contig"}, strand, tss(start, end, strand)), {}


def _named_roles(frame: pl.DataFrame) -> dict[str, str]:
    """Find columns by their usual names."""
    found = {role: tables.find_column(frame.columns, names) for role, names in _ROLE_NAMES.items()}
    found["gene_id"] = find_gene_ids(frame)
    # The column of ids is not also that of symbols, if another column could be; UCSC's `name` is a transcript.
    is_symbol = found["gene_id"] is not None and tables.plain_name(found["gene_id"]) in ("name2", "genename")
    others = [name for name in frame.columns if name != found["gene_id"]]
    found["symbol"] = found["gene_id"] if is_symbol else tables.find_column(others, SYMBOL_NAMES)
    return {role: name for role, name in found.items() if name is not None}


def _unnamed_roles(frame: pl.DataFrame) -> dict[str, str]:
    """Find strand and names by content: BED6 has name, score, strand; selene and ExPecto have strand, name."""
    strands = [name for name in frame.columns if frame[name].fill_null(".").is_in(["+", "-", "."]).all()]
    signed = [name for name in strands if frame[name].is_in(["+", "-"]).any()]
    if not signed and "column 6" in frame.columns and (frame["column 6"] == "-1").any():
        signed = ["column 6"]
    # Column 6 is the strand by the BED specification: before it, names or scores of nothing but "." look like one.
    strand = next(iter([*signed, *(name for name in strands if name == "column 6"), *strands]), None)
    roles = {} if strand is None else {"strand": strand}
    # A column 4 of nothing but "." names no gene; nor does then the score in column 5, unless 4 is the strand.
    texts = [name for name in frame.columns[:2] if name != strand][:1]
    texts = [name for name in texts if name not in strands]
    ensembl = [name for name in frame.columns if frame[name].fill_null("").str.contains(r"^ENS[A-Z]*[0-9]{6}").all()]
    gene_id = next(iter([*ensembl, *texts]), None)
    if gene_id is not None:
        roles["gene_id"] = gene_id
    if texts and texts != [gene_id]:
        roles["symbol"] = texts[0]
    return roles


def _read_named(path: Path) -> tuple[pl.DataFrame, Dropped]:
    frame = tables.read_table(path)
    roles = _named_roles(frame)
    for role in ("gene_id", "contig"):
        if role not in roles:
            raise TableError(
                f"{path} has no column {role}: it has {listed(frame.columns)}; accepted names are "
                f"{', '.join(_ROLE_NAMES[role])}. If these are values, put a header line above the first row, such as "
                "gene_id, contig, tss_1based, symbol, strand"
            )
    strand = _strand(frame, roles)
    return _gathered(frame, roles, strand, _start_sites(frame, strand, path)), {}


def _strand(frame: pl.DataFrame, roles: dict[str, str]) -> pl.Series:
    return tables.strands(frame[roles["strand"]]) if "strand" in roles else pl.repeat(".", frame.height, eager=True)


def _gathered(frame: pl.DataFrame, roles: dict[str, str], strand: pl.Series, starts: pl.Series) -> pl.DataFrame:
    """Select the columns by role, null where there is none."""
    nothing = pl.Series([None] * frame.height, dtype=pl.String)
    texts = [(frame[roles[role]] if role in roles else nothing).alias(role) for role in _ROLE_NAMES]
    return pl.DataFrame([*texts, starts.alias("tss")]).with_columns(strand.alias("strand"))


def _start_sites(frame: pl.DataFrame, strand: pl.Series, path: Path) -> pl.Series:
    """Find the start sites (0-based): a column of them, else where genes start and end."""
    position, first_base = _position_column(frame)
    if position is not None:
        sites = tables.whole_numbers(frame, position, path=path)
        if (sites < first_base).any():
            raise TableError(
                f"column {position!r} of {path} is read as {first_base}-based, but holds {sites.sort()[0]}; "
                "name it tss if it is 0-based, tss_1based if not"
            )
        _log.info("%s: positions from column %r, read as %d-based", path, position, first_base)
        return sites - first_base
    plain = {tables.plain_name(name): name for name in frame.columns}
    for (first, last), first_base in _SPANS.items():
        if first in plain and last in plain:
            start, end = (tables.whole_numbers(frame, plain[name], path=path) for name in (first, last))
            start = start + (1 - first_base)
            refuse_bad_spans(path, start, end, None)
            _log.info("%s: positions from %s and %s, read as %d-based", path, plain[first], plain[last], first_base)
            return tss(start - 1, end, strand)
    hint = ""
    if {"start", "end"} <= set(plain):
        hint = "; or, if it is BED with a header (0-based contig, start, end first), pass format='bed'"
    raise TableError(
        f"{path} has no column of transcription start sites: it has {listed(frame.columns)}; "
        f"call that column {_POSITION_HELP}{hint}"
    )


def _position_column(frame: pl.DataFrame) -> tuple[str | None, int]:
    """Return the column of start sites, if there is one, and whether it is 0-based or 1-based."""
    bare = {name.strip().lstrip("#"): name for name in frame.columns}
    for name, first_base in (("tss", 0), ("tss_1based", 1), ("TSS", 1)):
        if name in bare:
            return bare[name], first_base
    plain = {tables.plain_name(name): name for name in frame.columns}
    return next(((plain[name], first_base) for name, first_base in _SITES.items() if name in plain), (None, 0))


READERS: dict[str, Callable[[Path], tuple[pl.DataFrame, Dropped]]] = {
    "mane": _read_mane,
    "gtf": _read_gtf,
    "gff3": _read_gff3,
    "bed": _read_bed,
    "saf": _read_saf,
    "table": _read_named,
}
"""How to read each format: rows with the columns of a gene table, as the file spells them, and what was left out."""
