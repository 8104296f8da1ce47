"""Displays of values for people: `repr` in Python, an HTML table in notebooks.

Names come from untrusted files, so control characters and markup in them are escaped.

Belongs here: `Display`, its mix-in, and formatting of fractions and sizes. Does not: what is shown of each value (the
classes).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_UNITS = ("B", "kB", "MB", "GB", "TB")
_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Display:
    """A title, and rows of a label and a text."""

    title: str
    rows: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Format for a terminal, one line a row."""
        width = max((len(plain(label)) for label, _ in self.rows), default=0)
        lines = [f"  {plain(label):<{width}}  {plain(text)}" for label, text in self.rows]
        return "\n".join([f"<{plain(self.title)}>", *lines])

    def html(self) -> str:
        """Format for a notebook."""
        left = "style='text-align: left'"
        rows = [
            f"<tr><th {left}>{escape(plain(label))}</th><td {left}>{escape(plain(text))}</td></tr>"
            for label, text in self.rows
        ]
        return f"<div><strong>{escape(plain(self.title))}</strong><table>{''.join(rows)}</table></div>"


class Displayed:
    """Mix-in: `repr` and notebooks show the value's `_display`."""

    __slots__ = ()

    def _display(self) -> Display:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._display().text()

    def _repr_html_(self) -> str:
        return self._display().html()


def heading(value: object) -> str:
    """Return the title of a value's display, to name it within another."""
    return value._display().title if isinstance(value, Displayed) else repr(value).partition("\n")[0]


def plain(text: str) -> str:
    """Escape control characters of untrusted text."""
    return "".join(character if character.isprintable() else "?" for character in text)


def percent(share: float) -> str:
    """Format a fraction in per cent, rounded down: 100 % means all of it."""
    return f"{math.floor(1000 * share) / 10:g} %"


def in_bytes(n_bytes: float) -> str:
    """Format a number of bytes with three digits."""
    unit = 0
    while n_bytes >= 999.5 and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"


def some(names: Sequence[str]) -> str:
    """List the first of some names, and their number."""
    more = f", ... ({len(names):,} in all)" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
