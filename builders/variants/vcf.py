"""Scores as INFO fields of a VCF, one value an ALT allele.

Belongs here: names and values of the fields. Does not: reading (`builders.variants.read`), the table
(`builders.variants.run`).
"""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl

from builders.variants.read import VariantFile
from catalog.fasta import bgzf
from catalog.runtime.files import replacing

_MOST_FIELDS = 500
_STATUS = "FS_STATUS"
_NO_SCORES = ("contig", "position", "id", "ref", "alt", "status", "repeats_neighbour", "normalised")


def require_writable(variants: VariantFile, columns: Sequence[str], out: Path) -> None:
    """Refuse, before any work, what could not be written in the end, or would replace the file that is read.

    Raises
    ------
    ValueError
        If there are more scores than a line can reasonably hold, or the file is that of the variants.
    FileNotFoundError
        If its folder is not there.
    """
    if len(columns) > _MOST_FIELDS:
        raise ValueError(
            f"`vcf_out=` puts a field a score into each line, and there are {len(columns):,}, at most {_MOST_FIELDS}; "
            "take the table alone, or `scores=l2`"
        )
    if out.resolve() == variants.path.resolve():
        raise ValueError(f"`vcf_out={str(out)!r}` is the file of variants itself; name another")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} for `vcf_out=`; make it, or name another")


def write_vcf(variants: VariantFile, table: pl.DataFrame, out: Path, *, licences: Sequence[str]) -> None:
    """Write the records of a file with the rows of the table as INFO fields; nothing else of them changes.

    Parameters
    ----------
    table
        A row for each ALT allele, in the order of the file.
    licences
        Of what the scores were computed with, for the header.
    """
    columns = [name for name in table.columns if name not in _NO_SCORES]
    names = [_STATUS, *(f"FS_{re.sub(r'[^A-Za-z0-9_.]', '_', name)}" for name in columns)]
    # As text: htslib would not write a record of which the header lacks a contig, filter or field.
    lines = chain(
        _header(variants, names, licences), _lines(variants, names, table.select("status", *columns).iter_rows())
    )
    pieces = (f"{line}\n".encode() for line in lines)
    with replacing(out) as partial, partial.open("wb") as file:
        file.writelines(bgzf.packed(pieces) if out.suffix == ".gz" else pieces)


def _header(variants: VariantFile, names: Sequence[str], licences: Sequence[str]) -> list[str]:
    reader = variants.opened()
    before, columns = str(reader.raw_header).rstrip("\n").rsplit("\n", 1)
    reader.close()
    added = [
        f"##INFO=<ID={name},Number=A,Type={'String' if name == _STATUS else 'Float'},"
        f'Description="{"Why an allele was scored or not" if name == _STATUS else "Score by genomic-featurestore"}">'
        for name in names
    ]
    stated = [f"##FS_LICENCE={' '.join(licence.split())}" for licence in licences]
    return [before, *added, *stated, columns]


def _lines(variants: VariantFile, names: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[str]:
    for found in variants.parsed():
        line = str(found).rstrip("\r\n").split("\t")
        if found.ALT:
            values = zip(*islice(rows, len(found.ALT)), strict=True)
            info = ";".join(f"{name}={','.join(map(_shown, one))}" for name, one in zip(names, values, strict=True))
            line[7] = info if line[7] in (".", "") else f"{line[7]};{info}"
        yield "\t".join(line)


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "."
    return value if isinstance(value, str) else f"{value:.6g}"
