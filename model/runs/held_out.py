"""The split of a training into train, validation and test genes, from its options.

Belongs here: choosing one of the ways of `catalog.genes.splits`, what the parts share. Does not: those ways, lists of
genes in files (`model.runs.gene_lists`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from catalog import Split
from catalog.genes import splits
from catalog.genes.folds import by_chromosome_fold, validation_chromosomes
from catalog.runtime.tables import listed
from model.runs.gene_lists import genes_in_all, plainly_spelled, read_gene_list

if TYPE_CHECKING:  # torch comes with it, and the command line takes its options from here
    from loaders import GeneDataset

_VALIDATION = 0.1
_log = logging.getLogger(__name__)


class SharedBases(ValueError):
    """Test genes whose windows share bases with those of training genes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Which genes are held out; at most one way is named, and none means a random fifth."""

    test_contigs: Sequence[str] | None = None
    """Contigs whose genes are held out, comma-separated."""
    validation_contigs: Sequence[str] | None = None
    """Contigs whose genes choose the epoch, with --test-contigs; else a tenth of the other genes does."""
    test_genes: Path | None = None
    """File of genes that are held out: one a line, or a table."""
    split: Path | None = None
    """JSON with lists train, validation and test (`catalog.Split`)."""
    folds: int | None = None
    """Put the contigs into so many groups, and hold one out."""
    fold: int = 0
    """Which group, from 0; the next one chooses the epoch."""
    chromosome_fold: int | None = None
    """Hold out chromosomes as one of the 12 published folds of human genes does, from 1 to 12; 11, which Prism reports,
    tests chr22 and chrX and validates on chr3 and chr21, any other validates on the test chromosomes of the next."""
    by_family: bool = False
    """With --folds: groups of gene families instead."""
    validation_fraction: float | None = None
    """Fraction of the genes that are not tested that chooses the epoch, in (0, 1); 0.2 in the GTA paper. [default: a
    tenth]"""
    genes_in: tuple[Path, ...] = ()
    """Keep the genes that are in all of these files, comma-separated: tables with a gene column, or one id a line. Test
    genes that --test-genes or --split names are kept anyway. [default: all genes]"""
    seed: int = 0
    """Of a random split."""

    def __post_init__(self) -> None:
        named = [
            option
            for option, given in (
                ("`test_contigs=`", self.test_contigs),
                ("`test_genes=`", self.test_genes),
                ("`split=`", self.split),
                ("`folds=`", self.folds),
                ("`chromosome_fold=`", self.chromosome_fold),
            )
            if given is not None
        ]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} each say which genes are held out; give one of them")
        if self.validation_contigs is not None and self.test_contigs is None:
            raise ValueError(
                "`validation_contigs=` goes with `test_contigs=`; name both, or neither for a random split"
            )
        if self.chromosome_fold is not None:
            validation_chromosomes(self.chromosome_fold)  # refuses an unknown fold before anything is read
        if self.folds is None and (self.by_family or self.fold):
            raise ValueError("`fold=` and `by_family=` go with `folds=`: say how many groups there are")
        self._check_fraction()

    def _check_fraction(self) -> None:
        if self.validation_fraction is None:
            return
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"`validation_fraction=` is a fraction between 0 and 1, as 0.2; got {self.validation_fraction:g}"
            )
        for option, given in (
            ("`split=`", self.split),
            ("`folds=`", self.folds),
            ("`chromosome_fold=`", self.chromosome_fold),
            ("`validation_contigs=`", self.validation_contigs),
        ):
            if given is not None:
                raise ValueError(
                    f"{option} says already which genes choose the epoch; leave `validation_fraction=` out"
                )

    def of(self, dataset: "GeneDataset", *, say: Callable[[str], None] = lambda line: None) -> Split:
        """Split the genes of a dataset.

        Parameters
        ----------
        say
            Called with how the lists of `genes_in` met the genes, a line at a time.

        Raises
        ------
        ValueError
            If a part is left without genes, no gene is in all lists, or parts of a split file share genes (they are
            listed).
        """
        genes = dataset.genes
        if self.split is not None:
            split = Split.read(self.split)
            _say_what_lacks(split, genes, self.split)
            return self._learned_from_listed(split, genes, say)
        test = None if self.test_genes is None else read_gene_list(self.test_genes)
        genes = self._listed(genes, test or (), say)
        fraction = self.validation_fraction or _VALIDATION
        if test is not None:
            return splits.by_gene_list(genes, test, validation_fraction=fraction, seed=self.seed)
        if self.folds is not None:
            way = splits.by_family if self.by_family else splits.by_contig_group
            return way(genes, n_folds=self.folds, fold=self.fold, seed=self.seed)
        if self.chromosome_fold is not None:
            return by_chromosome_fold(genes, fold=self.chromosome_fold)
        if self.test_contigs is None:
            split = splits.random(genes, seed=self.seed)
            if self.validation_fraction is None:
                return split
            return splits.by_gene_list(genes, split.test, validation_fraction=fraction, seed=self.seed)
        resolve = dataset.windows.assembly.resolve
        test = [resolve(contig) for contig in self.test_contigs]
        if self.validation_contigs is None:
            held_out = genes.filter(pl.col("contig").is_in(test))["gene_id"].to_list()
            return splits.by_gene_list(genes, held_out, validation_fraction=fraction, seed=self.seed)
        return splits.by_contig(genes, test=test, validation=[resolve(contig) for contig in self.validation_contigs])

    def _listed(self, genes: pl.DataFrame, test: Sequence[str], say: Callable[[str], None]) -> pl.DataFrame:
        """Keep the genes that are in all lists, and those that are named as test genes."""
        if not self.genes_in:
            return genes
        found = genes_in_all(genes["gene_id"].to_list(), self.genes_in)
        for line in found.lines:
            say(line)
        kept = [*found.ids, *plainly_spelled(test).to_list()]
        return genes.filter(pl.col("gene_id").is_in(kept))

    def _learned_from_listed(self, split: Split, genes: pl.DataFrame, say: Callable[[str], None]) -> Split:
        kept = set(self._listed(genes, split.test, say)["gene_id"]) if self.genes_in else None
        if kept is None:
            return split
        return Split(
            train=tuple(gene for gene in split.train if gene in kept),
            validation=tuple(gene for gene in split.validation if gene in kept),
            test=split.test,
        )


def _say_what_lacks(split: Split, genes: pl.DataFrame, path: Path) -> None:
    """Warn of genes that a split names and the dataset lacks, and the reverse: neither are trained on."""
    named = [*split.train, *split.validation, *split.test]
    for ids, others, what in (
        (named, genes["gene_id"].to_list(), f"genes of {path} are not in the gene table or have no target"),
        (genes["gene_id"].to_list(), named, f"genes are in no part of {path}"),
    ):
        known = set(others)
        lacking = [gene for gene in ids if gene not in known]
        if lacking:
            _log.warning("%d of %d %s, and are left out: %s", len(lacking), len(ids), what, listed(lacking))


def count_sharing_bases(
    scored: Sequence[str], train: Sequence[str], dataset: "GeneDataset", *, trained_bins: int, read_bins: int
) -> int:
    """Count the scored genes whose windows share bases with a training window.

    Parameters
    ----------
    scored, train
        Gene ids; those that the dataset lacks are not counted.
    trained_bins, read_bins
        Bins of a window in training, and of a scored gene's.
    """
    there = set(dataset.gene_ids)
    kept = [tuple(gene for gene in ids if gene in there) for ids in (train, scored)]
    split = Split(train=kept[0], validation=(), test=kept[1])
    bin_size = dataset.identity.bin_size
    assert bin_size is not None, "that of a dataset is known; runs of early versions did not record theirs"
    # Windows of two lengths share bases if their centres are nearer than half the sum of these.
    reach = (trained_bins + read_bins) * bin_size // 2
    return splits.overlaps(split, dataset.genes, window_bp=reach).height


def shared_bases(split: Split, dataset: "GeneDataset", *, refuse: bool) -> str:
    """Say in a line how many test genes have windows that share bases with training windows.

    Raises
    ------
    SharedBases
        If there are any and `refuse` is set; it lists them.
    """
    there = set(dataset.gene_ids)
    kept = Split(
        train=tuple(gene for gene in split.train if gene in there),
        validation=(),
        test=tuple(gene for gene in split.test if gene in there),
    )
    window_bp = dataset.n_bins * dataset.windows.bin_size
    found = splits.overlaps(kept, dataset.genes, window_bp=window_bp)
    if refuse and found.height:
        raise SharedBases(
            f"the windows of {found.height} test genes share bases with those of training genes: "
            f"{listed(found['gene_id'].to_list())}; hold out whole contigs (`test_contigs=`, `folds=`), take fewer "
            "bins, or leave `refuse_overlap=` out"
        )
    return splits.overlap_report(kept, dataset.genes, window_bp=window_bp)
