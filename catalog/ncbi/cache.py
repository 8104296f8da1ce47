"""Cache of NCBI's answers: a folder of Parquet files.

Belongs here: the files, and the lookup of answers. Does not: requests (`catalog.ncbi.client`), what an answer means for
a gene (`catalog.ncbi.fetch`).

Each batch of answers is a file of its own, written atomically, so a killed process loses at most its current batch, and
concurrent processes do not overwrite each other's. A file's name is the digest of its bytes.
`polars.read_parquet(folder)` reads them all.
"""

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from catalog.ncbi.client import GeneRecord
from catalog.runtime.files import write_atomic
from catalog.runtime.locations import required_path

CACHE_SCHEMA = pl.Schema(
    {
        "asked": pl.String(),  # an NCBI gene id; or a symbol or Ensembl id, in capitals
        "searched_tax_id": pl.Int64(),  # the organism in which a symbol or Ensembl id was searched; null for an id
        "fetched": pl.Datetime("us", "UTC"),
        "ncbi_gene_id": pl.Int64(),  # null where NCBI had none
        # Of the record, null for a symbol or Ensembl id:
        "tax_id": pl.Int64(),
        "replaced_by": pl.Int64(),
        "is_live": pl.Boolean(),
        "symbol": pl.String(),
        "name": pl.String(),
        "aliases": pl.String(),
        "designations": pl.String(),
        "summary": pl.String(),
    }
)
"""Columns of each file: a row an id, and a row each gene of a symbol or Ensembl id."""


class CacheDamaged(ValueError):
    """A cache file that is not as it was written."""


class AnnotationCache:
    """The answers in one folder, and those added.

    Attributes
    ----------
    records
        By NCBI gene id; None where NCBI had no record.
    names
        NCBI gene ids by symbol or Ensembl id and organism; empty where NCBI had none.

    Raises
    ------
    NotADirectoryError
        If there is a file in its place.
    CacheDamaged
        If one of its files is damaged; the message names it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = required_path(folder)
        self.records: dict[int, GeneRecord | None] = {}
        self.names: dict[tuple[str, int], list[int]] = {}
        if self.folder.is_file():
            raise NotADirectoryError(
                f"{self.folder} is a file, and a cache of annotations is a folder; name another, or move it away"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        frames = [_read(path) for path in sorted(self.folder.glob("*.parquet"))]
        # The last answer counts, where two processes requested the same.
        for frame in sorted(frames, key=lambda frame: frame["fetched"][0]):
            self._take(frame)

    def add(
        self,
        records: Mapping[int, GeneRecord | None],
        names: Mapping[str, Sequence[int]] | None = None,
        *,
        searched_tax_id: int | None = None,
    ) -> None:
        """Keep answers, in one new file.

        Parameters
        ----------
        records
            By NCBI gene id; None for "NCBI has none".
        names
            NCBI gene ids by symbol or Ensembl id; none for "NCBI has none".
        searched_tax_id
            The organism in which the names were searched.
        """
        rows: list[dict[str, object]] = [
            {"asked": str(uid), **(record._asdict() if record else {})} for uid, record in records.items()
        ]
        for name, uids in (names or {}).items():
            named = {"asked": name, "searched_tax_id": searched_tax_id}
            found: Sequence[int | None] = uids or [None]
            rows += [{**named, "ncbi_gene_id": uid} for uid in found]
        if not rows:
            return
        frame = pl.DataFrame(rows, schema=CACHE_SCHEMA).with_columns(fetched=pl.lit(datetime.now(UTC)))
        _write(frame.cast(CACHE_SCHEMA), self.folder)
        self._take(frame)

    def _take(self, frame: pl.DataFrame) -> None:
        named: dict[tuple[str, int], list[int]] = {}
        for row in frame.iter_rows(named=True):
            uid = row["ncbi_gene_id"]
            if row["searched_tax_id"] is not None:
                found = named.setdefault((row["asked"], row["searched_tax_id"]), [])
                found += [] if uid is None else [uid]
            elif uid is None:
                self.records[int(row["asked"])] = None
            else:
                self.records[uid] = GeneRecord(**{field: row[field] for field in GeneRecord._fields})
        self.names |= named


def _read(path: Path) -> pl.DataFrame:
    data = path.read_bytes()
    if path.name == _name_of(data):
        frame = pl.read_parquet(io.BytesIO(data))
        if frame.schema == CACHE_SCHEMA:
            return frame
    raise CacheDamaged(
        f"{path} is damaged, or was not written here; move it away: what it held is fetched again, the rest stays"
    )


def _write(frame: pl.DataFrame, folder: Path) -> None:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    data = buffer.getvalue()
    write_atomic(folder / _name_of(data), data, durable=True)


def _name_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest() + ".parquet"
