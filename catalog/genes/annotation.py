"""Genes of annotations: the gene rows of GTF and GFF3 files.

Belongs here: finding these rows, their attributes and positions. Does not: the grammar of attributes
(`catalog.genes.attributes`), other formats (`catalog.genes.formats`).
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from catalog.genes.attributes import UnclosedValue, gff3_attributes, gtf_attributes
from catalog.runtime import tables
from catalog.runtime.lines import Line, TableError, read_lines
from catalog.runtime.tables import listed

_COLUMNS = ("contig", "source", "feature", "start", "end", "score", "strand", "frame", "attributes")
_MOST_KINDS = 1000
"""Kinds of rows that are counted, for the message on a file without genes."""


def read_gtf(path: Path) -> pl.DataFrame:
    """Read the gene rows of a GTF: contig, strand, gene_id, symbol, biotype and tss (0-based)."""
    return _genes(path, gtf_attributes)


def read_gff3(path: Path) -> pl.DataFrame:
    """Read the gene rows of a GFF3, as `read_gtf` does."""
    genes = _genes(path, gff3_attributes)
    return genes.with_columns(contig=pl.Series([name and unquote(name) for name in genes["contig"]], dtype=pl.String))


def tss(start: pl.Series, end: pl.Series, strand: pl.Series) -> pl.Series:
    """Give the start site of genes (0-based): the first base, on the reverse strand the last.

    Parameters
    ----------
    start, end
        0-based and half-open (bp).
    strand
        As `catalog.runtime.tables.strands` spells it.
    """
    return pl.select(pl.when(strand == "-").then(end - 1).otherwise(start).alias("tss")).to_series()


def refuse_bad_spans(path: Path, start: pl.Series, end: pl.Series, lines: list[int] | None) -> None:
    """Check 1-based positions with both ends included; the first row that is wrong is named by its line, if known."""
    for is_wrong, what, mend in (
        (start < 1, "begins at {0}", "positions here count from 1; if the table counts from 0, add 1 to every start"),
        (start > end, "begins at {0} and ends at {1}", "the smaller position comes first on both strands"),
    ):
        wrong = is_wrong.fill_null(value=False)
        if wrong.any():
            row = wrong.arg_max() or 0
            where = f"line {lines[row]} of {path}" if lines else f"a gene of {path}"
            raise TableError(f"{where} {what.format(start[row], end[row])} ({wrong.sum()} such rows); {mend}")


def is_gene(kind: bytes) -> bool:
    """Tell whether the third column names a gene; Ensembl's GFF3 also has `ncRNA_gene` and the like."""
    return kind in (b"gene", b"pseudogene") or kind.endswith(b"_gene")


def parsed_attributes(line: Line, parse: Callable[[str], dict[str, str]], path: Path) -> dict[str, str]:
    """Parse the ninth column of a row; TableError if a quotation mark in it is not closed."""
    fields = line.decoded(path).split("\t")
    try:
        return parse(fields[8] if len(fields) > 8 else "")
    except UnclosedValue as error:
        raise TableError(
            f"line {line.number} of {path} has a value whose quotation mark is not closed: {error}; close it, or fetch "
            "the file again if it is truncated"
        ) from error


def _genes(path: Path, parse: Callable[[str], dict[str, str]]) -> pl.DataFrame:
    rows = _gene_rows(path)
    frame = tables.frame_of(path, _COLUMNS, rows, "\t")
    attributes = [parsed_attributes(line, parse, path) for line in rows]
    start, end = (tables.whole_numbers(frame, name, path=path) for name in ("start", "end"))
    refuse_bad_spans(path, start, end, [line.number for line in rows])
    strand = tables.strands(frame["strand"])

    def first_of(*names: str) -> pl.Series:
        values = [next((found[name] for name in names if name in found), None) for found in attributes]
        return pl.Series(values, dtype=pl.String)

    # RefSeq's GFF3 has no gene_id; its ID tells the two copies of a pseudoautosomal gene apart.
    own = first_of("ID").str.replace(r"^gene[:-]", "")
    named = first_of("gene_id")
    return pl.DataFrame(
        {
            "gene_id": named.zip_with(named.is_not_null(), own),
            "symbol": first_of("gene_name", "gene", "Name"),
            "contig": frame["contig"],
            "strand": strand,
            "tss": tss(start - 1, end, strand),
            "biotype": first_of("gene_type", "gene_biotype", "biotype"),
        }
    )


def _gene_rows(path: Path) -> list[Line]:
    """Keep the gene rows; others are skipped while reading, since a GENCODE file unpacks to 1.6 GB."""
    kinds: Counter[str] = Counter()
    rows: list[Line] = []
    for line in read_lines(path):
        if line.startswith((b"##FASTA", b">")):  # a GFF3 may end with the sequence
            break
        if line.startswith(b"#"):
            continue
        fields = line.split(b"\t", 3)
        kind = fields[2] if len(fields) > 2 else b"(no third column)"
        if is_gene(kind):
            rows.append(line)
        elif len(kinds) < _MOST_KINDS:
            kinds[kind[:40].decode(errors="replace")] += 1
    if not rows:
        found = [f"{count} {name}" for name, count in kinds.most_common()]
        raise TableError(
            f"{path} has no gene rows, only {listed(found) or 'comments'}; take an annotation with genes (GENCODE, "
            "Ensembl, RefSeq), or make a table with a header"
        )
    return rows
