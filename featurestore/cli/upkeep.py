"""Verbs that maintain a whole store.

    featurestore verify genome.store --crc
    featurestore repair genome.store
    featurestore seal genome.store
    featurestore explorer genome.store --genes genes.tsv
    featurestore explorer genome.store --watch 10
    featurestore delete-overlay genome.store --feature-set motif --overlay NA12878/1
    featurestore copy genome.store s3://bucket/genome.store
    featurestore diff genome.store other.store --out changes.tsv

Belongs here: parsing and printing. Does not: logic that a Python user could not call (`featurestore.upkeep.verify`).
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from catalog.runtime.plugins import how_to_install, load_plugin
from catalog.runtime.progress import bar
from catalog.runtime.settings import split_assignments
from featurestore.cli.diff_report import describe, write_changes
from featurestore.cli.errors import in_one_line
from featurestore.cli.options import AsJson, OldSet, StoreUrl, names_in
from featurestore.display import plain
from featurestore.format import layout
from featurestore.format.manifest import MANIFEST, PAGE
from featurestore.rows.overlays.declare import delete_overlay as delete_from
from featurestore.store import Store, open_store
from featurestore.upkeep.diff import diff as diff_stores
from featurestore.upkeep.seal import seal as seal_store
from featurestore.upkeep.transfer import CopyReport
from featurestore.upkeep.transfer import copy as copy_store
from featurestore.upkeep.verification.findings import Fault, Verification
from featurestore.upkeep.verify import repair as repair_store
from featurestore.upkeep.verify import verify as verify_store
from featurestore.web.page import publish_explorer, publish_status

CHECKS = "featurestore.checks"
"""Entry-point group of checks that need more than the store; each takes the store and gives its faults."""

app = typer.Typer(rich_markup_mode=None)


@app.command()
def verify(
    store: StoreUrl,
    crc: Annotated[
        bool,
        typer.Option(
            "--crc/--quick", help="Read every shard and compare its checksums, or compare only presence and size."
        ),
    ] = False,
    recompute: Annotated[
        int | None,
        typer.Option(metavar="K", help="Also compute K random bins of each feature set again, from --fasta."),
    ] = None,
    fasta: Annotated[str | None, typer.Option(help="The genome that the store was built from.")] = None,
    feature_set: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Feature set to compute again, where --set is of one extractor. [default: all]"
        ),
    ] = None,
    extractor: Annotated[
        str | None, typer.Option(help="module:factory of your own extractor. [default: the one that the store names]")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="module:factory of your own source. [default: the one that the store names]")
    ] = None,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the extractor or source, such as a file that lies elsewhere now; repeat it. "
            "[default: as the store has them on record]",
        ),
    ] = [],  # noqa: B006  # read, and never changed
    weights: Annotated[str | None, typer.Option(hidden=True, help="As --set weights=FILE.")] = None,
    projector: Annotated[str | None, typer.Option(hidden=True, help="As --set projector=FILE.")] = None,
    names: Annotated[str | None, typer.Option(hidden=True, help="As --set names=FILE.")] = None,
    device: Annotated[str, typer.Option(help="Where to recompute: auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Same seed, same bins. [default: others each time]")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that everything committed is present and intact. Exits 0 only when it is."""
    opened = open_store(store)
    # Former flags, from when all extractors shared one set of options.
    flags = {"weights": weights, "projector": projector, "names": names}
    chosen = {name: text for name, text in flags.items() if text is not None} | split_assignments(settings)
    if feature_set is not None and recompute is None:
        raise ValueError("`feature_set=` says what to compute again: give `recompute=` with it")
    recomputed: list[Fault] = []
    if recompute is not None:  # first: it refuses a wrong genome or file at once
        recomputed = _check("recompute")(
            opened,
            recompute,
            fasta=fasta,
            extractor=extractor,
            source=source,
            settings=chosen,
            device=device,
            seed=seed,
            feature_sets=None if feature_set is None else [feature_set],
        )
    with bar("verify", unit="shards") as advance:
        found = verify_store(opened, crc=crc, progress=advance)
    found.faults += recomputed
    found.bins_recomputed = recompute or 0
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        _print(found)
    raise typer.Exit(0 if found.is_sound else 1)


def _print(found: Verification) -> None:
    for fault in found.faults:
        print(f"fault: {plain(str(fault))}")
    for note in found.notes:
        print(f"note: {plain(note)}")
    for key in found.strangers:
        print(f"not of this store: {plain(key)}")
    print(
        f"{'sound' if found.is_sound else 'NOT sound'}: {found.shards} shards, {found.bytes:,} bytes, "
        f"{len(found.faults)} faults, {found.missing} shards not built yet, {len(found.orphans)} objects without record"
    )
    depth = "every byte" if found.depth == "crc" else "presence and size"
    recomputed = f", {found.bins_recomputed} bins of each feature set computed again" if found.bins_recomputed else ""
    sealed = f", the manifest (top hash {found.top_hash})" if found.top_hash else ""
    print(f"looked at: {len(found.documents)} metadata objects, the records and shards ({depth}){recomputed}{sealed}")


def _check(name: str) -> Callable[..., list[Fault]]:
    """Load a check of another package."""
    found = list(entry_points(group=CHECKS, name=name))
    if not found:
        raise ImportError(f"--{name} is not installed: {how_to_install('build')}")
    check: Callable[..., list[Fault]] = load_plugin(found[0])
    return check


@app.command()
def repair(store: StoreUrl, as_json: AsJson = False) -> None:
    """Read everything, rewrite damaged metadata and remove damaged shards, for the same build to recompute."""
    opened = open_store(store)
    with bar("verify", unit="shards") as advance:
        found = verify_store(opened, crc=True, progress=advance)
    changed = repair_store(opened, found)
    left = [str(fault) for fault in found.faults if not fault.is_mendable]
    if as_json:
        print(json.dumps({**changed._asdict(), "left": left}, indent=1))
    else:
        for key in changed.removed:
            print(f"removed: {plain(key)}")
        for key in changed.written:
            print(f"written anew: {plain(key)}")
        for fault in left:
            print(f"cannot be mended here: {plain(fault)}")
        rebuild = any(layout.parse_commit_key(key) for key in changed.removed)
        todo = "; run the same `featurestore build` again" if rebuild else ""
        todo += "; then seal again" if any(changed) and (found.top_hash or MANIFEST in changed.removed) else ""
        print(f"{len(changed.removed)} objects removed, {len(changed.written)} written anew{todo}")
    raise typer.Exit(1 if left else 0)


@app.command()
def seal(
    store: StoreUrl,
    crc: Annotated[
        bool, typer.Option("--crc/--quick", help="Read every shard before, or compare only presence and size.")
    ] = True,
    partial: Annotated[
        bool, typer.Option("--partial", help="Seal a store that lacks shards; its manifest says so.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Verify a finished store, then write its consolidated metadata, coordinates, README.md, catalog.json,
    croissant.json, explorer.json and last MANIFEST.json, with one top hash.
    """
    opened = open_store(store)
    with bar("verify", unit="shards") as advance:
        manifest, was_sealed = seal_store(opened, crc=crc, partial=partial, progress=advance)
    if as_json:
        print(
            json.dumps(
                manifest.model_dump(mode="json", exclude={"objects", "hashed_as"}) | {"was_sealed": was_sealed},
                indent=1,
            )
        )
        return
    print(
        f"{'was sealed already' if was_sealed else 'sealed'}: {len(manifest.objects)} objects, "
        f"{'complete' if manifest.complete else 'NOT complete'}, top hash {manifest.top_hash}"
    )


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The store: a local path, or any fsspec URL.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="Where it is to go: a path or a URL.")],
    feature_sets: Annotated[
        str | None,
        typer.Option("--feature-set", metavar="NAME", help="Feature sets to copy, comma-separated. [default: all]"),
    ] = None,
    contigs: Annotated[str | None, typer.Option(help="Contigs to copy, comma-separated. [default: all]")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Shards on their way at once. [default: 16, or as many as keep below 2 GiB]")
    ] = None,
    sets: Annotated[str | None, typer.Option(hidden=True, help="The name that --feature-set once had.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a store, checking every shard. Run it again to resume; exits 0 only when it is complete."""
    with bar("copy", unit="bytes") as advance:
        report = copy_store(
            source,
            destination,
            feature_sets=names_in(sets if feature_sets is None else feature_sets),
            contigs=names_in(contigs),
            workers=workers,
            progress=advance,
        )
    print_copied(report, as_json=as_json)
    raise typer.Exit(0 if report.is_complete else 1)


def print_copied(report: CopyReport, *, as_json: bool) -> None:
    """Print what a copy did."""
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
        return
    for shard, reason in report.failed.items():
        print(in_one_line(f"failed: {shard}: {reason}"), file=sys.stderr)
    print(
        f"{report.was_there + report.copied} of {report.shards} shards at {report.destination}, {report.copied} "
        f"copied by this run: {report.bytes:,} bytes in {report.seconds:.1f} s"
    )
    if report.top_hash is not None:
        print(f"sealed: top hash {report.top_hash}")
    for feature_set, licence in report.licences.items():
        print(f"licence of {plain(feature_set)}: {plain(licence)}")


@app.command()
def explorer(
    store: StoreUrl,
    genes: Annotated[
        Path | None,
        typer.Option(
            help="Gene table, for finding genes by name; of a GTF or GFF3 the exons are drawn too. "
            "[default: those put there before]"
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="NCBI gene_info or a table of annotations: genes are then found by synonyms, too."),
    ] = None,
    watch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Of a store that is being built: show contigs, phases, bins/s, time left and failed shards, "
            "read anew this often until the build is complete.",
        ),
    ] = None,
) -> None:
    """Put the explorer, a page that shows values in a browser, into the folder of a sealed store."""
    if watch is not None:
        if genes is not None or annotations is not None:
            raise ValueError(
                "`watch=` shows a build, which has no use for `genes=`: give them once the store is sealed"
            )
        _watch(open_store(store), watch)
        return
    published = publish_explorer(open_store(store), genes=genes, annotations=annotations)
    found = f", with {published.genes:,} genes" if genes is not None else ""
    print(
        f"{plain(published.page)}{found}; `featurestore serve {plain(store)}` shows it, as does any web server that "
        "answers ranges (docs/hosting.md)"
    )


def _watch(store: Store, seconds: int) -> None:
    """Write the status of a build again and again, until it is complete."""
    print(f"{plain(store.url)}/{PAGE} shows the build; open it through a web server (docs/explorer.md)")
    while not (found := publish_status(store)).is_complete:
        done, shards = (sum(getattr(row, name) for row in found.phases) for name in ("committed", "shards"))
        print(f"{done} of {shards} shards, {len(found.failures)} failed", flush=True)
        time.sleep(seconds)
    print(f"complete; `featurestore seal {plain(store.url)}` is next")


@app.command()
def delete_overlay(
    store: StoreUrl,
    feature_set: Annotated[str, typer.Option(metavar="NAME", help="The feature set that it is of.")],
    overlay: Annotated[str, typer.Option(metavar="SAMPLE/HAPLOTYPE", help="The overlay, such as NA12878/1.")],
) -> None:
    """Delete the bins of a personal genome from a store; the reference stays."""
    removed = delete_from(open_store(store).objects, feature_set, overlay)
    print(f"{removed} objects removed" if removed else f"there is no overlay {plain(overlay)} of {plain(feature_set)}")


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A store.")],
    b: Annotated[str | None, typer.Argument(metavar="B", help="Another store. [default: the same one]")] = None,
    feature_set: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare the feature sets of this name only.")
    ] = None,
    feature_set_a: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare this feature set of A with --feature-set-b.")
    ] = None,
    feature_set_b: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare this feature set of B with --feature-set-a.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the largest changes there, as TSV with a BED's columns.")
    ] = None,
    top: Annotated[int, typer.Option(help="Changes to write, of every pair of sets.")] = 1000,
    old_set: OldSet = None,
    set_a: Annotated[str | None, typer.Option(hidden=True, help="The name that --feature-set-a once had.")] = None,
    set_b: Annotated[str | None, typer.Option(hidden=True, help="The name that --feature-set-b once had.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the features of two stores, or of two sets of one store. Exits 0 if equal, 1 if not."""
    pairs = _pairs(feature_set or old_set, feature_set_a or set_a, feature_set_b or set_b)
    if b is None and pairs is None:
        raise ValueError("a store is equal to itself; name another one, or two of its sets by `pairs=`")
    if top < 1:
        raise ValueError(f"--top is a number of changes, at least 1; got {top}")
    one = open_store(a)
    with bar("diff", unit="bins") as advance:
        found = diff_stores(
            one,
            one if b is None else open_store(b),
            pairs=pairs,
            largest=top if out is not None else 0,
            progress=advance,
        )
    print(json.dumps(found.to_json(), indent=1) if as_json else "\n".join(describe(found)))
    if out is not None:
        written = write_changes(out, found)
        print(f"{out}: {written} changes", file=sys.stderr)
    raise typer.Exit(0 if found.is_equal else 1)


def _pairs(both: str | None, of_a: str | None, of_b: str | None) -> list[tuple[str, str]] | None:
    """Name the feature sets to compare; None for all that have one name."""
    if (of_a is None) != (of_b is None) or (of_a is not None and both is not None):
        raise ValueError("name one feature set of each by `pairs=`, or one name for both by --feature-set")
    if of_a is not None and of_b is not None:
        return [(of_a, of_b)]
    return None if both is None else [(both, both)]
