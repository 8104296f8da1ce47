"""Windows around the genes of a table.

Belongs here: choosing among the grid, an anchored array and several feature sets. Does not: those windows
(`loaders.windows`), prompts and targets (`loaders.genes`).
"""

from collections.abc import Sequence

import polars as pl

from catalog.runtime.tables import listed
from featurestore.store import StorePlace
from loaders.settings import WindowSettings
from loaders.windows.aligned import aligned_dataset
from loaders.windows.anchored import AnchoredWindows
from loaders.windows.grid import WindowDataset
from loaders.windows.source import WindowSource
from loaders.windows.stacked import StackedDataset


def windows_of_genes(
    url: StorePlace,
    feature_set: str | Sequence[str],
    placed: pl.DataFrame,
    anchors: str | None,
    settings: WindowSettings,
) -> WindowSource:
    """Give a window around each gene: of the grid, of an anchored array, or of several sets side by side.

    Parameters
    ----------
    placed
        Genes on the store's assembly.
    anchors
        Name of the anchored array, whose anchors have the genes' ids; None for windows of the grid.

    Raises
    ------
    ValueError
        If anchors are named with several sets, lack a gene, or have another position for it.
    """
    names = [feature_set] if isinstance(feature_set, str) else list(feature_set)
    if anchors is not None:
        if len(names) != 1:
            raise ValueError(
                f"`anchors={anchors!r}` goes with one feature set, got {', '.join(names)}; name one, or read several "
                "from the grid, without anchors"
            )
        return _around_anchors(url, names[0], placed, anchors, settings)
    contigs, strands = placed["contig"].to_list(), placed["strand"].to_list()
    centres = placed["tss"].to_numpy()
    if len(names) == 1:
        return WindowDataset.of(url, names[0], contigs=contigs, centres=centres, strands=strands, settings=settings)
    return StackedDataset(
        aligned_dataset(url, names, contigs=contigs, centres=centres, strands=strands, settings=settings)
    )


def _around_anchors(
    url: StorePlace, feature_set: str, placed: pl.DataFrame, anchors: str, settings: WindowSettings
) -> AnchoredWindows:
    """Give the anchored windows of some genes, whose ids are the anchors' names."""
    whole = AnchoredWindows(url, feature_set, anchors, settings=settings)
    there = {anchor.name: number for number, anchor in enumerate(whole.reader.anchors)}
    wanted = placed["gene_id"].to_list()
    missing = [gene for gene in wanted if gene not in there]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(wanted)} genes have no anchor in {anchors!r} of {feature_set!r}: {listed(missing)}"
            "; build anchors of this gene table (`featurestore build-anchors`), leave those genes out of it, or read "
            "windows of the grid, without anchors"
        )
    windows = whole.subset([there[gene] for gene in wanted])
    for gene, contig, tss, strand, has_contig, centre, is_reversed in zip(
        wanted,
        placed["contig"],
        placed["tss"],
        placed["strand"],
        windows.contigs,
        windows.centres.tolist(),
        windows.is_reversed.tolist(),
        strict=True,
    ):
        if (contig, tss) != (has_contig, centre) or is_reversed != (settings.orient == "gene" and strand == "-"):
            raise ValueError(
                f"{gene} starts at {contig}:{tss} ({strand}) in the gene table, but the anchor of that name lies at "
                f"{has_contig}:{centre}, or on the other strand: {anchors!r} was built from another table; give that "
                "one, or build anchors of this one under another name"
            )
    return windows
