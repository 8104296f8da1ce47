"""Representations of a task: which extractor, with which settings, on which bins.

Belongs here: from `kmer:5` or `hf:FOLDER` to an extractor and the bins of a row. Does not: computing
(`model.probes.features`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from builders.extractors.base import GROUP, Extractor, ExtractorOptions, load_extractor
from builders.factories import Factory, find_factory
from catalog.runtime.plugins import plugins

Form = Literal["pooled", "along"]
"""One vector a row, or bins along the sequence."""
ONEHOT, DINUCLEOTIDE = "onehot", "dinucleotide"
_SHORT = ("model", "weights", "k")
"""Settings that may follow the name of an extractor, the first that it has."""
_SIDE_BY_SIDE = (ONEHOT, "hf")
"""Extractors whose one bin holds its pieces side by side: a language model then reads each sequence once."""
_MOST_NUMBERS = 200_000


@dataclass(frozen=True, slots=True)
class Representation:
    """An extractor with its settings."""

    label: str
    """As typed, files without their folders."""
    extractor: str
    settings: Mapping[str, Any]
    is_control: bool = False

    def layout(self, form: Form, *, length: int, resolution: int) -> "Layout":
        """Say which bins of a row are computed, for rows of `length` bp."""
        if form == "pooled":
            return Layout(bin_size=length, n_bins=1, pieces=1, settings=self.settings)
        word = (
            2 if self.extractor == DINUCLEOTIDE else int(self.settings.get("k", 4)) if self.extractor == "kmer" else 1
        )
        bin_size = max(resolution, word)
        pieces = -(-length // bin_size)
        if self.extractor in _SIDE_BY_SIDE:
            more = {"pooling": "tokens", "token_bp": bin_size} if self.extractor == "hf" else {}
            return Layout(bin_size=pieces * bin_size, n_bins=1, pieces=pieces, settings={**self.settings, **more})
        return Layout(bin_size=bin_size, n_bins=pieces + (pieces + 1) % 2, pieces=pieces, settings=self.settings)

    def make(self, layout: "Layout", *, device: str) -> Extractor:
        """Make the extractor for these bins; the errors are its own."""
        options = ExtractorOptions(bin_size=layout.bin_size, device=device)
        made = load_extractor(self.extractor, options, layout.settings)
        if layout.n_bins == 1 and hasattr(made, "tiled"):
            made = made.tiled(bin_size=layout.bin_size, n_bins=1)
        numbers = sum(map(len, made.channels.values()))
        if layout.n_bins == 1 and layout.pieces > 1 and numbers > _MOST_NUMBERS:
            raise ValueError(
                f"{self.label} gives {numbers:,} numbers a row, and at most {_MOST_NUMBERS:,} are kept; take a larger "
                "`resolution=`"
            )
        return made


class Layout(NamedTuple):
    """Bins of a row: they begin at its first base."""

    bin_size: int
    """Bases a bin (bp)."""
    n_bins: int
    """Bins of the anchored window: odd, so that there may be one too many."""
    pieces: int
    """Places along the sequence that are kept, in these bins or within the one."""
    settings: Mapping[str, Any]

    @property
    def centre(self) -> int:
        """The anchor of the window, from the first base of the row (bp)."""
        return self.n_bins // 2 * self.bin_size + self.bin_size // 2


def representations(texts: Sequence[str], settings: Mapping[str, Any]) -> list[Representation]:
    """Read the representations that are asked for, and put their controls beside.

    One-hot and dinucleotides are always there; for a language model the same one with random weights.

    Raises
    ------
    ValueError
        If there is no such extractor, it takes nothing after its name, or a setting is of none of them.
    """
    names = [_name(text) for text in texts]
    for name in settings:
        if not any(name.startswith(f"{owner}.") for owner in names):
            raise ValueError(
                f"`settings=` name the extractor that they are of, as in {names[0]}.{name}; those to probe are "
                f"{', '.join(names)}"
            )
    found = [_read(text, settings) for text in texts]
    trained = [one for one in found if one.extractor == "hf" and one.settings.get("random_seed") is None]
    found += [
        Representation(f"{one.label} (random weights)", "hf", {**one.settings, "random_seed": 0}, is_control=True)
        for one in trained
    ]
    there = {one.label for one in found}
    controls = [Representation(name, name, {}, is_control=True) for name in (ONEHOT, DINUCLEOTIDE) if name not in there]
    made = [*controls, *found]
    if len({one.label for one in made}) < len(made):
        made = [
            *controls,
            *(Representation(text, one.extractor, one.settings) for text, one in zip(texts, found, strict=False)),
            *found[len(texts) :],
        ]
    return made


def _name(text: str) -> str:
    head = text.partition(":")[0]
    return head if head in plugins(GROUP) else text


def _read(text: str, settings: Mapping[str, Any]) -> Representation:
    name = _name(text)
    own = {key[len(name) + 1 :]: value for key, value in settings.items() if key.startswith(f"{name}.")}
    value = text[len(name) + 1 :]
    if value:
        own = {_short(find_factory(GROUP, name)): value} | own
    label = f"{name}:{Path(value).name}" if value else name
    return Representation(label, name, find_factory(GROUP, name).plain(own))


def _short(factory: Factory) -> str:
    has = [] if factory.settings is None else [item.name for item in fields(factory.settings)]
    for name in _SHORT:
        if name in has:
            return name
    raise ValueError(f"{factory.name} takes nothing after its name; leave it out, or set it by `settings=`")
