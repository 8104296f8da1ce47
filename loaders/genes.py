"""Genes as training examples: features around the TSS, a prompt, and a target.

Belongs here: joining a gene table, annotations and expression to windows. Does not: reading those tables (`catalog`),
models (`model`).
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, overload

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from catalog import FeatureIdentity
from catalog.genes import table as gene_tables
from catalog.genes.frames import Table, as_polars
from catalog.ncbi import annotations as ncbi
from catalog.ncbi.prompts import PromptSettings, write_prompt
from catalog.runtime.whole_numbers import whole_number
from featurestore import Store, open_store
from featurestore.display import Display, Displayed, heading, some
from featurestore.store import StorePlace
from loaders.gene_windows import windows_of_genes
from loaders.joining import JoinReport, join_genes
from loaders.settings import Orientation, WindowSettings
from loaders.stats import Stats
from loaders.windows.indexing import checked_indices
from loaders.windows.source import WindowSource


class GeneBatch(NamedTuple):
    """Some genes, ready for a model."""

    features: Tensor
    """Features, shape `(genes, n_bins, channels)`, float32."""
    prompts: list[str]
    """What the language model reads before the bins; empty where there is no annotation."""
    targets: Tensor
    """Expression as measured, shape `(genes,)`, or `(genes, tasks)` of several columns, float32; NaN where it is not
    known."""
    indices: Tensor
    """Place of each gene in the dataset, shape `(genes,)`, int64."""


def collate(batches: Sequence[GeneBatch], **_: Any) -> GeneBatch:
    """Concatenate batches of genes; torch's `default_collate` knows it, so a plain DataLoader does it too."""
    return GeneBatch(
        torch.cat([batch.features for batch in batches]),
        [prompt for batch in batches for prompt in batch.prompts],
        torch.cat([batch.targets for batch in batches]),
        torch.cat([batch.indices for batch in batches]),
    )


default_collate_fn_map[GeneBatch] = collate


class GeneDataset(Displayed, Dataset[GeneBatch]):
    """Genes with their windows, prompts and targets, map-style.

    Parameters
    ----------
    windows
        One window a gene, centred on its TSS: a `WindowDataset` on the grid, `AnchoredWindows` to the base, a
        `StackedDataset` of several feature sets, a `JoinedDataset` of several stores, or a source of one's own.
    genes
        Rows of the gene table in the windows' order (`catalog.genes.table.GENE_SCHEMA`).
    prompts
        One text a gene.
    targets
        Expression of each gene, >= 0, shape `(genes,)`, or `(genes, tasks)` for several cell types; NaN where it is not
        known.
    joined
        How the tables met, where they were joined by `gene_dataset`.
    annotations
        What the prompts were written from, a row a gene (`catalog.ncbi.annotations.ANNOTATION_SCHEMA`), so that
        `with_prompts` can write others; None for texts of one's own.
    prompt_settings
        How they were written; None where nobody chose.
    """

    def __init__(
        self,
        windows: WindowSource,
        genes: Table,
        *,
        prompts: Sequence[str],
        targets: Sequence[float] | Sequence[Sequence[float]],
        joined: JoinReport | None = None,
        annotations: "Table | None" = None,
        prompt_settings: PromptSettings | None = None,
    ) -> None:
        genes = as_polars(genes, gene_tables.GENE_SCHEMA)
        if not len(windows) == len(genes) == len(prompts) == len(targets):
            raise ValueError(
                f"one window, row, prompt and target a gene: got {len(windows)}, {len(genes)}, {len(prompts)} and "
                f"{len(targets)}"
            )
        self.windows: WindowSource = windows
        self.genes = genes
        self._prompts = list(prompts)
        self.targets = torch.tensor(np.asarray(targets, dtype=np.float64), dtype=torch.float32)
        self.joined = joined
        self.annotations = None if annotations is None else as_polars(annotations, ncbi.ANNOTATION_SCHEMA)
        self.prompt_settings = prompt_settings

    @property
    def prompts(self) -> list[str]:
        """One text a gene; may be set to texts of one's own."""
        return self._prompts

    @prompts.setter
    def prompts(self, prompts: Sequence[str]) -> None:
        self._prompts = list(prompts)
        self.annotations = self.prompt_settings = None

    @property
    def n_bins(self) -> int:
        """Bins a window; may be set at any time."""
        return self.windows.n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self.windows.n_bins = n_bins

    def with_n_bins(self, n_bins: int) -> "GeneDataset":
        """Give the dataset of the same genes with so many bins a window; it shares what was read already."""
        return self._with_windows(self.windows.with_n_bins(n_bins))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the features' last axis."""
        return self.windows.channel_names

    @property
    def gene_ids(self) -> list[str]:
        """Identifier of each gene."""
        return self.genes["gene_id"].to_list()

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features, with the channels that are shown."""
        return self.windows.identity

    @property
    def orient(self) -> Orientation:
        """Which way the bins run: along the forward strand, or along each gene."""
        return self.windows.orient

    @property
    def jitter(self) -> tuple[int, int]:
        """How far a window may move either way: whole bins, and bp."""
        settings = self.windows.settings
        return settings.jitter_bins, settings.jitter_bp

    @property
    def fingerprint(self) -> str:
        """What the features were made with."""
        return self.windows.fingerprint

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by name of the feature set."""
        return self.windows.fingerprints

    @property
    def stats(self) -> Stats:
        """What was read in this process."""
        return self.windows.stats

    def set_epoch(self, epoch: int) -> None:
        """Jitter the windows as in this epoch; `loaders.data_loader` and `WindowStream` call it."""
        self.windows.set_epoch(epoch)

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each TSS lies in, by number: the blocks of a two-level shuffle, shape `(genes,)`."""
        return self.windows.blocks()

    def __len__(self) -> int:
        return len(self.prompts)

    @overload
    def __getitem__(self, index: int) -> GeneBatch: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> GeneBatch: ...
    def __getitem__(self, index: int | slice | Sequence[int]) -> GeneBatch:
        """Read some genes, of a list of indices or a slice; a single index gives a batch of one."""
        if isinstance(index, slice):
            index = range(len(self))[index]
        listed_indices = index if isinstance(index, Sequence | np.ndarray) else [whole_number(index, name="index")]
        indices = checked_indices(listed_indices, len(self))
        places = torch.tensor(indices, dtype=torch.int64)
        return GeneBatch(
            self.windows[indices], [self.prompts[place] for place in indices], self.targets[places], places
        )

    def __getitems__(self, indices: Sequence[int]) -> list[GeneBatch]:
        """Read many genes in one request, as one batch; DataLoader calls this when it makes batches itself."""
        return [self[list(indices)]]

    def subset(self, gene_ids: Sequence[str]) -> "GeneDataset":
        """Give the dataset of some of the genes, in the order of this one; it shares what was read already."""
        wanted = set(gene_ids)
        keep = [place for place, gene in enumerate(self.gene_ids) if gene in wanted]
        return GeneDataset(
            self.windows.subset(keep),
            self.genes[keep],
            prompts=[self.prompts[place] for place in keep],
            targets=self.targets[keep].tolist(),
            joined=self.joined,
            annotations=None if self.annotations is None else self.annotations[keep],
            prompt_settings=self.prompt_settings,
        )

    def with_prompts(self, settings: PromptSettings) -> "GeneDataset":
        """Give the dataset of the same genes with prompts of another template or cell type.

        Raises
        ------
        ValueError
            If the prompts are texts of one's own, so that there is nothing to write others from.
        """
        if self.annotations is None:
            raise ValueError(
                "these genes have prompts of their own, not written from annotations; leave the template and the cell "
                "type out, or make the dataset with `gene_dataset`"
            )
        changed = copy.copy(self)
        changed._prompts = [write_prompt(row, settings) for row in self.annotations.iter_rows(named=True)]
        changed.prompt_settings = settings
        return changed

    def _display(self) -> Display:
        known = f"{int((~self.targets.isnan()).sum()):,} of {self.targets.numel():,} known"
        tasks = "" if self.targets.ndim == 1 else f", {self.targets.shape[1]:,} tasks"
        return Display(
            f"GeneDataset of {len(self):,} genes",
            (
                ("genes", some(self.gene_ids)),
                ("windows", heading(self.windows)),
                ("features", f"{self.n_bins:,} bins x {len(self.channel_names):,} channels"),
                ("prompts", f"{sum(map(bool, self.prompts)):,} with words"),
                ("targets", known + tasks),
            ),
        )

    def unjittered(self) -> "GeneDataset":
        """Give the dataset of the same genes with every window centred on its TSS, as models are judged on."""
        return self._with_windows(self.windows.unjittered())

    def _with_windows(self, windows: WindowSource) -> "GeneDataset":
        """Give a copy of the same genes that reads its features elsewhere."""
        changed = copy.copy(self)
        changed.windows = windows
        return changed


def gene_dataset(
    url: StorePlace,
    feature_set: str | Sequence[str],
    genes: Table,
    *,
    anchors: str | None = None,
    annotations: "Table | None" = None,
    targets: "Table | None" = None,
    prompt_settings: PromptSettings | None = None,
    settings: WindowSettings | None = None,
    **changes: Any,
) -> GeneDataset:
    """Join a gene table to the windows of a store.

    Parameters
    ----------
    url
        The store: its path or URL, or one that is open.
    feature_set
        Name of the set; of several, their channels are put side by side (`loaders.StackedDataset`).
    genes
        Table of `catalog.genes.table.read_genes`, or one of these columns by pandas or any library that narwhals knows;
        so are annotations and targets.
    anchors
        Name of an anchored array of the feature set, whose windows are centred on each TSS to the base; None for
        windows of the grid.
    annotations
        Table of `catalog.ncbi.annotations.read_annotations`; None for prompts of what the gene table knows.
    targets
        Table of `catalog.expression.targets.read_targets`, or one with `gene_id` and a column for each of several
        tasks. Genes that are not in it are left out, and counted with those targets that have no gene in
        `GeneDataset.joined`; None keeps all, with NaN. Ids may be spelled as `catalog.genes.identifiers` has it.
    prompt_settings
        Template and cell type of the prompts; None for those of the model that is trained, until then `plain`.
    settings
        How windows are cut, read and shown; None for the defaults.
    changes
        Fields of `WindowSettings` in place of those of `settings`: `n_bins`, `residence`, `channels`, `orient`, ...

    Raises
    ------
    ValueError
        If no gene lies on the store's assembly, or none has a target (both sides' names are shown); if a gene has two
        targets; if the anchors lack a gene, or have another position for it.

    Warns
    -----
    UserWarning
        If fewer than half of the genes, or of the targets if these are fewer, meet the other; or fewer than half have
        an annotation.
    """
    genes = as_polars(genes, gene_tables.GENE_SCHEMA, needs=("gene_id", "symbol", "contig", "strand", "tss"))
    settings = replace(settings or WindowSettings(), **changes)
    store = url if isinstance(url, Store) else open_store(url, storage_options=settings.storage_options)
    placed, values, report = join_genes(genes, targets, store.assembly)
    told = ncbi.annotate(placed, pl.DataFrame(schema=ncbi.ANNOTATION_SCHEMA) if annotations is None else annotations)
    if annotations is not None:
        is_told = pl.any_horizontal(pl.col("ncbi_gene_id", "name", "summary").is_not_null())
        report = replace(report, annotated=told.filter(is_told).height)
    report.warn(stacklevel=3)
    # Models compute with floats, whatever the store holds.
    windows = windows_of_genes(url, feature_set, placed, anchors, replace(settings, dtype=settings.dtype or "float32"))
    return GeneDataset(
        windows,
        placed,
        prompts=[write_prompt(row, prompt_settings) for row in told.iter_rows(named=True)],
        targets=values,
        joined=report,
        annotations=told,
        prompt_settings=prompt_settings,
    )
