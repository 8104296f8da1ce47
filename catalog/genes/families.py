"""Gene families by symbol, so that related genes are held out in one part.

Belongs here: families by symbol. Does not: splits (`catalog.genes.splits`).
"""

import re
from collections.abc import Iterable

_STEM = re.compile(r"[A-Z]+(?=[0-9-]|$)")
_ACCESSION = re.compile(r"[0-9]{5}")  # ENSG00000290825, LOC124900618, AC004556.3, LINC01128: no name, so no family
_HISTONES = "H"


def families(symbols: Iterable[str]) -> list[str]:
    """Give the family of each gene: the letters of its symbol before the first digit or hyphen, in upper case.

    So RPL3 and RPL13A are of `RPL`, OR4F5 of `OR`, ZNF84 of `ZNF`, SLC25A6 of `SLC`, KRT14 of `KRT`, HLA-A of `HLA`.
    Symbols that are accessions (five digits in a row), and those with one letter there (F2, C1orf112) but for the
    histones (`H`), are each a family of their own. This is a rule about names: HOXA1 and HOXB1 are of two families,
    and what the members of `TMEM` share is less than what those of `RPL` do.
    """
    return [_family(symbol) for symbol in symbols]


def _family(symbol: str) -> str:
    name = symbol.upper()
    stem = _STEM.match(name)
    if stem is None or _ACCESSION.search(name) or (len(stem[0]) == 1 and stem[0] != _HISTONES):
        return name
    return stem[0]
