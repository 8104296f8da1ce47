"""Position-weight matrices out of a MEME file, as JASPAR and HOCOMOCO give theirs.

Belongs here: reading such files. Does not: scores and thresholds (`builders.extractors.motif.extractor`).

Biopython reads them too, and rounds each probability to a whole number of sites.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog.runtime.lines import read_lines
from catalog.runtime.locations import required_path

MOST_BYTES = 1 << 26
"""Largest file that is read: all of JASPAR has 2 MB."""
LONGEST = 100
"""Positions of a motif, at most."""
_DEFAULT_SITES = 20.0
_TOLERANCE = 0.02
"""By how much the probabilities of a position may miss 1: files round them."""


class MemeFileError(ValueError):
    """A file that holds no motifs in MEME's format."""


class Matrix(NamedTuple):
    """One motif of a file."""

    name: str
    """The identifier, such as MA0139.1."""
    other_name: str
    """The second name, such as CTCF; empty if there is none."""
    sites: float
    """Observed sites that it was counted from; 20 if the file does not say."""
    probabilities: NDArray[np.float64]
    """Shape `(length, 4)`, columns A, C, G, T; each row sums to 1."""


def read_meme(path: str | os.PathLike[str]) -> list[Matrix]:
    """Read the motifs of a file in MEME's minimal format, in their order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MemeFileError
        If it is no such file, of another alphabet, or two motifs have one name; the line is named.
    """
    path = required_path(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise MemeFileError(f"{path} has {size:,} bytes, and at most {MOST_BYTES:,} are read; is it a MEME file?")
    numbered = [(line.number, line.decoded(path).strip()) for line in read_lines(path)]
    lines = [line for _, line in numbered]
    if not any(line.startswith("MEME version") for line in lines):
        raise MemeFileError(
            f"{path} has no line `MEME version ...`; expected motifs in MEME's format, as JASPAR has them"
        )
    alphabet = next((line for line in lines if line.startswith("ALPHABET")), "ALPHABET= ACGT")
    if not re.fullmatch(r"ALPHABET=\s*ACGT", alphabet):
        raise MemeFileError(f"{path} is of another alphabet ({alphabet}); expected that of DNA, ACGT")
    found = list(_motifs(path, numbered))
    names = [motif.name for motif in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not found or twice:
        raise MemeFileError(f"{path} holds {'no motif' if not found else f'{twice[0]} twice'}; give each motif once")
    return found


def _motifs(path: Path, lines: list[tuple[int, str]]) -> Iterator[Matrix]:
    name, other = "", ""
    for place, (number, line) in enumerate(lines):
        words = line.split()
        if words[:1] == ["MOTIF"]:
            name, other = [*words[1:3], "", ""][:2]
        elif line.startswith("letter-probability matrix"):
            where = f"line {number} of {path}"
            if not name:
                raise MemeFileError(f"{where}: a matrix without a line `MOTIF name` before it")
            rows = _matrix(where, line, [text for _, text in lines[place + 1 : place + 2 + LONGEST]])
            yield Matrix(name, other, _number(line, "nsites", _DEFAULT_SITES), rows)
            name = other = ""


def _matrix(where: str, head: str, lines: list[str]) -> NDArray[np.float64]:
    width = _number(head, "w", 0)
    rows: list[list[float]] = []
    for line in lines:
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            break
        if len(row) != 4 or (width and len(rows) == width):
            break
        rows.append(row)
    found = np.array(rows, dtype=np.float64).reshape(-1, 4)
    if not 1 <= len(found) <= LONGEST or (width and len(found) != width):
        raise MemeFileError(f"{where}: {len(found)} rows of four numbers, expected w={width:g}, 1 to {LONGEST}")
    total = found.sum(axis=1, keepdims=True)
    if not (np.isfinite(found).all() and (found >= 0).all() and (np.abs(total - 1) <= _TOLERANCE).all()):
        raise MemeFileError(f"{where}: rows are probabilities of A, C, G, T, 0 or more, that add up to 1")
    return np.asarray(found / total)


def _number(line: str, name: str, default: float) -> float:
    found = re.search(rf"\b{name}=\s*([0-9]+(?:\.[0-9]+)?)", line)
    value = float(found.group(1)) if found else default
    return value if value > 0 else default
