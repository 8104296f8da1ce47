"""Genes and where they start: one table, whatever file it came from.

Belongs here: reading MANE, GTF, GFF3, BED and plain tables into `GENE_SCHEMA`, writing it, fitting it to an assembly.
Does not: what a gene is called in prose (`catalog.ncbi`), how much it is expressed (`catalog.expression`).

`read_genes` says at INFO what it dropped and why (`logging.getLogger("catalog.genes")`).
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote

import polars as pl

from catalog import tables
from catalog.assembly import Assembly, AssemblyMismatch, UnknownContig
from catalog.interval import Interval
from catalog.tables import TableError, listed

GENE_SCHEMA = pl.Schema(
    {
        "gene_id": pl.String,  # Ensembl ids without version
        "symbol": pl.String,  # the gene_id where there is none
        "contig": pl.String,
        "strand": pl.String,  # "+", "-", or "." for unknown
        "tss": pl.Int64,  # transcription start site, 0-based bp
        "biotype": pl.String,  # null for unknown
    }
)
"""Columns of a gene table, one row a gene."""

GeneFormat = Literal["mane", "gtf", "gff3", "bed", "table"]

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

_CHROMOSOMES = {f"NC_{number:06d}": f"chr{number}" for number in range(1, 23)} | {
    "NC_000023": "chrX",
    "NC_000024": "chrY",
    "NC_012920": "chrM",
}
"""RefSeq accessions of the human chromosomes, the same in GRCh37 and GRCh38 but for their versions."""

_log = logging.getLogger(__name__)
_Dropped = Counter[str]


def read_genes(path: str | os.PathLike[str], *, format: GeneFormat | None = None) -> pl.DataFrame:  # noqa: A002  # the word users know from polars and pandas
    """Read a gene table, one row a gene, in the order of the file.

    Parameters
    ----------
    path
        A text file, plain or gzipped:

        - `mane`: the MANE summary; Plus Clinical transcripts are dropped, so that each gene has one TSS;
        - `gtf`, `gff3`: the gene rows of an annotation (GENCODE, Ensembl, RefSeq); TSS = first base of the gene on
          `+`, last on `-`;
        - `bed`: 0-based and half-open, TSS = start on `+` and `.`, end - 1 on `-`. Columns are found by a `#chr ...`
          header, else strand and name by what they hold. The selene gene files give 1-based starts in a BED: there
          the TSS on `+` comes out one base to the right.
        - `table`: tab- or comma-separated with a header. Positions are 0-based under `tss`, 1-based under
          `tss_1based` or `TSS`: that of ExPecto's geneanno.csv is, since it equals the 1-based start or end of the
          gene for 482 of the 516 genes that it shares with GENCODE v19 on chr22, and is never one less throughout.

        RefSeq accessions of human chromosomes become `chr1` ... `chrM`; other contig names stay (`match_contigs`).
    format
        One of these; by default told from the content.

    Returns
    -------
    A frame with `GENE_SCHEMA`. Of rows with the same gene id the first is kept; rows without id, contig or position
    are dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is empty, truncated, not of that format, or lacks a column; the message lists what was found.
    """
    if format is not None and format not in get_args(GeneFormat):
        raise ValueError(f"format must be one of {', '.join(get_args(GeneFormat))} or None, got {format!r}")
    path = Path(path)
    kind = format or _format_of(path)
    found, dropped = _READERS[kind](path)
    genes = _settled(found, dropped, path)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
    _log.info("%s: %d genes (read as %s); dropped: %s", path, genes.height, kind, reasons or "nothing")
    if genes.is_empty():
        raise TableError(
            f"{path}, read as {kind}, leaves no gene (dropped: {reasons or 'nothing, it has no rows'}); "
            "check that it is the file you mean, or name its format"
        )
    return genes


def write_genes(genes: pl.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a gene table that `read_genes` reads back as it is; `.gz` is compressed.

    Raises
    ------
    ValueError
        If the frame does not have `GENE_SCHEMA`, or a text holds a tab or a line break.
    """
    if genes.schema != GENE_SCHEMA:
        raise ValueError(
            f"a gene table has the columns {dict(GENE_SCHEMA)}, got {dict(genes.schema)}; "
            "select and cast them: genes.select(GENE_SCHEMA.names()).cast(GENE_SCHEMA)"
        )
    tables.write_table(genes, path)


def match_contigs(genes: pl.DataFrame, assembly: Assembly) -> pl.DataFrame:
    """Name contigs as the assembly does; drop genes that do not lie on it, and log how many.

    `1` finds `chr1` and the reverse; `chr1` also finds `NC_000001.11`.

    Raises
    ------
    AssemblyMismatch
        If no gene is left; the message lists the contigs of both sides.
    """
    lengths = assembly.lengths
    accessions = {
        _CHROMOSOMES[accession]: name for name in lengths if (accession := name.split(".")[0]) in _CHROMOSOMES
    }
    names = {contig: _name_in(assembly, contig, accessions) for contig in genes["contig"].unique(maintain_order=True)}
    placed = genes.with_columns(
        pl.col("contig").replace_strict(names, return_dtype=pl.String),
    ).with_columns(
        pl.col("contig").replace_strict(lengths, default=None, return_dtype=pl.Int64).alias("length"),
    )
    missing = [contig for contig, name in names.items() if name is None]
    lacks_contig = placed["contig"].is_null()
    inside = (placed["tss"] >= 0) & (placed["tss"] < placed["length"])
    kept = placed.filter(inside.fill_null(value=False)).drop("length")
    _log.info(
        "%s: %d of %d genes lie on it; dropped: %d on contigs that it lacks (%s), %d past the end of their contig",
        assembly.name,
        kept.height,
        genes.height,
        lacks_contig.sum(),
        listed(missing) or "none",
        (~inside & ~lacks_contig).sum(),
    )
    if kept.is_empty():
        raise AssemblyMismatch(
            f"no gene lies on {assembly.name}: the genes are on {listed(list(names)) or 'no contig'}, "
            f"the assembly has {listed([f'{name} ({length:,} bp)' for name, length in lengths.items()])}; "
            "take a gene table of that assembly, or rename its contigs"
        )
    return kept


def _name_in(assembly: Assembly, contig: str, accessions: dict[str, str]) -> str | None:
    try:
        return assembly.resolve(contig)
    except UnknownContig:
        return accessions.get(contig)


def _format_of(path: Path) -> GeneFormat:
    comments, first = tables.opening(path)
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


def _read_mane(path: Path) -> tuple[pl.DataFrame, _Dropped]:
    frame = tables.read_table(path)
    lacking = {
        "Ensembl_Gene", "symbol", "MANE_status", "GRCh38_chr", "chr_start", "chr_end", "chr_strand",
    }.difference(frame.columns)  # fmt: skip
    if lacking:
        raise TableError(
            f"{path} is no MANE summary: it lacks {', '.join(sorted(lacking))}; it has {listed(frame.columns)}"
        )
    select = frame.filter(pl.col("MANE_status") == "MANE Select")
    # 1-based, both ends included.
    start = tables.whole_numbers(select, "chr_start", path=path) - 1
    end = tables.whole_numbers(select, "chr_end", path=path)
    genes = select.select(
        pl.col("Ensembl_Gene").alias("gene_id"),
        "symbol",
        pl.col("GRCh38_chr").alias("contig"),
        pl.col("chr_strand").alias("strand"),
        _tss(start, end, select["chr_strand"]),
        pl.lit("protein_coding").alias("biotype"),
    )
    return genes, Counter({"that are not MANE Select": frame.height - select.height})


def _read_annotation(path: Path, attribute: Callable[[str], pl.Expr]) -> tuple[pl.DataFrame, _Dropped]:
    """Read the gene rows; the others are passed over as they are read, since a GENCODE file unpacks to 1.6 GB."""
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
    return genes, Counter()


def _read_gtf(path: Path) -> tuple[pl.DataFrame, _Dropped]:
    return _read_annotation(path, lambda key: pl.col("attributes").str.extract(rf'(?:^|;)\s*{key}\s+"?([^";]+)'))


def _read_gff3(path: Path) -> tuple[pl.DataFrame, _Dropped]:
    genes, dropped = _read_annotation(path, lambda key: pl.col("attributes").str.extract(rf"(?:^|;)\s*{key}=([^;]+)"))
    escaped = {
        value: unquote(value) for name in ("gene_id", "symbol") for value in genes[name] if value and "%" in value
    }
    return genes.with_columns(pl.col("gene_id", "symbol").replace(escaped)), dropped


def _read_bed(path: Path) -> tuple[pl.DataFrame, _Dropped]:
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
    return _gathered(frame, {**roles, "contig": "contig"}, _tss(start, end, strand)), Counter()


def _named_roles(frame: pl.DataFrame) -> dict[str, str]:
    """Find columns by their usual names."""
    found = {role: tables.find_column(frame.columns, names) for role, names in _ROLE_NAMES.items()}
    # What names the gene is not its symbol too, if another column could be.
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


def _read_named(path: Path) -> tuple[pl.DataFrame, _Dropped]:
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
    return _gathered(frame, roles, tss), Counter()


def _gathered(frame: pl.DataFrame, roles: dict[str, str], tss: pl.Series) -> pl.DataFrame:
    """Take the columns by role, null where there is none."""
    nothing = pl.Series([None] * frame.height, dtype=pl.String)
    texts = [(frame[roles[role]] if role in roles else nothing).alias(role) for role in _ROLE_NAMES]
    return pl.DataFrame([*texts, tss.alias("tss")])


def _position_column(frame: pl.DataFrame, path: Path) -> tuple[str, int]:
    """Give the column of positions, and the number that its first base has."""
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


def _settled(found: pl.DataFrame, dropped: _Dropped, path: Path) -> pl.DataFrame:
    """Bring ids, contigs and strands to one spelling; drop what has none, and repeats."""
    accession = pl.col("contig").str.extract(r"^(NC_\d{6})\.\d+$")
    texts = ("gene_id", "symbol", "contig", "strand", "biotype")
    genes = found.with_columns(
        pl.when(pl.col(texts).str.len_bytes() > 0).then(pl.col(texts)).name.keep(),
    ).with_columns(
        tables.without_version("gene_id"),
        pl.coalesce(accession.replace_strict(_CHROMOSOMES, default=None, return_dtype=pl.String), "contig").alias(
            "contig"
        ),
        pl.col("strand").fill_null(".").replace({"1": "+", "-1": "-"}),
    )
    wrong = genes.filter(~pl.col("strand").is_in(["+", "-", "."]))["strand"].unique(maintain_order=True)
    if len(wrong):
        raise TableError(
            f"{path} has strands {', '.join(map(repr, wrong[:5]))}; write them as '+', '-', or '.' if unknown"
        )
    for name, reason in (("gene_id", "without gene id"), ("contig", "without contig"), ("tss", "without position")):
        dropped[reason] += genes[name].null_count()
        genes = genes.drop_nulls(name)
    repeated = genes.filter(~pl.col("gene_id").is_first_distinct())["gene_id"]
    dropped[f"repeated gene ids ({listed(repeated.unique(maintain_order=True).to_list())})"] += len(repeated)
    return (
        genes.unique("gene_id", keep="first", maintain_order=True)
        .with_columns(pl.coalesce("symbol", "gene_id").alias("symbol"))
        .select(GENE_SCHEMA.names())
    )


_READERS: dict[GeneFormat, Callable[[Path], tuple[pl.DataFrame, _Dropped]]] = {
    "mane": _read_mane,
    "gtf": _read_gtf,
    "gff3": _read_gff3,
    "bed": _read_bed,
    "table": _read_named,
}
