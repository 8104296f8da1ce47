"""Gene annotations: names and summaries from NCBI Gene, and the prompt that a language model reads.

Belongs here: reading annotations into `ANNOTATION_SCHEMA`, finding those of a gene table. Does not: where genes lie
(`catalog.genes.table`), the templates of prompts (`catalog.ncbi.prompts`), tokens (`model.language.backbone`).

Files are those of https://ftp.ncbi.nlm.nih.gov/gene/DATA: `gene_info` (`GENE_INFO/Mammalia/Homo_sapiens.gene_info.gz`)
and `gene_summary.gz`; NCBI places no restriction on their use.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from catalog.genes.frames import Table, as_polars
from catalog.genes.identifiers import plain_ids
from catalog.ncbi.prompts import Missing as Missing
from catalog.ncbi.prompts import PromptSettings, write_prompt
from catalog.runtime import tables
from catalog.runtime.tables import TableError, listed

ANNOTATION_SCHEMA = pl.Schema(
    {
        "gene_id": pl.String,  # Ensembl gene id without version
        "ncbi_gene_id": pl.Int64,
        "symbol": pl.String,
        "name": pl.String,
        "aliases": pl.String,  # joined by "|", as NCBI does
        "designations": pl.String,  # joined by "|"
        "summary": pl.String,
    }
)
"""Columns of an annotation table, one row a gene of NCBI; null for what is not known."""

_GENE_INFO = ("GeneID", "Symbol", "Synonyms", "dbXrefs", "description", "Other_designations")

_log = logging.getLogger(__name__)


def read_annotations(path: str | os.PathLike[str], *, tax_id: int | None = None) -> pl.DataFrame:
    """Read annotations from NCBI's `gene_info`, old or new, or from `write_annotations`.

    Parameters
    ----------
    path
        Tab-separated text, plain or gzipped.
    tax_id
        Keep one organism (NCBI taxonomy; 9606 is human). NCBI's human file of 2016 also holds 73 mitochondrial genes
        of Neanderthals and Denisovans. None keeps all.

    Returns
    -------
    A frame with `ANNOTATION_SCHEMA`, in the order of the file. Of several Ensembl ids of one NCBI gene (106 genes in
    2016) the first is kept.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is neither of the two, empty, or truncated.
    """
    path = Path(path)
    frame = _read_gene_info(path)
    lacking = [name for name in _GENE_INFO if name not in frame.columns]
    if not lacking:
        annotations = _from_gene_info(frame, path, tax_id)
    elif frame.columns == ANNOTATION_SCHEMA.names():
        ncbi_gene_id = tables.whole_numbers(frame, "ncbi_gene_id", path=path)
        annotations = frame.with_columns(ncbi_gene_id.alias("ncbi_gene_id"), plain_ids("gene_id"))
    else:
        raise TableError(
            f"{path} is no annotation table: it has {listed(frame.columns)}; expected NCBI's gene_info (it lacks "
            f"{', '.join(lacking)}), or {', '.join(ANNOTATION_SCHEMA.names())}"
        )
    _log.info(
        "%s: annotations of %d genes, %d with an Ensembl id", path, annotations.height, annotations["gene_id"].count()
    )
    return annotations


def add_summaries(annotations: Table, path: str | os.PathLike[str]) -> pl.DataFrame:
    """Put in the summaries of NCBI's `gene_summary` table; what the table lacks keeps its summary.

    Parameters
    ----------
    annotations
        A frame with `ANNOTATION_SCHEMA`.
    path
        A table with columns `GeneID` (or `symbol`) and `Summary`. Of several summaries of one gene that of RefSeq is
        taken, else the first.

    Raises
    ------
    TableError
        If the table lacks these columns.
    """
    annotations = as_polars(annotations, ANNOTATION_SCHEMA)
    path = Path(path)
    frame = tables.read_table(path)
    summary, ncbi, symbol, source = (
        tables.find_column(frame.columns, names)
        for names in (("summary",), ("geneid", "ncbi_gene_id"), ("symbol", "gene_symbol"), ("source",))
    )
    if summary is None or (ncbi is None and symbol is None):
        raise TableError(
            f"{path} holds no summaries: it has {listed(frame.columns)}; expected GeneID (or symbol) and Summary, "
            "as in NCBI's gene_summary.gz"
        )
    key = "symbol" if ncbi is None else "ncbi_gene_id"
    added = frame.select(
        pl.col(symbol or "") if ncbi is None else tables.whole_numbers(frame, ncbi, path=path),
        pl.col(summary).alias("added"),
        (pl.lit(value=False) if source is None else pl.col(source).ne_missing("RefSeq")).alias("is_other"),
    )
    added.columns = [key, "added", "is_other"]
    added = (
        added.drop_nulls()
        .sort("is_other", maintain_order=True)
        .unique(key, keep="first", maintain_order=True)
        .drop("is_other")
    )
    joined = annotations.with_row_index("order").join(added, on=key, how="left").sort("order")
    _log.info("%s: summaries for %d of %d genes", path, joined["added"].count(), annotations.height)
    return joined.with_columns(summary=pl.coalesce("added", "summary")).select(ANNOTATION_SCHEMA.names())


def write_annotations(annotations: Table, path: str | os.PathLike[str]) -> None:
    """Write annotations that `read_annotations` reads back as they are; `.gz` is compressed.

    Raises
    ------
    ValueError
        If the frame does not have `ANNOTATION_SCHEMA`, or a text holds a tab or a line break.
    """
    annotations = as_polars(annotations, ANNOTATION_SCHEMA)
    tables.require_schema(annotations, ANNOTATION_SCHEMA, what="an annotation table", schema_name="ANNOTATION_SCHEMA")
    tables.write_table(annotations, path)


def annotate(genes: Table, annotations: Table) -> pl.DataFrame:
    """Find each gene's annotation: by Ensembl id, else by symbol in any case.

    Of several records with one Ensembl id that with the gene's symbol is taken, else the first.

    Returns
    -------
    A frame with `ANNOTATION_SCHEMA`, one row a gene, in the order of `genes`. `gene_id` and `symbol` are those of
    `genes`, unless its symbol is only the id; a gene without annotation has nothing else.
    """
    genes = as_polars(genes)
    annotations = as_polars(annotations, ANNOTATION_SCHEMA, needs=ANNOTATION_SCHEMA)
    records = annotations.with_row_index("record").with_columns(key=pl.col("symbol").str.to_uppercase())
    found = (
        genes.select("gene_id", "symbol").with_row_index("order").with_columns(key=pl.col("symbol").str.to_uppercase())
    )
    ways = (["gene_id", "key"], ["gene_id"], ["key"])
    for number, way in enumerate(ways):
        first = records.select(*way, "record").drop_nulls().unique(way, keep="first", maintain_order=True)
        found = found.join(first.rename({"record": f"record {number}"}), on=way, how="left")
    found = found.with_columns(record=pl.coalesce(f"record {number}" for number in range(len(ways))))
    _log.info("%d of %d genes are annotated", found["record"].count(), genes.height)
    # A symbol that only repeats the id is not used.
    symbol = (
        pl.when(pl.col("symbol") == pl.col("gene_id")).then(pl.coalesce("symbol_right", "symbol")).otherwise("symbol")
    )
    return (
        found.join(records.drop("gene_id", "key"), on="record", how="left")
        .sort("order")
        .with_columns(symbol.alias("symbol"))
        .select(ANNOTATION_SCHEMA.names())
    )


def prompt(
    annotation: Mapping[str, object], *, missing: Missing | None = None, settings: PromptSettings | None = None
) -> str:
    """Write what is known of one gene as the text that precedes its data.

    Seven lines that each begin with `# `, after figure 4 of the GTA paper (arXiv 2410.01858): task, symbol, full name,
    aliases, designations, summary, and `# Data:`.

    Parameters
    ----------
    annotation
        A row with the fields of `ANNOTATION_SCHEMA`, as `frame.row(0, named=True)` gives it; fields may lack.
    missing
        What becomes of a line whose field is null: `omit` leaves it out, `mark` says that it is not recorded. None for
        the template's way: `plain` leaves it out, `paper` keeps its label.
    settings
        The template and the cell type; None for `plain`.
    """
    return write_prompt(annotation, settings, missing=missing)


def prompts_for(
    genes: Table, annotations: Table, *, missing: Missing | None = None, settings: PromptSettings | None = None
) -> list[str]:
    """Write the prompt of each gene, in the order of `genes`; one without annotation is named by its symbol alone."""
    return [
        prompt(row, missing=missing, settings=settings) for row in annotate(genes, annotations).iter_rows(named=True)
    ]


def _read_gene_info(path: Path) -> pl.DataFrame:
    comments, _ = tables.opening(path)
    if not comments or not comments[0].startswith("#Format:"):
        return tables.read_table(path)
    # Until 2016 the names stood between spaces, before a remark in brackets, above rows that have tabs.
    names = comments[0].removeprefix("#Format:").split("(")[0].split()
    return tables.frame_of(path, names, (line for line in tables.read_lines(path) if not line.startswith(b"#")), "\t")


def _from_gene_info(frame: pl.DataFrame, path: Path, tax_id: int | None) -> pl.DataFrame:
    if "tax_id" in frame.columns:
        taxa = dict(frame["tax_id"].value_counts(sort=True).iter_rows())
        _log.info("%s: records by organism (NCBI taxonomy): %s", path, taxa)
        frame = frame if tax_id is None else frame.filter(pl.col("tax_id") == str(tax_id))
        if frame.is_empty():
            raise TableError(
                f"{path} holds no gene of organism {tax_id}; it has {listed(list(taxa))}: name one of these"
            )
    known = frame.with_columns(pl.col(pl.String).replace("-", None))
    if "Full_name_from_nomenclature_authority" not in known.columns:
        known = known.with_columns(Full_name_from_nomenclature_authority=pl.lit(None, dtype=pl.String))
    return known.select(
        pl.col("dbXrefs").str.extract(r"(?:^|\|)Ensembl:([^|]+)").alias("gene_id"),
        tables.whole_numbers(known, "GeneID", path=path).alias("ncbi_gene_id"),
        pl.col("Symbol").alias("symbol"),
        pl.coalesce("Full_name_from_nomenclature_authority", "description").alias("name"),
        pl.col("Synonyms").alias("aliases"),
        pl.col("Other_designations").alias("designations"),
        pl.lit(None, dtype=pl.String).alias("summary"),
    ).with_columns(plain_ids("gene_id"))
