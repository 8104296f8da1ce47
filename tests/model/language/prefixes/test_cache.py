import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.language.backbone import Backbone, DataAttention
from model.language.directory import BackboneError
from model.language.lora import add_lora
from model.language.prefixes.cache import PrefixCache
from model.language.prefixes.store import PrefixStore
from model.testing import CAUSAL, PROMPTS, Family

N_DATA = 5


def _data(backbone: Backbone, rows: int = len(PROMPTS)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, N_DATA, backbone.embedding_width, generator=generator)


@pytest.mark.parametrize("data_attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_cached_prompt_changes_neither_predictions_nor_gradients(
    directories: dict[Family, Path], family: Family, data_attention: DataAttention
) -> None:
    backbone = Backbone(directories[family], max_layers=2, data_attention=data_attention)
    cache = PrefixCache(backbone)
    data = _data(backbone).requires_grad_()
    weights = torch.randn(len(PROMPTS), N_DATA, backbone.width, generator=torch.Generator().manual_seed(2))
    plain = backbone(data, PROMPTS)
    (plain_gradient,) = torch.autograd.grad((plain * weights).sum(), data)
    for _ in range(2):
        cached = cache(data, PROMPTS)
        (gradient,) = torch.autograd.grad((cached * weights).sum(), data)
        torch.testing.assert_close(cached, plain, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, plain_gradient, rtol=1e-5, atol=1e-5 * float(plain_gradient.abs().max()))


def test_a_cached_prompt_serves_every_context_length_and_order(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    cache = PrefixCache(backbone)
    cache(_data(backbone), PROMPTS)
    held = cache.held_bytes
    assert held > 0
    data, prompts = _data(backbone)[:, :3].flip(0), list(reversed(PROMPTS))
    torch.testing.assert_close(cache(data, prompts), backbone(data, prompts), rtol=1e-5, atol=1e-5)
    assert cache.held_bytes == held


def test_a_prompt_cached_while_predicting_serves_training(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    cache = PrefixCache(backbone)
    with torch.inference_mode():
        cache(_data(backbone), PROMPTS)
    data = _data(backbone).requires_grad_()
    torch.autograd.backward(cache(data, PROMPTS).square().sum())
    assert data.grad is not None


def test_a_full_cache_computes_what_it_cannot_hold(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["gpt2"])
    one_prompt = PrefixCache(backbone)
    one_prompt(_data(backbone, rows=1), PROMPTS[:1])
    small = PrefixCache(backbone, max_bytes=one_prompt.held_bytes)
    for _ in range(2):
        torch.testing.assert_close(
            small(_data(backbone), PROMPTS), backbone(_data(backbone), PROMPTS), rtol=1e-5, atol=1e-5
        )
    assert 0 < small.held_bytes <= one_prompt.held_bytes


def test_no_prompt_at_all_can_be_read(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    data = _data(backbone, rows=2)
    torch.testing.assert_close(PrefixCache(backbone)(data, ["", ""]), backbone(data, ["", ""]))


def test_an_encoder_refuses_the_cache(directories: dict[Family, Path]) -> None:
    with pytest.raises(BackboneError, match=r"both directions.*leave `prefix_cache=` out"):
        PrefixCache(Backbone(directories["bert"]))


@pytest.mark.parametrize("order", ["before", "after"])
def test_adapters_refuse_the_cache_even_when_it_was_there_first(directories: dict[Family, Path], order: str) -> None:
    backbone = Backbone(directories["llama"])
    if order == "before":
        add_lora(backbone, rank=2)
        with pytest.raises(BackboneError, match=r"has adapters.*leave `prefix_cache=` out"):
            PrefixCache(backbone)
        return
    cache = PrefixCache(backbone)
    cache(_data(backbone), PROMPTS)
    add_lora(backbone, rank=2)
    with pytest.raises(BackboneError, match=r"has adapters.*leave `prefix_cache=` out"):
        cache(_data(backbone), PROMPTS)


def test_a_store_spares_the_next_run_the_prompts(directories: dict[Family, Path], tmp_path: Path) -> None:
    backbone = Backbone(directories["mistral"], precision="bf16")
    data = _data(backbone)
    first = PrefixCache(backbone, store=PrefixStore(tmp_path, max_bytes=1 << 20))
    expected = first(data, PROMPTS)
    next_run = Backbone(directories["mistral"], precision="bf16")
    again = PrefixCache(next_run, store=PrefixStore(tmp_path, max_bytes=1 << 20))
    # With its embeddings gone, the model could not read a prompt any more.
    next_run.embeddings.fill_(torch.nan)
    torch.testing.assert_close(again(data, PROMPTS), expected, rtol=0, atol=0)
    assert again.held_bytes == first.held_bytes


def test_a_store_serves_a_cache_that_may_hold_nothing(directories: dict[Family, Path], tmp_path: Path) -> None:
    backbone = Backbone(directories["gpt2"])
    cache = PrefixCache(backbone, max_bytes=0, store=PrefixStore(tmp_path, max_bytes=1 << 20))
    for _ in range(2):
        torch.testing.assert_close(
            cache(_data(backbone), PROMPTS), backbone(_data(backbone), PROMPTS), rtol=1e-5, atol=1e-5
        )
    assert cache.held_bytes == 0


def test_a_store_keeps_models_layers_and_precisions_apart(directories: dict[Family, Path], tmp_path: Path) -> None:
    store = PrefixStore(tmp_path, max_bytes=1 << 20)
    backbones = [
        Backbone(directories["llama"]),
        Backbone(directories["llama"], max_layers=2),
        Backbone(directories["llama"], precision="bf16"),
        Backbone(directories["qwen3"]),
    ]
    for number, backbone in enumerate(backbones, start=1):
        data = _data(backbone, rows=1)
        shared = PrefixCache(backbone, store=store)(data, ["x"])
        torch.testing.assert_close(shared, PrefixCache(backbone)(data, ["x"]), rtol=0, atol=0)
        assert len(list(tmp_path.glob("*.block"))) == number


def test_both_ways_of_attention_share_what_is_stored(directories: dict[Family, Path], tmp_path: Path) -> None:
    store = PrefixStore(tmp_path, max_bytes=1 << 20)
    ways: tuple[DataAttention, ...] = ("causal", "bidirectional")
    for way in ways:
        backbone = Backbone(directories["llama"], data_attention=way)
        read = PrefixCache(backbone, store=store)(_data(backbone), PROMPTS)
        torch.testing.assert_close(read, backbone(_data(backbone), PROMPTS), rtol=1e-5, atol=1e-5)
    assert len(list(tmp_path.glob("*.block"))) == len(PROMPTS)


def test_prefixes_that_an_earlier_version_kept_are_not_believed(
    directories: dict[Family, Path], tmp_path: Path
) -> None:
    backbone = Backbone(directories["llama"])
    store = PrefixStore(tmp_path, max_bytes=1 << 20)
    (row,) = backbone.token_rows(["x"], N_DATA)
    made_by = json.dumps([1, backbone.digest, backbone.layers, str(backbone.embeddings.dtype)]).encode()
    wrong = torch.full((backbone.layers, 2, 2, len(row), 8), torch.nan)
    store.put(hashlib.sha256(made_by + row.tobytes()).hexdigest(), wrong)
    data = torch.randn(1, N_DATA, backbone.embedding_width)
    read = PrefixCache(backbone, store=store)(data, ["x"])
    torch.testing.assert_close(read, backbone(data, ["x"]), rtol=1e-4, atol=1e-5)
