"""Gene tables: ids, symbols and transcription start sites in one schema, whatever file they came from.

Belongs here: one schema for all gene tables, reading and writing it, fitting it to an assembly. Does not: the formats
that files come in (`catalog.genes.formats`), what a gene is called in prose (`catalog.ncbi.annotations`), how much it
is expressed (`catalog.expression.targets`), how they move to another assembly (`catalog.genes.lifting`).

What is dropped, and why, is in the report of `read_gene_table` and `place_genes`; all log it at INFO
(`logging.getLogger("catalog.genes")`).
"""

import logging
import os
from pathlib import Path

import polars as pl

from catalog.assembly import Assembly, AssemblyMismatch, UnknownContig
from catalog.genes.format_plugins import format_names, format_of, read_as
from catalog.genes.formats import PLUS_CLINICAL, Dropped
from catalog.genes.frames import Table, as_polars
from catalog.genes.identifiers import plain_ids
from catalog.genes.report import GeneReport, GeneTable, Group
from catalog.runtime import tables
from catalog.runtime.tables import TableError, listed

GENE_SCHEMA = pl.Schema(
    {
        "gene_id": pl.String,  # in the spelling of `catalog.genes.identifiers`
        "symbol": pl.String,  # the gene_id where there is none
        "contig": pl.String,
        "strand": pl.String,  # "+", "-", or "." for unknown
        "tss": pl.Int64,  # transcription start site, 0-based bp
        "biotype": pl.String,  # null for unknown
    }
)
"""Columns of a gene table, one row a gene."""

CHROMOSOMES = {f"NC_{number:06d}": f"chr{number}" for number in range(1, 23)} | {
    "NC_000023": "chrX",
    "NC_000024": "chrY",
    "NC_012920": "chrM",
}
"""RefSeq accessions of the human chromosomes, the same in GRCh37 and GRCh38 but for their versions."""

_ALTERNATIVE = r"_(alt|fix|PATCH|hap\d+)$|^(CHR_)?HSCHR|^N[TW]_\d+"
"""Alternative loci and patches as UCSC, Ensembl and RefSeq name them (`chr6_GL000250v2_alt`, `HSCHR6_MHC_COX_CTG1`,
`NW_009646203.1`). RefSeq's `NT_` names alternative loci and unlocalised scaffolds alike: both are counted here."""

_PAR_Y = ((10_000, 2_781_479), (56_887_902, 59_363_566))
"""Pseudoautosomal regions of the human Y (bp), each the union of that in GRCh38 and that in GRCh37, from the bounds
that the Genome Reference Consortium gives. What is too wide for one of the two holds no gene that X has too."""

_log = logging.getLogger(__name__)


def read_genes(path: str | os.PathLike[str], *, format: str | None = None) -> pl.DataFrame:  # noqa: A002  # the word users know from polars and pandas
    """Read a gene table as `read_gene_table` does by default, without its report.

    Returns
    -------
    A frame with `GENE_SCHEMA`.
    """
    return read_gene_table(path, format=format).genes


def read_gene_table(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002  # the word users know from polars and pandas
    plus_clinical: bool = False,
    alternative_loci: bool = True,
    par_y: bool = True,
) -> GeneTable:
    """Read a gene table, one row a gene, in the order of the file, and report what was dropped.

    Parameters
    ----------
    path
        A text file, plain or gzipped:

        - `mane`: the MANE summary.
        - `gtf`, `gff3`: the gene rows of an annotation (GENCODE, Ensembl, RefSeq); TSS = first base of the gene on
          `+`, last on `-`.
        - `bed`: BED3 to BED12, 0-based and half-open, TSS = start on `+` and `.`, end - 1 on `-`. Columns are found by
          a `#chr ...` header, else strand and name by what they hold. A BED of transcripts gives a row a transcript.
          The selene gene files give 1-based starts in a BED: there the TSS on `+` comes out one base to the right.
        - `saf`: what featureCounts reads and writes (`Geneid Chr Start End Strand`; exons joined by semicolons,
          1-based).
        - `table`: with a header; fields between tabs, commas, semicolons or blanks. BioMart's and UCSC's names of
          columns are known. Positions are 0-based under `tss`, 1-based under
          `tss_1based` or `TSS`: that of ExPecto's geneanno.csv is, since it equals the 1-based start or end of the
          gene for 482 of the 516 genes that it shares with GENCODE v19 on chr22, and is never one less throughout.

        RefSeq accessions of human chromosomes become `chr1` ... `chrM`; other contig names stay (`place_genes`).
    format
        One of these, or one that another distribution adds (`catalog.genes.format_plugins`); by default detected
        from the content.
    plus_clinical
        Whether to keep the Plus Clinical transcripts of a MANE summary besides the MANE Select ones. Such a row has
        the id `<gene>_<transcript>`, as in `ENSG00000168487_ENST00000306349`, since ids are unique.
    alternative_loci
        Whether to keep genes on alternative loci and patches. They mostly repeat a gene of the primary assembly.
    par_y
        Whether to keep the copies on Y of pseudoautosomal human genes: ids that end in `_PAR_Y`, and genes in the
        pseudoautosomal regions with the symbol and strand of a gene on X. Their bases are those on X, or masked.

    Returns
    -------
    The genes, a frame with `GENE_SCHEMA`, and the report. Ensembl ids lose their version; of rows with the same gene
    id the first is kept; rows without id, contig or position are dropped. Genes that share a symbol stay, and are
    noted in the report.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is empty, truncated, not of that format, or lacks a column; the message lists what was found.
    """
    if format is not None and format not in format_names():
        raise ValueError(f"format must be one of {', '.join(format_names())} or None, got {format!r}")
    path = Path(path)
    kind = format or format_of(path)
    found, dropped = read_as(kind, path)
    if PLUS_CLINICAL in found.columns and not plus_clinical:
        dropped["MANE Plus Clinical transcripts"] = Group.of(found.filter(PLUS_CLINICAL)["symbol"])
        found = found.filter(~pl.col(PLUS_CLINICAL))
    genes = _settled(found, dropped, path)
    noted: dict[str, Group] = {}
    for what, find, is_kept in (
        ("on alternative loci or patches", _on_alternative_loci, alternative_loci),
        ("pseudoautosomal copies on Y", _par_copies, par_y),
    ):
        ids = find(genes)
        (noted if is_kept else dropped)[what] = Group.of(ids)
        if not is_kept:
            genes = genes.filter(~pl.col("gene_id").is_in(ids))
    noted["with the symbol of another gene"] = Group.of(genes.filter(pl.col("symbol").is_duplicated())["symbol"])
    report = GeneReport(origin=str(path), format=kind, kept=genes.height, dropped=dropped, noted=noted)
    _log.info("%s", report)
    if genes.is_empty():
        raise TableError(f"{report}; this leaves no gene: check that it is the file you mean, or name its format")
    return GeneTable(genes, report)


def write_genes(genes: Table, path: str | os.PathLike[str]) -> None:
    """Write a gene table that `read_genes` reads back as it is; `.gz` is compressed.

    Raises
    ------
    ValueError
        If the frame does not have `GENE_SCHEMA`, or a text holds a tab or a line break.
    """
    genes = as_polars(genes, GENE_SCHEMA)
    tables.require_schema(genes, GENE_SCHEMA, what="a gene table", schema_name="GENE_SCHEMA")
    tables.write_table(genes, path)


def match_contigs(genes: Table, assembly: Assembly) -> pl.DataFrame:
    """Fit genes to an assembly as `place_genes` does, without its report."""
    return place_genes(genes, assembly).genes


def place_genes(genes: Table, assembly: Assembly) -> GeneTable:
    """Name contigs as the assembly does; drop and report genes that do not lie on it.

    `1` finds `chr1` and the reverse; `chr1` also finds `NC_000001.11`.

    Raises
    ------
    AssemblyMismatch
        If no gene is left; the message lists the contigs of both sides.
    """
    genes = as_polars(genes, GENE_SCHEMA, needs=("gene_id", "contig", "tss"))
    lengths = assembly.lengths
    accessions = {CHROMOSOMES[accession]: name for name in lengths if (accession := name.split(".")[0]) in CHROMOSOMES}
    names = {contig: _name_in(assembly, contig, accessions) for contig in genes["contig"].unique(maintain_order=True)}
    placed = genes.with_columns(
        pl.col("contig").replace_strict(names, return_dtype=pl.String),
    ).with_columns(
        pl.col("contig").replace_strict(lengths, default=None, return_dtype=pl.Int64).alias("length"),
    )
    lacks_contig = placed["contig"].is_null()
    inside = ((placed["tss"] >= 0) & (placed["tss"] < placed["length"])).fill_null(value=False)
    kept = placed.filter(inside).drop("length")
    report = GeneReport(
        origin=assembly.name,
        kept=kept.height,
        dropped={
            "on contigs that it lacks": Group.of(genes.filter(lacks_contig)["contig"]),
            "past the end of their contig": Group.of(genes.filter(~inside & ~lacks_contig)["gene_id"]),
        },
    )
    _log.info("%s", report)
    if kept.is_empty():
        raise AssemblyMismatch(
            f"no gene lies on {assembly.name}: the genes are on {listed(list(names)) or 'no contig'}, "
            f"the assembly has {listed([f'{name} ({length:,} bp)' for name, length in lengths.items()])}; "
            "take a gene table of that assembly, rename its contigs, or lift the genes over (`lift_genes`)"
        )
    return GeneTable(kept, report)


def _name_in(assembly: Assembly, contig: str, accessions: dict[str, str]) -> str | None:
    try:
        return assembly.resolve(contig)
    except UnknownContig:
        return accessions.get(contig)


def _settled(found: pl.DataFrame, dropped: Dropped, path: Path) -> pl.DataFrame:
    """Bring ids, contigs and strands to one spelling; drop what has none, and repeats."""
    accession = pl.col("contig").str.extract(r"^(NC_\d{6})\.\d+$")
    texts = ("gene_id", "symbol", "contig", "strand", "biotype")
    genes = found.with_columns(
        pl.when(pl.col(texts).str.len_bytes() > 0).then(pl.col(texts)).name.keep(),
    ).with_columns(
        plain_ids("gene_id"),
        pl.coalesce(accession.replace_strict(CHROMOSOMES, default=None, return_dtype=pl.String), "contig").alias(
            "contig"
        ),
    )
    genes = genes.with_columns(tables.strands(genes["strand"]))
    wrong = genes.filter(~pl.col("strand").is_in(["+", "-", "."]))["strand"].unique(maintain_order=True)
    if len(wrong):
        raise TableError(
            f"{path} has strands {listed([repr(name) for name in wrong])}; write them as '+', '-', or '.' if unknown"
        )
    for name, reason in (("gene_id", "without gene id"), ("contig", "without contig"), ("tss", "without position")):
        dropped[reason] = Group.of(genes.filter(pl.col(name).is_null())["symbol" if name == "gene_id" else "gene_id"])
        genes = genes.drop_nulls(name)
    dropped["repeated gene ids"] = Group.of(genes.filter(~pl.col("gene_id").is_first_distinct())["gene_id"])
    return (
        genes.unique("gene_id", keep="first", maintain_order=True)
        .with_columns(pl.coalesce("symbol", "gene_id").alias("symbol"))
        .select(GENE_SCHEMA.names())
    )


def _on_alternative_loci(genes: pl.DataFrame) -> list[str]:
    return genes.filter(pl.col("contig").str.contains(_ALTERNATIVE))["gene_id"].to_list()


def _par_copies(genes: pl.DataFrame) -> list[str]:
    """Find the genes on Y that are pseudoautosomal copies of a gene on X."""
    on_x, on_y = (genes.filter(pl.col("contig").is_in([name, f"chr{name}"])) for name in "XY")
    inside = pl.any_horizontal(pl.col("tss").is_between(start, end, closed="left") for start, end in _PAR_Y)
    paired = on_y.filter(inside).join(on_x, on=["symbol", "strand"], how="semi")["gene_id"].to_list()
    return genes.filter(pl.col("gene_id").is_in(paired) | pl.col("gene_id").str.ends_with("_PAR_Y"))[
        "gene_id"
    ].to_list()
