"""The verbs `push` and `pull`.

    featurestore push genome.store OWNER/NAME
    featurestore pull OWNER/NAME genome.store

Belongs here: parsing and printing. Does not: what is sent and fetched (`featurestore.upkeep.hugging_face`).
"""

import json
from typing import Annotated

import typer

from catalog.runtime.progress import bar
from featurestore.cli.options import AsJson, StoreUrl
from featurestore.cli.upkeep import print_copied
from featurestore.display import plain
from featurestore.store import open_store
from featurestore.upkeep.hugging_face import pull as pull_store
from featurestore.upkeep.hugging_face import push as push_store

app = typer.Typer(rich_markup_mode=None)
Repository = Annotated[
    str, typer.Argument(metavar="OWNER/NAME", help="A dataset repository of the Hugging Face Hub.", show_default=False)
]


@app.command()
def push(
    store: StoreUrl,
    repository: Repository,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private; an existing one stays as it is.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Push a sealed store to the Hugging Face Hub. Run it again to resume; log in by `hf auth login` before."""
    opened = open_store(store)
    with bar("push", unit="bytes") as advance:
        done = push_store(opened, repository, private=private, progress=advance)
    if as_json:
        print(json.dumps(done.to_json(), indent=1))
        return
    print(
        f"{plain(opened.url)} is at {plain(done.url)}, commit {done.commit}: {done.objects:,} objects, "
        f"{done.objects - done.was_there:,} sent by this run: {done.bytes:,} bytes in {done.seconds:.1f} s"
    )
    print(f"top hash {done.top_hash}")


@app.command()
def pull(
    repository: Repository,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="Where it is to go: a path or a URL.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit. [default: the newest]")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Shards on their way at once. [default: 16, or as many as keep below 2 GiB]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a store from the Hugging Face Hub, checking every shard. Run it again to resume; exits 0 when complete."""
    with bar("pull", unit="bytes") as advance:
        report = pull_store(repository, destination, revision=revision, workers=workers, progress=advance)
    print_copied(report, as_json=as_json)
    raise typer.Exit(0 if report.is_complete else 1)
