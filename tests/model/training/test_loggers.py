"""What experiment loggers are told, read back from the files that they write."""

import csv
import importlib.util
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model.networks.gta import GTA
from model.networks.gta_config import GtaConfig
from model.testing import TinyGenes, tiny_genes
from model.training.config import TrainConfig
from model.training.fit import fit
from model.training.report import Epoch

SMALL = GtaConfig(
    llm=False, readout="pooled", free_width=16, hidden=16, queries=2, normalise_tokens=True, attention_scale="head"
)
needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs the extra wandb")
needs_mlflow = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mlflow", "alembic")), reason="needs the extra mlflow"
)


def trained(out: Path, log: Any, *, genes: TinyGenes | None = None, seed: int = 0) -> None:
    torch.manual_seed(0)
    model = GTA(SMALL, n_bins=7, channel_names=[f"channel {index}" for index in range(4)])
    config = TrainConfig(log=log, epochs=2, seed=seed)
    fit(model, genes or tiny_genes(20), tiny_genes(10, seed=1), config, out=out)


def metrics(out: Path) -> list[dict[str, float]]:
    """Give `metrics.csv`, a mapping an epoch."""
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return [{name: float(row[name]) for name in Epoch._fields} for row in csv.DictReader(file)]


class Stopped(TinyGenes):
    """Genes whose training is stopped in its second epoch."""

    def set_epoch(self, epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt
        super().set_epoch(epoch)


def stopped_in_the_second_epoch(out: Path, log: Any) -> None:
    genes = tiny_genes(20)
    with pytest.raises(KeyboardInterrupt):
        trained(out, log, genes=Stopped(genes[range(20)].features, genes.targets, prompts=genes.prompts))


# --- Weights & Biases -------------------------------------------------------------------------------------------------


def records(path: Path) -> Iterator[Any]:
    """Read an offline run: records of Protocol Buffers in a log of LevelDB, here of a single block."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    assert len(data) < 32_768
    place = 7
    while place < len(data):
        _, length, kind = struct.unpack_from("<IHB", data, place)
        assert kind == 1, "a whole record"
        yield Record.FromString(data[place + 7 : place + 7 + length])
        place += 7 + length


def logged_offline(out: Path) -> list[dict[str, float]]:
    (path,) = out.glob("wandb/offline-run-*/run-*.wandb")
    rows = [
        {(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}
        for record in records(path)
        if record.WhichOneof("record_type") == "history"
    ]
    return [{name: row[name] for name in Epoch._fields} for row in rows if "validation_mse" in row]


@needs_wandb
def test_wandb_has_every_epoch_of_each_training_in_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for seed in (0, 1):
        trained(tmp_path / f"member-{seed}", "wandb", seed=seed)
    for seed in (0, 1):
        assert logged_offline(tmp_path / f"member-{seed}") == metrics(tmp_path / f"member-{seed}")
    assert metrics(tmp_path / "member-0") != metrics(tmp_path / "member-1")


@needs_wandb
def test_without_a_login_the_training_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    wandb.teardown()  # it reads its variables once a process
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    with pytest.raises(ValueError, match=r"log in with `wandb login`, or set WANDB_MODE=offline"):
        trained(tmp_path / "run", "wandb")
    assert not (tmp_path / "run" / "metrics.csv").exists()
    assert not (tmp_path / "run" / "logged.json").exists()


# --- MLflow -----------------------------------------------------------------------------------------------------------


def logged_to_mlflow(out: Path, database: Path) -> list[dict[str, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "genomic-featurestore"]
    (run,) = [one for one in client.search_runs([experiment.experiment_id]) if one.info.run_name == out.name]
    assert run.data.params["epochs"] == "2"
    assert run.info.status == "FINISHED"
    by_step: dict[int, dict[str, float]] = {}
    for name in Epoch._fields:
        for metric in client.get_metric_history(run.info.run_id, name):
            by_step.setdefault(metric.step, {})[name] = metric.value
    return [by_step[step] for step in sorted(by_step)]


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_mlflow_has_every_epoch_in_the_runs_folder_unless_a_server_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trained(tmp_path / "first", "mlflow")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    found = logged_to_mlflow(tmp_path / "first", tmp_path / "first" / "mlflow.db")
    assert found == metrics(tmp_path / "first")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'ours.db'}")
    trained(tmp_path / "second", "mlflow", seed=1)
    assert not (tmp_path / "second" / "mlflow.db").exists()
    found = logged_to_mlflow(tmp_path / "second", tmp_path / "ours.db")
    assert found == metrics(tmp_path / "second")


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_a_training_that_was_stopped_goes_on_with_the_run_that_it_logged_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stopped_in_the_second_epoch(tmp_path / "run", "mlflow")
    trained(tmp_path / "run", "mlflow")
    found = logged_to_mlflow(tmp_path / "run", tmp_path / "run" / "mlflow.db")
    assert found == metrics(tmp_path / "run")


# --- no library -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["wandb", "mlflow"])
def test_a_log_whose_library_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Any
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == log else find(name))
    with pytest.raises(ModuleNotFoundError, match=rf"`log=\"{log}\"` needs .* pip install '\.\[{log}\]'"):
        trained(tmp_path / "run", log)
    assert not (tmp_path / "run").exists()
