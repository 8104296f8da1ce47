"""The selective scan equals a walk along the sequence, and the layer around it that of an independent package."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mambapy.mamba import MambaBlock, MambaConfig
from torch import Tensor

from model.networks.prism.bimamba import BiMamba, BiMambaLayer, mamba_ssm_scan
from model.networks.prism.scan import selective_scan


def walked(x: Tensor, step: Tensor, decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Walk the recurrence a position at a time."""
    state, found = x.new_zeros(x.shape[0], x.shape[2], decay.shape[1]), []
    for place in range(x.shape[1]):
        kept = torch.exp(step[:, place, :, None] * decay)
        state = kept * state + (step[:, place] * x[:, place])[..., None] * write[:, place, None]
        found.append((state * read[:, place, None]).sum(dim=-1))
    return torch.stack(found, dim=1)


def inputs(length: int, *, seed: int) -> list[Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    x, step = torch.randn(2, length, 3, generator=drawn), torch.rand(2, length, 3, generator=drawn)
    write, read = torch.randn(2, 2, length, 4, generator=drawn)
    return [part.double().requires_grad_() for part in (x, step, -5 * torch.rand(3, 4, generator=drawn), write, read)]


@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 30), chunk=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_scan_in_chunks_and_its_gradients_are_those_of_a_walk(length: int, chunk: int, seed: int) -> None:
    given_, wanted = inputs(length, seed=seed), inputs(length, seed=seed)
    scanned, slow = selective_scan(*given_, chunk=chunk), walked(*wanted)
    torch.testing.assert_close(scanned, slow, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(scanned.square().sum(), given_)
    torch.testing.assert_close(gradients, torch.autograd.grad(slow.square().sum(), wanted), rtol=1e-9, atol=1e-9)


def test_large_steps_and_long_sequences_stay_finite() -> None:
    x, step, decay, write, read = (part.detach().float() for part in inputs(3000, seed=0))
    assert selective_scan(x, 100 * step, decay, write, read).isfinite().all()


def blocks_of(layer: BiMambaLayer, width: int) -> list[MambaBlock]:
    """Make mambapy's block of each direction, with the layer's weights."""
    made = []
    for direction in (layer.forwards, layer.backwards):
        block = MambaBlock(MambaConfig(d_model=width, n_layers=1))
        own = {"in_proj.weight": layer.in_proj.weight, "out_proj.weight": layer.out_proj.weight}
        block.load_state_dict(own | direction.state_dict())
        made.append(block)
    return made


@torch.no_grad()
def test_a_layer_is_two_blocks_of_mambapy_with_tied_projections() -> None:
    torch.manual_seed(1)
    layer, hidden = BiMambaLayer(32, layers=4, scan=selective_scan), torch.randn(2, 150, 32)
    ahead, back = blocks_of(layer, 32)
    wanted = ahead(hidden) + back(hidden.flip(1)).flip(1)
    torch.testing.assert_close(layer(hidden), wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_reversing_the_input_reverses_the_output_where_directions_share_weights() -> None:
    torch.manual_seed(2)
    trunk, hidden = BiMamba(16, layers=2), torch.randn(2, 70, 16)
    assert not torch.allclose(trunk(hidden.flip(1)), trunk(hidden).flip(1), atol=1e-3)
    for layer in trunk.layers:
        layer.backwards.load_state_dict(layer.forwards.state_dict())
    torch.testing.assert_close(trunk(hidden.flip(1)), trunk(hidden).flip(1), rtol=1e-5, atol=1e-5)


def test_a_layer_of_width_128_has_the_parameters_of_the_release() -> None:
    trunk = BiMamba(128, layers=4)
    assert sum(part.numel() for part in trunk.layers[0].parameters()) + 128 == 134_784
    assert sum(part.numel() for part in trunk.parameters()) == 539_264


def test_step_sizes_start_in_the_range_of_mamba() -> None:
    bias = BiMambaLayer(128, layers=1, scan=selective_scan).forwards.dt_proj.bias
    steps = torch.nn.functional.softplus(bias.detach())
    assert float(steps.min()) >= 0.999e-3
    assert float(steps.max()) <= 0.1001


def test_the_trunk_of_the_release_is_refused_with_the_mend_where_mamba_ssm_is_absent() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install mamba-ssm.*trunk=bimamba_ref"):
        mamba_ssm_scan()
