"""`/v1/predict` of a run that reads measured signals: the numbers of `predict` and `interpret`, gene by gene."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from checkout import ROOT
from prism_stores import PrismFiles, write_prism_files
from random_requests import ask_a_model_at_random
from schemathesis import GenerationMode
from served import client_of
from starlette.testclient import TestClient

from featurestore.cli.main import main
from featurestore.store import open_store
from model.explain.signals import SignalBatches, occlusion
from model.networks.prism.features import SignalFeatures
from model.runs.folder import Run, open_run
from model.runs.workflow import load_genes_as_trained, predict

LENGTH = 128
PLUS, MINUS = "ENSG00000000004", "ENSG00000000005"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PrismFiles:
    return write_prism_files(tmp_path_factory.mktemp("prism"))


def trained(files: PrismFiles, out: Path, *words: str) -> Path:
    quick = ["--epochs", "2", "--batch-size", "16", "--test-contigs", "chr3", "--validation-contigs", "chr2"]
    assert main(["train", *files.tables(), *quick, "--device", "cpu", "--no-baselines", *words, f"--out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def run(files: PrismFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = ["--set", "width=16", "--set", "layers=1", "--set", "heads=2"]
    out = tmp_path_factory.mktemp("runs") / "run"
    return trained(files, out, "--model", "prism", *small, *files.signals(), "--orient", "gene")


@pytest.fixture(scope="module")
def client(files: PrismFiles, run: Path) -> Iterator[TestClient]:
    with client_of(open_store(files.store), genes=files.genes, model=run, device="cpu") as client:
        yield client


@pytest.fixture(scope="module")
def opened(run: Path) -> Run:
    return open_run(run, device="cpu")


def genes_of(opened: Run, files: PrismFiles) -> Any:
    return load_genes_as_trained(opened, str(files.store), genes=files.genes, targets=None)


@pytest.mark.parametrize("gene", [PLUS, MINUS])
def test_a_prediction_is_that_of_the_command_line(
    client: TestClient, opened: Run, files: PrismFiles, gene: str
) -> None:
    expected = predict(opened, genes_of(opened, files)).filter(gene_id=gene).row(0, named=True)
    reply = client.get(f"/v1/predict?gene={gene}").json()
    assert reply["prediction"] == pytest.approx([expected["prediction"]], rel=1e-5)
    assert reply["alternatives"] == pytest.approx({"do": expected["prediction do"]}, rel=1e-5)
    assert (reply["subset"], reply["n_bins"], reply["bin_size"]) == (expected["subset"], LENGTH, 1)
    assert (reply["first_start"], reply["residual"]) == (expected["tss"] - LENGTH // 2, 0)
    assert reply["fingerprint"] == genes_of(opened, files).fingerprint


@pytest.mark.parametrize("gene", [PLUS, MINUS])
def test_contributions_by_part_and_signal_are_those_of_interpret_from_left_to_right(
    client: TestClient, opened: Run, files: PrismFiles, gene: str
) -> None:
    genes = genes_of(opened, files).subset([gene])
    table = occlusion(SignalBatches(opened, genes))
    reply = client.get(f"/v1/predict?gene={gene}&explain=occlusion").json()
    found, tss, is_turned = reply["occlusion_by_signal"], reply["centre"], gene == MINUS
    assert bool(genes.windows.is_reversed[0]) == is_turned
    assert found["signals"] == ["sequence", "active", "background", "coarse"]
    covered = [base for start, end in zip(found["starts"], found["ends"], strict=True) for base in range(start, end)]
    assert covered == list(range(tss - LENGTH // 2, tss + LENGTH // 2)), "parts cover the window once, from the left"
    for column, signal in enumerate(found["signals"]):
        rows = table.filter(signal=signal)
        whole = rows.filter(pl.col("start").is_null())["mean_change"].item()
        assert found["whole"][column] == pytest.approx(whole, abs=1e-6)
        for start, end, change in rows.drop_nulls("start").select("start", "end", "mean_change").iter_rows():
            first = tss - end if is_turned else tss + start
            part = found["starts"].index(first)
            assert found["ends"][part] == first + end - start
            assert found["change"][part][column] == pytest.approx(change, abs=1e-6)


@pytest.mark.parametrize("gene", [PLUS, MINUS])
def test_hidden_bases_are_n_and_their_signals_the_means_of_training(
    client: TestClient, opened: Run, files: PrismFiles, gene: str
) -> None:
    whole = client.get(f"/v1/predict?gene={gene}").json()
    first = whole["first_start"]
    reply = client.get(f"/v1/predict?gene={gene}&hide={first + 3}-{first + 20}&hide={first + 100}-{first + 999}").json()
    bases = [*range(3, 20), *range(100, LENGTH)]
    assert reply["hidden"]["bins"] == bases
    model: Any = opened.predictor.model  # type: ignore[attr-defined]
    genes = genes_of(opened, files).subset([gene])
    features = genes[[0]].features.to("cpu")
    sequence, signals = features.sequence.clone(), features.signals.clone()
    for base in bases:
        place = LENGTH - 1 - base if gene == MINUS else base
        sequence[0, place] = 4
        signals[0, place] = model.mean_signal
    with torch.no_grad():
        given = SignalFeatures(sequence, signals, features.covariates)
        expected = model.to_log1p(model.eval()(given, [""])).numpy()
    np.testing.assert_allclose(reply["hidden"]["prediction"], expected, rtol=1e-5)
    np.testing.assert_allclose(reply["hidden"]["change"], expected - np.asarray(whole["prediction"]), atol=1e-6)
    assert reply["prediction"] == whole["prediction"]


@pytest.mark.slow
def test_another_context_is_predicted_from_the_same_run(client: TestClient, files: PrismFiles, opened: Run) -> None:
    shorter = opened.with_n_bins(64)
    expected = predict(shorter, genes_of(shorter, files)).filter(gene_id=PLUS)["prediction"].item()
    reply = client.get(f"/v1/predict?gene={PLUS}&context=64").json()
    assert (reply["n_bins"], reply["prediction"]) == (64, pytest.approx([expected], rel=1e-5))


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("at=chr1:400", 422, "reads length, gc of a gene.*name a gene"),
        (f"gene={PLUS}&bins=64", 422, "say `context="),
        (f"gene={PLUS}&context=32", 422, "at least 64 bases"),
        (f"gene={PLUS}&overlay=S/1", 422, "leave `overlay=` out"),
        (f"gene={PLUS}&explain=attention", 422, "no prototypes"),
        (f"gene={PLUS}&hide=1-2", 422, "within the window"),
        ("gene=none", 404, "no gene"),
    ],
)
def test_what_cannot_be_predicted_is_a_problem(client: TestClient, query: str, status: int, says: str) -> None:
    reply = client.get(f"/v1/predict?{query}")
    assert reply.status_code == status, reply.text
    assert re.search(says, reply.json()["detail"])


@pytest.mark.slow
def test_a_reply_that_exceeds_the_budget_is_refused(files: PrismFiles, run: Path) -> None:
    with client_of(open_store(files.store), genes=files.genes, model=run, max_values=LENGTH * 4 - 1) as client:
        reply = client.get(f"/v1/predict?gene={PLUS}")
    assert (reply.status_code, "128 bases with 3 signals" in reply.json()["detail"]) == (413, True)


def test_the_address_in_the_documentation_is_answered(client: TestClient) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    (path,) = re.findall(r"^curl .*8000(/v1/predict\?\S*context=\S+)'", page, re.MULTILINE)
    reply = client.get(path.replace("MYC", PLUS).replace("context=2000", "context=120"))
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["occlusion_by_signal"]["starts"]) == 20


def test_the_server_says_what_the_model_reads(client: TestClient) -> None:
    assert client.get("/v1/model").json() == {
        "model": "prism-best",
        "reads": "signals",
        "sets": ["bases", "marks", "wide"],
        "channels": ["active", "background", "coarse"],
        "bin_size": 1,
        "n_bins": LENGTH,
        "covariates": ["length", "gc"],
        "overlay": None,
        "tasks": [],
        "unit": "log(1 + expression)",
        "explains": ["occlusion"],
        "hides": True,
    }


@pytest.mark.slow
def test_a_run_without_covariates_predicts_positions_and_a_closed_form_hides_nothing(
    files: PrismFiles, tmp_path: Path
) -> None:
    words = ["--signals", "marks", "--sequence", "none", "--context", "128"]
    run = trained(files, tmp_path / "run", "--model", "prism-ridge", *words)
    with client_of(open_store(files.store), model=run) as client:
        reply = client.get("/v1/predict?at=chr1:400").json()
        assert (reply["contig"], reply["gene"], reply["alternatives"]) == ("chr1", None, {})
        assert np.isfinite(reply["prediction"]).all()
        assert client.get("/v1/model").json()["hides"] is False
        for query in ("explain=occlusion", "hide=400-410"):
            refused = client.get(f"/v1/predict?at=chr1:400&{query}")
            assert (refused.status_code, "parts to hide" in refused.json()["detail"]) == (422, True), refused.text


def test_what_a_run_of_signals_needs_is_asked_for_before_anything_is_served(
    files: PrismFiles, run: Path, tmp_path: Path
) -> None:
    store = open_store(files.store)
    with pytest.raises(ValueError, match="no gene of its tables is served: give `genes=`"):
        client_of(store, model=run)
    with pytest.raises(ValueError, match=r"covariates length, gc, and .*gone.tsv is not there.*`covariates=`"):
        client_of(store, genes=files.genes, model=run, covariates=tmp_path / "gone.tsv")
    with pytest.raises(ValueError, match="`annotations=` are for prompts"):
        client_of(store, genes=files.genes, model=run, annotations=files.genes)
    with pytest.raises(ValueError, match="give `model=`"):
        client_of(store, covariates=files.covariates)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: f"{mode.value} requests")
def test_random_requests_are_answered_as_the_document_says(client: TestClient, mode: GenerationMode) -> None:
    put = {"gene": PLUS, "at": None, "store": None, "bins": None, "overlay": None, "hide": None}
    ask_a_model_at_random(client, mode, put)
