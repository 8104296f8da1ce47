"""Parquet and AnnData: a row a bin, a column a channel.

Belongs here: both formats. Does not: reading bins (`featurestore.export.bins`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.runtime.files import replacing
from catalog.runtime.plugins import how_to_install
from featurestore.export.bins import Span, edges, read_spans
from featurestore.export.request import Chosen
from featurestore.export.tracks import Progress
from featurestore.format.layout import contig_key
from featurestore.reader import FeatureReader

_PLACES = ("contig", "start", "end")
MAX_ANNDATA_BYTES = 8 << 30
"""AnnData is written from memory (bytes of its matrix)."""


def require_parquet(chosen: Chosen) -> None:
    """Refuse channels that are called as columns of the table are."""
    if taken := set(_PLACES) & set(chosen.names):
        raise ValueError(
            f"channels are called {sorted(taken)}, as columns of the table are; leave them out of `channels=`, or "
            "export to anndata"
        )


def write_parquet(
    reader: FeatureReader, chosen: Chosen, spans: Sequence[Span], folder: Path, progress: Progress
) -> list[Path]:
    """Write a table of each piece: contig, start, end (0-based bp), then the channels, Float32; parts that are there
    already are left alone.
    """
    parts = [folder / f"{contig_key(span.contig)}-{span.first:010d}.parquet" for span in spans]
    left = [span for span, part in zip(spans, parts, strict=True) if not part.exists()]
    total = sum(span.end - span.first for span in left)
    done = 0
    for span, values in read_spans(reader, chosen, left):
        starts, ends = edges(reader, chosen, span)
        table = pl.DataFrame({"contig": [span.contig] * len(starts), "start": starts, "end": ends}).hstack(
            pl.DataFrame(values, schema=list(chosen.names), orient="row")
        )
        with replacing(folder / f"{contig_key(span.contig)}-{span.first:010d}.parquet") as partial:
            table.write_parquet(partial)
        done += len(starts)
        progress(done, total)
    return parts


def require_anndata(chosen: Chosen, spans: Sequence[Span]) -> None:
    """Check that the library is there and the matrix fits into memory."""
    n_bytes = 4 * len(chosen.names) * sum(span.end - span.first for span in spans)
    if n_bytes > MAX_ANNDATA_BYTES:
        raise ValueError(
            f"the matrix takes {n_bytes:,} bytes, and AnnData is written from memory, at most {MAX_ANNDATA_BYTES:,}: "
            'name fewer `channels=` or `contigs=`, or take `format="parquet"`'
        )
    _anndata()


def write_anndata(
    reader: FeatureReader,
    chosen: Chosen,
    spans: Sequence[Span],
    path: Path,
    described: Mapping[str, Any],
    progress: Progress,
) -> None:
    """Write bins x channels: `obs` has contig, start and end (0-based bp), `uns["featurestore"]` where it is from."""
    import pandas as pd  # comes with anndata

    total = sum(span.end - span.first for span in spans)
    matrix = np.empty((total, len(chosen.names)), dtype=np.float32)
    contigs: list[str] = []
    starts, ends = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    for span, values in read_spans(reader, chosen, spans):
        rows = slice(len(contigs), len(contigs) + len(values))
        matrix[rows] = values
        starts[rows], ends[rows] = edges(reader, chosen, span)
        contigs += [span.contig] * len(values)
        progress(len(contigs), total)
    names = [f"{contig}:{start}-{end}" for contig, start, end in zip(contigs, starts, ends, strict=True)]
    # Plain objects: what pandas 3 makes of texts is refused by default, for older readers' sake.
    contig = pd.Categorical(pd.Index(contigs, dtype=object))
    bins = pd.DataFrame({"contig": contig, "start": starts, "end": ends}, index=pd.Index(names, dtype=object))
    data = _anndata().AnnData(
        X=matrix,
        obs=bins,
        var=pd.DataFrame(index=pd.Index(chosen.names, dtype=object)),
        uns={"featurestore": {key: str(value) for key, value in described.items()}},
    )
    with replacing(path) as partial:
        data.write_h5ad(partial)


def _anndata() -> Any:
    try:
        import anndata
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"writing .h5ad files needs anndata: {how_to_install('anndata')}", name="anndata"
        ) from error
    return anndata
