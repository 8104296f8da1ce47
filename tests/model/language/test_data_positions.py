from pathlib import Path

import pytest
import torch
from families import write_family

from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.language.prefixes.cache import PrefixCache
from model.testing import CAUSAL, FAMILIES, PROMPTS, Family

N_DATA = 5


def _data(backbone: Backbone) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(PROMPTS), N_DATA, backbone.embedding_width, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_data_have_the_last_positions_whatever_the_length_of_the_prompt(
    directories: dict[Family, Path], family: Family
) -> None:
    backbone = Backbone(directories[family], data_position_ids="end")
    data = _data(backbone)
    read = backbone(data, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        (tokens,) = backbone.token_rows([prompt], N_DATA)
        embedded = torch.cat([backbone.embed(torch.from_numpy(tokens).long()), data[row]])
        places = [*range(len(tokens)), *range(backbone.positions - N_DATA, backbone.positions)]
        # Without a mask a jump in the positions would be read as another sequence packed behind the first.
        options = {"attention_mask": torch.ones(1, len(places)), "position_ids": torch.tensor([places])}
        alone = backbone.model(inputs_embeds=embedded[None], use_cache=False, **options)
        torch.testing.assert_close(read[row], alone.last_hidden_state[0, -N_DATA:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(read, Backbone(directories[family])(data, PROMPTS), atol=1e-4)


@pytest.mark.parametrize("family", CAUSAL)
def test_the_prefix_cache_knows_of_the_last_positions(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family], data_position_ids="end")
    data = _data(backbone)
    torch.testing.assert_close(PrefixCache(backbone)(data, PROMPTS), backbone(data, PROMPTS), rtol=1e-4, atol=1e-5)


def test_a_model_without_position_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"takes no position ids; leave `data_position_ids='end'` out"):
        Backbone(write_family(tmp_path / "bloom", "bloom"), data_position_ids="end")


def test_unknown_position_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"one of prompt, end; got 'start'"):
        Backbone(tmp_path, data_position_ids="start")  # type: ignore[arg-type]  # what is tested
