from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BloomConfig, BloomModel

from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.language.lora import add_lora, load_lora_state, lora_state
from model.language.untrained import train_tokenizer
from model.testing import FAMILIES, PROMPTS, Family, write_tiny_backbone

N_DATA, RANK = 5, 2


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    """Write models of two blocks: their adapters are counted."""
    folder = tmp_path_factory.mktemp("backbones")
    return {family: write_tiny_backbone(folder / family, family, layers=2) for family in FAMILIES}


def _data(backbone: Backbone) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(PROMPTS), N_DATA, backbone.embedding_width, generator=generator)


def _shake(parameters: list[nn.Parameter]) -> None:
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(std=0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_adapters_change_nothing_and_are_all_that_learns(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family])
    data = _data(backbone)
    before = backbone(data, PROMPTS)
    adapters = add_lora(backbone, rank=RANK)
    after = backbone(data, PROMPTS)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)
    after.square().sum().backward()
    assert {id(p) for p in backbone.parameters() if p.requires_grad} == {id(p) for p in adapters}
    assert sum(p.numel() for p in adapters) > 0
    # While B is zero, only B has a gradient.
    assert all(float(p.grad.abs().max()) > 0 for p in adapters[1::2] if p.grad is not None)
    assert all(p.grad is not None for p in adapters)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_one_more_matrix_added_to_queries_and_values(
    directories: dict[Family, Path], family: Family
) -> None:
    adapted, plain = Backbone(directories[family]), Backbone(directories[family])
    _shake(add_lora(adapted, rank=RANK, alpha=3.0))
    state = lora_state(adapted)
    layers = {name.partition(".lora_")[0] for name in state}
    for layer in layers:
        down, up = (state[f"{layer}.lora_{matrix}.default.weight"] for matrix in "AB")
        _add(plain, layer, (3.0 / RANK) * up @ down)
    names = {layer.rpartition(".")[2] for layer in layers}
    assert names == {"bert": {"query", "value"}, "gpt2": {"c_attn"}}.get(family, {"q_proj", "v_proj"})
    data = _data(adapted)
    torch.testing.assert_close(adapted(data, PROMPTS), plain(data, PROMPTS), rtol=1e-4, atol=1e-4)


def _add(backbone: Backbone, layer: str, product: Tensor) -> None:
    weight = backbone.get_submodule(layer).weight
    with torch.no_grad():
        weight += product.T if layer.endswith("c_attn") else product


@pytest.mark.parametrize(("family", "parts"), [("llama", (0,)), ("gpt2", (0, 2))])
def test_adapters_of_an_earlier_version_are_read(
    directories: dict[Family, Path], family: Family, parts: tuple[int, ...]
) -> None:
    adapted, plain = Backbone(directories[family]), Backbone(directories[family])
    add_lora(adapted, rank=RANK, alpha=3.0)
    generator = torch.Generator().manual_seed(2)
    earlier = {}
    for layer in {name.partition(".lora_")[0] for name in lora_state(adapted)}:
        n_out = lora_state(adapted)[f"{layer}.lora_B.default.weight"].shape[0] // max(1, parts[-1] + 1)
        down = torch.randn(len(parts), RANK, 32, generator=generator)
        up = torch.randn(len(parts), n_out, RANK, generator=generator)
        earlier |= {f"{layer}.down": down, f"{layer}.up": up}
        product = torch.zeros((parts[-1] + 1) * n_out, 32)
        for index, part in enumerate(parts):
            product[part * n_out : (part + 1) * n_out] = (3.0 / RANK) * up[index] @ down[index]
        _add(plain, layer, product)
    load_lora_state(adapted, earlier)
    data = _data(adapted)
    torch.testing.assert_close(adapted(data, PROMPTS), plain(data, PROMPTS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_state_of_adapters_comes_back(directories: dict[Family, Path], family: Family) -> None:
    first, second = Backbone(directories[family]), Backbone(directories[family])
    _shake(add_lora(first, rank=RANK))
    add_lora(second, rank=RANK)
    state = lora_state(first)
    assert not any(value.requires_grad for value in state.values())
    load_lora_state(second, {name: value.clone() for name, value in state.items()})
    assert torch.equal(first(_data(first), PROMPTS), second(_data(first), PROMPTS))


def test_beside_a_model_in_half_precision_adapters_learn_in_full(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"], precision="bf16")
    adapters = add_lora(backbone, rank=RANK)
    _shake(adapters)
    backbone(_data(backbone), PROMPTS).square().sum().backward()
    assert {p.dtype for p in adapters} == {torch.float32}
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in adapters)


def test_named_layers_are_adapted_instead(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    add_lora(backbone, rank=RANK, targets=["o_proj", "up_proj"])
    assert {name.split(".")[-4] for name in lora_state(backbone)} == {"o_proj", "up_proj"}


def test_without_adapters_there_is_no_state(directories: dict[Family, Path]) -> None:
    assert lora_state(Backbone(directories["llama"])) == {}


def test_adapters_of_another_rank_or_depth_are_refused(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    add_lora(backbone, rank=RANK)
    for other in (Backbone(directories["llama"]), Backbone(directories["llama"], max_layers=1)):
        add_lora(other, rank=RANK + 1 if other.layers == 2 else RANK)
        with pytest.raises(BackboneError, match=r"call add_lora with the rank and targets"):
            load_lora_state(backbone, lora_state(other))


def test_adapters_that_cannot_be_put_in_are_refused(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    with pytest.raises(BackboneError, match=r"counts from 1"):
        add_lora(backbone, rank=0)
    with pytest.raises(BackboneError, match=r"no layer is called query; targets are among .*q_proj"):
        add_lora(backbone, rank=1, targets=["query"])
    add_lora(backbone, rank=1)
    with pytest.raises(BackboneError, match=r"load the backbone again"):
        add_lora(backbone, rank=1)


def test_a_model_whose_queries_are_not_known_asks_for_their_names(tmp_path: Path) -> None:
    BloomModel(BloomConfig(vocab_size=300, hidden_size=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    train_tokenizer(PROMPTS, 300).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"name them with `targets=`, among .*query_key_value"):
        add_lora(Backbone(tmp_path), rank=1)
