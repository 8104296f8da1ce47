"""Attributes of GTF and GFF3 rows: the ninth column as values by name.

Belongs here: the two grammars. Does not: which rows are genes, and which attributes name them
(`catalog.genes.annotation`).

GTF: https://mblab.wustl.edu/GTF22.html; GFF3: https://github.com/The-Sequence-Ontology/Specifications.
"""

import re
from urllib.parse import unquote

_QUOTED = r"{0}([^{0}\\]*(?:(?:\\.|{0}(?!\s*(?:;|\Z)))[^{0}\\]*)*){0}"
"""A value ends at the quotation mark before a semicolon or the end; a backslash takes the next mark as text."""
_GTF = re.compile(
    rf"""[;\s]*([^\s;]+)(?:\s+(?:{_QUOTED.format('"')}|{_QUOTED.format("'")}|([^\s;"'][^;]*)))?\s*(?:;|\Z)""",
    re.DOTALL,
)
_END = re.compile(r"[;\s]*\Z")
_ESCAPED = re.compile(r"""\\([\\"'])""")


class UnclosedValue(ValueError):
    """A quotation mark in the attributes of a GTF row that nothing closes."""


def gtf_attributes(text: str) -> dict[str, str]:
    r"""Parse `name "value"; name value;`, where a quoted value may hold semicolons, and marks after a backslash.

    Both kinds of quotation marks are known. Of a name that occurs twice the first value counts; empty values are left
    out.

    Raises
    ------
    UnclosedValue
        If a quotation mark is not closed, as in a row that was cut.
    """
    found: dict[str, str] = {}
    at = 0
    while not _END.match(text, at):
        attribute = _GTF.match(text, at)
        if attribute is None:
            raise UnclosedValue(text[at : at + 40].strip())
        at = attribute.end()
        name, double, single, bare = attribute.groups()
        quoted = double if double is not None else single
        value = (bare or "").rstrip() if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if value:
            found.setdefault(name, value)
    return found


def gff3_attributes(text: str) -> dict[str, str]:
    """Parse `name=value;name=value`, where other marks stand as `%3B`; names of genes hold commas as they are.

    Of a name that occurs twice the first value counts; empty values are left out.
    """
    found: dict[str, str] = {}
    for attribute in text.split(";"):
        name, _, value = attribute.partition("=")
        if value.strip():
            found.setdefault(unquote(name.strip()), unquote(value.strip()))
    return found
