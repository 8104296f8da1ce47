import math
from typing import Any

import pytest
import torch
from torch import Tensor

from model.networks.alignment import TextPrototypes, TokenAlignment

CHANNELS, WIDTH, HEADS, PROTOTYPE_WIDTH, TOKEN_WIDTH = 5, 12, 3, 7, 6


def _alignment(**changes: Any) -> TokenAlignment:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "prototype_width": PROTOTYPE_WIDTH,
        "token_width": TOKEN_WIDTH,
        "width": WIDTH,
        "heads": HEADS,
        "scale": "total",
        "normalise": False,
    }
    return TokenAlignment(CHANNELS, **options | changes)


def _inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, CHANNELS, generator=generator), torch.randn(9, PROTOTYPE_WIDTH, generator=generator)


def _one_bin_by_hand(alignment: TokenAlignment, features: Tensor, prototypes: Tensor, divisor: float) -> Tensor:
    """Equation (1) for one bin, head after head."""
    per_head = WIDTH // HEADS
    query = alignment.query.weight @ features + alignment.query.bias
    parts = []
    for head in range(HEADS):
        rows = slice(head * per_head, (head + 1) * per_head)
        keys = prototypes @ alignment.key.weight[rows].T
        values = prototypes @ alignment.value.weight[rows].T + alignment.value.bias[rows]
        weights = torch.exp(keys @ query[rows] / divisor)
        parts.append((weights / weights.sum()) @ values)
    return alignment.out.weight @ torch.cat(parts) + alignment.out.bias


@pytest.mark.parametrize(
    ("scale", "divisor"),
    [
        pytest.param("total", math.sqrt(WIDTH), id="the root of d_k, as printed"),
        pytest.param("head", math.sqrt(WIDTH / HEADS), id="the root of one head's width"),
    ],
)
def test_a_token_is_equation_1(scale: str, divisor: float) -> None:
    alignment = _alignment(scale=scale)
    features, prototypes = _inputs()
    tokens = alignment(features, prototypes)
    for window in range(2):
        for index in range(4):
            expected = _one_bin_by_hand(alignment, features[window, index], prototypes, divisor)
            torch.testing.assert_close(tokens[window, index], expected)


def test_attention_to_the_prototypes_sums_to_one_a_head() -> None:
    attention = _alignment().attention(*_inputs())
    assert attention.shape == (2, 4, HEADS, 9)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 4, HEADS))


def test_a_bin_does_not_see_another() -> None:
    alignment = _alignment(normalise=True)
    features, prototypes = _inputs()
    before = alignment(features, prototypes)
    features[0, 2] += 1
    changed = (alignment(features, prototypes) != before).any(dim=-1)
    assert changed.nonzero().tolist() == [[0, 2]]


def test_normalised_tokens_have_unit_scale() -> None:
    tokens = _alignment(normalise=True)(*_inputs())
    torch.testing.assert_close(tokens.mean(dim=-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.std(dim=-1, correction=0), torch.ones(2, 4), atol=1e-2, rtol=0)


def test_prototypes_mix_the_vocabulary_first_and_then_the_names() -> None:
    embeddings = torch.randn(11, PROTOTYPE_WIDTH, generator=torch.Generator().manual_seed(2))
    mix = TextPrototypes(11, [7, 3, 7], of_vocabulary=4, of_names=2, normalise=False)
    expected = torch.cat(
        [
            mix.vocabulary_mix.weight @ embeddings + mix.vocabulary_mix.bias[:, None],
            mix.name_mix.weight @ embeddings[[3, 7]] + mix.name_mix.bias[:, None],
        ]
    )
    torch.testing.assert_close(mix(embeddings), expected)
    assert mix.name_mix.in_features == 2, "a token that occurs twice counts once"


def test_normalised_prototypes_have_unit_scale_however_short_the_embeddings() -> None:
    embeddings = 0.01 * torch.randn(11, 64, generator=torch.Generator().manual_seed(2))
    mix = TextPrototypes(11, [3, 7], of_vocabulary=4, of_names=2, normalise=True)
    torch.testing.assert_close(mix(embeddings).std(dim=-1, correction=0), torch.ones(6), atol=0.1, rtol=0)


def test_half_precision_embeddings_are_mixed_without_a_wide_copy() -> None:
    embeddings = torch.randn(11, PROTOTYPE_WIDTH, generator=torch.Generator().manual_seed(2))
    mix = TextPrototypes(11, [3, 7], of_vocabulary=4, of_names=2, normalise=True)
    assert mix(embeddings.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(mix(embeddings.bfloat16()), mix(embeddings), atol=0.05, rtol=0.05)


def test_channel_names_without_a_token_are_refused() -> None:
    with pytest.raises(ValueError, match=r"name the channels in words"):
        TextPrototypes(11, [], of_vocabulary=4, of_names=2, normalise=False)
