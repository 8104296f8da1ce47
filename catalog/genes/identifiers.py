"""Gene ids in one spelling, so that tables of different programs meet.

Belongs here: which column names the genes, what is no gene, and what belongs to an Ensembl id. Does not: joining tables
(`loaders.genes`), symbols and families (`catalog.genes.families`).

| written | read as | by |
|---|---|---|
| `ENSG00000223972.5`, `ENSG00000223972.5_2` | `ENSG00000223972` | Ensembl, GENCODE lifted over |
| `ENSG00000182378.15_PAR_Y` | `ENSG00000182378_PAR_Y` | GENCODE: another gene than that on X |
| `ENST00000456328.2|ENSG00000223972.5|...` | `ENSG00000223972` | GENCODE's FASTA, so salmon and kallisto |
| `ENSG00000223972.5_DDX11L1`, `ENSG00000223972|DDX11L1` | `ENSG00000223972` | merged tables |
| `ENSG00000168487_ENST00000306349` | as it is | our MANE Plus Clinical transcripts |

Other ids stay as they are.
"""

import re

import polars as pl

from catalog.runtime import tables

SYMBOL_NAMES = ("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "genename", "name2", "name", "gene")
GENE_ID_NAMES = (
    *(
        "gene_id",
        "ensembl_gene_id",
        "ensembl_gene",
        "ensembl_id",
        "gene_stable_id",
        "gene_stable_id_version",
        "ensembl",
    ),
    *("gene", "geneid", "id", *SYMBOL_NAMES[:-1]),
)
"""Usual names of the column that names a gene, the surest first; case and word separators do not matter."""

_VERSION = r"^(ENS[A-Z]*[0-9]+)\.[0-9]+(?:_[0-9]+)?(_PAR_Y)?$"
_GENE_AMONG = r"(?:^|\|)(ENS[A-Z]*G[0-9]+[^|]*)"
_WITH_MORE = r"^(ENS[A-Z]*G[0-9]+)(?:\.[0-9]+)?_(.+)$"
_PART_OF_THE_ID = r"^(?:ENS[A-Z]*[0-9]|PAR_Y$)"
_NO_GENE = r"^__[a-zA-Z_]+$|^N_(unmapped|multimapping|noFeature|ambiguous)$"
_NAMELESS = re.compile(r"(column|unnamed:) ?[0-9]+$", re.IGNORECASE)


def plain_ids(name: str) -> pl.Expr:
    """Spell the ids of a column as in the table above."""
    given = pl.col(name)
    bare = given.str.strip_chars()
    one = (
        pl.when(bare.str.contains("|", literal=True))
        .then(bare.str.extract(_GENE_AMONG))
        .when(bare.str.starts_with("ENS"))
        .then(bare)
    )
    versionless = pl.coalesce(one, given).str.replace(_VERSION, "${1}${2}")
    is_longer = ~versionless.str.extract(_WITH_MORE, 2).str.contains(_PART_OF_THE_ID)
    return pl.when(is_longer).then(versionless.str.extract(_WITH_MORE, 1)).otherwise(versionless).alias(name)


def is_no_gene(name: str) -> pl.Expr:
    """Tell the rows of a column that count reads of no gene: htseq's `__no_feature`, STAR's `N_unmapped`."""
    return pl.col(name).str.contains(_NO_GENE).fill_null(value=False)


def is_nameless(column: str) -> bool:
    """Whether a column has no name: `catalog.runtime.tables` and pandas then number it."""
    return bool(_NAMELESS.match(column))


def find_gene_ids(frame: pl.DataFrame) -> str | None:
    """Find the column of gene ids: by its name, else a first column without name, as R writes row names.

    Numbers of rows are no ids, be they called `id` (GTEx) or nothing (pandas).
    """
    names = [name for name in frame.columns if tables.plain_name(name) != "id" or not _numbers_rows(frame[name])]
    found = tables.find_column(names, GENE_ID_NAMES)
    if found is None and frame.width > 1 and is_nameless(frame.columns[0]):
        first = frame[frame.columns[0]]
        if first.cast(pl.Int64, strict=False).null_count() == first.len() > 0:
            return first.name
    return found


def _numbers_rows(text: pl.Series) -> bool:
    numbers = text.cast(pl.Int64, strict=False)
    return numbers.null_count() == 0 and bool((numbers.diff().drop_nulls() == 1).all())
