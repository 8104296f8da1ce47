"""`/v1/predict`: the numbers of `predict`, `knock_out` and `attention_of`, around any gene or position."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from checkout import ROOT
from random_requests import ask_a_model_at_random
from schemathesis import GenerationMode
from served import client_of
from starlette.testclient import TestClient

from catalog.genes.table import read_genes
from featurestore.cli.main import main
from featurestore.store import open_store
from model.explain.attention import attention_of
from model.explain.occlusion import knock_out, predict_occluded
from model.runs.folder import Run, open_run
from model.runs.workflow import load_genes_as_trained, predict
from model.testing import write_tiny_backbone

N_BINS, BIN = 7, 16


def trained(genome: Path, name: str, out: Path, *words: str) -> Path:
    tables = ["--genes", genome / "genes.tsv", "--targets", genome / "targets.tsv"]
    options = ["--model", name, "--n-bins", N_BINS, "--epochs", 1, "--device", "cpu", "--test-contigs", "chr2", *words]
    assert main([*map(str, ["train", genome / "store", *tables, "--out", out, *options])]) == 0
    return out


@pytest.fixture(scope="module")
def run(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    backbone = write_tiny_backbone(folder / "llama", "llama", positions=160)
    return trained(genome, "gta-best", folder / "run", "--backbone", str(backbone), "--orient", "gene")


@pytest.fixture(scope="module")
def client(genome: Path, run: Path) -> Iterator[TestClient]:
    with client_of(open_store(genome / "store"), genes=turned(genome), model=run, device="cpu") as client:
        yield client


def turned(genome: Path) -> Path:
    """Write the table of genes with every other one on the minus strand."""
    path = genome / "turned.tsv"
    genes = read_genes(genome / "genes.tsv").with_row_index()
    strand = pl.when(pl.col("index") % 2 == 1).then(pl.lit("-")).otherwise(pl.lit("+"))
    genes.with_columns(strand=strand).drop("index").write_csv(path, separator="\t")
    return path


@pytest.fixture(scope="module")
def opened(run: Path) -> Run:
    return open_run(run, device="cpu")


def dataset_of(opened: Run, genome: Path) -> Any:
    return load_genes_as_trained(opened, str(genome / "store"), genes=turned(genome), targets=None)


@pytest.mark.parametrize("gene", ["G4", "G5", "ENSG40"])
def test_a_prediction_is_that_of_the_command_line(client: TestClient, opened: Run, genome: Path, gene: str) -> None:
    frame = predict(opened, dataset_of(opened, genome))
    expected = frame.filter((pl.col("symbol") == gene) | (pl.col("gene_id") == gene)).row(0, named=True)
    reply = client.get(f"/v1/predict?gene={gene}").json()
    assert reply["prediction"] == pytest.approx([expected["prediction"]], rel=1e-5)
    assert (reply["subset"], reply["gene"]["gene_id"]) == (expected["subset"], expected["gene_id"])
    assert (reply["unit"], reply["n_bins"], reply["bin_size"]) == ("log(1 + expression)", N_BINS, BIN)


@pytest.mark.parametrize("gene", ["ENSG4", "ENSG5"])
def test_explanations_are_those_of_the_library_from_left_to_right(
    client: TestClient, opened: Run, genome: Path, gene: str
) -> None:
    genes = dataset_of(opened, genome).subset([gene]).unjittered()
    is_reversed = bool(genes.windows.is_reversed[0])
    assert is_reversed == (gene == "ENSG5")
    reply = client.get(f"/v1/predict?gene={gene}&explain=attention&explain=occlusion").json()
    weights = attention_of(opened.predictor, genes, [gene]).over_heads()[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(reply["attention"]["weights"], weights[::-1] if is_reversed else weights, rtol=1e-5)
    starts = reply["first_start"] + np.arange(N_BINS) * BIN
    for place, start in enumerate(starts.tolist()):
        element = pl.DataFrame({"contig": [reply["contig"]], "start": [start], "end": [start + BIN]})
        change = knock_out(opened.predictor, genes, element)["change"].item()
        assert reply["occlusion"][place] == pytest.approx(change, abs=1e-6)


def test_a_hidden_element_changes_the_prediction_as_its_bins_do(client: TestClient, opened: Run, genome: Path) -> None:
    whole = client.get("/v1/predict?gene=ENSG5").json()
    first = whole["first_start"]
    inside = f"{first + BIN + 3}-{first + 2 * BIN + 1}"  # touches bins 1 and 2
    reply = client.get(f"/v1/predict?gene=ENSG5&hide={inside}&hide={first + 5 * BIN}-{first + 6 * BIN}").json()
    assert reply["hidden"]["bins"] == [1, 2, 5]
    genes = dataset_of(opened, genome).subset(["ENSG5"]).unjittered()
    mask = np.isin(np.arange(N_BINS), [1, 2, 5])[None, ::-1]
    expected = predict_occluded(opened.predictor, genes, mask)
    np.testing.assert_allclose(reply["hidden"]["prediction"], expected, rtol=1e-5)
    np.testing.assert_allclose(reply["hidden"]["change"], expected - np.asarray(whole["prediction"]), atol=1e-6)
    assert reply["prediction"] == whole["prediction"]


def test_a_position_and_another_number_of_bins_are_predicted_too(client: TestClient) -> None:
    reply = client.get("/v1/predict?at=1:333&bins=5").json()
    assert (reply["contig"], reply["centre"], reply["gene"], reply["subset"]) == ("chr1", 333, None, None)
    assert reply["n_bins"] == 5
    assert np.isfinite(reply["prediction"]).all()


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("", 422, "name one place"),
        ("gene=none", 404, "no gene"),
        ("at=chr9:3", 404, "chr9"),
        ("gene=G4&hide=5-3", 422, "START-END"),
        ("gene=G4&hide=100000-100001", 422, "within the window"),
        ("gene=G4&hide=chr1:5-9", 422, "START-END"),
        ("gene=G4&explain=saliency", 422, "attention"),
        ("gene=G4&bins=0", 422, "bins"),
        ("gene=G4&context=64", 422, "say `bins=`"),
        ("gene=G4&overlay=S/1", 404, "S/1"),
    ],
)
def test_what_cannot_be_predicted_is_a_problem(client: TestClient, query: str, status: int, says: str) -> None:
    reply = client.get(f"/v1/predict?{query}")
    assert reply.status_code == status, reply.text
    assert says in reply.json()["detail"]


def test_the_addresses_in_the_documentation_are_answered(client: TestClient) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    paths = re.findall(r"^curl .*8000(/v1/predict\?\S+)'", page, re.MULTILINE)
    of_bins = [path for path in paths if "context=" not in path]
    assert (len(of_bins), len(paths)) == (2, 3)
    for path in of_bins:
        reply = client.get(path.replace("MYC", "G4").replace("1000-5000", "50-120"))
        assert reply.status_code == 200, reply.text


def test_the_server_says_that_it_predicts(client: TestClient) -> None:
    assert client.get("/v1/service-info").json()["routes"] == ["predict"]
    assert {"/v1/predict", "/v1/model"} < client.get("/openapi.json").json()["paths"].keys()
    described = client.get("/v1/model").json()
    assert (described["model"], described["reads"], described["sets"]) == ("gta-best", "bins", ["demo"])
    assert (described["n_bins"], described["bin_size"], described["hides"]) == (N_BINS, BIN, True)
    assert described["explains"] == ["attention", "occlusion"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: f"{mode.value} requests")
def test_random_requests_are_answered_as_the_document_says(client: TestClient, mode: GenerationMode) -> None:
    put = {"gene": "G4", "at": None, "store": None, "bins": "5", "context": None, "overlay": None, "hide": None}
    ask_a_model_at_random(client, mode, put)


def test_a_model_without_prototypes_or_mean_bin_says_so(genome: Path, tmp_path: Path) -> None:
    run = trained(genome, "ridge-centre", tmp_path / "run")
    with client_of(open_store(genome / "store"), model=run) as client:
        assert client.get("/v1/predict?at=chr1:400").status_code == 200
        for query, says in (("explain=attention", "no prototypes"), ("explain=occlusion", "no mean bin")):
            reply = client.get(f"/v1/predict?at=chr1:400&{query}")
            assert (reply.status_code, says in reply.json()["detail"]) == (422, True), reply.text
        described = client.get("/v1/model").json()
        assert (described["explains"], described["hides"]) == ([], False)


def test_a_model_of_other_features_is_refused_before_anything_is_served(run: Path, genome: Path) -> None:
    with pytest.raises(ValueError, match=r"no store has what `model=` reads.*fingerprint"):
        client_of(open_store(genome / "other"), model=run)


def test_without_a_model_there_is_no_such_path_and_no_annotations(genome: Path) -> None:
    with client_of(open_store(genome / "store")) as client:
        reply = client.get("/v1/predict?at=chr1:400")
        assert (reply.status_code, "start it with `--model RUN`" in reply.json()["detail"]) == (404, True)
        assert "/v1/predict" not in client.get("/openapi.json").json()["paths"]
        assert client.get("/v1/service-info").json()["routes"] == []
    with pytest.raises(ValueError, match="give `model=`"):
        client_of(open_store(genome / "store"), annotations=genome / "genes.tsv")
