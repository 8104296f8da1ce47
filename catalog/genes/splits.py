"""Train, validation and test splits of genes.

Belongs here: `Split`, ways to make one, and the overlap of its parts. Does not: the order of training
(`loaders.batching.sampler`).

Windows of a million bases around neighbouring genes share most of their bins, so a split by gene alone leaves the test
genes' own input in the training set: `overlaps` counts it, `by_contig` and `by_contig_group` avoid it. Relatives such
as olfactory receptors share annotation and sequence wherever they lie: `by_family` keeps them on one side.
"""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TypeGuard

import numpy as np
import polars as pl
from numpy.typing import NDArray

from catalog.genes.families import families
from catalog.genes.frames import Table, as_polars
from catalog.genes.identifiers import plain_ids
from catalog.runtime.documents import parse_object, read_object
from catalog.runtime.tables import listed

_PARTS = ("train", "validation", "test")
_FORM = "a split is a JSON object with the keys train, validation and test, each a list of gene ids"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Three sets of gene ids that share none."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in _PARTS:
            ids = getattr(self, part)
            repeated = sorted(gene for gene, count in Counter(ids).items() if count > 1)
            if repeated:
                raise ValueError(f"{part} names genes twice: {listed(repeated)}; name each once")
        for one, other in combinations(_PARTS, 2):
            shared = sorted(set(getattr(self, one)) & set(getattr(self, other)))
            if shared:
                raise ValueError(
                    f"{one} and {other} share {len(shared)} genes: {listed(shared)}; remove them from one of the two"
                )

    def to_json(self) -> str:
        """Write the split as `from_json` reads it."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Split":
        """Read a split: an object with a list of gene ids for each of train, validation, test.

        Raises
        ------
        ValueError
            If it is not that, or the parts share genes.
        """
        return cls._of(parse_object(text, where="the split", mend=_FORM), where="the split")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Split":
        """Read a file that `to_json` wrote; the errors of `from_json` name it."""
        return cls._of(read_object(path, mend=_FORM), where=os.fspath(path))

    @classmethod
    def _of(cls, document: dict[str, object], *, where: str) -> "Split":
        if set(document) != set(_PARTS) or not all(map(_is_ids, document.values())):
            raise ValueError(f"{where} has the keys {listed(sorted(document)) or 'none'}, or other values; {_FORM}")
        try:
            return cls(**{part: tuple(ids) for part, ids in document.items() if _is_ids(ids)})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def by_contig(genes: Table, *, test: Iterable[str], validation: Iterable[str]) -> Split:
    """Hold out whole contigs, so that no window of one part reaches into another.

    Parameters
    ----------
    genes
        A gene table (`catalog.genes.table`).
    test, validation
        Contig names, as in the table.

    Raises
    ------
    ValueError
        If a contig has no genes or is named for both.
    """
    genes = as_polars(genes)
    parts = {"test": _names(test), "validation": _names(validation)}
    contigs = genes["contig"].unique(maintain_order=True).to_list()
    for part, names in parts.items():
        unknown = [name for name in names if name not in contigs]
        if unknown:
            raise ValueError(
                f"no gene lies on {listed(unknown)}, held out for {part}; the genes are on {listed(contigs)}"
            )
    both = [name for name in parts["test"] if name in parts["validation"]]
    if both:
        raise ValueError(f"{listed(both)} is held out for both test and validation; name each contig for one")
    held_out = [*parts["test"], *parts["validation"]]
    return Split(
        train=tuple(genes.filter(~pl.col("contig").is_in(held_out))["gene_id"]),
        validation=tuple(genes.filter(pl.col("contig").is_in(parts["validation"]))["gene_id"]),
        test=tuple(genes.filter(pl.col("contig").is_in(parts["test"]))["gene_id"]),
    )


def by_contig_group(genes: Table, *, n_folds: int = 5, fold: int = 0, seed: int = 0) -> Split:
    """Put the contigs into groups of about as many genes, and hold out two: one for test, the next for validation.

    Parameters
    ----------
    genes
        A gene table.
    n_folds
        Number of groups, from 3 to the number of contigs; over all folds each gene is tested once.
    fold
        Which group is the test, from 0; the next one (after the last the first) is the validation.
    seed
        Another seed gives other groups.

    Raises
    ------
    ValueError
        If there are fewer contigs than groups, or a number is out of range.
    """
    genes = as_polars(genes)
    return _fold_of(genes, genes["contig"].to_list(), "contigs", n_folds=n_folds, fold=fold, seed=seed)


def by_family(genes: Table, *, n_folds: int = 5, fold: int = 0, seed: int = 0) -> Split:
    """Put gene families into groups of about as many genes, and hold out two, so that no family is in two parts.

    Families go by symbol (`catalog.genes.families`); genes that share a symbol share a family. The parameters are those
    of `by_contig_group`, and so are the errors.
    """
    genes = as_polars(genes)
    return _fold_of(genes, families(genes["symbol"]), "gene families", n_folds=n_folds, fold=fold, seed=seed)


def by_gene_list(genes: Table, test_ids: Iterable[str], *, validation_fraction: float = 0.2, seed: int = 0) -> Split:
    """Hold out a published list of test genes, and a random part of the others for validation.

    GTA does so: 2,850 genes of Huang et al. 2023 are the test, the others are split 80:20.

    Parameters
    ----------
    genes
        A gene table.
    test_ids
        Gene ids; Ensembl versions do not matter. Those that the table lacks are left out with a warning that names
        them.
    validation_fraction
        Part of the genes that are not on the list, in [0, 1).
    seed
        Another seed gives another choice.

    Raises
    ------
    ValueError
        If the table has none of them, or a fraction is out of range.
    """
    genes = as_polars(genes)
    wanted = pl.DataFrame({"gene_id": list(dict.fromkeys(test_ids))}, schema={"gene_id": pl.String})
    ids = wanted.select(plain_ids("gene_id"))["gene_id"].unique(maintain_order=True)
    test = genes.filter(pl.col("gene_id").is_in(ids.to_list()))["gene_id"]
    if test.is_empty():
        raise ValueError(
            f"none of the {len(ids)} test genes ({listed(wanted['gene_id'].to_list())}) is among the genes "
            f"({listed(genes['gene_id'].to_list())}); both must use the same kind of id"
        )
    held = set(test)
    unknown = [gene for gene in ids if gene not in held]
    if unknown:
        _log.warning(
            "%d of %d test genes are not in the gene table and are left out: %s",
            len(unknown),
            len(ids),
            listed(unknown),
        )
    others = [gene for gene in genes["gene_id"] if gene not in held]
    validation = _sample(others, _share(validation_fraction, "validation_fraction", len(others)), seed)
    return _in_order(genes, test=held, validation=set(validation))


def random(genes: Table, *, test_fraction: float = 0.2, validation_fraction: float = 0.1, seed: int = 0) -> Split:
    """Sample genes for test and validation; the sample depends on their ids and the seed, not on the table's order.

    Parameters
    ----------
    genes
        A gene table.
    test_fraction, validation_fraction
        Parts of all genes, each in [0, 1), with a sum below 1.
    seed
        Another seed gives another choice.
    """
    genes = as_polars(genes)
    if test_fraction + validation_fraction >= 1:
        raise ValueError(
            f"test_fraction + validation_fraction must stay below 1, got {test_fraction} + {validation_fraction}; "
            "the rest is for training"
        )
    n_test = _share(test_fraction, "test_fraction", genes.height)
    n_validation = _share(validation_fraction, "validation_fraction", genes.height)
    sampled = _sample(genes["gene_id"].to_list(), n_test + n_validation, seed)
    return _in_order(genes, test=set(sampled[:n_test]), validation=set(sampled[n_test:]))


def overlaps(split: Split, genes: Table, *, window_bp: int) -> pl.DataFrame:
    """Find the test genes whose window shares bases with the window of a training gene.

    Parameters
    ----------
    split
        Ids that `genes` has.
    genes
        A gene table; windows are centred on `tss`.
    window_bp
        Length of a window (bp): `n_bins * bin_size`.

    Returns
    -------
    One row for each such test gene, in the order of the split: `gene_id`, `contig`, `tss`, `nearest` (the training gene
    whose TSS is nearest; of two equally near that on the left), `distance_bp` between the two, and `shared_bp` of the
    window.

    Raises
    ------
    ValueError
        If `genes` lacks a gene of the split.
    """
    genes = as_polars(genes)
    if window_bp < 1:
        raise ValueError(f"window_bp is a number of bases, at least 1; got {window_bp}")
    test, train = (_located(genes, ids) for ids in (split.test, split.train))
    nearest = np.full(test.height, None, dtype=object)
    distance = np.full(test.height, window_bp, dtype=np.int64)
    trained = {contig: part.sort("tss", "gene_id") for (contig,), part in train.group_by("contig")}
    for (contig,), part in test.with_row_index("row").group_by("contig"):
        if contig in trained:
            index, apart = _nearest(part["tss"].to_numpy(), trained[contig]["tss"].to_numpy())
            nearest[part["row"]] = trained[contig]["gene_id"].to_numpy()[index]
            distance[part["row"]] = apart
    # Windows of one length share bases exactly if their centres are nearer than that length.
    return test.with_columns(
        nearest=pl.Series(nearest.tolist(), dtype=pl.String), distance_bp=distance, shared_bp=window_bp - distance
    ).filter(pl.col("distance_bp") < window_bp)


def overlap_report(split: Split, genes: Table, *, window_bp: int) -> str:
    """Summarise in one line how many test genes `overlaps` finds, and how much they share."""
    found = overlaps(split, genes, window_bp=window_bp)
    line = (
        f"{found.height:,} of {len(split.test):,} test genes have a window of {window_bp:,} bp that shares bases with "
        "that of a training gene"
    )
    if found.is_empty():
        return line
    half = int(np.median(found["shared_bp"].to_numpy()))
    return f"{line}, half of them {half:,} bp or more; by_contig and by_contig_group hold out whole contigs instead"


def _nearest(
    points: NDArray[np.int64], sorted_others: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the index of the nearest of `sorted_others` to each point, and its distance."""
    right = np.searchsorted(sorted_others, points)
    sides = np.clip(np.stack([right - 1, right]), 0, len(sorted_others) - 1)
    apart = np.abs(sorted_others[sides] - points)
    side = apart.argmin(axis=0)[None]
    return np.take_along_axis(sides, side, axis=0)[0], np.take_along_axis(apart, side, axis=0)[0]


def _located(genes: pl.DataFrame, ids: Sequence[str]) -> pl.DataFrame:
    wanted = pl.DataFrame({"gene_id": list(ids)}, schema={"gene_id": pl.String}).with_row_index("order")
    found = wanted.join(genes.select("gene_id", "contig", "tss"), on="gene_id", how="left").sort("order").drop("order")
    lacking = found.filter(pl.col("tss").is_null())["gene_id"]
    if len(lacking):
        raise ValueError(
            f"the gene table lacks {len(lacking)} genes of the split: {listed(lacking.to_list())}; "
            "pass the table that the split was made from"
        )
    return found


def _fold_of(genes: pl.DataFrame, units: Sequence[str], what: str, *, n_folds: int, fold: int, seed: int) -> Split:
    """Split genes so that no unit is in two parts."""
    counts = Counter(units)
    if not 3 <= n_folds <= len(counts):
        raise ValueError(
            f"n_folds must lie in [3, {len(counts)}], for test, validation and training and the {len(counts)} {what} "
            f"of these genes; got {n_folds}"
        )
    if not 0 <= fold < n_folds:
        raise ValueError(f"fold must lie in [0, n_folds) = [0, {n_folds}), got {fold}; folds count from 0")
    sizes = [0] * n_folds
    fold_of: dict[str, int] = {}
    # Largest first, each into the smallest fold, which balances them; the seed orders those of similar size.
    for unit in sorted(_sample(list(counts), len(counts), seed), key=lambda unit: -counts[unit].bit_length()):
        fold_of[unit] = sizes.index(min(sizes))
        sizes[fold_of[unit]] += counts[unit]
    own = dict(zip(genes["gene_id"], (fold_of[unit] for unit in units), strict=True))
    return _in_order(
        genes,
        test={gene for gene, its in own.items() if its == fold},
        validation={gene for gene, its in own.items() if its == (fold + 1) % n_folds},
    )


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _share(fraction: float, name: str, total: int) -> int:
    if not 0 <= fraction < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {fraction}; 0.2 is one gene in five")
    return round(fraction * total)


def _sample(ids: Sequence[str], count: int, seed: int) -> list[str]:
    # By digest and not by a generator: the same on every version of numpy, whatever order the ids come in.
    return sorted(ids, key=lambda gene: hashlib.sha256(f"{seed}:{gene}".encode()).digest())[:count]


def _in_order(genes: pl.DataFrame, *, test: set[str], validation: set[str]) -> Split:
    ids = genes["gene_id"].to_list()
    return Split(
        train=tuple(gene for gene in ids if gene not in test and gene not in validation),
        validation=tuple(gene for gene in ids if gene in validation),
        test=tuple(gene for gene in ids if gene in test),
    )


def _is_ids(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(gene, str) for gene in value)
