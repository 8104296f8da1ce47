"""The verb `serve`.

    featurestore serve genome.store --genes genes.tsv
    curl 'http://127.0.0.1:8000/v1/window?gene=MYC&bins=51'

Belongs here: parsing and printing. Does not: the server (`featurestore.web.serving`), which needs the extra `web`.
"""

import sys
from typing import Annotated

import typer

from featurestore.cli.derived import takes
from featurestore.display import plain
from featurestore.web.serving.request import ServeRequest, named_places

app = typer.Typer(rich_markup_mode=None)


@app.command()
@takes(ServeRequest)
def serve(
    request: ServeRequest,
    stores: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE",
            help="Stores: local paths or URLs. NAME=STORE gives one another name than that of its folder.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Open everything, print what would be served, and stop.")
    ] = False,
) -> None:
    """Serve stores over HTTP, read-only: windows by gene or position as JSON, Arrow, NPY or TSV, and the explorer.

    Stops at Ctrl-C or SIGTERM. /openapi.json describes the interface.
    """
    places = named_places(stores)
    from featurestore.web.serving.app import make_app
    from featurestore.web.serving.app import serve as run

    if request.model is not None:
        # torch and the model take up to a minute
        print(f"loading {plain(str(request.model))}", file=sys.stderr, flush=True)
    if dry_run:
        make_app(places, request)
        for place in places:
            print(f"{place.name}\t{plain(place.url)}")
        return
    run(places, request, started=lambda url: print(f"serving at {url} (stop with Ctrl-C)", flush=True))
