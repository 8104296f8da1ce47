"""Fused steps between convolutions against the library's own operations, bit for bit.

They run on a GPU, and where there is none but Triton is installed, in Triton's interpreter.
"""

import os

import pytest
import torch

from builders.extractors.sei.inference import FastSei
from builders.extractors.sei.network import SeiNetwork
from builders.extractors.sei.pointwise import InPlace, Onward
from builders.extractors.sei.tiled_conv import Layout, Scratch, TiledConv

pytest.importorskip("triton", reason="Triton comes with torch for CUDA")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

from builders.extractors.sei.fused import Fused

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LAYOUTS = [
    pytest.param(Layout(length=256, step=32), id="tiles"),
    pytest.param(Layout(length=256, step=16, dilation=4), id="dilated tiles"),
    pytest.param(Layout(length=256, step=11, dilation=25), id="one tile that ends past the sequence"),
]
PRECISIONS = ["fp32", "bf16"]


def noise(scratch: Scratch, *shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device=DEVICE, dtype=scratch.dtype)


def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare bit for bit; but Triton's interpreter cuts float32 off where bfloat16 ends, in place of rounding."""
    is_cut = DEVICE.type == "cpu" and got.dtype == torch.bfloat16
    torch.testing.assert_close(got, expected, rtol=2**-6 if is_cut else 0, atol=2**-6 if is_cut else 0)


def places(layout: Layout, n: int, channels: int) -> tuple[int, ...]:
    return layout.step, layout.tiles, layout.dilation, n, channels


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pooling_after_the_residual_sum_is_the_same(precision: str) -> None:
    layout, scratch = Layout(length=256, step=32), Scratch(DEVICE, precision)
    y, skip = (noise(scratch, *places(layout, 3, 480), seed=seed) for seed in (1, 2))
    # Three sequences of five, as a part of a batch writes them.
    wholes = [torch.zeros((64, 5, 480), dtype=scratch.dtype, device=DEVICE) for _ in range(2)]
    Fused().pool(y, skip, layout, wholes[0][:, 1:4])
    InPlace().pool(y.clone(), skip, layout, wholes[1][:, 1:4])
    assert_same(*wholes)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("following", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_running_sum_and_what_goes_on_are_the_same(layout: Layout, following: Layout, precision: str) -> None:
    scratch = Scratch(DEVICE, precision)
    found = []
    for steps in (Fused(), InPlace()):
        total = noise(scratch, 256, 2, 7, seed=3)
        onward = torch.full(places(following, 2, 7), torch.nan, dtype=scratch.dtype, device=DEVICE)
        steps.add(noise(scratch, *places(layout, 2, 7), seed=4), layout, total, Onward(following, onward))
        steps.add(noise(scratch, *places(layout, 2, 7), seed=5), layout, total, None)
        found.append((total, onward))
    for got, expected in zip(*found, strict=True):
        assert_same(got, expected)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_sum_begins_with_the_skip_connection_in_what_goes_on_only(precision: str) -> None:
    scratch, layout, following = Scratch(DEVICE, precision), Layout(length=256, step=32), LAYOUTS[1].values[0]
    found = []
    for steps in (Fused(), InPlace()):
        total, onward = torch.empty(256, 2, 7).to(DEVICE, scratch.dtype), None
        onward = torch.empty(places(following, 2, 7), dtype=scratch.dtype, device=DEVICE)
        y, skip = (noise(scratch, *places(layout, 2, 7), seed=seed) for seed in (1, 2))
        steps.begin_sum(y, skip, layout, total, Onward(following, onward))
        found.append((total, onward))
    for got, expected in zip(*found, strict=True):
        assert_same(got, expected)


@pytest.mark.parametrize("tiles", [1, 4])
def test_two_convolutions_with_the_activation_between_them_are_the_same(tiles: int) -> None:
    scratch, layout = Scratch(DEVICE, "fp32"), Layout(length=32 * tiles, step=32)
    convs = [
        TiledConv(noise(scratch, 5, 5, 9, seed=seed), noise(scratch, 5, seed=seed + 1), layout, scratch)
        for seed in (1, 3)
    ]
    x = noise(scratch, layout.length, 3, 5, seed=0)
    found = []
    for steps in (Fused(), InPlace()):
        first, second = (conv.input_buffer(3) for conv in convs)
        layout.write(x, first.inner)
        second.tile.fill_(torch.nan)
        found.append(convs[1](second, is_spread=steps.activate(convs[0], first, second)).clone())
    assert_same(*found)


@pytest.mark.slow
def test_the_fused_network_gives_the_embedding_of_the_other() -> None:
    generator = torch.Generator().manual_seed(0)
    network = SeiNetwork(8).eval().requires_grad_(requires_grad=False)
    onehot = torch.eye(4)[torch.randint(0, 4, (2, 4096), generator=generator)].transpose(1, 2).contiguous().to(DEVICE)
    plain, fused = (FastSei(network, device=DEVICE, fused=fused) for fused in (False, True))
    assert torch.equal(plain.embed(onehot), fused.embed(onehot))
