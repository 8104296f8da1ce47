"""Verbs that look after a whole store.

    featurestore verify genome.store --crc
    featurestore repair genome.store

Belongs here: parsing and printing. Does not: logic that a Python user could not call (`featurestore.verify`).
"""

import json
from typing import Annotated

import typer

from featurestore.progress import bar
from featurestore.store import open_store
from featurestore.verify import repair as repair_store
from featurestore.verify import verify as verify_store

app = typer.Typer(rich_markup_mode=None)

StoreUrl = Annotated[
    str, typer.Argument(metavar="STORE", help="The store: a local path, s3://bucket/prefix, or any fsspec URL.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command()
def verify(
    store: StoreUrl,
    crc: Annotated[
        bool, typer.Option("--crc", help="Read every shard and compare its checksums, not only its size.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that everything committed is there and whole. Exits 0 only when it is."""
    opened = open_store(store)
    with bar("verify", unit="shards") as advance:
        found = verify_store(opened, crc=crc, progress=advance)
    if as_json:
        faults = [{"where": fault.where, "what": fault.what, "mend": fault.mend} for fault in found.faults]
        figures = {"depth": found.depth, "shards": found.shards, "bytes": found.bytes, "missing": found.missing}
        print(json.dumps({"sound": found.is_sound, "faults": faults, "orphans": found.orphans} | figures, indent=1))
    else:
        for fault in found.faults:
            print(f"fault: {fault}")
        print(
            f"{'sound' if found.is_sound else 'NOT sound'}: {found.shards} shards, {found.bytes:,} bytes, "
            f"{len(found.faults)} faults, {found.missing} shards not built yet, "
            f"{len(found.orphans)} objects without record"
        )
    raise typer.Exit(0 if found.is_sound else 1)


@app.command()
def repair(store: StoreUrl, as_json: AsJson = False) -> None:
    """Read every shard, remove those at fault, and tell so; the same `featurestore build` then makes them again."""
    opened = open_store(store)
    with bar("verify", unit="shards") as advance:
        found = verify_store(opened, crc=True, progress=advance)
    removed = repair_store(opened, found)
    left = [str(fault) for fault in found.faults if not fault.remove]
    if as_json:
        print(json.dumps({"removed": removed, "left": left}, indent=1))
    else:
        for key in removed:
            print(f"removed: {key}")
        for fault in left:
            print(f"cannot be mended here: {fault}")
        print(f"{len(removed)} objects removed{'; run the same `featurestore build` again' if removed else ''}")
    raise typer.Exit(1 if left else 0)
