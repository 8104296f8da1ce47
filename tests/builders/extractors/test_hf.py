"""Hidden states of any Hugging Face model, pooled to bins: by a slow oracle, whatever the tokenizer."""

import pickle
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_models import BLOCKS, KINDS, POSITIONS, WIDTH, write_model
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from builders.extractors.base import ExtractorOptions
from builders.extractors.hf.extractor import HfExtractor
from builders.extractors.hf.files import HfModelError
from builders.extractors.hf.pieces import pieces
from builders.extractors.hf.settings import HfSettings
from builders.extractors.hf.tokens import DnaTokenizer, TokenizerError
from builders.extractors.sequence import reverse_complement
from builders.testing import ExtractorTests

LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: write_model(root / str(number), kind) for number, kind in enumerate(KINDS)}


def made(folder: Path, bin_size: int = 40, **chosen: Any) -> HfExtractor:
    return HfExtractor(HfSettings(model=str(folder), **chosen), bin_size=bin_size, device="cpu")


def drawn(length: int, rows: int = 3, *, unknown: float = 0.05, seed: int = 0) -> NDArray[np.uint8]:
    share = [(1 - unknown) / 4] * 4 + [unknown]
    return LETTERS[np.random.default_rng(seed).choice(5, size=(rows, length), p=share)]


def states(folder: Path, text: str) -> tuple[list[tuple[str, int, int]], NDArray[np.float64]]:
    """Tokens with the bases that each covers, found letter by letter; and hidden states of all layers of one text."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text)["input_ids"]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    spans, place = [], 0
    for one in ids:
        word = "" if one in special else tokenizer.convert_ids_to_tokens(one).lstrip("\u0120")
        assert text.startswith(word, place)
        spans.append((word, place, place + len(word)))
        place += len(word)
    with torch.inference_mode():
        found = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return spans, np.stack([layer[0].double().numpy() for layer in found])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layer", "context_bp"), [(-1, 0), (1, 0), (0, 7)])
def test_a_bin_is_the_mean_of_its_tokens_by_the_bases_that_each_covers(
    kind: str, layer: int, context_bp: int, folders: dict[str, Path]
) -> None:
    extractor = made(folders[kind], layer=layer, context_bp=context_bp)
    bases = drawn(extractor.input_length)
    for row, found in zip(bases, extractor(bases)["hf"], strict=True):
        spans, hidden = states(folders[kind], row.tobytes().decode())
        inside = range(context_bp, context_bp + 40)
        weights = [len(set(range(start, end)) & set(inside)) for _, start, end in spans]
        assert sum(weights) == 40
        expected = np.average(hidden[layer], axis=0, weights=weights)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 3000), longest=st.integers(4, 200))
def test_pieces_cover_a_sequence_and_each_base_is_spoken_for_once(length: int, longest: int) -> None:
    found = pieces(length, longest)
    owned = [base for piece in found for base in range(piece.own_start, piece.own_end)]
    assert owned == list(range(length))
    for piece in found:
        assert 0 <= piece.start <= piece.own_start < piece.own_end <= piece.end <= length
        assert piece.end - piece.start == min(length, longest)
    for before, after in pairwise(found):
        assert before.end - after.start >= longest // 4


@pytest.mark.parametrize("kind", ["llama, letters", "gpt-neox, BPE"])
def test_long_bins_are_read_in_pieces_that_each_fit_the_model(kind: str, folders: dict[str, Path]) -> None:
    """Layer 0 of these has no position in it: cut into pieces or not, a base has the same vector."""
    extractor = made(folders[kind], bin_size=1000, layer=0)
    assert extractor.most_tokens == POSITIONS
    bases = drawn(1000, unknown=0.3)
    for row, found in zip(bases, extractor(bases)["hf"], strict=True):
        text = row.tobytes().decode()
        if kind == "llama, letters":
            spans, hidden = states(folders[kind], text)
            expected = np.average(hidden[0], axis=0, weights=[end - start for _, start, end in spans])
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        read = list(extractor._read(0, text))
        assert all(len(one.tokens.ids) <= POSITIONS for one in read)
        assert sum(extractor._share(one).sum() for one in read) == 1000


def test_blocks_that_are_not_needed_are_cut_and_change_nothing(folders: dict[str, Path]) -> None:
    extractor = made(folders["llama, letters"], layer=1)
    extractor(drawn(40))
    model, _ = extractor._loaded
    assert len(model.get_submodule("layers")) == 2 < BLOCKS  # type: ignore[arg-type]  # a list of blocks


def test_tokens_kept_apart_are_the_hidden_states_at_each_base(folders: dict[str, Path]) -> None:
    folder = folders["llama, letters"]
    extractor = made(folder, pooling="tokens")
    bases = drawn(40, rows=1)
    _, hidden = states(folder, bases[0].tobytes().decode())
    found = extractor(bases)["hf"].reshape(40, WIDTH)
    np.testing.assert_allclose(found, hidden[-1][1:], rtol=1e-4, atol=1e-5)
    assert [channel.name for channel in extractor.channels["hf"]][WIDTH] == "b0001h0000"
    by_four = made(folder, pooling="tokens", token_bp=4)(bases)["hf"].reshape(10, WIDTH)
    np.testing.assert_allclose(by_four, found.reshape(10, 4, WIDTH).mean(1), rtol=1e-4, atol=1e-5)


def test_cls_is_the_first_token(folders: dict[str, Path]) -> None:
    folder = folders["bert, letters"]
    bases = drawn(40, rows=1)
    _, hidden = states(folder, bases[0].tobytes().decode())
    np.testing.assert_allclose(made(folder, pooling="cls")(bases)["hf"][0], hidden[-1][0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="this one puts none; use 'mean'"):
        made(folders["gpt-neox, BPE"], pooling="cls")


@pytest.mark.parametrize("kind", KINDS)
def test_both_strands_give_the_same_from_either(kind: str, folders: dict[str, Path]) -> None:
    bases = drawn(40, unknown=0.0)
    mean, apart = made(folders[kind], strands="both"), made(folders[kind], strands="both", pooling="tokens", token_bp=5)
    turned = reverse_complement(bases)
    np.testing.assert_allclose(mean(turned)["hf"], mean(bases)["hf"], rtol=1e-4, atol=1e-6)
    here, there = (apart(one)["hf"].reshape(3, 8, WIDTH) for one in (bases, turned))
    np.testing.assert_allclose(there, here[:, ::-1], rtol=1e-4, atol=1e-6)


def test_a_tokenizer_that_does_not_know_dna_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["bert, letters"], tmp_path / "bert")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"A": 5', '"B": 5'))
    with pytest.raises(TokenizerError, match=r"does not know 2\d% of the bases of random DNA, and at most 1%"):
        made(folder)


def test_an_unknown_token_covers_what_lies_before_the_next_known_one(folders: dict[str, Path]) -> None:
    tokenizer = DnaTokenizer(AutoTokenizer.from_pretrained(folders["esm, 3-mers"]))
    found = tokenizer("ACGRRTTT")
    assert [(int(a), int(b)) for a, b in zip(found.starts, found.ends, strict=True)] == [(0, 0), (0, 3), (3, 5), (5, 8)]


@pytest.mark.parametrize(
    "change", ["weights", "tokenizer", "layer", "pooling", "bin_size", "context_bp", "strands", "random_seed"]
)
def test_the_fingerprint_tells_apart_what_changes_values(change: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["llama, letters"], tmp_path / "llama")
    before = made(folder).fingerprint
    assert before == made(folder, batch_pieces=3, feature_set="other", layer=BLOCKS).fingerprint
    if change == "weights":
        write_model(folder, "llama, letters", seed=1)
    if change == "tokenizer":
        path = folder / "tokenizer_config.json"
        path.write_text(path.read_text() + " ")
    others: dict[str, dict[str, Any]] = {
        "layer": {"layer": 1},
        "pooling": {"pooling": "tokens", "token_bp": 4},
        "bin_size": {"bin_size": 20},
        "context_bp": {"context_bp": 4},
        "strands": {"strands": "both"},
        "random_seed": {"random_seed": 0},
    }
    assert made(folder, **others.get(change, {})).fingerprint != before


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"layer": 4}, r"0 \(embeddings\) to 3, or -1 to -4; got 4"),
        ({"pooling": "tokens", "token_bp": 7}, "40 bp is no multiple of 7"),
        ({"revision": "main"}, "is of a model on the Hub"),
        ({"feature_set": "a/b"}, "letters, digits"),
        ({"piece_tokens": 3}, "at least 8"),
    ],
)
def test_settings_that_do_not_fit_are_refused(chosen: dict[str, Any], message: str, folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=message):
        made(folders["llama, letters"], **chosen)


def test_a_model_with_code_of_its_own_is_not_run_unasked(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["llama, letters"], tmp_path / "llama")
    path = folder / "config.json"
    path.write_text(path.read_text().replace("{", '{"auto_map": {"AutoModel": "evil.Evil"},', 1))
    (folder / "evil.py").write_text("raise SystemExit('run')")
    with pytest.raises(HfModelError, match="read it, then set trust_remote_code=true"):
        made(folder)


class _Run:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_weights_that_are_a_pickle_are_not_unpacked(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(folders["llama, letters"], tmp_path / "llama")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Run(), protocol=2))
    with pytest.raises(HfModelError, match="has no weights that can be read"):
        made(folder)(drawn(40))
    assert "run" not in capsys.readouterr().out.split()


def test_weights_that_are_missing_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["llama, letters"], tmp_path / "llama")
    path = folder / "config.json"
    path.write_text(path.read_text().replace(f'"num_hidden_layers": {BLOCKS}', f'"num_hidden_layers": {BLOCKS + 1}'))
    with pytest.raises(HfModelError, match=r"lacks \d+ weights .*would be random"):
        made(folder)(drawn(40))


def test_random_weights_are_those_of_their_seed_and_no_others(folders: dict[str, Path]) -> None:
    bases = drawn(40)
    trained, one, again, other = (
        made(folders["llama, letters"], random_seed=seed)(bases)["hf"] for seed in (None, 1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one, trained)


def test_a_folder_without_a_model_and_an_id_that_cannot_be_fetched_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        made(tmp_path)
    with pytest.raises(OSError, match="neither be found in the local cache nor be downloaded"):
        made(Path("nobody/nothing-here"))


def test_the_licence_of_the_card_goes_into_the_record(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["llama, letters"], tmp_path / "llama")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n# A model\n")
    assert made(folder).licence.endswith("licence: cc-by-nc-sa-4.0")


class TestHf(ExtractorTests):
    factory = "hf"
    options = ExtractorOptions(bin_size=200, device="cpu")

    @pytest.fixture
    def chosen(self, folders: dict[str, Path]) -> dict[str, Any]:
        return {"model": str(folders["esm, 3-mers"])}

    @pytest.fixture(autouse=True)
    def _others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "other_settings", {"layer": 2})
