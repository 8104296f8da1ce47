import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, T5Config

from model.backbone import Backbone, BackboneError, directory_digest, quiet_transformers
from model.prefix_cache import PrefixCache
from model.testing import CAUSAL, FAMILIES, PROMPTS, Family, write_tiny_backbone
from model.untrained import make_untrained_backbone

N_DATA = 5


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    folder = tmp_path_factory.mktemp("backbones")
    return {family: write_tiny_backbone(folder / family, family) for family in FAMILIES}


def _data(backbone: Backbone, rows: int = len(PROMPTS)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, N_DATA, backbone.embedding_width, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_beside_longer_ones_reads_as_it_does_alone(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family])
    data = _data(backbone)
    together = backbone(data, PROMPTS)
    alone = [backbone(data[row : row + 1], [prompt])[0] for row, prompt in enumerate(PROMPTS)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_prompt_says_matters(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family])
    data = _data(backbone, rows=1)
    assert (backbone(data, ["x"]) - backbone(data, ["y"])).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_blocks_are_those_of_the_whole_model(directories: dict[Family, Path], family: Family) -> None:
    whole = Backbone(directories[family])
    cut = Backbone(directories[family], max_layers=2)
    assert (whole.layers, cut.layers) == (3, 2)
    data = _data(cut, rows=1)
    embedded = torch.cat([whole.embeddings[whole.encode_prompts(["x"], N_DATA).ids], data], dim=1)
    expected = whole.model(inputs_embeds=embedded, output_hidden_states=True).hidden_states[2]
    for name in ("norm", "ln_f"):
        expected = getattr(whole.model, name, torch.nn.Identity())(expected)
    torch.testing.assert_close(cut(data, ["x"]), expected[:, -N_DATA:], rtol=1e-4, atol=1e-5)


def test_asking_for_more_blocks_than_there_are_keeps_them_all(directories: dict[Family, Path]) -> None:
    assert Backbone(directories["llama"], max_layers=8).layers == 3


def test_causality_is_measured(directories: dict[Family, Path]) -> None:
    assert {family: Backbone(path).is_causal for family, path in directories.items()} == {
        "llama": True,
        "mistral": True,
        "gpt2": True,
        "bert": False,
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_is_frozen_and_stays_in_evaluation_mode(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family]).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    data = _data(backbone).requires_grad_()
    backbone(data, PROMPTS).square().sum().backward()
    assert data.grad is not None
    assert data.grad.abs().sum() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_cut_to_what_the_bins_leave(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family])
    tokens = backbone.encode_prompts(["heart " * 200, "x"], N_DATA)
    assert tokens.mask.sum(dim=1)[0] == backbone.positions - N_DATA
    assert tokens.mask[1].tolist() == sorted(tokens.mask[1].tolist()), "padding comes first"
    assert backbone(_data(backbone, rows=2), ["heart " * 200, "x"]).shape == (2, N_DATA, backbone.width)


def test_fewer_positions_can_be_asked_for(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"], max_positions=20)
    assert backbone.encode_prompts(["heart " * 200], N_DATA).ids.shape == (1, 15)


def test_half_precision_stays_near(directories: dict[Family, Path]) -> None:
    full, half = (Backbone(directories["llama"], precision=name) for name in ("float32", "bfloat16"))
    assert half.embeddings.dtype == torch.bfloat16
    assert half(_data(half), PROMPTS).dtype == torch.float32
    torch.testing.assert_close(half(_data(half), PROMPTS), full(_data(full), PROMPTS), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_cached_prompt_changes_neither_predictions_nor_gradients(
    directories: dict[Family, Path], family: Family
) -> None:
    backbone = Backbone(directories[family], max_layers=2)
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
    with pytest.raises(BackboneError, match=r"both directions.*prefix_cache=False"):
        PrefixCache(Backbone(directories["bert"]))


def test_bins_that_leave_no_room_for_a_prompt_are_refused(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    assert backbone.prompt_room(backbone.positions - 1) == 1
    with pytest.raises(BackboneError, match=r"48 bins leave no room for a prompt.*use fewer bins"):
        backbone.prompt_room(backbone.positions)


def _copy(source: Path, target: Path, *, leave_out: str) -> Path:
    target.mkdir()
    for path in source.iterdir():
        if not path.match(leave_out):
            (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        pytest.param("config.json", "no config.json; give the folder", id="no configuration"),
        pytest.param("*.safetensors", "no weights in safetensors.*download the .safetensors", id="no weights"),
        pytest.param("tokenizer.json", "no tokenizer.*copy the tokenizer files", id="no tokenizer"),
    ],
)
def test_an_incomplete_directory_is_refused(
    directories: dict[Family, Path], tmp_path: Path, leave_out: str, message: str
) -> None:
    with pytest.raises(BackboneError, match=message):
        Backbone(_copy(directories["llama"], tmp_path / "model", leave_out=leave_out))


def test_pickled_weights_are_refused_unread(directories: dict[Family, Path], tmp_path: Path) -> None:
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="*.safetensors")
    (directory / "pytorch_model.bin").write_bytes(b"would raise if it were opened")
    with pytest.raises(BackboneError, match=r"pytorch_model.bin, a pickle, which may run code"):
        Backbone(directory)


def test_weights_that_lack_a_tensor_are_refused(directories: dict[Family, Path], tmp_path: Path) -> None:
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="nothing")
    document = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(document | {"num_hidden_layers": 4}))
    with pytest.raises(BackboneError, match=r"lack \d+ tensors.*download all"):
        Backbone(directory)


def test_an_unknown_kind_of_model_is_refused(directories: dict[Family, Path], tmp_path: Path) -> None:
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="nothing")
    (directory / "config.json").write_text(json.dumps({"model_type": "nobody-knows", "auto_map": {"AutoModel": "m.M"}}))
    with pytest.raises(BackboneError, match=r"does not know without running code"):
        Backbone(directory)


def test_an_encoder_decoder_is_refused(directories: dict[Family, Path], tmp_path: Path) -> None:
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="nothing")
    T5Config(d_model=8).save_pretrained(directory)
    with pytest.raises(BackboneError, match=r"encoder-decoder.*use a causal model"):
        Backbone(directory)


def test_a_tokenizer_of_another_model_is_refused(directories: dict[Family, Path], tmp_path: Path) -> None:
    directory = make_untrained_backbone(tmp_path / "model", ["# Symbol: ABC1"], vocabulary=256, hidden=16)
    (directory / "tokenizer.json").write_bytes((directories["llama"] / "tokenizer.json").read_bytes())
    with pytest.raises(BackboneError, match=r"use the tokenizer that the model was trained with"):
        Backbone(directory).encode_prompts(["# Symbol: # Symbol: MYH7, # Summary: myosin heavy chain"], N_DATA)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"precision": "int4"}, "float32, bfloat16", id="unknown precision"),
        pytest.param({"max_layers": 0}, "at least 1 block", id="no block"),
    ],
)
def test_bad_options_are_refused(directories: dict[Family, Path], options: dict[str, str], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        Backbone(directories["llama"], **options)  # type: ignore[arg-type]  # that is the point


def test_loading_says_nothing(
    directories: dict[Family, Path], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Backbone(directories["gpt2"], max_layers=1)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_an_untrained_model_is_marked_and_its_embeddings_have_unit_scale(tmp_path: Path) -> None:
    directory = make_untrained_backbone(tmp_path, [*PROMPTS, "the heart"], layers=1)
    backbone = Backbone(directory)
    assert backbone.is_untrained
    assert json.loads((directory / "config.json").read_text())["featurestore_untrained"] is True
    assert "never trained" in (directory / "README.md").read_text()
    assert (backbone.layers, backbone.width, backbone.positions, backbone.is_causal) == (1, 64, 2048, True)
    assert 0.9 < float(backbone.embeddings.std()) < 1.1
    assert backbone.tokenizer.decode(backbone.tokenize("Zürich, # \t42")) == "Zürich, # \t42"
    with quiet_transformers():
        AutoModel.from_pretrained(directory, local_files_only=True)


def test_a_trained_model_is_not_marked(directories: dict[Family, Path]) -> None:
    assert not Backbone(directories["llama"]).is_untrained


def test_the_same_seed_gives_the_same_untrained_model(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (
        make_untrained_backbone(tmp_path / name, PROMPTS, seed=seed, layers=1)
        for name, seed in [("first", 0), ("again", 0), ("other", 1)]
    )
    assert directory_digest(first) == directory_digest(again) != directory_digest(other)
    weights = [load_file(path / "model.safetensors") for path in (first, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state is left alone"


@pytest.mark.parametrize(
    ("texts", "hidden", "message"),
    [
        pytest.param(["", " "], 64, "give the prompts", id="no text"),
        pytest.param(["gene"], 62, "multiple of", id="width that the heads cannot share"),
    ],
)
def test_an_untrained_model_that_cannot_be_made_is_refused(
    tmp_path: Path, texts: list[str], hidden: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_untrained_backbone(tmp_path, texts, hidden=hidden)


def test_the_digest_follows_the_weights(directories: dict[Family, Path], tmp_path: Path) -> None:
    before = directory_digest(directories["llama"])
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="nothing")
    assert directory_digest(directory) == before
    weights = directory / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert directory_digest(directory) != before
