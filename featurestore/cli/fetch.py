"""The verb `fetch`.

    featurestore fetch --list
    featurestore fetch puffin.pth --out weights

Belongs here: parsing and printing. Does not: the files and the transfer (`featurestore.distribution`).
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from catalog.runtime.progress import bar
from featurestore.cli.options import AsJson
from featurestore.distribution.fetch import fetch as fetch_file
from featurestore.distribution.public_files import PUBLIC_FILES

app = typer.Typer(rich_markup_mode=None)


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Files to fetch, as --list names them.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the files: address, size, sha256, licence.")] = False,
    out: Annotated[Path, typer.Option(help="Folder to fetch into.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Fetch public files that real runs need: weights, genome, gene tables. Cut off, the same command goes on.

    What has another digest than the file that was meant is not kept.
    """
    if listed or not names:
        _print_list(out, as_json=as_json)
        return
    known = {file.name: file for file in PUBLIC_FILES}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no public file {unknown[0]!r}; `featurestore fetch --list` lists them")
    for file in (known[name] for name in names):
        with bar(f"fetch {file.name}", unit="bytes", resumes=True) as progress:
            path = fetch_file(file, out, progress)
        checked = "sha256 as it should be" if file.sha256 else "its sha256 is not known here, so it was not compared"
        print(f"{path}: {path.stat().st_size:,} bytes, {checked}; licence: {file.licence}")


def _print_list(out: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([{**asdict(file), "is_here": (out / file.name).exists()} for file in PUBLIC_FILES], indent=1))
        return
    for file in PUBLIC_FILES:
        print(f"{file.name}{'  (here)' if (out / file.name).exists() else ''}")
        print(f"    {file.what}")
        size = "size unknown" if file.size is None else f"{file.size:,} bytes"
        print(f"    {size}; licence: {file.licence}; sha256 {file.sha256 or 'unknown'}")
        print(f"    {file.address}")
        if file.by_hand:
            print(f"    by hand: {file.by_hand}")
