"""Built-in formats of gene tables: MANE, GTF, GFF3, BED and plain tables.

Belongs here: detecting the format, and one reader a format. Does not: formats of other distributions
(`catalog.genes.format_plugins`), what every gene table has in common, and where its genes lie on an assembly
(`catalog.genes.table`).
"""

import logging
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from catalog.genes.report import Group
from catalog.interval import Interval
from catalog.runtime import tables
from catalog.runtime.tables import TableError, listed

_SYMBOL_NAMES = ("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "name", "gene")
GENE_ID_NAMES = (
    *("gene_id", "ensembl_gene_id", "ensembl_gene", "ensembl_id", "gene_stable_id", "ensembl", "gene", "id"),
    *_SYMBOL_NAMES[:-1],
)
"""Usual names of the column that names a gene, the surest first; case and word separators do not matter."""
_ROLE_NAMES = {
    "gene_id": GENE_ID_NAMES,
    "symbol": _SYMBOL_NAMES,
    "contig": ("contig", "chrom", "chr", "chromosome", "seqnames", "seqname", "seqid"),
    "strand": ("strand", "chr_strand"),
    "biotype": ("biotype", "gene_type", "gene_biotype", "type"),
}
_POSITION_HELP = "tss (0-based), tss_1based, or TSS in capitals (1-based, as in ExPecto's geneanno.csv)"

_log = logging.getLogger("catalog.genes")  # the name that users of `read_genes` listen to
Dropped = dict[str, Group]
"""Rows left out, by reason."""

PLUS_CLINICAL = "plus_clinical"
"""Column that only the MANE reader gives: true for the rows of MANE Plus Clinical transcripts."""


def built_in_format_of(path: Path, opening: tables.Opening) -> str:
    """Detect which of `READERS` reads a file, from its first lines."""
    comments, first = opening
    if first is None:
        raise TableError(
            f"{path} holds only comments; expected genes as MANE, GTF, GFF3, BED, or a table with a header"
        )
    fields = first.split("\t")
    if len(fields) >= 8 and fields[3].isdigit() and fields[4].isdigit() and fields[6] in ("+", "-", ".", "?"):
        return "gff3" if re.match(r"\s*\w+=", fields[-1]) else "gtf"
    if _is_bed(first):
        return "bed"
    names = tables.split(tables.header_comment(comments, first) or first)
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
    gene = tables.without_version("Ensembl_Gene")
    genes = mane.select(
        pl.when(is_clinical)
        .then(pl.concat_str(gene, tables.without_version("Ensembl_nuc"), separator="_"))
        .otherwise(gene)
        .alias("gene_id"),
        "symbol",
        pl.col("GRCh38_chr").alias("contig"),
        pl.col("chr_strand").alias("strand"),
        _tss(start, end, mane["chr_strand"]),
        pl.lit("protein_coding").alias("biotype"),
        is_clinical.alias(PLUS_CLINICAL),
    )
    others = frame.filter(~is_mane.fill_null(value=False))
    return genes, {"neither MANE Select nor MANE Plus Clinical": Group.of(others["symbol"])}


def _read_annotation(path: Path, attribute: Callable[[str], pl.Expr]) -> tuple[pl.DataFrame, Dropped]:
    """Read the gene rows; others are skipped while reading, since a GENCODE file decompresses to 1.6 GB."""
    features: Counter[str] = Counter()
    rows: list[bytes] = []
    for line in tables.read_lines(path):
        if line.startswith(b"#"):
            continue
        fields = line.split(b"\t", 3)
        feature = fields[2].decode(errors="replace") if len(fields) > 2 else "(no third column)"
        features[feature] += 1
        # Ensembl's GFF3 also has `ncRNA_gene` and the like.
        if feature in ("gene", "pseudogene") or feature.endswith("_gene"):
            rows.append(line)
    if not rows:
        raise TableError(
            f"{path} has no gene rows, only {listed([f'{count} {name}' for name, count in features.most_common()])}; "
            "take an annotation with genes (GENCODE, Ensembl, RefSeq), or make a table with a header"
        )
    names = ["contig", "source", "feature", "start", "end", "score", "strand", "frame", "attributes"]
    frame = tables.frame_of(path, names, rows, "\t")
    start = tables.whole_numbers(frame, "start", path=path) - 1
    genes = frame.select(
        # RefSeq's GFF3 has no gene_id; its ID tells the two copies of a pseudoautosomal gene apart.
        pl.coalesce(attribute("gene_id"), attribute("ID").str.replace(r"^gene[:-]", "")).alias("gene_id"),
        pl.coalesce(attribute("gene_name"), attribute("gene"), attribute("Name")).alias("symbol"),
        "contig",
        pl.col("strand").replace("?", "."),
        _tss(start, tables.whole_numbers(frame, "end", path=path), frame["strand"]),
        pl.coalesce(attribute("gene_type"), attribute("gene_biotype"), attribute("biotype")).alias("biotype"),
    )
    return genes, {}


def _read_gtf(path: Path) -> tuple[pl.DataFrame, Dropped]:
    return _read_annotation(path, lambda key: pl.col("attributes").str.extract(rf'(?:^|;)\s*{key}\s+"?([^";]+)'))


def _read_gff3(path: Path) -> tuple[pl.DataFrame, Dropped]:
    genes, dropped = _read_annotation(path, lambda key: pl.col("attributes").str.extract(rf"(?:^|;)\s*{key}=([^;]+)"))
    escaped = {
        value: unquote(value) for name in ("gene_id", "symbol") for value in genes[name] if value and "%" in value
    }
    return genes.with_columns(pl.col("gene_id", "symbol").replace(escaped)), dropped


def _read_bed(path: Path) -> tuple[pl.DataFrame, Dropped]:
    comments, first = tables.opening(path)
    rows = [line for line in tables.read_lines(path) if not line.startswith(tables.COMMENTS)]
    if rows and b"\t" not in rows[0]:
        rows = [b"\t".join(line.split()) for line in rows]
    header = tables.header_comment(comments, first)
    if header is None and first is not None and not _is_bed(first):
        header, rows = first, rows[1:]
    n_fields = rows[0].count(b"\t") + 1 if rows else 0
    names = tables.split(header) if header else [f"column {index}" for index in range(1, n_fields + 1)]
    if len(names) < 3:
        raise TableError(f"{path} is no BED file: it has {len(names)} columns, expected at least contig, start, end")
    frame = tables.frame_of(path, ["contig", "start", "end", *names[3:]], rows, "\t")
    start, end = (tables.whole_numbers(frame, name, path=path) for name in ("start", "end"))
    empty = frame.filter((end <= start) | (start < 0))
    if empty.height:
        raise TableError(
            f"{path} has {empty.height} rows that hold no base, first {', '.join(map(str, empty.row(0)[:3]))}; BED is "
            "0-based and half-open (0 <= start < end): the one base p, counted from 1, is written p-1, p"
        )
    others = frame.drop("contig", "start", "end")
    roles = _named_roles(others) if header else _unnamed_roles(others)
    if "gene_id" not in roles:
        bases = zip(frame["contig"], start, end, strict=True)
        frame = frame.with_columns(
            pl.Series("region", [None if None in base else str(Interval(*base)) for base in bases])
        )
        roles["gene_id"] = "region"
    strand = frame[roles["strand"]] if "strand" in roles else pl.repeat(".", frame.height, eager=True)
    return _gathered(frame, {**roles, "contig": "contig"}, _tss(start, end, strand)), {}


def _named_roles(frame: pl.DataFrame) -> dict[str, str]:
    """Find columns by their usual names."""
    found = {role: tables.find_column(frame.columns, names) for role, names in _ROLE_NAMES.items()}
    # The column of ids is not also that of symbols, if another column could be.
    found["symbol"] = tables.find_column([name for name in frame.columns if name != found["gene_id"]], _SYMBOL_NAMES)
    return {role: name for role, name in found.items() if name is not None}


def _unnamed_roles(frame: pl.DataFrame) -> dict[str, str]:
    """Find strand and names by content: BED6 has name, score, strand; selene and ExPecto have strand, name."""
    strands = [name for name in frame.columns if frame[name].fill_null(".").is_in(["+", "-", "."]).all()]
    signed = [name for name in strands if frame[name].is_in(["+", "-"]).any()]
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
    position, first_base = _position_column(frame, path)
    tss = tables.whole_numbers(frame, position, path=path) - first_base
    if (tss < 0).any():
        raise TableError(
            f"column {position!r} of {path} is read as {first_base}-based, but holds {(tss + first_base).sort()[0]}; "
            "name it tss if it is 0-based, tss_1based if not"
        )
    _log.info("%s: positions from column %r, read as %d-based", path, position, first_base)
    return _gathered(frame, roles, tss), {}


def _gathered(frame: pl.DataFrame, roles: dict[str, str], tss: pl.Series) -> pl.DataFrame:
    """Select the columns by role, null where there is none."""
    nothing = pl.Series([None] * frame.height, dtype=pl.String)
    texts = [(frame[roles[role]] if role in roles else nothing).alias(role) for role in _ROLE_NAMES]
    return pl.DataFrame([*texts, tss.alias("tss")])


def _position_column(frame: pl.DataFrame, path: Path) -> tuple[str, int]:
    """Return the column of positions, and whether it is 0-based or 1-based."""
    bare = {name.strip().lstrip("#"): name for name in frame.columns}
    for name, first_base in (("tss", 0), ("tss_1based", 1), ("TSS", 1)):
        if name in bare:
            return bare[name], first_base
    hint = ""
    if {"start", "end"} <= {tables.plain_name(name) for name in frame.columns}:
        hint = "; or, if it is BED with a header (0-based contig, start, end first), pass format='bed'"
    raise TableError(
        f"{path} has no column of transcription start sites: it has {listed(frame.columns)}; "
        f"call that column {_POSITION_HELP}{hint}"
    )


def _tss(start: pl.Series, end: pl.Series, strand: pl.Series) -> pl.Series:
    return pl.select(pl.when(strand == "-").then(end - 1).otherwise(start).alias("tss")).to_series()


READERS: dict[str, Callable[[Path], tuple[pl.DataFrame, Dropped]]] = {
    "mane": _read_mane,
    "gtf": _read_gtf,
    "gff3": _read_gff3,
    "bed": _read_bed,
    "table": _read_named,
}
"""How to read each format: rows with the columns of a gene table, as the file spells them, and what was left out."""
