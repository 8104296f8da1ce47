"""Gene annotations from NCBI's web service, by gene id, symbol or Ensembl id, with a cache on disk.

Belongs here: which records to request, and which gene each answers. Does not: the requests (`catalog.ncbi.client`), the
files (`catalog.ncbi.cache`), NCBI's own tables (`catalog.ncbi.annotations`: for a whole genome, `gene_info` and
`gene_summary` are two downloads).
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_args

import polars as pl

from catalog.genes.format_plugins import format_of
from catalog.genes.identifiers import plain_ids
from catalog.genes.table import read_genes
from catalog.ncbi.annotations import ANNOTATION_SCHEMA
from catalog.ncbi.cache import AnnotationCache
from catalog.ncbi.client import BASE_URL, MOST_UIDS, EntrezError, Eutils, GeneRecord
from catalog.runtime import tables
from catalog.runtime.tables import TableError, listed

Answer = Literal["found", "replaced", "discontinued", "other organism", "unknown", "unanswered"]
"""`replaced`: found under its current id. `unanswered`: NCBI's reply left it out; the next run requests it again."""

ANSWER_SCHEMA = pl.Schema(
    {
        "asked": pl.String(),  # as given
        "ncbi_gene_id": pl.Int64(),  # null unless found or replaced
        "answer": pl.Enum(get_args(Answer)),
        "is_cached": pl.Boolean(),  # true if it took no request
    }
)
"""Columns of the answers: one row for each gene of each query."""

_SEARCHES_A_FILE = 20  # a killed process repeats at most these: 7 s
_NCBI_PREFIX = "^GeneID:"  # as MANE and RefSeq write NCBI's ids
_LARGEST_UID = 2**31 - 1
_ENSEMBL = r"^ENS[A-Z]*G[0-9]{11}$"
# In a search these have a meaning, even between quotes.
_NO_SYMBOL = re.compile(r'["\[\]*\\\x00-\x1f\x7f]')
_NCBI_NAMES = ("ncbi_geneid", "ncbi_gene_id", "geneid", "entrez_gene_id", "entrez_id", "entrezgene", "entrez")
_SYMBOL_NAMES = ("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "gene")
_ENSEMBL_NAMES = ("ensembl_gene", "ensembl_gene_id", "ensembl_id", "gene_id", "gene_stable_id", "ensembl")

_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


class FetchedAnnotations(NamedTuple):
    """Annotations of the requested genes, and what NCBI answered for each."""

    annotations: pl.DataFrame
    """A frame with `ANNOTATION_SCHEMA`, one row for each gene that was found, in the order of the request."""
    answers: pl.DataFrame
    """A frame with `ANSWER_SCHEMA`, in the order of the request, without repeats."""

    def summary(self) -> str:
        """Summarise how many were found, how many took a request, and the first that were not found."""
        asks = self.answers.unique("asked", keep="first", maintain_order=True)
        is_found = asks["answer"].is_in(["found", "replaced"])
        lines = [
            f"{is_found.sum():,} of {len(asks):,} found; {asks['is_cached'].sum():,} from the cache, "
            f"{(~asks['is_cached']).sum():,} fetched"
        ]
        for answer in get_args(Answer)[1:]:
            names = [
                f"{asked} (now {uid})" if answer == "replaced" else asked
                for asked, uid in asks.filter(answer=answer).select("asked", "ncbi_gene_id").iter_rows()
            ]
            lines += [f"{answer}: {listed(names)}"] if names else []
        return "\n".join(lines)


class _Ask(NamedTuple):
    asked: str
    key: str
    """The id; or the symbol or Ensembl id in capitals, without version."""
    kind: Literal["id", "ensembl", "symbol", "none"]


def fetch_annotations(
    asked: Iterable[int | str],
    *,
    cache: str | os.PathLike[str],
    email: str | None = None,
    api_key: str | None = None,
    tax_id: int = 9606,
    gene_ids: Mapping[str, str] | None = None,
    batch: int = 200,
    base_url: str = BASE_URL,
    retry_s: float | None = None,
    timeout_s: float = 60.0,
    progress: Callable[[int, int], None] | None = None,
) -> FetchedAnnotations:
    """Fetch annotations from NCBI Gene; only those that are not cached take requests.

    Costs one request a batch of NCBI gene ids, two a batch of symbols, and one each Ensembl id; NCBI allows 3 requests
    a second, 10 with a key. The limit is held within this process only: do not run several at once without a key.

    Parameters
    ----------
    asked
        NCBI gene ids (`1`, `"GeneID:1"`), official symbols in any case, or Ensembl gene ids; mixed as they come.
    cache
        Folder of cached answers, also that NCBI has no such gene; created if missing. Remove it, or files of it, to
        fetch them again.
    email
        Contact for NCBI if something goes wrong, which its terms require. None takes the environment's
        `NCBI_EMAIL`.
    api_key
        From https://account.ncbi.nlm.nih.gov/settings; None takes the environment's `NCBI_API_KEY`, if there is one.
    tax_id
        The organism (NCBI taxonomy; 9606 is human). Genes of others are listed as such.
    gene_ids
        Ensembl ids by entry of `asked`, where they are known: NCBI's summaries do not hold them.
    batch
        Records a request, 1 to 500.
    base_url
        Address of the E-utilities.
    retry_s
        Time budget of one request, retries of transient errors included (s): NCBI busy, unreachable, or a truncated
        reply. None for the environment's `FEATURESTORE_RETRY_S`, or 120.
    timeout_s
        Timeout of one attempt (s).
    progress
        Called with how many are answered, and of how many.

    Raises
    ------
    EntrezError
        If NCBI gives no answer; earlier answers stay in the cache.
    CacheDamaged
        If a file of the cache is damaged; the message names it.
    ValueError
        If there is no e-mail address, or an argument is out of range.
    TypeError
        If one text is given for the list of genes.
    ImportError
        If Biopython is not installed.
    """
    if not 1 <= batch <= MOST_UIDS:
        raise ValueError(f"batch must be 1 to {MOST_UIDS}, the most that NCBI gives in one reply, got {batch}")
    if isinstance(asked, str):
        raise TypeError(f"asked must be a list of genes, got the text {asked!r}; write [{asked!r}]")
    eutils = Eutils(email=email, api_key=api_key, base_url=base_url, retry_s=retry_s, timeout_s=timeout_s)
    kept = AnnotationCache(cache)
    fetch = _Fetch(_asks(asked), eutils, kept, tax_id, batch, progress or (lambda done, total: None))
    cached = {ask for ask in fetch.asks if fetch.is_answered(ask)}
    try:
        fetch.run()
    except EntrezError as error:
        raise EntrezError(
            f"{error}. {fetch.n_answered():,} of {len(fetch.asks):,} genes are answered and kept in {kept.folder}: "
            "the same command goes on from there"
        ) from error
    rows = [(ask.asked, uid, answer, ask in cached) for ask in fetch.asks for uid, answer in fetch.answers_to(ask)]
    answers = pl.DataFrame(rows, schema=ANSWER_SCHEMA, orient="row")
    counts = dict(answers["answer"].value_counts(sort=True).iter_rows())
    _log.info("%d asked, %d of them in %s: %s", len(fetch.asks), len(cached), kept.folder, counts)
    return FetchedAnnotations(_annotations(fetch, gene_ids or {}), answers)


def read_asks(path: str | os.PathLike[str]) -> dict[str, str | None]:
    """Read the queries for the genes of a table, by the cheapest id: NCBI gene id, else symbol, else Ensembl id.

    Parameters
    ----------
    path
        Anything that `read_genes` reads, or a table with a header that has one of these columns.

    Returns
    -------
    Queries in the order of the file, with the Ensembl id of each; None where there is none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is empty, truncated, or names no genes.
    """
    path = Path(path)
    frame = tables.read_table(path) if format_of(path) in ("mane", "table") else read_genes(path)
    found = [tables.find_column(frame.columns, names) for names in (_NCBI_NAMES, _SYMBOL_NAMES, _ENSEMBL_NAMES)]
    ncbi, _, ensembl = found
    columns = [name for name in found if name is not None]
    if not columns:
        raise TableError(
            f"{path} names no genes: it has {listed(frame.columns)}; expected a column NCBI_GeneID, symbol or gene_id"
        )
    if ncbi is not None:
        bare = frame.with_columns(pl.col(ncbi).str.replace(_NCBI_PREFIX, ""))
        frame = frame.with_columns(tables.whole_numbers(bare, ncbi, path=path).cast(pl.String).alias(ncbi))
    gene_id = pl.col(ensembl) if ensembl else pl.lit(None, dtype=pl.String)
    asks = frame.select(pl.coalesce(columns).alias("asked"), gene_id.alias("gene_id")).drop_nulls("asked")
    asks = asks.with_columns(plain_ids("gene_id"))
    is_ensembl = pl.col("gene_id").str.contains(_ENSEMBL)
    asks = asks.unique("asked", keep="first", maintain_order=True).with_columns(pl.when(is_ensembl).then("gene_id"))
    return dict(asks.iter_rows())


class _Fetch:
    """One run: the queries, the answers so far, and the requests that are left."""

    def __init__(
        self,
        asks: list[_Ask],
        eutils: Eutils,
        kept: AnnotationCache,
        tax_id: int,
        batch: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self.asks = asks
        self.kept = kept
        self._eutils = eutils
        self._tax_id = tax_id
        self._batch = batch
        self._progress = progress
        self._tried: set[int] = set()
        self._ids = {int(ask.key) for ask in asks if ask.kind == "id"}

    def run(self) -> None:
        """Send the requests for everything not yet answered."""
        self._report()
        self._fetch_records()
        for chunk in _chunks(self._unsearched("symbol"), self._batch):
            self._search_symbols(chunk)
            self._report()
        for chunk in _chunks(self._unsearched("ensembl"), min(self._batch, _SEARCHES_A_FILE)):
            self._search_ensembl(chunk)
            self._fetch_records()

    def n_answered(self) -> int:
        return sum(map(self.is_answered, self.asks))

    def is_answered(self, ask: _Ask) -> bool:
        return all(answer != "unanswered" for _, answer in self.answers_to(ask))

    def answers_to(self, ask: _Ask) -> list[tuple[int | None, Answer]]:
        """Return the genes that a query resolves to so far, and the answer for each."""
        if ask.kind == "none":
            return [(None, "unknown")]
        uids = [int(ask.key)] if ask.kind == "id" else self.kept.names.get((ask.key, self._tax_id))
        if uids is None:
            return [(None, "unanswered")]
        answers = [self._answer_of(uid) for uid in uids]
        return [(uid if answer in ("found", "replaced") else None, answer) for uid, answer in answers] or [
            (None, "unknown")
        ]

    def _answer_of(self, uid: int) -> tuple[int, Answer]:
        """Follow replacements to the end; return the last id and its answer."""
        passed: set[int] = set()
        while uid in self.kept.records:
            record = self.kept.records[uid]
            if record is None:
                return uid, "unknown"
            if record.replaced_by is None or uid in passed:
                if not record.is_live:
                    return uid, "discontinued"
                if record.tax_id != self._tax_id:
                    return uid, "other organism"
                return uid, "replaced" if passed else "found"
            passed.add(uid)
            uid = record.replaced_by
        return uid, "unanswered"

    def _report(self) -> None:
        self._progress(self.n_answered(), len(self.asks))

    def _unsearched(self, kind: str) -> list[str]:
        keys = dict.fromkeys(ask.key for ask in self.asks if ask.kind == kind)
        return [key for key in keys if (key, self._tax_id) not in self.kept.names]

    def _fetch_records(self) -> None:
        """Fetch the records of all known ids, then those of their replacements."""
        while left := [uid for uid in self._pending() if uid not in self._tried]:
            for uids in _chunks(left, self._batch):
                self._tried.update(uids)
                self.kept.add(self._summaries(uids))
                self._report()

    def _pending(self) -> list[int]:
        """Return the ids, replacements included, whose records are missing."""
        uids: list[int] = []
        for ask in self.asks:
            if ask.kind == "id":
                uids.append(int(ask.key))
            elif ask.kind != "none":
                uids += self.kept.names.get((ask.key, self._tax_id), [])
        answers = [self._answer_of(uid) for uid in uids]
        return list(dict.fromkeys(uid for uid, answer in answers if answer == "unanswered"))

    def _term(self, names: Sequence[str], field: str) -> str:
        either = " OR ".join(f'"{name}"[{field}]' for name in names)
        # noexp: not the Neanderthals and Denisovans below human.
        return f"({either}) AND txid{self._tax_id}[Organism:noexp] AND alive[prop]"

    def _search_ensembl(self, names: list[str]) -> None:
        found: dict[str, list[int]] = {}
        try:
            for name in names:
                found[name] = self._eutils.search(self._term([name], "All Fields"))
        finally:
            self.kept.add({}, found, searched_tax_id=self._tax_id)

    def _search_symbols(self, symbols: list[str]) -> None:
        """Search many symbols in one request; the records then tell which gene has which symbol."""
        uids = self._eutils.search(self._term(symbols, "Preferred Symbol"))
        new = [uid for uid in uids if uid not in self.kept.records]
        records = {uid: record for chunk in _chunks(new, self._batch) for uid, record in self._summaries(chunk).items()}
        known = [self.kept.records.get(uid) or records.get(uid) for uid in uids]
        by_symbol: dict[str, list[int]] = {}
        for record in known:
            if record is not None and record.symbol is not None and record.tax_id == self._tax_id:
                by_symbol.setdefault(record.symbol.upper(), []).append(record.ncbi_gene_id)
        # A symbol is unknown only once the records of all genes that the search found are known.
        found = {name: by_symbol.get(name, []) for name in symbols if name in by_symbol or None not in known}
        self.kept.add(records, found, searched_tax_id=self._tax_id)

    def _summaries(self, uids: list[int]) -> dict[int, GeneRecord | None]:
        """Fetch records. "NCBI has none" is accepted for an id from the user, not for one that NCBI itself returned."""
        found = self._eutils.summaries(uids)
        return {uid: record for uid, record in found.items() if record is not None or uid in self._ids}


def _asks(asked: Iterable[int | str]) -> list[_Ask]:
    texts = list(dict.fromkeys(str(ask) for ask in asked))
    key = pl.col("asked").str.strip_chars().str.replace(_NCBI_PREFIX, "").str.to_uppercase()
    keys = pl.DataFrame({"asked": texts}, schema={"asked": pl.String}).select(key).select(plain_ids("asked"))
    return [_Ask(text, key, _kind(key)) for text, key in zip(texts, keys["asked"], strict=True)]


def _kind(key: str) -> Literal["id", "ensembl", "symbol", "none"]:
    if key.isdecimal():
        return "id" if key.isascii() and 0 < int(key) <= _LARGEST_UID else "none"
    if re.match(_ENSEMBL, key):
        return "ensembl"
    return "none" if not key or len(key) > 64 or _NO_SYMBOL.search(key) else "symbol"


def _annotations(fetch: _Fetch, gene_ids: Mapping[str, str]) -> pl.DataFrame:
    rows: dict[int, dict[str, object]] = {}
    for ask in fetch.asks:
        gene_id = ask.key if ask.kind == "ensembl" else gene_ids.get(ask.asked)
        for uid, _ in fetch.answers_to(ask):
            record = None if uid is None else fetch.kept.records[uid]
            if record is not None:
                row = rows.setdefault(record.ncbi_gene_id, {"gene_id": None, **record._asdict()})
                row["gene_id"] = row["gene_id"] or gene_id
    fields = [{name: row[name] for name in ANNOTATION_SCHEMA.names()} for row in rows.values()]
    return pl.DataFrame(fields, schema=ANNOTATION_SCHEMA)


def _chunks(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
