"""Gradient accumulation: the parts of a batch teach what the batch does."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loaders import GeneBatch
from model.language.backbone import Backbone
from model.networks.gta import GTA
from model.networks.gta_config import GtaConfig
from model.testing import tiny_genes, write_tiny_backbone
from model.training.config import TrainConfig
from model.training.fit import fit
from model.training.micro_batch import find_micro_batch, kept_bytes, largest_that_fits, looks_across_genes, parts_of
from model.training.resume import OtherTraining
from model.training.targets import masked_mse

CPU = torch.device("cpu")
PLAIN = GtaConfig(llm=False, readout="topk", top_k=3, free_width=16, normalise_tokens=True, attention_scale="head")
NORMED = GtaConfig(llm=False, readout="pooled", free_width=16, hidden=8, queries=2)


def _model(config: GtaConfig = PLAIN, backbone: Backbone | None = None) -> GTA:
    torch.manual_seed(0)
    return GTA(config, n_bins=7, channel_names=[f"channel {index}" for index in range(4)], backbone=backbone)


def _batch(genes: int, tasks: int, seed: int) -> GeneBatch:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(genes, tasks, generator=generator)
    targets[torch.rand(genes, tasks, generator=generator) < 0.4] = torch.nan
    features = torch.randn(genes, 5, generator=generator)
    return GeneBatch(features, [str(index) for index in range(genes)], targets, torch.arange(genes))


@given(genes=st.integers(1, 9), tasks=st.integers(1, 3), count=st.integers(1, 5), seed=st.integers(0, 50))
@settings(max_examples=40)
def test_gradients_of_the_parts_add_to_those_of_the_batch(genes: int, tasks: int, count: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer, batch = nn.Linear(5, tasks), _batch(genes, tasks, seed)

    def gradient(loss: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(loss, layer.weight)
        return found

    whole = gradient(masked_mse(layer(batch.features), batch.targets))
    parts = list(parts_of(batch, count))
    total = sum(
        (gradient(masked_mse(layer(part.features), part.targets) * share) for part, share in parts),
        start=torch.zeros_like(whole),
    )
    torch.testing.assert_close(total, whole, rtol=1e-4, atol=1e-6)
    assert len(parts) == count
    read = [prompt for part, _ in parts[: min(count, genes)] for prompt in part.prompts]
    assert read == batch.prompts
    assert max(len(part.prompts) for part, _ in parts) == -(-genes // count)


@pytest.mark.parametrize("micro", [1, 3, 8, 100])
def test_a_training_in_parts_is_that_of_whole_batches(micro: int) -> None:
    # 21 genes: the last batch has 5, fewer than the eight parts of a batch of one gene each.
    states = []
    for size in (None, micro):
        model = _model()
        settings = TrainConfig(epochs=2, batch_size=8, micro_batch_size=size)
        report = fit(model, tiny_genes(21), tiny_genes(9, seed=1), settings)
        states.append((model.own_state(), report))
    (whole, expected), (accumulated, found) = states
    for name, value in whole.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-4, atol=1e-5)
    for one, other in zip(found.epochs, expected.epochs, strict=True):
        assert one.train_mse == pytest.approx(other.train_mse, rel=1e-4)


def test_a_part_counts_as_another_training_only_where_the_model_looks_across_genes(tmp_path: Path) -> None:
    genes, validation = tiny_genes(20), tiny_genes(9, seed=1)
    assert looks_across_genes(_model(NORMED))
    assert not looks_across_genes(_model())
    for config, name in ((PLAIN, "plain"), (NORMED, "normed")):
        settings = {"epochs": 2, "batch_size": 8}
        fit(_model(config), genes, validation, TrainConfig(**settings), out=tmp_path / name)
        in_parts = TrainConfig(**settings, micro_batch_size=4)
        if config is PLAIN:
            fit(_model(config), genes, validation, in_parts, out=tmp_path / name)
        else:
            with pytest.raises(OtherTraining, match="micro-batch"):
                fit(_model(config), genes, validation, in_parts, out=tmp_path / name)
            # As many as a batch has are no part.
            same = TrainConfig(**settings, micro_batch_size=64)
            fit(_model(config), genes, validation, same, out=tmp_path / name)


def test_what_runs_out_of_memory_is_tried_with_half_as_many() -> None:
    tried = []

    def step(genes: int) -> None:
        tried.append(genes)
        if genes > 5:
            raise torch.OutOfMemoryError

    assert largest_that_fits(step, 24) == 3
    assert tried == [24, 12, 6, 3]
    assert largest_that_fits(lambda genes: step(genes + 5), 4) == 0


def test_the_batch_that_fits_is_found_and_the_model_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GtaConfig(**PLAIN.to_json() | {"llm": True, "readout": "pooled"})
    model = _model(config, Backbone(write_tiny_backbone(tmp_path / "llama", "llama")))
    genes = tiny_genes(12)
    before = {name: value.clone() for name, value in model.own_state().items()}
    random = torch.get_rng_state()
    settings = TrainConfig(batch_size=64, micro_batch_size="auto")
    assert find_micro_batch(model, genes, settings, CPU) == 64
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.own_state().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    batch = genes[[1]]

    def step() -> None:
        torch.autograd.backward(model(batch.features, batch.prompts).square().sum())

    monkeypatch.setattr("model.training.micro_batch.available_bytes", lambda: 40 * kept_bytes(step))
    found = find_micro_batch(model, genes, settings, CPU)
    # A quarter of what is free; a gene more keeps less than the first one, with which the weights are counted.
    assert 10 <= found < 64
    monkeypatch.setattr("model.training.micro_batch.available_bytes", lambda: 1)
    with pytest.raises(MemoryError, match="take fewer bins or blocks"):
        find_micro_batch(model, genes, settings, CPU)


def test_what_a_step_keeps_is_counted_once() -> None:
    weight, x = torch.randn(50, 10, requires_grad=True), torch.randn(10)

    def step() -> None:
        # `x` twice, the exponential of the product once.
        torch.autograd.backward((weight @ x).exp().sum() + (weight @ x).sum())

    assert kept_bytes(step) == x.nbytes + 50 * 4
