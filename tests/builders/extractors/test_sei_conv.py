"""Tiled convolutions and folded pairs against the direct sum in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.extractors.sei.fold import FoldedPair, fold_pair
from builders.extractors.sei.tiled_conv import Conv, DirectConv, Layout, Scratch, TiledConv, tile_matrices

CPU = torch.device("cpu")
N_IN, N_OUT = 3, 5


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit_weights(n_taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Give weights that keep outputs of about the size of the inputs, so that one tolerance serves all."""
    return noise(N_OUT, N_IN, n_taps, seed=1) / (N_IN * n_taps) ** 0.5, noise(N_OUT, seed=2)


def direct_sum(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dilation: int = 1) -> torch.Tensor:
    """Convolve `(length, n, channels)` with zero padding, in float64."""
    padding = weight.shape[2] // 2 * dilation
    y = F.conv1d(x.double().permute(1, 2, 0), weight.double(), bias.double(), padding=padding, dilation=dilation)
    return y.permute(2, 0, 1)


def convolved(conv: Conv, x: torch.Tensor) -> torch.Tensor:
    buffer = conv.input_buffer(x.shape[1])
    conv.layout.write(x, buffer.inner)
    return conv.layout.read(conv(buffer)).clone()


@given(st.sampled_from([1, 3, 5, 9, 17]), st.integers(1, 70), st.booleans(), st.integers(0, 99))
def test_the_matrices_of_a_tile_give_the_direct_sum(n_taps: int, step: int, is_whole: bool, seed: int) -> None:
    matrices = tile_matrices(n_taps, step, is_whole=is_whole)
    weight = noise(n_taps, seed=seed).numpy()
    tile = noise(matrices.inputs.shape[1], seed=seed + 1).numpy()
    padded = np.pad(tile, n_taps // 2) if is_whole else tile
    expected = [padded[place : place + n_taps] @ weight for place in range(step)]
    got = matrices.outputs @ ((matrices.taps @ weight) * (matrices.inputs @ tile))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


@given(st.sampled_from([3, 9, 17]), st.integers(1, 70), st.booleans())
def test_a_constant_comes_back_through_one_exact_power_of_two(n_taps: int, step: int, is_whole: bool) -> None:
    column = tile_matrices(n_taps, step, is_whole=is_whole).outputs[:, 0]
    assert set(np.frexp(column)[0]) == {0.5}
    assert len(set(column)) == 1


def test_nine_taps_take_a_fifth_of_the_products() -> None:
    assert tile_matrices(9, 32).taps.shape == (59, 9)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3))
def test_writing_into_a_layout_and_reading_is_identity(step: int, tiles: int, dilation: int, n: int) -> None:
    layout = Layout(length=step * tiles * dilation, step=step, dilation=dilation)
    x = noise(layout.length, n, 2)
    out = torch.full((step, tiles, dilation, n, 2), torch.nan, dtype=torch.float64)
    layout.write(x, out)
    assert torch.equal(layout.read(out), x)
    for position in range(layout.length):
        row, residue = divmod(position, dilation)
        tile, place = divmod(row, step)
        assert torch.equal(out[place, tile, residue], x[position])


@pytest.mark.parametrize("n_taps", [5, 9, 17])
@pytest.mark.parametrize("step", [8, 11, 16, 24, 32, 64])
@pytest.mark.parametrize("tiles", [1, 2, 5])
def test_a_tiled_convolution_is_the_direct_sum_at_every_tile_size(n_taps: int, step: int, tiles: int) -> None:
    layout = Layout(length=step * tiles, step=step)
    x, (weight, bias) = noise(layout.length, 3, N_IN), unit_weights(n_taps)
    conv = TiledConv(weight, bias, layout, Scratch(CPU, "fp32"))
    torch.testing.assert_close(convolved(conv, x).double(), direct_sum(x, weight, bias), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("dilation", "step"), [(2, 16), (2, 64), (4, 16), (4, 64), (8, 32), (16, 16), (25, 11), (300, 1)]
)
def test_a_dilated_convolution_is_the_direct_sum(dilation: int, step: int) -> None:
    layout = Layout(length=256, step=step, dilation=dilation)
    x, (weight, bias) = noise(256, 2, N_IN), unit_weights(5)
    expected = direct_sum(x, weight, bias, dilation)
    scratch = Scratch(CPU, "fp32")
    for conv in (
        TiledConv(weight, bias, layout, scratch),
        DirectConv(weight, bias, scratch, length=256, dilation=dilation),
    ):
        torch.testing.assert_close(convolved(conv, x).double(), expected, rtol=0, atol=1e-5)


def test_the_number_of_sequences_in_a_batch_changes_no_value() -> None:
    x, (weight, bias) = noise(96, 7, N_IN), unit_weights(9)
    conv = TiledConv(weight, bias, Layout(length=96, step=32), Scratch(CPU, "fp32"))
    together = convolved(conv, x)
    for index in range(7):
        alone = convolved(conv, x[:, index : index + 1])
        torch.testing.assert_close(alone[:, 0], together[:, index], rtol=0, atol=2e-6)


def test_what_lay_in_the_memory_before_changes_nothing() -> None:
    x, (weight, bias) = noise(256, 2, N_IN), unit_weights(5)
    scratch = Scratch(CPU, "fp32")
    convs = [
        TiledConv(weight, bias, Layout(length=256, step=32), scratch),
        TiledConv(weight, bias, Layout(length=256, step=11, dilation=25), scratch),
    ]
    expected = [convolved(conv, x) for conv in convs]
    for conv, before in zip(convs, expected, strict=True):
        for kept in scratch._kept.values():
            kept.fill_(torch.nan)
        assert torch.equal(convolved(conv, x), before)


@pytest.mark.parametrize(("precision", "atol"), [("tf32", 5e-3), ("bf16", 5e-2)])
def test_a_coarser_precision_stays_near_the_direct_sum(precision: str, atol: float) -> None:
    x, weight, bias = noise(128, 2, 16), noise(N_OUT, 16, 9, seed=1) / 12, noise(N_OUT, seed=2)
    layout, scratch = Layout(length=128, step=32), Scratch(CPU, precision)
    expected = direct_sum(x, weight, bias)
    for conv in (TiledConv(weight, bias, layout, scratch), DirectConv(weight, bias, scratch, length=128)):
        off = (convolved(conv, x).double() - expected).abs().max().item()
        assert 1e-5 < off < atol  # below, it would not be that precision


def test_tiles_that_do_not_divide_a_sequence_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tiles of 24 x 1 positions do not divide 256; take a step that does"):
        Layout(length=256, step=24)


def test_tiles_shorter_than_the_taps_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="17 taps reach past tiles of 4 places; take a step >= 8"):
        TiledConv(noise(1, 1, 17), noise(1), Layout(length=16, step=4), Scratch(CPU, "fp32"))


Weights = tuple[torch.Tensor, torch.Tensor]


def pair(n_taps: int, seed: int = 0) -> tuple[Weights, Weights]:
    return (
        (noise(4, N_IN, n_taps, seed=seed) / n_taps, noise(4, seed=seed + 1)),
        (noise(N_OUT, 4, n_taps, seed=seed + 2) / n_taps, noise(N_OUT, seed=seed + 3)),
    )


def without_excess(folded: FoldedPair, x: torch.Tensor) -> torch.Tensor:
    """Run a folded pair on `(length, n, channels)`, and take off what it has too much at either end."""
    y = direct_sum(x, folded.weight, folded.bias)
    reach = folded.weight.shape[2] // 4
    for ends, excess in ((slice(None, reach), folded.first), (slice(len(x) - reach, None), folded.last)):
        for index in range(x.shape[1]):
            too_much = excess.weight.double() @ x[ends, index].flatten() + excess.bias.double()
            y[ends, index] -= too_much.view(reach, -1)
    return y


@given(st.sampled_from([3, 5, 9]), st.integers(4, 40), st.integers(0, 99))
@settings(deadline=None)
def test_a_folded_pair_is_the_pair_at_every_position(n_taps: int, length: int, seed: int) -> None:
    first, second = pair(n_taps, seed)
    x = noise(length, 2, N_IN, seed=seed + 4)
    expected = direct_sum(direct_sum(x, *first), *second)
    folded = fold_pair(first, second, device=CPU)
    torch.testing.assert_close(without_excess(folded, x), expected, rtol=0, atol=1e-5)


def test_only_the_four_positions_at_either_end_of_a_folded_pair_need_correction() -> None:
    first, second = pair(9)
    x = noise(64, 1, N_IN)
    folded = fold_pair(first, second, device=CPU)
    off = (direct_sum(x, folded.weight, folded.bias) - direct_sum(direct_sum(x, *first), *second)).abs().amax((1, 2))
    assert off[4:-4].max() < 1e-5
    assert min(off[:4].min(), off[-4:].min()) > 1e-2


@pytest.mark.parametrize("step", [8, 11, 16, 32])
def test_rows_of_the_small_matrices_begin_at_whole_sixteen_bytes(step: int) -> None:
    weight, bias = unit_weights(5)
    conv = TiledConv(weight, bias, Layout(length=step, step=step), Scratch(CPU, "bf16"))
    for matrix in (conv._inputs, conv._outputs):
        assert matrix.stride(0) == 1
        assert matrix.stride(1) * matrix.element_size() % 16 == 0
