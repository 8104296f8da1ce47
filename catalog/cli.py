r"""Verbs that fetch what a catalog needs.

    featurestore fetch-annotations MANE.GRCh38.v1.4.summary.txt.gz --email you@lab.org --cache ncbi.parquet \
        --out annotations.tsv

Belongs here: options and printing. Does not: logic that a Python user could not call (`catalog.ncbi.fetch`).
"""

from pathlib import Path
from typing import Annotated

import typer

from catalog.ncbi import client as eutils
from catalog.ncbi import fetch as entrez
from catalog.ncbi.annotations import write_annotations
from catalog.runtime.progress import bar

app = typer.Typer(rich_markup_mode=None)


@app.command("fetch-annotations")
def fetch_annotations(
    cache: Annotated[Path, typer.Option(help="Folder that keeps what NCBI answered; made if it is not there.")],
    out: Annotated[Path, typer.Option(help="Annotation table to write; .gz is compressed.")],
    genes: Annotated[
        Path | None, typer.Argument(metavar="[GENES]", help="Genes: MANE, GTF, GFF3, BED, or a table with a header.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(help="Instead: symbols, NCBI gene ids or Ensembl ids, comma-separated.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Your address, which NCBI requires. [default: $NCBI_EMAIL]")] = None,
    api_key: Annotated[
        str | None, typer.Option(help="For 10 requests a second, not 3. [default: $NCBI_API_KEY]")
    ] = None,
    tax_id: Annotated[int, typer.Option(help="Organism, in NCBI's taxonomy.")] = 9606,
    batch: Annotated[int, typer.Option(min=1, max=eutils.MOST_UIDS, help="Records a request.")] = 200,
    retry_s: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How long a request is tried if NCBI does not answer (s). [default: $FEATURESTORE_RETRY_S or 120]",
        ),
    ] = None,
    base_url: Annotated[str, typer.Option(help="Address of the E-utilities.")] = eutils.BASE_URL,
) -> None:
    """Fetch gene annotations from NCBI. Run the same command again to resume."""
    if (genes is None) == (symbols is None):
        raise ValueError("name the genes: a gene table, or --symbols A,B; one of the two")
    asks: dict[str, str | None]
    if genes is not None:
        asks = entrez.read_asks(genes)
    else:
        asks = {name: None for part in (symbols or "").split(",") if (name := part.strip())}
    with bar("fetch-annotations", unit="genes", resumes=True) as shown:
        shown.stage("asking NCBI")
        fetched = entrez.fetch_annotations(
            asks,
            cache=cache,
            email=email,
            api_key=api_key,
            tax_id=tax_id,
            gene_ids={asked: gene_id for asked, gene_id in asks.items() if gene_id},
            batch=batch,
            base_url=base_url,
            retry_s=retry_s,
            progress=shown,
        )
    write_annotations(fetched.annotations, out)
    print(f"{out}: {fetched.annotations.height:,} genes")
    print(fetched.summary())
