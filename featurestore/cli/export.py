"""The verb `export`.

    featurestore export genome.store --feature-set motif --format bigwig --out tracks

Belongs here: parsing and printing. Does not: what is written (`featurestore.export`).
"""

import typer

from catalog.runtime.progress import bar
from featurestore.cli.derived import takes
from featurestore.cli.options import FeatureSetName, OldSet, StoreUrl, chosen_set
from featurestore.display import plain
from featurestore.export import ExportRequest
from featurestore.export import export as export_set
from featurestore.store import open_store

app = typer.Typer(rich_markup_mode=None)


@app.command()
@takes(ExportRequest)
def export(store: StoreUrl, request: ExportRequest, feature_set: FeatureSetName = None, old_set: OldSet = None) -> None:
    """Write a feature set for other tools: bigWig, bedGraph, Parquet, AnnData, or a track hub of the UCSC browser.

    Bins that were never built are in no file: a gap of a track, no row of a table.
    """
    opened = open_store(store)
    reader = opened[chosen_set(opened, feature_set, old_set)]
    with bar("export", unit="bins") as progress:
        done = export_set(reader, request, progress)
    offsets = reader.feature_set.offsets
    others = [f"{offset:,}" for offset in offsets if offset != done.offset]
    phase = f", the phase with offset {done.offset:,} bp (others: {', '.join(others)})" if others else ""
    print(f"{request.out}: {len(done.files):,} files, {done.n_bins:,} bins of {plain(reader.name)}{phase}")
    if done.n_missing:
        print(f"{done.n_missing:,} bins were never built, and are left out")
    print(f"licence: {plain(done.licence)}")
