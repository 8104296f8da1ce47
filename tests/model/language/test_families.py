"""Every family that a backbone takes is read as Transformers reads it: one unpadded gene at a time, by its tokens."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from families import LANGUAGE_FAMILIES, write_family
from torch import Tensor
from transformers import AutoModel

from model.language.backbone import Backbone
from model.language.directory import BackboneError, quiet_transformers
from model.language.prefixes.cache import PrefixCache
from model.networks.gta import GTA
from model.networks.gta_config import PRESETS
from model.testing import PROMPTS

DATA = [17, 40, 99, 23, 7]
"""Tokens that stand for bins, so that the whole model can read them too."""
LONG = (*PROMPTS, "a gene of the heart " * 20)
"""The last one is cut to what the bins leave: all positions are read."""


def _whole(directory: Path, backbone: Backbone) -> Tensor:
    """Read each prompt and its data with the model as Transformers loads it, by token ids."""
    with quiet_transformers():
        model = AutoModel.from_pretrained(directory).eval()
    rows = backbone.token_rows(LONG, len(DATA))
    with torch.no_grad():
        read = [
            model(input_ids=torch.tensor([[*row.tolist(), *DATA]]), use_cache=False).last_hidden_state[0]
            for row in rows
        ]
    return torch.stack([one[-len(DATA) :].float() for one in read])


def _agrees(directory: Path) -> Backbone:
    """Compare a backbone, with and without its cache of prompts, with the whole model."""
    backbone = Backbone(directory)
    expected = _whole(directory, backbone)
    data = backbone.embed(torch.tensor(DATA)).expand(len(LONG), -1, -1)
    torch.testing.assert_close(backbone(data, LONG), expected, rtol=1e-3, atol=1e-3)
    if backbone.is_causal:
        torch.testing.assert_close(PrefixCache(backbone)(data, LONG), expected, rtol=1e-3, atol=1e-3)
    return backbone


SCALED = ("gemma", "gemma2", "gemma3_text", "biogpt", "xglm")
REPRESENTATIVE = (*SCALED, "albert", "bloom", "deberta-v2", "falcon", "gpt_neox", "modernbert", "mpt", "phi", "roberta")


@pytest.mark.parametrize("family", REPRESENTATIVE)
def test_a_family_is_read_as_transformers_reads_it(family: str, tmp_path: Path) -> None:
    backbone = _agrees(write_family(tmp_path, family))
    assert backbone.embedding_scale == (pytest.approx(32**0.5) if family in SCALED else 1)


def test_a_family_whose_embeddings_are_narrower_than_its_blocks_is_read_so_too(tmp_path: Path) -> None:
    backbone = _agrees(write_family(tmp_path, "opt", word_embed_proj_dim=16))
    assert (backbone.embedding_width, backbone.width) == (16, 16)


@pytest.mark.parametrize("settings", [{"alibi": True}, {"new_decoder_architecture": True}, {"multi_query": False}])
def test_each_kind_of_falcon_is_read_as_transformers_reads_it(settings: dict[str, bool], tmp_path: Path) -> None:
    _agrees(write_family(tmp_path, "falcon", **settings))


@pytest.mark.parametrize("preset", ["paper", "best"])
def test_prototypes_are_mixed_of_embeddings_as_the_model_reads_them(preset: str, tmp_path: Path) -> None:
    backbone = Backbone(write_family(tmp_path, "gemma"))
    model = GTA(replace(PRESETS[preset], top_k=3), n_bins=5, channel_names=["H3K4me3", "CTCF"], backbone=backbone)
    read = backbone.embed(torch.arange(len(backbone.embeddings)))
    torch.testing.assert_close(model.prototypes(), model.text_prototypes(read), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        pytest.param("esm", {}, id="rescaled by the share of masked tokens"),
        pytest.param("convbert", {}, id="convolutions read the padding"),
        pytest.param("ctrl", {}, id="scales what it is given in place"),
        pytest.param("fnet", {}, id="no attention, so padding is read"),
        pytest.param("blenderbot-small", {"is_encoder_decoder": False}, id="scaled outside of the layer"),
    ],
)
def test_a_family_that_reads_embeddings_otherwise_than_tokens_is_refused(
    family: str, settings: dict[str, bool], tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match=r"does not serve as a backbone: .*; use a causal model") as refused:
        Backbone(write_family(tmp_path, family, **settings))
    assert str(tmp_path) in str(refused.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", LANGUAGE_FAMILIES)
def test_every_family_is_read_as_transformers_reads_it_or_refused(family: str, tmp_path: Path) -> None:
    try:
        directory = write_family(tmp_path, family)
    except Exception as error:
        pytest.skip(f"no tiny {family} can be made ({type(error).__name__})")
    with suppress(BackboneError):
        _agrees(directory)
