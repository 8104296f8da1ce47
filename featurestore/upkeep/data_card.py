"""Data card of a sealed store: its README.md.

Belongs here: its text, and escaping of untrusted strings. Does not: the summary of a store
(`featurestore.upkeep.registry_file`), writing it (`featurestore.upkeep.seal`).
"""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from catalog import FeatureSet
from catalog.registry import KnownSet, StoreSummary
from catalog.value_type import value_type
from featurestore.display import percent
from featurestore.format import layout
from featurestore.format.coordinates import contigs_with_coordinates
from featurestore.format.manifest import CATALOG, MANIFEST, MARK

PLACE = "PATH_OR_URL"
"""Placeholder for the URL of the store in the examples."""

_MOST_CHANNELS = 50
_SET_COLUMNS = (
    "feature set",
    "channels",
    "values",
    "bins (bp)",
    "offsets (bp)",
    "contigs",
    "extractor",
    "fingerprint",
    "built",
)
_MARKUP = re.compile(r"([\\`*_\[\]|~$#])")


def data_card(
    summary: StoreSummary,
    described: Sequence[FeatureSet],
    lengths: Mapping[str, Mapping[str, int]],
    *,
    store_format: int,
    version: str,
) -> bytes:
    """Format the card as Markdown.

    Parameters
    ----------
    summary
        Summary of the sealed store.
    described
        Its feature sets, in the order of the summary's.
    lengths
        Of the contigs of each feature set (bp), by its name and theirs.
    store_format
        Of the store (`featurestore.format.layout`).
    version
        Of genomic-featurestore.
    """
    assembly = escaped(summary.assembly)
    blocks = [
        MARK.decode(),
        f"# Features of {assembly}",
        f"Values that models computed from the sequence of {assembly}, in bins along it, kept to be read in windows of "
        f"any length. A Zarr v3 store, format {store_format} of genomic-featurestore.",
        _table(("", ""), _facts(summary, version)),
        f"{MANIFEST} lists every object with its sha256; `featurestore verify {PLACE} --crc` compares them.",
        "## Licence and citation",
        "The features carry the licence of the model that made them, and so does everything that is derived from them.",
        _table(
            ("feature set", "licence", "cite"),
            [(item.name, escaped(item.licence), escaped(item.citation)) for item in summary.feature_sets],
        ),
        "## Feature sets",
        _table(_SET_COLUMNS, [_row(item) for item in summary.feature_sets]),
        *_anchored(summary.feature_sets),
        *_overlays(summary.feature_sets),
        "## Reading it",
        *_examples(summary.feature_sets, {item.name: item for item in described}, lengths),
        f"{_never_built(summary.feature_sets)} stands where nothing was built.",
        "## Channels",
    ]
    for item in described:
        blocks += _channels(item)
    return ("\n\n".join(blocks) + "\n").encode()


def _facts(summary: StoreSummary, version: str) -> list[tuple[str, str]]:
    return [
        ("assembly", f"{escaped(summary.assembly)}, {summary.contigs:,} contigs, {summary.length:,} bp"),
        ("digest of the assembly", escaped(summary.assembly_digest)),
        ("built", f"{percent(summary.share)} of the declared shards"),
        ("contents", f"{summary.objects:,} objects, {summary.size_bytes:,} bytes"),
        ("top hash", str(summary.top_hash)),
        ("sealed", f"{summary.as_of:%Y-%m-%d %H:%M} UTC, by genomic-featurestore {version}"),
    ]


def escaped(text: str) -> str:
    """Escape untrusted text as one line of plain Markdown, also within a table."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return _MARKUP.sub(r"\\\1", html.escape(line, quote=False))


def _never_built(sets: Iterable[KnownSet]) -> str:
    fills = {item.dtype: value_type(item.dtype).fill for item in sets}
    by_type = [f"{'NaN' if math.isnan(fill) else f'{fill:g}'} ({dtype})" for dtype, fill in sorted(fills.items())]
    return "NaN" if set(fills) == {"float16"} else " or ".join(by_type)


def _row(item: KnownSet) -> tuple[str, ...]:
    return (
        item.name,
        f"{len(item.channels):,}",
        item.dtype,
        f"{item.bin_size:,}",
        ", ".join(map(str, item.offsets)),
        f"{item.contigs:,}",
        item.extractor,
        escaped(item.fingerprint),
        percent(item.share),
    )


def _anchored(sets: Iterable[KnownSet]) -> list[str]:
    rows = [(item.name, anchors) for item in sets for anchors in item.anchors]
    return ["Windows centred on anchors to the base:", _table(("feature set", "anchors"), rows)] if rows else []


def _overlays(sets: Iterable[KnownSet]) -> list[str]:
    rows = [(item.name, escaped(overlay)) for item in sets for overlay in item.overlays]
    about = "Overlays: bins of personal genomes (sample/haplotype) that differ from the reference's:"
    return [about, _table(("feature set", "overlay"), rows)] if rows else []


def _examples(
    sets: Sequence[KnownSet], described: Mapping[str, FeatureSet], lengths: Mapping[str, Mapping[str, int]]
) -> list[str]:
    gridded = next((item.name for item in sets if lengths[item.name]), None)
    if gridded is not None:
        contig, length = next(iter(lengths[gridded].items()))
        return [
            "With genomic-featurestore installed, 251 bins around a position (0-based bp), as `(bin, channel)`:",
            _python(
                "import featurestore",
                f'store = featurestore.open("{PLACE}")',
                f'window = store["{gridded}"].window({_literal(contig)}, {length // 2:_}, n_bins=251).values',
            ),
            "With xarray and zarr alone, a contig as `(phase, bin, channel)`, read as far as it is used:",
            _python(
                "import xarray",
                f'contig = xarray.open_zarr("{PLACE}", group="{layout.contig_path(gridded, contig)}")',
                'first = contig["values"][0, :251].to_numpy()',
                *_selection(described[gridded], contig, lengths[gridded]),
            ),
        ]
    anchored = next((item for item in sets if item.anchors), None)
    if anchored is None:
        return []
    path = layout.anchored_path(anchored.name, anchored.anchors[0])
    return [
        "With genomic-featurestore installed, the window of the first anchor, as `(bin, channel)`:",
        _python(
            "import featurestore",
            f'reader = featurestore.open_anchored(featurestore.open("{PLACE}"), "{anchored.name}", '
            f'"{anchored.anchors[0]}")',
            "window = reader.windows(reader.names[:1])[0]",
        ),
        "With xarray and zarr alone, all of them as `(anchor, bin, channel)`, read as far as they are used:",
        _python(
            "import xarray",
            f'anchors = xarray.open_zarr("{PLACE}", group="{path}")',
            'first = anchors["values"][0].to_numpy()',
        ),
    ]


def _selection(described: FeatureSet, contig: str, lengths: Mapping[str, int]) -> list[str]:
    """Give the line that selects by label, if the contig has coordinates."""
    if contig not in contigs_with_coordinates(described, lengths):
        return []
    phase, channel = described.offsets[0], _literal(described.channel_names[0])
    region = f"slice(0, {min(lengths[contig], 1_000_000):_})"
    return [f'named = contig["values"].sel(phase={phase}, channel={channel}, bin={region})  # positions in bp']


def _channels(described: FeatureSet) -> list[str]:
    shown = described.channels[:_MOST_CHANNELS]
    rows = [(escaped(one.name), escaped(one.group), escaped(one.description)) for one in shown]
    blocks = [f"### {described.name}", _table(("channel", "group", "a high value means"), rows)]
    more = len(described.channels) - len(shown)
    return [*blocks, f"And {more:,} more, which {CATALOG} names."] if more else blocks


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _python(*lines: str) -> str:
    return "\n".join(("```python", *lines, "```"))


def _literal(text: str) -> str:
    """Format a string as a Python literal, in double quotes where possible."""
    return f'"{text}"' if text.isprintable() and not set(text) & set('"\\') else repr(text)
