"""A head of its own: what a file of it gives, and which files are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_tasks import planted, request_of
from safetensors.torch import load_file, save_file

from featurestore.cli.main import main
from model.probes.features import plan_features
from model.probes.kept import HeadError, HeadShape, load_head, of_network, save_head
from model.probes.networks import NETWORKS
from model.probes.representations import Representation
from model.probes.run import run_probe
from model.probes.task import read_task


def test_a_kept_head_gives_the_predictions_of_its_fit_from_features(tmp_path: Path) -> None:
    request = request_of(tmp_path, planted(rows=40), heads=("ridge", "mlp"), features=("onehot",), dtype="float32")
    task = read_task(request)
    run_probe(request)
    predictions = {path.stem[:8]: np.load(path)["predictions"] for path in (request.out / "fits").iterdir()}
    onehot = Representation("onehot", "onehot", {}, is_control=True)
    values = plan_features(task, onehot, "pooled", folder=request.out / "features", dtype="float32").compute().values
    for name in request.heads:
        (path,) = (request.out / "heads").glob(f"onehot-{name}-seed0-*.safetensors")
        found = load_head(path)(torch.from_numpy(values[task.rows(2)])).numpy()
        assert np.allclose(found, predictions[path.stem[-8:]], atol=1e-5), name


@pytest.mark.parametrize("head", NETWORKS)
def test_a_network_comes_back_as_it_was_kept(head: str, tmp_path: Path) -> None:
    pieces = 1 if head == "mlp" else 24
    shape = HeadShape(head=head, pieces=pieces, channels=6, targets=2, width=0.1, reduce=None)
    network = NETWORKS[head](6, pieces, 2, width=0.1, reduce=None).eval()
    kept = of_network(shape, network, centre=np.array([1.0, 2.0]), deviation=np.array([3.0, 4.0]))
    save_head(tmp_path / "head.safetensors", kept, {})
    features = torch.randn(5, pieces, 6)
    found = load_head(tmp_path / "head.safetensors")(features)
    assert torch.allclose(found, kept(features))
    expected = network(features.transpose(1, 2)).double() * torch.tensor([3.0, 4.0]) + torch.tensor([1.0, 2.0])
    assert torch.allclose(found, expected)


def test_a_probe_of_an_earlier_version_gets_its_heads_and_keeps_its_scores(tmp_path: Path) -> None:
    request = request_of(tmp_path, planted())
    first = run_probe(request)
    for path in (request.out / "heads").iterdir():
        path.unlink()
    again = run_probe(request)
    assert (again.fitted, len(list((request.out / "heads").iterdir()))) == (3, 3)
    timeless = ["representation", "head", "pearson", "two_sd", "difference"]
    assert again.table.select(timeless).equals(first.table.select(timeless), null_equal=True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    run_probe(request_of(folder, planted(rows=40)))
    return next((folder / "probe" / "heads").glob("kmer*"))


def changed(path: Path, to: Path, *, shape: dict[str, Any] | None = None, **tensors: torch.Tensor) -> Path:
    told = {"shape": {"head": "ridge", "pieces": 1, "channels": 32, "targets": 1} | (shape or {})}
    save_file(load_file(path) | tensors, to, metadata={"probe": json.dumps(told)})
    return to


@pytest.mark.parametrize(
    ("shape", "tensors", "message"),
    [
        pytest.param({"channels": 1 << 40}, {}, "other tensors", id="a size that no memory has"),
        pytest.param({"head": "cnn", "pieces": 1 << 40}, {}, "other tensors|cannot be made", id="of a network"),
        pytest.param({"head": "cnn", "channels": -3}, {}, "cannot be made", id="a size below 0"),
        pytest.param({"head": 3}, {}, "which head it is", id="no name"),
        pytest.param({}, {"intercept": torch.tensor([np.nan], dtype=torch.float64)}, "NaN or infinite", id="NaN"),
        pytest.param({}, {"more": torch.zeros(1)}, "other tensors", id="one too many"),
    ],
)
def test_a_file_that_states_another_head_is_refused(
    shape: dict[str, Any], tensors: dict[str, torch.Tensor], message: str, saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(HeadError, match=message):
        load_head(changed(saved, tmp_path / "head.safetensors", shape=shape, **tensors))


def test_a_damaged_fit_is_named_with_the_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = request_of(tmp_path, planted(rows=40))
    run_probe(request)
    damaged = next((request.out / "fits").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    words = [f"--task={request.task}", f"--out={request.out}", "--features=kmer:3", "--fractions=1", "--draws=50"]
    assert main(["probe", *words, "--device=cpu"]) == 2
    error = capsys.readouterr().err
    assert f"{damaged} is cut short or damaged" in error
    assert "Traceback" not in error


def test_what_is_no_head_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:-1])
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(HeadError, match="cut short or damaged"):
        load_head(tmp_path / "cut.safetensors")
    with pytest.raises(HeadError, match="no head of a probe"):
        load_head(tmp_path / "other.safetensors")
