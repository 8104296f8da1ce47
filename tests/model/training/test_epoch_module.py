"""Models without a language model are trained an epoch at a time, to what they are trained to batch by batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from window_kinds import GENES, built, of_genes

from loaders import GeneDataset
from model.networks.gta import GTA
from model.networks.gta_config import GtaConfig
from model.testing import tiny_genes
from model.training import fit as fitting
from model.training.config import TrainConfig
from model.training.epoch_module import gathers_on_device
from model.training.fit import fit
from model.training.targets import masked_mse

SMALL = GtaConfig(
    llm=False,
    readout="pooled",
    free_width=16,
    hidden=16,
    queries=2,
    normalise_tokens=True,
    attention_scale="head",
    dropout=0.1,
)
CONFIG = TrainConfig(epochs=3, learning_rate=5e-3, batch_size=8, device="cpu")


def trained(train: GeneDataset, validation: GeneDataset, config: TrainConfig, out: Path | None = None) -> GTA:
    torch.manual_seed(0)
    model = GTA(SMALL, n_bins=train.n_bins, channel_names=train.channel_names)
    fit(model, train, validation, config, out=out)
    return model


class _Asked(TorchDispatchMode):
    """Notes operations that wait for the device, since their result is a number or a shape for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2", "lift_fresh"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_a_step_waits_for_no_value_of_the_device(tmp_path: Path) -> None:
    windows = of_genes(built(tmp_path / "s"), residence="device", orient="gene").windows
    numbers, targets = torch.tensor([3, 0, 4]), torch.tensor([1.0, 2.0, 3.0])
    assert gathers_on_device(windows)
    windows.gathered(numbers)  # moves rows and plan
    torch.manual_seed(0)
    model = GTA(SMALL, n_bins=windows.n_bins, channel_names=windows.channel_names).train()
    with _Asked() as asked:
        loss = masked_mse(model(windows.gathered(numbers), ["p"] * 3), model.standardise_target(targets))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert asked.found == []
    with _Asked() as asked:
        float(loss.detach())
    assert asked.found == ["_local_scalar_dense"]


def assert_alike(one: GTA, other: GTA, *, atol: float = 1e-6) -> None:
    for name, value in one.own_state().items():
        torch.testing.assert_close(value, other.own_state()[name], rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(("autocast", "atol"), [(False, 1e-5), (True, 1e-2)])
def test_an_epoch_at_a_time_learns_what_batch_by_batch_does(
    monkeypatch: pytest.MonkeyPatch, clip: float | None, autocast: bool, atol: float
) -> None:
    config = replace(CONFIG, gradient_clip_norm=clip, autocast=autocast)
    at_once = trained(tiny_genes(43), tiny_genes(12, seed=1), config)
    with monkeypatch.context() as changed:
        changed.setattr(fitting, "trains_by_epochs", lambda model, config: False)
        by_batch = trained(tiny_genes(43), tiny_genes(12, seed=1), config)
    assert_alike(at_once, by_batch, atol=atol)


class Stopped(GeneDataset):
    """Genes in whose third epoch somebody presses Ctrl-C."""

    stop_at = 2

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if epoch == self.stop_at:
            raise KeyboardInterrupt


def of_store(folder: Path, residence: str) -> GeneDataset:
    genes = of_genes(built(folder), residence=residence, jitter_bp=30)
    return GeneDataset(genes.windows, GENES, prompts=["p"] * 5, targets=[0.0, 1.0, 2.0, 3.0, 4.0])


def test_windows_on_the_device_are_learned_from_as_those_in_memory_are(tmp_path: Path) -> None:
    models = []
    for residence in ("device", "memory"):
        genes = of_store(tmp_path / residence, residence)
        models.append(trained(genes, genes, replace(CONFIG, batch_size=2)))
    assert_alike(*models, atol=0)


def test_a_training_on_the_device_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    genes = of_store(tmp_path / "s", "device")
    config, run = replace(CONFIG, batch_size=2), tmp_path / "run"
    whole = trained(genes, genes, config)
    with pytest.raises(KeyboardInterrupt):
        trained(
            Stopped(genes.windows, GENES, prompts=genes.prompts, targets=genes.targets.tolist()), genes, config, run
        )
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + Stopped.stop_at
    assert_alike(whole, trained(genes, genes, config, run), atol=0)
