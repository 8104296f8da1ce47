"""Verbs of the catalog: the registry of known stores, and search.

    featurestore catalog add s3://bucket/genome.store
    featurestore catalog find --channel CTCF --assembly GRCh38

Belongs here: parsing and printing. Does not: logic that a Python user could not call
(`featurestore.upkeep.registry_file`, `catalog.registry`).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from catalog.registry import KnownStore
from featurestore.cli.errors import in_one_line
from featurestore.cli.options import AsJson, StoreUrl
from featurestore.cli.tables import print_table
from featurestore.display import in_bytes, percent, plain
from featurestore.upkeep.registry_file import (
    VARIABLE,
    add_store,
    default_place,
    not_reached,
    read_registry,
    update_registry,
)

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Keep a list of known stores, and search it.")

Place = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help=f"The catalog: a .json file, local or any fsspec URL. [default: ${VARIABLE}, or one in the user's data]",
    ),
]
StoreName = Annotated[str, typer.Argument(metavar="NAME", help="Of a store, as `featurestore catalog list` has it.")]

_COLUMNS = ("name", "assembly", "feature sets (channels)", "built", "size", "looked at", "state")
_WIDTH = 100


@app.command()
def add(
    store: StoreUrl,
    name: Annotated[str | None, typer.Option(help="What to call it. [default: the last part of its URL]")] = None,
    catalog: Place = None,
    as_json: AsJson = False,
) -> None:
    """Add a store to the catalog, or update its entry."""
    found = add_store(store, catalog, name=name)
    if as_json:
        print(json.dumps(_as_json(found), indent=1))
        return
    print(f"{found.name} is in the catalog: {plain(found.url)}, {percent(found.share)} built")


@app.command("list")
def list_(
    catalog: Place = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask whether the stores can be reached.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the known stores, and which of them cannot be reached."""
    stores = read_registry(catalog).stores
    reasons = {} if offline else not_reached(stores)
    if as_json:
        print(json.dumps([_as_json(one) | {"not_reached": reasons.get(one.name)} for one in stores], indent=1))
        return
    if not stores:
        print(f"no stores in {catalog or default_place()} yet; `featurestore catalog add STORE` adds one")
        return
    _print_table(stores, reasons)
    for name, reason in reasons.items():
        print(in_one_line(f"{name} was not reached: {reason}"))


@app.command()
def show(name: StoreName, catalog: Place = None, as_json: AsJson = False) -> None:
    """Show the entry of one store."""
    found = read_registry(catalog).get(name)
    if as_json:
        print(json.dumps(_as_json(found), indent=1))
        return
    print(f"{found.name}  {plain(found.url)}")
    print(f"{plain(found.assembly)}  {found.assembly_digest}")
    print(f"{found.objects:,} objects, {found.size_bytes:,} bytes, {percent(found.share)} of the shards built")
    print(f"sealed, top hash {found.top_hash}" if found.top_hash else "not sealed")
    print(f"looked at {found.as_of:%Y-%m-%d %H:%M} UTC; `featurestore catalog add` looks again")
    for item in found.feature_sets:
        print(
            f"\n{item.name}: {len(item.channels)} channels, bins of {item.bin_size:,} bp, offsets "
            f"{', '.join(map(str, item.offsets))} bp, {item.contigs} of {found.contigs} contigs, {percent(item.share)} "
            f"built, by {item.extractor} {plain(item.fingerprint)[:12]}"
        )
        print(f"  {plain(', '.join(item.channels[:12]))}{', ...' if len(item.channels) > 12 else ''}")
        if item.anchors:
            print(f"  anchors: {', '.join(item.anchors)}")
        if item.overlays:
            print(f"  overlays: {plain(', '.join(item.overlays))}")
        print(f"  licence: {plain(item.licence)}")
        print(f"  cite: {plain(item.citation)}")


@app.command()
def find(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Words that must all occur in what is known.")] = "",
    assembly: Annotated[str | None, typer.Option(help="Name or digest of the assembly.")] = None,
    extractor: Annotated[str | None, typer.Option(help="Name of the extractor.")] = None,
    channel: Annotated[str | None, typer.Option(help="Part of a channel's name.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="How the extractor's fingerprint begins.")] = None,
    licence: Annotated[str | None, typer.Option(help="Part of the licence; `unknown` where none is stated.")] = None,
    catalog: Place = None,
    as_json: AsJson = False,
) -> None:
    """Find stores with a feature set that meets all criteria; only the catalog is read. Exits 1 if there is none."""
    stores = read_registry(catalog).find(
        text, assembly=assembly, extractor=extractor, fingerprint=fingerprint, channel=channel, licence=licence
    )
    if as_json:
        print(json.dumps([_as_json(one) for one in stores], indent=1))
    elif stores:
        _print_table(stores, {})
    else:
        print(f"no such store in {catalog or default_place()}; `featurestore catalog list --offline` lists them all")
    raise typer.Exit(0 if stores else 1)


@app.command()
def remove(name: StoreName, catalog: Place = None) -> None:
    """Remove a store from the catalog; the store itself stays."""
    update_registry(lambda registry: registry.without(name), catalog)
    print(f"removed {name} from the catalog; the store itself is as it was")


def _print_table(stores: Iterable[KnownStore], reasons: Mapping[str, str]) -> None:
    rows = []
    for one in stores:
        sets = ", ".join(f"{item.name} ({len(item.channels):,})" for item in one.feature_sets)
        state = "not reached" if one.name in reasons else "sealed" if one.top_hash else "not sealed"
        size, looked_at = in_bytes(one.size_bytes), f"{one.as_of:%Y-%m-%d}"
        rows.append((one.name, one.assembly, sets, percent(one.share), size, looked_at, state))
    print_table(_COLUMNS, rows, width=_WIDTH, right=("built", "size"))


def _as_json(store: KnownStore) -> dict[str, Any]:
    document = store.model_dump(mode="json") | {"share": store.share}
    for item, known in zip(document["feature_sets"], store.feature_sets, strict=True):
        item["share"] = known.share
    return document
