"""The command `featurestore`.

    featurestore info genome.store
    featurestore get genome.store chr1:1000000 --feature-set motif --n-bins 251

Belongs here: the verbs that read a store, registering those of other modules and packages, and how errors are shown.
Each verb parses, calls the library and prints.
"""

import io
import json
import os
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from catalog.registry import UNKNOWN
from catalog.runtime.files import replacing, write_atomic
from catalog.runtime.plugins import PluginError, load_plugin, plugins
from catalog.runtime.progress import bar, in_figures
from catalog.simulation.genome import simulate as simulate_genome
from catalog.simulation.grammar import Density, SimulationConfig, at_density
from catalog.simulation.signals import require_bigwig_writer, simulate_signals
from featurestore.cli.catalog import app as catalog_app
from featurestore.cli.errors import DEBUG_VARIABLE, explain, in_one_line, verb_of, warn, warnings_in_one_line
from featurestore.cli.export import app as export_app
from featurestore.cli.fetch import app as fetch_app
from featurestore.cli.hub import app as hub_app
from featurestore.cli.options import AsJson, FeatureSetName, StoreUrl, chosen_set
from featurestore.cli.serve import app as serve_app
from featurestore.cli.tables import print_table
from featurestore.cli.upkeep import app as upkeep_app
from featurestore.cli.wrapped import wrap_verbs
from featurestore.display import plain
from featurestore.distribution.version import __version__
from featurestore.reader import parse_place
from featurestore.store import Store, open_store
from featurestore.upkeep.status import Work, status_of

GROUP = "featurestore.commands"
"""Entry-point group; each entry is a Typer application whose verbs are added to this one."""
_INTERRUPTED = 130
_WORK = ("built by", "on", "run", "feature set", "shards", "bins/s", "last shard")
_WIDTH = 160
_LONG_WORD = 200
"""Characters of an argument that the usage would repeat whole."""

app = typer.Typer(
    name="featurestore",
    help="Run a sequence model over a genome once; slice any window of bins from the store.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 incomplete, 2 an error in the request."""
    # Threads that wait for each other sleep instead of spinning: on a machine with other work, spinning made training
    # of a small model ten times slower. Read when torch is first imported, which no verb has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file's name need not be text
    _add_verbs()
    words = sys.argv[1:] if argv is None else list(argv)
    command = typer.main.get_command(app)
    wrap_verbs(command)
    try:
        with warnings_in_one_line():
            # Without standalone mode `typer.Exit` comes back as its code, and a verb that returns nothing as None.
            line = shlex.join(["featurestore", *words])
            status: int = command(args=words, prog_name="featurestore", standalone_mode=False, obj=line) or 0
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "show"):
            if max(map(len, words), default=0) > _LONG_WORD:
                error.message = in_one_line(error.message)  # type: ignore[attr-defined]  # click's own
            error.show()
            return 2
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"error: {explain(error, verb_of(command, words))}", file=sys.stderr)
        return 2
    if status == _INTERRUPTED:
        print("stopped; the same command goes on from here", file=sys.stderr)
    return status


@cache
def _add_verbs() -> None:
    app.add_typer(upkeep_app)
    app.add_typer(export_app)
    app.add_typer(hub_app)
    app.add_typer(serve_app)
    app.add_typer(fetch_app)
    app.add_typer(catalog_app, name="catalog")
    for name, entry in plugins(GROUP).items():
        try:
            verbs = load_plugin(entry)
        except PluginError as error:
            warn(str(error))
            continue
        if isinstance(verbs, typer.Typer):
            app.add_typer(verbs)
        else:
            warn(f"the plug-in {name!r} ({GROUP}: {entry.value}) is no typer.Typer, but a {type(verbs).__name__}")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run a sequence model over a genome once; slice any window of bins from the store."""


@app.command()
def info(store: StoreUrl, as_json: AsJson = False) -> None:
    """Describe a store: its assembly, its feature sets, and how they were made."""
    opened = open_store(store)
    described = describe_store(opened)
    if as_json:
        print(json.dumps(described, indent=1))
        return
    print(plain(opened.url))
    print(f"{plain(opened.assembly.name)}  {opened.assembly.digest}")
    print(f"{len(opened.assembly.contigs)} contigs, {sum(opened.assembly.lengths.values()):,} bp")
    sealed = described["sealed"]
    print(f"sealed, top hash {sealed['top_hash']}" if sealed else "not sealed")
    for item in described["feature_sets"]:
        print(
            f"\n{item['name']}: {len(item['channels'])} channels, bins of {item['bin_size']:,} bp, "
            f"{item['dtype']}, offsets {', '.join(map(str, item['offsets']))} bp, "
            f"by {plain(item['extractor'])} {plain(item['fingerprint'])[:12]}"
        )
        print(f"  {plain(', '.join(item['channels'][:12]))}{', ...' if len(item['channels']) > 12 else ''}")
        if item["overlays"]:
            print(f"  overlays: {plain(', '.join(item['overlays']))}")
        print(f"  licence: {plain(item['licence']) or 'not stated'}")


def describe_store(store: Store) -> dict[str, Any]:
    """Return what `featurestore info` prints, as plain JSON."""
    sets = [store.feature_set(name) for name in store.feature_sets()]
    manifest = store.manifest()
    return {
        "url": store.url,
        "format": store.format,
        "sealed": manifest and manifest.model_dump(mode="json", include={"top_hash", "complete", "created"}),
        "assembly": store.assembly.model_dump(mode="json"),
        "feature_sets": [
            item.model_dump(mode="json", exclude={"channels", "pad"})
            | {"channels": list(item.channel_names), "overlays": store.overlays(item.name)}
            for item in sets
        ],
    }


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the genome and its tables.")],
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    n_genes: Annotated[int | None, typer.Option(help="Genes to plant. [default: 2000]")] = None,
    n_contigs: Annotated[int | None, typer.Option(help="Contigs. [default: 6]")] = None,
    contig_length: Annotated[int | None, typer.Option(help="Length of each contig (bp). [default: 13.6 Mbp]")] = None,
    density: Annotated[
        Density | None,
        typer.Option(
            help="human: contigs so long that a window of 251 bins of 4,096 bp holds about 6 promoters, not 26; each "
            "gene has as many enhancers. 2000 genes then take 320 Mbp; with --n-genes 500, 80 Mbp."
        ),
    ] = None,
    signals: Annotated[
        bool,
        typer.Option(
            "--signals",
            help="Also simulate two signals as bigWig: one that marks active elements, and a confounder whose link to "
            "expression is the opposite on the last third of the contigs. Needs the extra tracks.",
        ),
    ] = False,
) -> None:
    """Simulate a genome with a known regulatory grammar, its genes, their expression and annotations."""
    if density is not None and contig_length is not None:
        raise ValueError("`density=` and `contig_length=` both say how long the contigs are; give one of them")
    chosen = {"seed": seed, "n_genes": n_genes, "n_contigs": n_contigs, "contig_length": contig_length}
    config = SimulationConfig(**{name: value for name, value in chosen.items() if value is not None})
    if density is not None:
        config = at_density(config, density)
    if signals:
        require_bigwig_writer()  # before the genome is written
    files = simulate_genome(out, config)._asdict()
    if signals:
        files |= {f"signals: {name}": path for name, path in simulate_signals(out)._asdict().items()}
    for name, path in files.items():
        print(f"{name}\t{path}")


@app.command()
def status(store: StoreUrl, as_json: AsJson = False) -> None:
    """Show what is committed by contig and phase, who built it and how fast, and which shards failed.

    Exits 1 while any shard is missing.
    """
    with bar("status", unit="records") as shown:
        shown.stage("reading the records")
        found = status_of(open_store(store))
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
        raise typer.Exit(0 if found.is_complete else 1)
    columns = ("feature_set", "contig", "offset", "shards", "committed", "failed")
    phases = [[str(getattr(row, name)) for name in columns] for row in found.phases]
    print_table([name.replace("_", " ") for name in columns], phases, width=_WIDTH)
    if found.work:
        print_table(_WORK, [_work(item) for item in found.work], width=_WIDTH)
    for failure in found.failures:
        when = f"{failure.when:%Y-%m-%d %H:%M:%S} UTC"
        print(f"failed {failure.attempts}x: {in_one_line(str(failure))} (run {failure.run}, {when})")
    for fault in found.damaged:
        print(f"damaged: {in_one_line(fault)}")
    print("complete" if found.is_complete else "not complete: run the same `featurestore build` again")
    raise typer.Exit(0 if found.is_complete else 1)


def _work(item: Work) -> tuple[str, ...]:
    ended = f"{item.ended:%Y-%m-%d %H:%M:%S} UTC"
    speed = in_figures(item.bins_per_second)
    return (item.worker or "?", item.device, item.run, item.feature_set, str(item.shards), speed, ended)


@app.command()
def get(
    store: StoreUrl,
    place: Annotated[
        list[str],
        typer.Argument(metavar="CONTIG:POSITION", help="Centre of the window, 0-based bp, e.g. chr1:1000000."),
    ],
    feature_set: FeatureSetName = None,
    n_bins: Annotated[int, typer.Option(help="Bins of the window.")] = 251,
    out: Annotated[Path | None, typer.Option(help="Write .npz or .tsv there instead of printing.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read one window and print it: a row a bin, its first base and the channels."""
    *once, where = place  # formerly the feature set came before the place
    if len(once) > 1:
        raise ValueError(f"one place is read at a time, got {' '.join(place)}")
    contig, position = parse_place(where)
    opened = open_store(store)
    reader = opened[chosen_set(opened, feature_set, *once)]
    window = reader.window(contig, position, n_bins=n_bins)
    names, licence = reader.channel_names, reader.feature_set.licence.strip() or UNKNOWN
    said = f"{len(window.starts)} bins x {len(names)} channels, residual {window.residual} bp"
    if out is not None and out.suffix == ".npz":
        about = {"channels": np.asarray(names), "residual": np.asarray(window.residual), "licence": np.asarray(licence)}
        with replacing(out) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, values=window.values, starts=window.starts, **about)
        print(f"{out}: {said}\nlicence: {plain(licence)}")
        return
    if as_json:
        if out is not None:
            raise ValueError("--json prints; with --out the file's ending says the format: .tsv or .npz")
        document = {
            "contig": window.contig,
            "centre": window.centre,
            "residual": window.residual,
            "channels": list(names),
            "licence": licence,
        }
        print(json.dumps(document | {"starts": window.starts.tolist(), "values": window.values.tolist()}))
        return
    if out is not None and out.suffix != ".tsv":
        raise ValueError(f"--out takes .npz or .tsv, got {out}")
    lines = ["\t".join(["contig", "start", *names])]
    for start, row in zip(window.starts.tolist(), window.values.tolist(), strict=True):
        lines.append("\t".join([window.contig, str(start), *(f"{value:.6g}" for value in row)]))
    text = "\n".join(lines) + "\n"
    if out is None:
        print(text, end="")
        if licence != UNKNOWN:
            print(f"licence: {plain(licence)}", file=sys.stderr)
    else:
        write_atomic(out, text.encode())
        print(f"{out}: {said}\nlicence: {plain(licence)}")
