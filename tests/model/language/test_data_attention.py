from pathlib import Path

import pytest
import torch
from families import write_family
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPTNeoConfig, GPTNeoModel, MambaConfig, MambaModel

from model.language.backbone import Backbone
from model.language.data_attention import data_mask
from model.language.directory import BackboneError
from model.language.untrained import train_tokenizer
from model.testing import CAUSAL, PROMPTS, Family

N_PROMPT, N_DATA = 9, 8


def _sees(asking: int, seen: int, *, tokens: int, n_data: int, window: int | None) -> bool:
    """Say what the option means, one pair of tokens at a time."""
    if window is not None and abs(asking - seen) >= window:
        return False
    return seen <= asking or asking >= tokens - n_data


@given(
    padding=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    n_prompt=st.integers(5, 7),
    n_data=st.integers(0, 6),
    cached=st.booleans(),
    window=st.none() | st.integers(1, 8),
)
def test_data_see_the_prompt_and_each_other_and_the_prompt_sees_no_data(
    padding: list[int], n_prompt: int, n_data: int, cached: bool, window: int | None
) -> None:
    tokens = n_prompt + n_data
    n_queries = n_data if cached and n_data else tokens
    mask = torch.arange(tokens) >= torch.tensor(padding)[:, None]
    allowed = data_mask(mask, n_queries, n_data, window=window, dtype=torch.float32) == 0
    slow = [
        [
            [
                asking == seen or (seen >= pad and _sees(asking, seen, tokens=tokens, n_data=n_data, window=window))
                for seen in range(tokens)
            ]
            for asking in range(tokens - n_queries, tokens)
        ]
        for pad in padding
    ]
    assert allowed[:, 0].tolist() == slow


def _influence(backbone: Backbone) -> Tensor:
    """Say which inputs each output depends on, by gradients; shape `(tokens, tokens)`, bool."""
    generator = torch.Generator().manual_seed(0)
    embedded = torch.randn(1, N_PROMPT + N_DATA, backbone.embedding_width, generator=generator).requires_grad_()
    mask = torch.ones(embedded.shape[:2], dtype=torch.bool)
    hidden = backbone.run(embedded, mask, n_data=N_DATA).last_hidden_state[0]
    weights = torch.randn(hidden.shape, generator=generator)
    rows = [torch.autograd.grad(total, embedded, retain_graph=True)[0] for total in (hidden * weights).sum(dim=-1)]
    return torch.cat(rows).abs().sum(dim=-1) > 0


@pytest.mark.parametrize("family", CAUSAL)
def test_a_model_of_two_blocks_sees_what_its_two_masks_let_it_see(
    directories: dict[Family, Path], family: Family
) -> None:
    windows = {"mistral": (6, 6), "qwen2": (None, 6)}.get(family, (None, None))
    backbone = Backbone(directories[family], max_layers=2, data_attention="bidirectional")
    tokens = N_PROMPT + N_DATA
    reach = torch.eye(tokens)
    for window in windows:
        pairs = [
            [float(_sees(asking, seen, tokens=tokens, n_data=N_DATA, window=window)) for seen in range(tokens)]
            for asking in range(tokens)
        ]
        reach = torch.tensor(pairs) @ reach
    assert torch.equal(_influence(backbone), reach > 0)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_single_data_token_is_read_as_by_the_causal_model(directories: dict[Family, Path], family: Family) -> None:
    causal, opened = (Backbone(directories[family], data_attention=way) for way in ("causal", "bidirectional"))
    data = torch.randn(len(PROMPTS), 1, causal.embedding_width, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(opened(data, PROMPTS), causal(data, PROMPTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_prompt_beside_longer_ones_reads_as_it_does_alone(directories: dict[Family, Path], family: Family) -> None:
    backbone = Backbone(directories[family], data_attention="bidirectional")
    data = torch.randn(len(PROMPTS), N_DATA, backbone.embedding_width, generator=torch.Generator().manual_seed(1))
    batched = backbone(data, PROMPTS)
    alone = [backbone(data[row : row + 1], [prompt])[0] for row, prompt in enumerate(PROMPTS)]
    torch.testing.assert_close(batched, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_half_precision_can_be_bidirectional_too(directories: dict[Family, Path]) -> None:
    full, half = (
        Backbone(directories["llama"], precision=precision, data_attention="bidirectional")
        for precision in ("fp32", "bf16")
    )
    data = torch.randn(len(PROMPTS), N_DATA, full.embedding_width, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(half(data, PROMPTS), full(data, PROMPTS), rtol=0.1, atol=0.2)


def test_an_encoder_refuses_the_option(directories: dict[Family, Path]) -> None:
    with pytest.raises(BackboneError, match=r"both directions already.*leave it out"):
        Backbone(directories["bert"], data_attention="bidirectional")


@pytest.mark.filterwarnings("ignore:The fast path is not available")
@pytest.mark.parametrize("kind", ["mask of its own", "no attention"])
def test_a_model_that_does_not_obey_a_mask_is_refused(tmp_path: Path, kind: str) -> None:
    tokenizer = train_tokenizer(PROMPTS, 300)
    if kind == "mask of its own":
        config = GPTNeoConfig(
            vocab_size=300, hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]]
        )
        GPTNeoModel(config).save_pretrained(tmp_path)
    else:
        MambaModel(MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"does not support .*use `data_attention='causal'`"):
        Backbone(tmp_path, data_attention="bidirectional")


def test_an_unknown_kind_of_attention_is_refused(directories: dict[Family, Path]) -> None:
    with pytest.raises(BackboneError, match=r"causal, bidirectional; got 'both'"):
        Backbone(directories["llama"], data_attention="both")  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(("family", "settings"), [("bloom", {}), ("falcon", {"alibi": True})])
def test_a_family_that_makes_its_own_masks_says_so(family: str, settings: dict[str, bool], tmp_path: Path) -> None:
    directory = write_family(tmp_path, family, **settings)
    with pytest.raises(BackboneError, match=r"does not support `data_attention='bidirectional'`: it .*; use"):
        Backbone(directory, data_attention="bidirectional")
