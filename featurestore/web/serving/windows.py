"""Windows as they are requested and as they were read.

Belongs here: values, and describing windows in plain JSON. Does not: reading them (`featurestore.web.serving.stores`),
bytes (`featurestore.web.serving.encoding`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from catalog import FeatureSet
from catalog.registry import UNKNOWN
from catalog.value_type import Values
from featurestore.reader import FeatureReader
from featurestore.rows.window_plan import WindowPlan
from featurestore.web.serving.genes import Gene, UnknownName

_SHOWN = 12


class Place(NamedTuple):
    """The centre of a window."""

    contig: str
    """In any spelling that the assembly knows."""
    centre: int
    """(0-based bp)"""
    gene: Gene | None = None
    """Whose TSS it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Windows of one set."""

    places: Sequence[Place]
    n_bins: int
    feature_set: str | None = None
    """None for the only one."""
    overlay: str | None = None
    """Personal genome, such as `NA12878/1`; None for the reference."""
    channels: Sequence[str] | None = None
    """None for all."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Windows of one state of a store."""

    shared: dict[str, Any]
    """What all windows have in common, plain JSON."""
    windows: list[dict[str, Any]]
    """Place, phase and residual of each, plain JSON."""
    values: Values
    """Shape `(windows, n_bins, channels)`, of the set's dtype."""
    etag: str
    """From the hashes in the commit records, the place and the channels."""


def described_windows(
    store: str, reader: FeatureReader, plan: WindowPlan, wanted: Wanted
) -> tuple[dict[str, Any], list[dict[str, Any]], list[int] | None]:
    """Describe windows as replies do: what they share, and each; and give the columns, None for all.

    Raises
    ------
    UnknownName
        If there is no channel of a name.
    """
    described = reader.feature_set
    columns = _columns(described, wanted.channels)
    names = described.channel_names
    shared = {
        "store": store,
        "set": described.name,
        "overlay": reader.overlay,
        "assembly": {"name": reader.assembly.name, "digest": reader.assembly.digest},
        "bin_size": described.bin_size,
        "n_bins": plan.n_bins,
        "dtype": described.dtype,
        "channels": list(names if columns is None else [names[column] for column in columns]),
        "fingerprint": described.fingerprint,
        "licence": described.licence.strip() or UNKNOWN,
        "citation": described.citation,
    }
    placed = zip(plan.phases.tolist(), plan.first_starts.tolist(), plan.residuals.tolist(), strict=True)
    windows = [
        {
            "contig": reader.assembly.resolve(place.contig),
            "centre": place.centre,
            "gene": None if place.gene is None else place.gene._asdict(),
            "offset": described.offsets[phase],
            "first_start": first,
            "residual": residual,
        }
        for place, (phase, first, residual) in zip(wanted.places, placed, strict=True)
    ]
    return shared, windows, columns


def _columns(described: FeatureSet, channels: Sequence[str] | None) -> list[int] | None:
    if channels is None:
        return None
    places = {name: column for column, name in enumerate(described.channel_names)}
    unknown = [name for name in channels if name not in places]
    if unknown:
        raise UnknownName(f"{described.name} has no channel {some(unknown)}; `/v1/channels` lists all: {some(places)}")
    return [places[name] for name in dict.fromkeys(channels)]


def some(names: Iterable[str]) -> str:
    """List the first names, for an error."""
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
