"""Windows of a personal genome are those of the overlaid reader, wherever the rows are kept."""

from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
import torch
from overlay_stores import SPELLED, build_overlay_in_process, spelled_store, write_vcf

from builders.overlays.request import OverlayRequest
from catalog.genes.table import GENE_SCHEMA
from featurestore import Store
from featurestore.testing import random_sequences, write_fasta
from loaders import Residence, WindowDataset, gene_dataset

CENTRES = list(range(3, 1000, 61))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("overlays")
    sequence = random_sequences({"chr1": 1000}, seed=1)["chr1"]
    fasta = write_fasta(folder / "tiny.fa", {"chr1": sequence})
    made = spelled_store(str(folder / "tiny.store"), fasta, offsets=(0, 8))
    other = "A" if sequence[499] != "A" else "C"
    vcf = write_vcf(
        folder / "s.vcf", [f"chr1 200 {sequence[199]} {sequence[199]}ACG 1|1", f"chr1 500 {sequence[499]} {other} 0|1"]
    )
    for haplotype in (1, 2):
        request = OverlayRequest(
            feature_set="spelled", vcf=vcf, fasta=str(fasta), haplotype=haplotype, extractor=SPELLED, device="cpu"
        )
        build_overlay_in_process(made.url, request)
    return made


@pytest.mark.parametrize("residence", get_args(Residence))
def test_every_residence_gives_the_windows_of_the_overlaid_reader(
    store: Store, residence: Residence, tmp_path: Path
) -> None:
    def windows(overlay: str | None) -> WindowDataset:
        return WindowDataset(
            store.url,
            "spelled",
            contigs="chr1",
            centres=CENTRES,
            n_bins=5,
            residence=residence,
            overlay=overlay,
            cache_dir=tmp_path,
        )

    plain = windows(None)
    assert plain.reader.overlay is None
    for name in ("S/1", "S/2"):
        dataset = windows(name)
        expected = store["spelled"].with_overlay(name).windows("chr1", CENTRES, 5).values.astype(np.float32)
        for _ in range(2):  # the second time from what is kept
            assert torch.equal(dataset[range(len(CENTRES))].cpu(), torch.from_numpy(expected))
        assert not torch.equal(dataset[range(len(CENTRES))], plain[range(len(CENTRES))])


def test_the_reference_is_read_as_before_beside_its_overlays(store: Store) -> None:
    plain = WindowDataset(store.url, "spelled", contigs="chr1", centres=CENTRES, n_bins=5)
    expected = store["spelled"].windows("chr1", CENTRES, 5).values.astype(np.float32)
    assert torch.equal(plain[range(len(CENTRES))], torch.from_numpy(expected))


def test_genes_are_read_through_an_overlay_and_never_around_anchors(store: Store) -> None:
    row = dict.fromkeys(GENE_SCHEMA) | {"gene_id": "g", "symbol": "G", "contig": "chr1", "strand": "+", "tss": 500}
    genes = pl.DataFrame([row], schema=GENE_SCHEMA)
    dataset = gene_dataset(store.url, "spelled", genes, n_bins=3, overlay="S/2")
    expected = store["spelled"].with_overlay("S/2").windows("chr1", [500], 3).values.astype(np.float32)
    assert torch.equal(dataset[0].features, torch.from_numpy(expected))
    with pytest.raises(ValueError, match="an overlay is of the grid"):
        gene_dataset(store.url, "spelled", genes, n_bins=3, overlay="S/2", anchors="tss")
