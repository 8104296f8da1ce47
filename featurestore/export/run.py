"""Carry out an export: check everything, say what the files are, write them.

Belongs here: the order of the steps, the document beside the files, resuming. Does not: formats.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.registry import UNKNOWN
from catalog.runtime.files import write_atomic
from featurestore.export.bins import Span, built_spans
from featurestore.export.hub import write_hub
from featurestore.export.request import Chosen, ExportRequest, chosen
from featurestore.export.tables import require_anndata, require_parquet, write_anndata, write_parquet
from featurestore.export.tracks import Progress, require_bigwig, write_bedgraph, write_bigwig, write_tracks
from featurestore.format.commits import NotBuilt
from featurestore.reader import FeatureReader

DOCUMENT = "export.json"
"""Says, beside the files, what they are and where they are from."""
_LONGEST_NAME = 100
_ENDINGS = {"bigwig": ".bw", "bedgraph": ".bedgraph", "hub": ".bw"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    n_bins: int
    n_missing: int
    """Bins that were never built, and are in no file."""
    offset: int
    """Of the phase (bp)."""
    licence: str


def export(reader: FeatureReader, request: ExportRequest, progress: Progress = lambda done, total: None) -> Exported:
    """Write a feature set as files that other tools read.

    Bins that were never built are in no file: a gap of a track, no row of a table. Neighbouring bins of one value are
    one interval of a track.

    Raises
    ------
    ValueError, UnknownContig
        If there is no such channel, contig or phase, or the folder holds something else.
    NotBuilt
        If none of the bins was built, or the overlay is not complete.
    ModuleNotFoundError
        If the format needs a library that is not installed.
    """
    if request.overlay is not None:
        reader = reader.with_overlay(request.overlay)
    what = chosen(reader, request)
    order = sorted(what.contigs) if request.format in _ENDINGS else what.contigs  # bigWig has its contigs by name
    spans, n_missing = built_spans(reader, what, order)
    if not spans:
        raise NotBuilt(f"no bin of {reader.name} was built on {', '.join(what.contigs[:8])}; build it first")
    described = _described(reader, request, what, n_missing)
    if request.format == "anndata":
        require_anndata(what, spans)
        request.out.parent.mkdir(parents=True, exist_ok=True)
        write_anndata(reader, what, spans, request.out, described, progress)
        files: Sequence[Path] = [request.out]
    elif request.format == "parquet":
        require_parquet(what)
        _take(request.out, described)
        files = write_parquet(reader, what, spans, request.out, progress)
    else:
        files = _tracks(reader, request, what, spans, described, progress)
    n_bins = sum(span.end - span.first for span in spans)
    return Exported(tuple(files), n_bins, n_missing, what.offset, str(described["licence"]))


def _tracks(
    reader: FeatureReader,
    request: ExportRequest,
    what: Chosen,
    spans: Sequence[Span],
    described: dict[str, Any],
    progress: Progress,
) -> list[Path]:
    write = write_bedgraph if request.format == "bedgraph" else write_bigwig
    if write is write_bigwig:
        require_bigwig()
    _take(request.out, described)
    is_hub = request.format == "hub"
    folder = request.out / _file_name(reader.assembly.name) if is_hub else request.out
    folder.mkdir(exist_ok=True)
    files = [folder / f"{name}{_ENDINGS[request.format]}" for name in _file_names(what.names)]
    write_tracks(reader, what, spans, files, write, progress)
    if is_hub:
        write_hub(
            request.out,
            genome=folder.name,
            name=reader.name,
            described=f"{reader.name} by {reader.feature_set.extractor}, bins of {reader.feature_set.bin_size:,} bp",
            email=request.email or "",
            tracks=dict(zip(what.names, files, strict=True)),
        )
        files.append(request.out / "hub.txt")
    return files


def _described(reader: FeatureReader, request: ExportRequest, what: Chosen, n_missing: int) -> dict[str, Any]:
    """Say what the files are; all that decides their values is here."""
    made = reader.feature_set
    return {
        "store": reader.url,
        "assembly": reader.assembly.name,
        "feature set": made.name,
        "fingerprint": made.fingerprint,
        "extractor": made.extractor,
        "overlay": request.overlay,
        "bin size": made.bin_size,
        "offset": what.offset,
        "contigs": list(what.contigs),
        "channels": list(what.names),
        "format": request.format,
        "bins never built": n_missing,
        "licence": made.licence.strip() or UNKNOWN,
        "citation": made.citation.strip() or UNKNOWN,
    }


def _take(folder: Path, described: dict[str, Any]) -> None:
    """Make the folder this export's own; one that holds anything else is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    document = folder / DOCUMENT
    if document.exists():
        try:
            before = json.loads(document.read_bytes())
        except ValueError as error:
            raise ValueError(f"{document} is damaged; export into another folder, `out=`") from error
        differs = [key for key, value in described.items() if not isinstance(before, dict) or before.get(key) != value]
        if differs:
            raise ValueError(
                f"{folder} holds another export: {', '.join(differs)} differ ({DOCUMENT} there says what it is); "
                "export into another folder, `out=`"
            )
        return
    if any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty, and no export; give a new folder, `out=`")
    write_atomic(document, (json.dumps(described, indent=1) + "\n").encode())


def _file_names(names: Sequence[str]) -> list[str]:
    """Name a file after each channel; a number tells apart those that would be called the same."""
    made = [_file_name(name) for name in names]
    seen: dict[str, int] = {}
    for name in made:
        seen[name.lower()] = seen.get(name.lower(), 0) + 1
    return [name if seen[name.lower()] == 1 else f"{name}-{place}" for place, name in enumerate(made)]


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".")[:_LONGEST_NAME] or "channel"
