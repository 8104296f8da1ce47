"""Xpresso's predictions for the genes of a table, from a genome's sequence.

    from builders.extractors.xpresso.promoters import predict_expression
    predict_expression("human_trainepoch.11-0.426.h5", "hg38.fa", catalog.read_genes("MANE.summary.txt.gz"))

Belongs here: which bases a promoter is, predictions as a table. Does not: the network
(`builders.extractors.xpresso.network`), scores (`featurestore evaluate --predictions`).
"""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from builders.extractors.sequence import bases, reverse_complement
from builders.extractors.xpresso.network import Xpresso, load_xpresso
from catalog import Assembly, Fasta
from catalog.genes.frames import Table
from catalog.genes.table import place_genes

UPSTREAM_SHARE = (2, 3)
"""Part of a promoter's bases that lies upstream of the TSS: 7,000 of 10,500."""
_log = logging.getLogger(__name__)


def predict_expression(
    weights: str | os.PathLike[str],
    fasta: str | os.PathLike[str],
    genes: Table,
    *,
    device: str = "auto",
    batch_size: int = 16,
    fasta_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pl.DataFrame:
    """Predict the expression of each gene from its promoter: 7,000 bp upstream of the TSS to 3,500 bp downstream.

    Parameters
    ----------
    weights
        Xpresso's network as Keras saved it (`load_xpresso`).
    fasta, fasta_options
        The genome: a path or any fsspec URL, and its credentials. Every base is read once, for the contigs' digests,
        unless they are cached.
    genes
        A gene table; genes that do not lie on the genome, or whose strand is not known, are left out with a line in
        the log.
    device
        `auto`, `cpu` or `cuda`.
    batch_size
        Promoters at a time; 16 of 10,500 bp take 90 MB.
    progress
        Called with the genes done and their number.

    Returns
    -------
    gene_id, symbol, and xpresso: standardised log expression, as published, float32. Bases past the end of a contig
    count as N.

    Raises
    ------
    KerasFileError
        If the file is no network of Xpresso's.
    AssemblyMismatch
        If no gene lies on the genome.
    ValueError
        If none of them has a strand.
    """
    network = load_xpresso(weights).to(_device(device))
    with Fasta(fasta, storage_options=fasta_options) as opened:
        placed = place_genes(genes, Assembly.from_fasta(opened)).genes
        stranded = placed.filter(pl.col("strand").is_in(["+", "-"]))
        if stranded.is_empty():
            raise ValueError(
                "no gene has a strand, + or -, and a promoter lies upstream on its gene's; name the strands"
            )
        if stranded.height < placed.height:
            _log.warning("%d genes have no strand and are left out", placed.height - stranded.height)
        predicted = np.empty(stranded.height, dtype=np.float32)
        for first in range(0, stranded.height, batch_size):
            batch = stranded[first : first + batch_size].select("contig", "tss", "strand").iter_rows()
            sequences = np.stack([promoter(opened, *gene, length=network.input_length) for gene in batch])
            predicted[first : first + len(sequences)] = _predict(network, sequences)
            progress(first + len(sequences), stranded.height)
    return stranded.select("gene_id", "symbol", xpresso=pl.Series(predicted))


def promoter(fasta: Fasta, contig: str, tss: int, strand: str, *, length: int = 10_500) -> NDArray[np.uint8]:
    """Read a promoter on its gene's strand, as ASCII, shape `(length,)`; N past the ends of the contig.

    The intervals are the published ones: `[tss - 7000, tss + 3500)` on the plus strand, and on the minus strand
    `[tss - 3500, tss + 7000)`, with the 0-based TSS.
    """
    upstream = length * UPSTREAM_SHARE[0] // UPSTREAM_SHARE[1]
    if strand == "+":
        return bases(fasta, contig, tss - upstream, tss - upstream + length)
    return reverse_complement(bases(fasta, contig, tss + upstream - length, tss + upstream))


@torch.no_grad()
def _predict(network: Xpresso, sequences: NDArray[np.uint8]) -> NDArray[np.float32]:
    device = next(network.parameters()).device
    return np.asarray(network(torch.from_numpy(sequences).to(device)).cpu().numpy())


def _device(name: str) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda") or (name == "cuda" and not has_gpu):
        raise ValueError(
            f"`device=` is auto, cpu or cuda{'' if has_gpu else ', and there is no GPU here'}; got {name!r}"
        )
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")
