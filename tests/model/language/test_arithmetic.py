"""Products in 16 bits, everything else in float32: what bins differ by is kept, in each family that is taken."""

from pathlib import Path

import pytest
import torch
from families import LANGUAGE_FAMILIES, write_family
from torch import Tensor, nn
from transformers import AutoModel

from model.language.arithmetic import Arithmetic
from model.language.backbone import Backbone
from model.language.directory import BackboneError, quiet_transformers
from model.language.lora import add_lora
from model.language.prefixes.cache import PrefixCache
from model.testing import PROMPTS

DENSE = ("albert", "bloom", "deberta-v2", "falcon", "gemma2", "gpt2", "gpt_neox", "llama", "modernbert", "mpt", "opt")
ROUNDING = {"bf16": 0.02, "fp16": 0.0025}
"""Error of hidden states as a fraction of them, of two blocks; float16 has 8 times the precision."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("llama"), "llama")


def _data(backbone: Backbone, *, step: float = 1.0) -> Tensor:
    """Give tokens of the size of embeddings that differ from each other by a fraction of it."""
    generator = torch.Generator().manual_seed(0)
    common, own = (torch.randn(size, backbone.embedding_width, generator=generator) for size in (1, 12))
    tokens = (common + step * own) * backbone.embeddings.float().std() * backbone.embedding_scale
    return tokens.reshape(len(PROMPTS), 3, -1)


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", DENSE)
@torch.no_grad()
def test_hidden_states_are_those_of_float32_within_the_rounding_of_products(
    family: str, precision: str, tmp_path: Path
) -> None:
    directory = write_family(tmp_path, family)
    whole, half = Backbone(directory), Backbone(directory, precision=precision)
    data = _data(whole)
    read = half(data, PROMPTS)
    assert read.dtype == torch.float32
    assert 0 < _difference(read, whole(data, PROMPTS)) < ROUNDING[precision]
    if half.is_causal:
        assert _difference(PrefixCache(half)(data, PROMPTS), read) < ROUNDING[precision] / 2


@pytest.mark.parametrize("family", [family for family in DENSE if family != "albert"])
@torch.no_grad()
def test_tokens_that_bfloat16_cannot_tell_apart_stay_distinct(family: str, tmp_path: Path) -> None:
    backbone = Backbone(write_family(tmp_path, family), precision="bf16")
    data = _data(backbone, step=1e-5).reshape(12, 1, -1)
    assert len(data.bfloat16().unique(dim=0)) < len(data) / 2
    assert len(backbone(data, ["gene"] * 12).unique(dim=0)) == len(data)


@torch.no_grad()
def test_the_residual_stream_is_float32_and_so_are_norms(llama: Path) -> None:
    backbone = Backbone(llama, precision="bf16")
    seen: dict[str, set[torch.dtype]] = {}

    def note(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, given, found: seen.setdefault(name, set()).add(found.dtype))

    for name, module in backbone.model.named_modules():
        if "norm" in name or name.endswith("_proj") or name == "embed_tokens":
            note("norm" if "norm" in name else name.rpartition(".")[2], module)
    backbone(_data(backbone), PROMPTS)
    assert seen.pop("norm") == seen.pop("embed_tokens") == {torch.float32}
    assert set.union(*seen.values()) == {torch.bfloat16}
    for weight in backbone.model.parameters():
        assert weight.dtype == (torch.bfloat16 if weight.dim() > 1 else torch.float32)


def test_norms_and_biases_are_those_of_the_file_to_the_last_digit(tmp_path: Path) -> None:
    directory = write_family(tmp_path / "plain", "gpt2")
    with quiet_transformers():
        model = AutoModel.from_pretrained(directory)
        for weight in model.parameters():
            nn.init.normal_(weight)
        model.save_pretrained(tmp_path / "changed")
        (tmp_path / "changed" / "tokenizer.json").write_bytes((directory / "tokenizer.json").read_bytes())
    half = dict(Backbone(tmp_path / "changed", precision="bf16").model.named_parameters())
    for name, weight in model.named_parameters():
        expected = weight if weight.dim() < 2 else weight.bfloat16()
        assert half[name].dtype == expected.dtype
        torch.testing.assert_close(half[name], expected, rtol=0, atol=0, check_dtype=False)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_kept_keys_and_values_take_16_bits(llama: Path, precision: str) -> None:
    backbone, whole = Backbone(llama, precision=precision), Backbone(llama)
    half, full = PrefixCache(backbone), PrefixCache(whole)
    for cache in (half, full):
        cache(_data(whole), PROMPTS)
    assert half.held_bytes == full.held_bytes / 2
    assert half.layout.dtype == backbone.arithmetic.products


def test_results_of_one_arithmetic_are_told_from_those_of_another() -> None:
    names = {name: Arithmetic(name).identity for name in ("fp32", "bf16", "fp16")}
    assert names["fp32"] == str(torch.float32), "what was kept in float32 is still read"
    assert len({*names.values(), str(torch.bfloat16)}) == 4, "a stream in bfloat16 was another arithmetic"


@pytest.mark.parametrize("size", [1.0, 1e-9])
@pytest.mark.parametrize("cached", [False, True])
def test_gradients_of_any_size_pass_products_in_float16(llama: Path, size: float, cached: bool) -> None:
    gradients = {}
    for precision in ("fp32", "fp16", "bf16"):
        backbone = Backbone(llama, precision=precision)
        data = _data(backbone).requires_grad_()
        weight = torch.randn(4, 3, backbone.width, generator=torch.Generator().manual_seed(1))
        read = PrefixCache(backbone) if cached else backbone
        # The tokens are used beside the model too: that part of their gradient is not scaled.
        (size * (weight * read(data, PROMPTS)).sum() + size * data.sum()).backward()
        assert data.grad is not None
        gradients[precision] = data.grad
    assert _difference(gradients["fp16"], gradients["fp32"]) < 0.02
    assert _difference(gradients["fp16"], gradients["fp32"]) < _difference(gradients["bf16"], gradients["fp32"]) / 2


def test_adapters_are_not_trained_in_float16(llama: Path) -> None:
    with pytest.raises(BackboneError, match=r"precision=bf16, or leave lora_rank out"):
        add_lora(Backbone(llama, precision="fp16"), rank=2)
    adapted = Backbone(llama, precision="bf16")
    weights = add_lora(adapted, rank=2)
    adapted(_data(adapted), PROMPTS).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in weights)


@torch.no_grad()
def test_experts_are_chosen_in_float32(tmp_path: Path) -> None:
    directory = write_family(tmp_path, "glm4_moe", first_k_dense_replace=0)
    whole, half = Backbone(directory), Backbone(directory, precision="bf16")
    routers = [module for name, module in half.model.named_modules() if name.endswith(".gate")]
    assert routers
    found: list[tuple[Tensor, ...]] = []
    for router in routers:
        assert {weight.dtype for weight in router.parameters()} == {torch.float32}
        router.register_forward_hook(lambda _module, _given, given_on: found.append(given_on))
    assert _difference(half(_data(whole), PROMPTS), whole(_data(whole), PROMPTS)) < 0.1
    chosen = [value for given_on in found for value in given_on if value.is_floating_point()]
    assert {value.dtype for value in chosen} == {torch.float32}


def test_a_family_that_mixes_no_precisions_says_that_it_serves_in_float32(tmp_path: Path) -> None:
    directory = write_family(tmp_path, "deberta")
    assert Backbone(directory).layers == 2
    with pytest.raises(
        BackboneError, match=r"does not serve as a backbone in bf16 \(some families serve only in fp32\)"
    ):
        Backbone(directory, precision="bf16")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", LANGUAGE_FAMILIES)
@torch.no_grad()
def test_every_family_that_is_read_in_float32_is_read_in_16_bits(family: str, precision: str, tmp_path: Path) -> None:
    try:
        whole = Backbone(write_family(tmp_path, family))
    except Exception as error:
        pytest.skip(f"no tiny {family} is made or read ({type(error).__name__})")
    if family == "deberta":
        pytest.skip("see above")
    half = Backbone(tmp_path, precision=precision)
    data = _data(whole)
    difference = _difference(half(data, PROMPTS), whole(data, PROMPTS))
    # Where experts are chosen, rounding before the choice may choose others.
    has_experts = any("experts" in name for name, _ in whole.model.named_modules())
    assert 0 < difference < (0.5 if has_experts else 5 * ROUNDING[precision])
