from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.networks.positions import distances
from model.networks.readout import SlotOrder, TopKReadout


@pytest.mark.parametrize("gradient", ["sigmoid", "straight-through"])
def test_the_selector_keeps_the_largest_logits_in_genome_order(gradient: Any) -> None:
    torch.manual_seed(0)
    readout = TopKReadout(6, n_bins=9, k=4, gradient=gradient)
    activations = torch.randn(5, 9, 6)
    chosen, kept = readout.select(activations)
    logits = readout.logit(activations).squeeze(-1)
    slow = [sorted(row.index(value) for value in sorted(row, reverse=True)[:4]) for row in logits.tolist()]
    assert chosen.tolist() == slow
    gate = kept.sigmoid() if gradient == "sigmoid" else torch.ones_like(kept)
    rows = torch.stack([activations[gene, chosen[gene]] * gate[gene, :, None] for gene in range(5)])
    torch.testing.assert_close(readout(activations), readout.head(rows.flatten(1)))


def test_straight_through_learns_as_the_sigmoid_would() -> None:
    torch.manual_seed(0)
    readout = TopKReadout(6, n_bins=9, k=4, gradient="sigmoid")
    activations = torch.randn(5, 9, 6)
    gradients = []
    for gradient in ("sigmoid", "straight-through"):
        readout.gradient = gradient
        readout.zero_grad()
        readout(activations).sum().backward()
        gradients.append(readout.logit.weight.grad.clone())  # type: ignore[union-attr]  # backward ran
    torch.testing.assert_close(*gradients)


def test_slots_by_logit_hold_the_same_bins_by_falling_logit() -> None:
    torch.manual_seed(0)
    orders: tuple[SlotOrder, SlotOrder] = ("genome", "logit")
    genome, logit = (TopKReadout(6, n_bins=9, k=4, gradient="sigmoid", slot_order=order) for order in orders)
    logit.load_state_dict(genome.state_dict())
    activations = torch.randn(5, 9, 6)
    (along, _), (falling, logits) = genome.select(activations), logit.select(activations)
    assert torch.equal(falling.sort(dim=1).values, along)
    assert (logits.diff(dim=1) <= 0).all()
    torch.testing.assert_close(logits, logit.logit(activations).squeeze(-1).gather(1, falling))


@given(n_bins=st.integers(3, 30))
def test_a_position_bias_keeps_the_central_bins_at_first(n_bins: int) -> None:
    readout = TopKReadout(6, n_bins=n_bins, k=3, gradient="sigmoid", position_bias=True)
    with torch.no_grad():
        readout.logit.weight.zero_()
    chosen, _ = readout.select(torch.randn(2, n_bins, 6))
    nearest = sorted(distances(n_bins).abs().tolist())[:3]
    for kept in chosen:
        assert sorted(distances(n_bins)[kept].abs().tolist()) == nearest


@given(n_bins=st.integers(3, 30), trained=st.integers(3, 30))
def test_a_position_bias_is_read_by_distance_in_windows_of_any_length(n_bins: int, trained: int) -> None:
    readout = TopKReadout(6, n_bins=trained, k=3, gradient="sigmoid", position_bias=True)
    assert readout.place is not None
    learned = torch.randn(trained)
    with torch.no_grad():
        readout.logit.weight.zero_()
        readout.logit.bias.zero_()
        readout.place.add_(learned)
    readout.k = n_bins
    chosen, logits = readout.select(torch.zeros(1, n_bins, 6))
    change = dict(zip(distances(trained).tolist(), learned, strict=True))
    for distance, logit in zip(distances(n_bins)[chosen[0]].tolist(), logits[0], strict=True):
        nearest = min(change, key=lambda known: abs(known - distance))
        expected = change[nearest] - torch.tensor(float(abs(distance))).log1p()
        torch.testing.assert_close(logit, expected, rtol=1e-5, atol=1e-5)
