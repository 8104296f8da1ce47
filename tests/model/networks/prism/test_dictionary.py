"""A dictionary of states: its clusters are those that were planted, its prior their frequencies."""

import pytest
import torch

from model.networks.prism.config import PrismConfig
from model.networks.prism.dictionary import SEGMENTS, Dictionary, describe, find_states
from model.networks.prism.model import Prism


def planted() -> tuple[torch.Tensor, torch.Tensor]:
    """Make backgrounds of three levels, of 20, 10 and 5 genes."""
    draw = torch.Generator().manual_seed(0)
    level = torch.cat([torch.full((20,), 1.0), torch.full((10,), 5.0), torch.full((5,), 9.0)])
    return level[:, None, None] + 0.1 * torch.randn(35, 64, 2, generator=draw), level


def test_states_are_the_planted_clusters_and_their_prior_is_their_frequency() -> None:
    signals, level = planted()
    found = find_states(describe(signals), 3, seed=0)
    torch.testing.assert_close(found.prior, torch.tensor([20.0, 10.0, 5.0]) / 35)
    described = describe(signals)
    scaled = (described - described.mean(dim=0)) / described.std(dim=0, correction=0)
    wanted = torch.stack([scaled[level == value].mean(dim=0) for value in (1.0, 5.0, 9.0)])
    torch.testing.assert_close(found.states, wanted, rtol=1e-3, atol=1e-3)


def test_a_background_is_described_by_the_means_of_its_segments() -> None:
    signals = torch.rand(3, 10 * SEGMENTS, 2)
    wanted = signals.unflatten(1, (SEGMENTS, 10)).mean(dim=2).mT.flatten(1)
    torch.testing.assert_close(describe(signals), wanted)


def test_more_states_than_different_backgrounds_are_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match="n_states=1"):
        find_states(torch.ones(8, 4), 2, seed=0)


@torch.no_grad()
def test_the_prediction_over_a_dictionary_is_weighted_by_its_prior() -> None:
    config = PrismConfig(trunk="cnn", width=16, layers=1, heads=2, states="dictionary", adjust="prediction", n_states=2)
    model = Prism(config, signal_names=("a",), n_covariates=1).eval()
    sequence, signals, covariates = (
        torch.randint(0, 4, (3, 64), dtype=torch.uint8),
        torch.rand(3, 64, 1),
        torch.rand(3, 1),
    )
    model.set_dictionary(Dictionary(torch.randn(2, SEGMENTS), torch.tensor([0.9, 0.1])))
    both = model(sequence, signals, covariates)
    each = [model(sequence, signals, covariates, gates=both.gates[:, [z, z]]).do for z in range(2)]
    torch.testing.assert_close(both.do, 0.9 * each[0] + 0.1 * each[1])
    # Every gene has the same states.
    assert torch.equal(both.gates[0], both.gates[2])
