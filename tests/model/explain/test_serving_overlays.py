"""`/v1/predict` over a personal genome: the rows of the overlay, and the store's error where they were not built."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from overlay_stores import SPELLED, build_overlay_in_process, spelled_store, write_vcf
from served import client_of
from starlette.testclient import TestClient

from builders.overlays.request import OverlayRequest
from catalog.genes.table import GENE_SCHEMA
from featurestore import NotBuilt
from featurestore.cli.main import main
from featurestore.format.array_key import ArrayKey
from featurestore.format.layout import overlay_folder
from featurestore.store import Store, open_store
from featurestore.testing.fixtures import random_sequences, write_fasta
from loaders import WindowSettings
from model.runs.folder import open_run
from model.runs.workflow import load_genes_as_trained, predict

pytest.importorskip("cyvcf2", reason="the extra `variants` is not installed")
LENGTH, N_BINS = 800, 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store with the overlays S/1 and S/2, genes, and a run that was trained on the reference."""
    folder = tmp_path_factory.mktemp("personal")
    sequences = random_sequences({"chr1": LENGTH})
    fasta = write_fasta(folder / "genome.fa", sequences)
    store = spelled_store(str(folder / "store"), fasta)
    bases = sequences["chr1"]
    lines = [f"chr1 {place} {bases[place - 1]} {'A' if bases[place - 1] != 'A' else 'C'} 1|1" for place in (200, 400)]
    vcf = write_vcf(folder / "s.vcf", lines)
    for haplotype in (1, 2):
        request = OverlayRequest(
            feature_set="spelled", vcf=vcf, fasta=str(fasta), haplotype=haplotype, extractor=SPELLED, device="cpu"
        )
        build_overlay_in_process(store.url, request)
    records = f"commits/{ArrayKey('spelled', overlay=overlay_folder('S/1'))}"
    for key, _ in list(store.objects.walk(records)):
        store.objects.delete(key)
    rows = [(f"ENSG{tss}", f"G{tss}", "chr1", "+", tss, None) for tss in range(20, LENGTH, 20)]
    pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row").write_csv(folder / "genes.tsv", separator="\t")
    targets = pl.DataFrame({"gene_id": [row[0] for row in rows], "value": [float(row[4] % 70) for row in rows]})
    targets.write_csv(folder / "targets.tsv", separator="\t")
    tables = f"--genes {folder}/genes.tsv --targets {folder}/targets.tsv --model ridge-centre --n-bins {N_BINS}"
    assert main(["train", f"{folder}/store", *tables.split(), "--out", f"{folder}/run"]) == 0
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with client_of(open_store(folder / "store"), genes=folder / "genes.tsv", model=folder / "run") as client:
        yield client


def store_of(folder: Path) -> Store:
    return open_store(folder / "store")


def test_a_prediction_over_an_overlay_is_that_of_the_command_line(client: TestClient, folder: Path) -> None:
    run = open_run(folder / "run")
    found = {}
    for overlay in ("S/2", "none"):
        windows = WindowSettings(overlay=overlay)
        genes = load_genes_as_trained(
            run, str(folder / "store"), genes=folder / "genes.tsv", targets=None, windows=windows
        )
        expected = predict(run, genes).filter(gene_id="ENSG400")["prediction"].item()
        reply = client.get(f"/v1/predict?gene=G400&overlay={overlay}").json()
        assert reply["prediction"] == pytest.approx([expected], rel=1e-5)
        assert reply["overlay"] == (None if overlay == "none" else overlay)
        found[overlay] = reply["prediction"]
    assert found["S/2"] != found["none"]
    assert client.get("/v1/predict?gene=G400").json()["prediction"] == found["none"]


@pytest.mark.parametrize("overlay", ["S/1", "NA12878/1"], ids=["it lost its records", "there is none"])
def test_rows_of_an_overlay_that_were_not_built_are_refused_as_by_the_store(
    client: TestClient, folder: Path, overlay: str
) -> None:
    with pytest.raises(NotBuilt) as refused:
        store_of(folder)["spelled"].with_overlay(overlay).window("chr1", 400, n_bins=N_BINS)
    reply = client.get(f"/v1/predict?gene=G400&overlay={overlay}")
    assert (reply.status_code, reply.json()["type"].rpartition(":")[2]) == (404, "not-built")
    assert reply.json()["detail"] == " ".join(str(refused.value).split()).replace(str(folder / "store"), "a")
