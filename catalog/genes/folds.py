"""The 12 folds by chromosome of the 18,377 genes that Xpresso, EPInformer, Seq2Exp and Prism are compared on.

Belongs here: which chromosomes each fold tests, and the split of any gene table by them. Does not: other ways to split
(`catalog.genes.splits`).

Test chromosomes are those of pinellolab/EPInformer `leave_chrom_out_crossvalidation_split_18377genes.csv`. The file
names no validation chromosomes. Seq2Exp and Prism report fold 11 alone, with chromosomes 3 and 21 for validation; for
the other folds those of the next one are taken, and of the first after the last.
"""

import logging
import re

from catalog.genes.frames import Table, as_polars
from catalog.genes.splits import Split
from catalog.genes.table import CHROMOSOMES
from catalog.runtime.tables import listed
from catalog.runtime.whole_numbers import whole_number

TEST_CHROMOSOMES: dict[int, tuple[str, ...]] = {
    **{fold: (str(fold + 1), str(fold + 11)) for fold in range(1, 11)},
    11: ("22", "X"),
    12: ("1",),
}
"""By fold, from 1; chromosomes without `chr`. Each is tested once, Y and M never."""
PUBLISHED_FOLD = 11
"""That which Seq2Exp and Prism report."""
_PUBLISHED_VALIDATION = ("3", "21")

_log = logging.getLogger(__name__)


def validation_chromosomes(fold: int) -> tuple[str, ...]:
    """Give the chromosomes whose genes choose the epoch; the errors of `by_chromosome_fold`."""
    fold = _checked(fold)
    return _PUBLISHED_VALIDATION if fold == PUBLISHED_FOLD else TEST_CHROMOSOMES[fold % len(TEST_CHROMOSOMES) + 1]


def by_chromosome_fold(genes: Table, *, fold: int = PUBLISHED_FOLD) -> Split:
    """Split genes as one of the 12 published folds does.

    Parameters
    ----------
    genes
        A gene table of a human assembly (`catalog.genes.table`): `chr1`, `1` and `NC_000001.11` are one chromosome.
    fold
        From 1 to 12, as the file numbers them.

    Returns
    -------
    Genes on other contigs (Y, M, patches), which no fold tests, are in no part; a warning counts them.

    Raises
    ------
    ValueError
        If there is no such fold, or the table has no gene to test or to train on.
    """
    fold = _checked(fold)
    part_of = {name: "train" for names in TEST_CHROMOSOMES.values() for name in names}
    part_of |= dict.fromkeys(validation_chromosomes(fold), "validation") | dict.fromkeys(TEST_CHROMOSOMES[fold], "test")
    genes = as_polars(genes)
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    elsewhere: list[str] = []
    for gene, contig in zip(genes["gene_id"], genes["contig"], strict=True):
        part = part_of.get(_chromosome(contig))
        (elsewhere if part is None else parts[part]).append(gene)
    contigs = listed(genes["contig"].unique(maintain_order=True).to_list())
    for part in ("test", "train"):
        if not parts[part]:
            names = listed([f"chr{name}" for name, its in part_of.items() if its == part])
            raise ValueError(
                f"fold {fold} has no gene to {part}: none lies on {names}; the genes are on {contigs}; take another "
                "fold, or hold out contigs of your own (`catalog.genes.splits.by_contig`)"
            )
    if elsewhere:
        what = "%d of %d genes lie on contigs that no fold tests, and are left out: %s"
        _log.warning(what, len(elsewhere), len(genes), listed(elsewhere))
    return Split(train=tuple(parts["train"]), validation=tuple(parts["validation"]), test=tuple(parts["test"]))


def _checked(fold: int) -> int:
    fold = whole_number(fold, name="fold")
    if fold not in TEST_CHROMOSOMES:
        raise ValueError(
            f"there are {len(TEST_CHROMOSOMES)} folds by chromosome, 1 to {len(TEST_CHROMOSOMES)}; got fold={fold}"
        )
    return fold


def _chromosome(contig: str) -> str:
    accession = contig.split(".")[0]
    return re.sub(r"^chr", "", CHROMOSOMES.get(accession, contig), flags=re.IGNORECASE)
