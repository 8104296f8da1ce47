"""What a prompt alone predicts: its vector, its fields, and regression that holds relatives out."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file
from scipy import sparse, stats
from transformers import AutoModel, AutoTokenizer

from benchmarks.prompt_layers import embed_layers
from benchmarks.prompt_only import amount_features, predict_held_out, untrained_copy, word_features, written_prompts
from catalog.ncbi.annotations import ANNOTATION_SCHEMA
from model.language.directory import BackboneError
from model.language.prompt_embeddings import Pooling, embed_prompts
from model.testing import Family, write_tiny_backbone

PROMPTS = ("# Symbol: MYH7", "x", "# Summary: a slow and long story of the heart", "# Symbol: ABC1", "x")


@pytest.fixture(scope="module", params=["bert", "llama"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family: Family = request.param
    return write_tiny_backbone(tmp_path_factory.mktemp(family), family)


# Vectors


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("max_tokens", [5, 40])
def test_a_vector_is_that_of_the_prompt_read_by_itself(backbone: Path, pooling: Pooling, max_tokens: int) -> None:
    found = embed_prompts(PROMPTS, backbone, pooling=pooling, max_tokens=max_tokens)
    model, tokenizer = AutoModel.from_pretrained(backbone).eval(), AutoTokenizer.from_pretrained(backbone)
    for prompt, vector, tokens in zip(PROMPTS, found.values, found.tokens, strict=True):
        ids = tokenizer(prompt)["input_ids"]
        assert tokens == len(ids)
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids[:max_tokens]])).last_hidden_state[0]
        expected = hidden.mean(dim=0) if pooling == "mean" else hidden[-1]
        np.testing.assert_allclose(vector, expected.numpy(), atol=2e-5)


def test_bfloat16_points_the_same_way(backbone: Path) -> None:
    one, other = (embed_prompts(PROMPTS, backbone, precision=p).values for p in ("fp32", "bf16"))
    cosine = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() > 0.99


def test_what_is_in_the_cache_is_not_computed_again(backbone: Path, tmp_path: Path) -> None:
    first = embed_prompts(PROMPTS, backbone, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert len(load_file(kept)["values"]) == 4, "equal prompts are kept once"
    again = embed_prompts(PROMPTS, backbone, cache=tmp_path)
    np.testing.assert_array_equal(again.values, first.values)
    np.testing.assert_array_equal(again.seconds, first.seconds, "those of the first time")


def test_another_option_prompt_or_model_is_another_entry_of_the_cache(backbone: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    embed_prompts(PROMPTS, backbone, cache=cache)
    embed_prompts(PROMPTS, backbone, cache=cache, pooling="last")
    embed_prompts(PROMPTS, backbone, cache=cache, max_tokens=6)
    embed_prompts(PROMPTS, backbone, cache=cache, precision="bf16")
    embed_prompts(PROMPTS[::-1], backbone, cache=cache)
    embed_prompts(PROMPTS, untrained_copy(backbone, tmp_path / "other", seed=1), cache=cache)
    assert len(list(cache.iterdir())) == 6


def _flipped(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


def _cut(data: bytes) -> bytes:
    return data[:-10]


@pytest.mark.parametrize("damage", [_cut, _flipped])
def test_a_damaged_entry_is_made_again(
    backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    first = embed_prompts(PROMPTS, backbone, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(embed_prompts(PROMPTS, backbone, cache=tmp_path).values, first.values)
    assert "the prompts are read again" in caplog.text
    np.testing.assert_array_equal(load_file(kept)["values"][0], first.values[0])


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        pytest.param((), {}, "at least 1 prompt", id="no prompt"),
        pytest.param(("x", ""), {}, "no tokens: ''; leave them out", id="an empty prompt"),
        pytest.param(("x",), {"max_tokens": 0}, "1 token of each", id="no token"),
        pytest.param(("x",), {"pooling": "max"}, "'mean'.*'last'", id="another pooling"),
        pytest.param(("x",), {"precision": "int8"}, "fp32, bf16, fp16", id="another precision"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    backbone: Path, prompts: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        embed_prompts(prompts, backbone, **options)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no model directory at .*nowhere; give the folder"):
        embed_prompts(["x"], tmp_path / "nowhere", cache=tmp_path)


def test_an_untrained_copy_has_the_shape_but_not_the_weights(backbone: Path, tmp_path: Path) -> None:
    copies = [untrained_copy(backbone, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    source, a, b, c = (embed_prompts(PROMPTS, directory).values for directory in (backbone, *copies))
    assert source.shape == a.shape
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)
    assert not np.allclose(a, source)
    assert '"featurestore_untrained": true' in (copies[0] / "config.json").read_text()


# Fields


def annotations(**fields: str | None) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(ANNOTATION_SCHEMA.names()) | fields], schema=ANNOTATION_SCHEMA)


GENE = annotations(
    symbol="ABC1",
    name="ABC1 activity of bc1 complex kinase, formerly abc1",
    aliases="XYZ|HABC1",
    designations="xyz|XYZ-like kinase 8|ABC10|chaperone (XYZ)",
)


def test_without_symbol_no_symbol_or_alias_stands_anywhere_as_a_word() -> None:
    (written,) = written_prompts(GENE, without=("symbol",))
    lines = written.splitlines()[1:]
    assert lines == [
        "# Full name: activity of bc1 complex kinase, formerly",
        "# Other designations: -like kinase 8; ABC10; chaperone ()",
        "# Data:",
    ]


def test_fields_are_left_out_as_asked() -> None:
    full, no_symbol, no_designations, name_only = (
        written_prompts(GENE, without=without)[0]
        for without in ((), ("symbol",), ("designations",), ("symbol", "designations"))
    )
    assert "Gene symbol: ABC1" in full
    assert "chaperone" in full
    assert "Gene symbol" not in no_symbol
    assert "Aliases" not in no_symbol
    assert "Aliases: XYZ, HABC1" in no_designations
    assert "chaperone" not in no_designations
    assert [line.partition(":")[0] for line in name_only.splitlines()] == ["# Task", "# Full name", "# Data"]


def test_a_gene_of_which_nothing_is_known_keeps_its_frame() -> None:
    assert written_prompts(annotations(symbol="ABC1"), without=("symbol",))[0].splitlines()[1:] == ["# Data:"]


def test_words_are_weighed_by_rarity_and_rows_have_length_one() -> None:
    found = word_features(["RPL3 protein", "rpl 13 protein", "Protein 3", "odd"]).toarray()
    # Columns 3, protein, rpl; "13" and "odd" stand in one prompt only.
    three, protein, rpl = np.log(4 / 2), np.log(4 / 3), np.log(4 / 2)
    expected = np.array([[three, protein, rpl], [0, protein, rpl], [three, protein, 0], [0, 0, 0]])
    expected[:3] /= np.linalg.norm(expected[:3], axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected)


def test_amounts_count_entries_and_know_nothing() -> None:
    table = pl.concat([GENE, annotations(symbol="ABC1")])
    letters = sum(len(GENE[field][0]) for field in ("name", "aliases", "designations"))
    np.testing.assert_allclose(np.expm1(amount_features(table)), [[8, 2, 4, letters], [0, 0, 0, 0]])


# Regression


def signal(genes: int = 400, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(genes, width)) * [1, 10, 0.1, 1, 1, 0][:width]
    return features, features @ [1, 0.1, 10, 0, 0, 0][:width] + 0.3 * generator.normal(size=genes) + 5


TRAIN, TEST = np.arange(100, 400), np.arange(100)


def test_a_linear_signal_is_found_and_shuffled_rows_have_none() -> None:
    features, target = signal()
    found = predict_held_out(features, target, train=TRAIN, test=TEST)
    assert stats.pearsonr(found, target[TEST]).statistic > 0.95
    assert abs(found.mean() - target[TEST].mean()) < 0.5
    shuffled = predict_held_out(features[np.random.default_rng(1).permutation(400)], target, train=TRAIN, test=TEST)
    assert abs(stats.pearsonr(shuffled, target[TEST]).statistic) < 0.25


def test_targets_of_test_genes_are_not_looked_at() -> None:
    features, target = signal()
    other = target.copy()
    other[TEST] = 1e6
    for families in (None, [str(index % 40) for index in range(400)]):
        one, same = (predict_held_out(features, y, train=TRAIN, test=TEST, families=families) for y in (target, other))
        np.testing.assert_array_equal(one, same)


def test_with_families_held_out_nothing_is_known_of_a_family_by_its_name() -> None:
    generator = np.random.default_rng(2)
    family = generator.integers(0, 50, 400)
    target = generator.normal(size=50)[family]
    features = np.eye(50)[family]
    names = [f"FAM{number}" for number in family]
    known = predict_held_out(features, target, train=TRAIN, test=TEST)
    unknown = predict_held_out(features, target, train=TRAIN, test=TEST, families=names)
    assert stats.pearsonr(known, target[TEST]).statistic > 0.95
    # Below 0: without a family that is high, the mean of the others is low.
    assert stats.pearsonr(unknown, target[TEST]).statistic < 0.1


def test_sparse_rows_are_regressed_like_the_normal_equations_say() -> None:
    generator = np.random.default_rng(3)
    dense = (generator.random((200, 30)) < 0.2) * generator.normal(size=(200, 30))
    target = dense @ generator.normal(size=30) + generator.normal(size=200)
    train, test = np.arange(50, 200), np.arange(50)
    found = predict_held_out(sparse.csr_array(dense), target, train=train, test=test)
    x, mean = dense[train], target[train].mean()
    candidates = [
        dense[test] @ np.linalg.solve(x.T @ x + penalty * np.eye(30), x.T @ (target[train] - mean)) + mean
        for penalty in np.logspace(-1, 2, 7)
    ]
    assert min(np.abs(found - each).max() for each in candidates) < 1e-5


def test_shared_genes_and_too_few_are_refused() -> None:
    features, target = signal()
    with pytest.raises(ValueError, match="1 genes are in both train and test; take the test genes out"):
        predict_held_out(features, target, train=[0, 1, 2], test=[2, 3])
    with pytest.raises(ValueError, match=r"0 genes are left to train on.*more folds"):
        predict_held_out(features, target, train=TRAIN, test=TEST, families=["one"] * 400)


def test_vectors_after_several_blocks_are_those_of_models_of_so_many_blocks(tmp_path: Path) -> None:
    directory = write_tiny_backbone(tmp_path / "llama", "llama")
    options: dict[str, Any] = {"layers": (0, 1, 3), "max_tokens": 40, "precision": "fp32", "cache": tmp_path / "kept"}
    found = embed_layers(PROMPTS, directory, **options)
    for blocks in (1, 3):
        model = AutoModel.from_pretrained(directory, num_hidden_layers=blocks).eval()
        for row, prompt in enumerate(PROMPTS):
            ids = torch.tensor([AutoTokenizer.from_pretrained(directory)(prompt)["input_ids"][:40]])
            with torch.no_grad():
                states = model(ids).last_hidden_state[0].numpy()
            np.testing.assert_allclose(found[f"{blocks} blocks, mean"][row], states.mean(axis=0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found[f"{blocks} blocks, last"][row], states[-1], rtol=1e-4, atol=1e-5)
    again = embed_layers(PROMPTS, tmp_path / "llama", **options)
    assert again.keys() == found.keys()
    assert all(np.array_equal(again[name], values) for name, values in found.items())
