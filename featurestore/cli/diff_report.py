"""Text reports of a comparison of stores.

Belongs here: lines for people, and the table of single changes. Does not: comparing (`featurestore.upkeep.diff`).
"""

import os
from collections.abc import Iterator, Sequence

from catalog.runtime.files import replacing
from featurestore.upkeep.channel_diff import ChannelChange
from featurestore.upkeep.diff import Difference, OnlyIn

_MOST_TEXT = 60
"""Characters of a value that are shown."""


def describe(found: Difference, *, most: int = 20) -> Iterator[str]:
    """Describe a difference in lines for people; long lists are cut, channels sorted by largest change."""
    yield f"a: {found.a}"
    yield f"b: {found.b}"
    yield from _only("feature sets", found.sets_only, most)
    for item in found.sets:
        yield f"\n{item.set_a}" + (f" and {item.set_b}" if item.set_b != item.set_a else "")
        for name, values in list(item.description.items())[:most]:
            yield f"  {name}: {' | '.join(_short(value) for value in values)}"
        if len(item.description) > most:
            yield f"  ... and {len(item.description) - most:,} more fields"
        yield from _only("  channels", item.channels_only, most)
        yield from _only("  offsets", item.offsets_only, most)
        yield from _only("  contigs", item.contigs_only, most)
        if item.bins_only_a or item.bins_only_b:
            yield f"  built in one only: {item.bins_only_a:,} bins in a, {item.bins_only_b:,} bins in b"
        yield f"  {item.equal_shards:,} shards equal by hash ({item.equal_bins:,} bins), {item.read_shards:,} compared"
        changed = sorted((row for row in item.channels if row.changed), key=lambda row: -row.rms)
        if item.read_shards:
            yield f"  {len(changed):,} of {len(item.channels):,} channels changed in {item.channels[0].bins:,} bins"
        yield from _table(changed[:most])


def _only(what: str, only: OnlyIn, most: int) -> Iterator[str]:
    for where, names in (("a", only.a), ("b", only.b)):
        if names:
            yield f"{what} in {where} only: {', '.join(names[:most])}{', ...' if len(names) > most else ''}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."


def _table(rows: Sequence[ChannelChange]) -> Iterator[str]:
    if not rows:
        return
    width = max(7, *(len(row.channel) for row in rows))
    yield f"  {'channel':{width}}  changed  max |b-a|  mean |b-a|        rms  correlation"
    for row in rows:
        correlation = "-" if row.correlation is None else f"{row.correlation:.6f}"
        yield (
            f"  {row.channel:{width}}  {row.changed_share:7.2%}  {row.max_abs:9.3g}  {row.mean_abs:10.3g}  "
            f"{row.rms:9.3g}  {correlation:>11}"
        )


def write_changes(path: str | os.PathLike[str], found: Difference) -> int:
    """Write the largest changes as tab-separated text, readable as BED; return their number.

    Columns: contig, start and end (0-based, half-open bp), channel, a, b, difference (b - a), feature set of a.
    """
    rows = [(*change, change.difference, item.set_a) for item in found.sets for change in item.largest]
    with replacing(path) as partial, partial.open("w") as file:
        file.write("#contig\tstart\tend\tchannel\ta\tb\tdifference\tset\n")
        for *place, a, b, difference, name in rows:
            file.write("\t".join([*map(str, place), *(f"{value:.6g}" for value in (a, b, difference)), name]) + "\n")
    return len(rows)
