"""What tests of several models read: small language models, and genes on a small store."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from catalog import Grid
from catalog.genes.table import GENE_SCHEMA
from featurestore.testing import built_store
from model.testing import FAMILIES, Family, write_tiny_backbone


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    """Write a language model of each family."""
    folder = tmp_path_factory.mktemp("backbones")
    return {family: write_tiny_backbone(folder / family, family) for family in FAMILIES}


@pytest.fixture(scope="session")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write `genes.tsv`, `targets.tsv`, and the stores `store` and, of another fingerprint, `other`."""
    folder = tmp_path_factory.mktemp("genome")
    for name, fingerprint in (("store", "f0"), ("other", "f1")):
        built_store(folder / name, {"chr1": 900, "chr2": 300}, Grid(bin_size=16), fingerprint=fingerprint)
    rows = [(contig, tss) for contig, length in (("chr1", 900), ("chr2", 300)) for tss in range(20, length, 25)]
    genes = pl.DataFrame(
        [(f"ENSG{place}", f"G{place}", contig, "+", tss, None) for place, (contig, tss) in enumerate(rows)],
        schema=GENE_SCHEMA,
        orient="row",
    )
    genes.write_csv(folder / "genes.tsv", separator="\t")
    values = np.random.default_rng(0).exponential(size=len(genes))
    genes.select("gene_id", value=pl.Series(values)).write_csv(folder / "targets.tsv", separator="\t")
    return folder
