import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.networks.positions import (
    LearnedPositions,
    SinusoidalPositions,
    bins_beyond,
    distances,
    make_positions,
    rows_at,
    sinusoids,
)
from model.networks.readout import PooledReadout

lengths = st.integers(1, 40)


@pytest.mark.parametrize(("n_bins", "expected"), [(1, [0]), (5, [-2, -1, 0, 1, 2]), (4, [-2, -1, 0, 1])])
def test_distances_count_from_the_bin_of_the_tss(n_bins: int, expected: list[int]) -> None:
    assert distances(n_bins).tolist() == expected


@given(lengths, lengths)
def test_a_table_of_one_window_is_read_by_distance_in_another_and_at_its_edge_beyond(n_bins: int, trained: int) -> None:
    by_distance = dict(zip(distances(trained).tolist(), range(trained), strict=True))
    expected, beyond = [], []
    for distance in distances(n_bins).tolist():
        nearest = min(by_distance, key=lambda known: abs(known - distance))
        expected.append(by_distance[nearest])
        beyond.append(abs(nearest - distance))
    assert rows_at(torch.arange(trained), n_bins).tolist() == expected
    assert bins_beyond(n_bins, trained).tolist() == beyond


@given(lengths, lengths, st.integers(1, 9))
def test_sinusoids_depend_on_the_distance_alone(n_bins: int, other: int, width: int) -> None:
    first = dict(zip(distances(n_bins).tolist(), sinusoids(n_bins, width), strict=True))
    second = dict(zip(distances(other).tolist(), sinusoids(other, width), strict=True))
    for distance in first.keys() & second.keys():
        assert torch.equal(first[distance], second[distance])
    assert sinusoids(n_bins, width).shape == (n_bins, width)


def test_positions_start_as_none_and_then_tell_bins_apart() -> None:
    tokens = torch.randn(2, 5, 6)
    for positions in (LearnedPositions(6, n_bins=5), SinusoidalPositions()):
        assert torch.equal(positions(tokens), tokens)
        with torch.no_grad():
            for parameter in positions.parameters():
                parameter.copy_(torch.linspace(1, 2, parameter.numel()).reshape(parameter.shape))
        added = positions(tokens) - tokens
        torch.testing.assert_close(added[0], added[1])
        assert (added[0].diff(dim=0).abs().amax(dim=1) > 0.01).all()
    assert torch.equal(make_positions("none", width=6, n_bins=5)(tokens), tokens)


def test_positions_that_were_first_asked_without_gradients_can_be_trained() -> None:
    positions, tokens = SinusoidalPositions(), torch.randn(2, 5, 6)
    with torch.inference_mode():
        positions(tokens)
    positions(tokens).square().sum().backward()
    assert positions.gain.grad is not None
    assert positions.gain.grad != 0


@pytest.mark.parametrize("n_bins", [3, 8, 15, 40])
def test_a_pooled_readout_weighs_another_window_as_one_made_for_it(n_bins: int) -> None:
    torch.manual_seed(0)
    trained = PooledReadout(6, n_bins=9, queries=3, hidden=4, dropout=0.0).eval()
    made = PooledReadout(6, n_bins=n_bins, queries=3, hidden=4, dropout=0.0).eval()
    made.load_state_dict(trained.state_dict() | {"place": made.place})
    activations = torch.randn(2, n_bins, 6)
    torch.testing.assert_close(trained.bin_weights(activations), made.bin_weights(activations))
    torch.testing.assert_close(trained(activations), made(activations))


def test_a_shorter_window_is_a_longer_one_whose_outer_bins_count_nothing() -> None:
    torch.manual_seed(0)
    readout = PooledReadout(6, n_bins=9, queries=3, hidden=4, dropout=0.0).eval()
    with torch.no_grad():
        readout.place.add_(torch.randn_like(readout.place))
    activations = torch.randn(2, 9, 6)
    inner = readout.bin_weights(activations)[..., 2:7]
    torch.testing.assert_close(readout.bin_weights(activations[:, 2:7]), inner / inner.sum(dim=-1, keepdim=True))
