"""What holds of Prism whatever it learned: counts, both predictions, states, what is read."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from model.networks.prism.config import PRESETS, PrismConfig, Trunk
from model.networks.prism.losses import diversity_loss, prism_losses
from model.networks.prism.model import Prism

NAMES = ("H3K27ac", "DNase", "Hi-C")
GENES, LENGTH, COVARIATES = 5, 128, 9
TINY = PrismConfig(trunk="cnn", width=16, layers=2, kernel=5, heads=2)
Inputs = tuple[Tensor, Tensor, Tensor]


def made(config: PrismConfig, *, n_covariates: int = COVARIATES, seed: int = 0) -> Prism:
    torch.manual_seed(seed)
    return Prism(config, signal_names=NAMES, n_covariates=n_covariates).eval()


def drawn(length: int = LENGTH, *, seed: int = 1) -> Inputs:
    draw = torch.Generator().manual_seed(seed)
    sequence = torch.randint(0, 5, (GENES, length), generator=draw, dtype=torch.uint8)
    return sequence, torch.rand(GENES, length, 3, generator=draw), torch.rand(GENES, COVARIATES, generator=draw)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_model_as_released_has_585_681_parameters_of_which_10_960_are_gates() -> None:
    released = made(replace(PRESETS["paper"], trunk="bimamba_ref"))
    assert released.gates is not None
    assert (count(released), count(released.gates)) == (585_681, 10_960)
    assert count(made(replace(PRESETS["paper"], trunk="bimamba_ref", n_states=0))) == 574_721


@torch.no_grad()
def test_without_states_there_are_no_gates_and_both_predictions_are_the_plain_one_bit_for_bit() -> None:
    plain, (sequence, signals, covariates) = made(replace(TINY, n_states=0)), drawn()
    one_hot = nn.functional.one_hot(sequence.long(), 5)[..., :4].float()
    encoded = plain.sequence_encoder(one_hot) + plain.signal_encoder(signals)
    by_hand = plain.head(torch.cat([plain.trunk(encoded).mean(dim=1), covariates], dim=1))[:, 0]
    found = plain(sequence, signals, covariates)
    assert plain.gates is None
    assert found.gates is None
    assert torch.equal(found.observational, by_hand)
    assert torch.equal(found.do, by_hand)
    # The parts of the plain model start alike, and predict alike, with any number of states.
    assert torch.equal(made(TINY)(sequence, signals, covariates).observational, by_hand)


@torch.no_grad()
@pytest.mark.parametrize("adjust", ["hidden", "prediction"])
def test_gates_of_ones_make_both_predictions_and_both_losses_equal(adjust: str) -> None:
    model, given = made(replace(TINY, adjust=adjust)), drawn()
    found = model(*given, gates=torch.ones(GENES, 2, 16))
    losses = prism_losses(found.observational, found.do, found.gates, torch.randn(GENES))
    torch.testing.assert_close(losses.observational, losses.intervened)


@torch.no_grad()
def test_with_a_linear_head_averaging_states_and_averaging_predictions_is_one() -> None:
    hidden, given = made(TINY), drawn()
    prediction = made(replace(TINY, adjust="prediction"))
    assert not torch.allclose(hidden(*given).do, prediction(*given).do, atol=1e-6)
    head = nn.Linear(16 + COVARIATES, 1)
    hidden.head = prediction.head = head
    torch.testing.assert_close(hidden(*given).do, prediction(*given).do)


def test_the_diversity_of_two_states_lies_between_orthogonal_and_collapsed() -> None:
    apart = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert float(diversity_loss(apart)) == pytest.approx(0.711, abs=5e-4)
    assert float(diversity_loss(apart)) == pytest.approx(math.log(2 + 2 * math.exp(-4)))
    for n_states in (1, 2, 5):
        alike = torch.full((3, n_states, 7), 0.4)
        assert float(diversity_loss(alike)) == pytest.approx(math.log(n_states**2), abs=1e-6)
    draw = torch.Generator().manual_seed(0)
    for gates in torch.rand(50, 4, 2, 8, generator=draw):
        assert 0.711 < float(diversity_loss(gates)) <= 1.3863


@pytest.mark.parametrize("states", ["conditional", "dictionary"])
def test_every_gate_weight_has_a_gradient_from_both_losses(states: str) -> None:
    model = made(replace(TINY, states=states)).train()
    if states == "dictionary":
        model.gates.states.copy_(torch.randn(2, model.gates.states.shape[1]))
    found = model(*drawn())
    losses = prism_losses(found.observational, found.do, found.gates, torch.randn(GENES))
    for loss in (losses.intervened, losses.diversity):
        gradients = torch.autograd.grad(loss, list(model.gates.linear.parameters()), retain_graph=True)
        assert all(bool((gradient != 0).any()) for gradient in gradients)


@torch.no_grad()
def test_gates_weigh_the_named_signals_alone() -> None:
    model, (sequence, signals, covariates) = made(replace(TINY, gate=("DNase",))), drawn()
    shut = torch.zeros(GENES, 1, 16)
    without = signals * torch.tensor([1.0, 0.0, 1.0])
    found = model(sequence, signals, covariates, gates=shut).do
    torch.testing.assert_close(found, model(sequence, without, covariates).observational)
    # And are computed from these alone.
    other = signals + torch.tensor([1.0, 0.0, 1.0])
    assert torch.equal(model(sequence, signals, covariates).gates, model(sequence, other, covariates).gates)


@torch.no_grad()
def test_the_centre_of_a_longer_window_is_what_is_pooled() -> None:
    (sequence, signals, covariates), config = drawn(256), replace(TINY, centre_bp=64)
    centre, whole = made(config), made(replace(config, readout="all"))
    read: list[Tensor] = []
    for model in (centre, whole):
        model.trunk = nn.Identity()
        model.head.register_forward_pre_hook(lambda _, given: read.append(given[0][:, :16]))
    assert not torch.equal(
        centre(sequence, signals, covariates).observational, whole(sequence, signals, covariates).observational
    )
    cut = slice(96, 160)
    encoded = centre.sequence_encoder(nn.functional.one_hot(sequence.long(), 5)[..., :4].float())
    encoded = encoded + centre.signal_encoder(signals)
    torch.testing.assert_close(read[0], encoded[:, cut].mean(dim=1))
    torch.testing.assert_close(read[2], encoded.mean(dim=1))


@torch.no_grad()
@pytest.mark.parametrize("trunk", ["bimamba_ref", "cnn", "transformer", "gru"])
def test_every_trunk_reads_windows_of_any_length_whole_and_alone(trunk: Trunk) -> None:
    model, (sequence, signals, covariates) = made(replace(TINY, trunk=trunk)), drawn(192)
    together = model(sequence, signals, covariates)
    alone = model(sequence[:1], signals[:1], covariates[:1])
    torch.testing.assert_close(alone.do, together.do[:1], rtol=1e-4, atol=1e-5)
    moved = signals.clone()
    moved[:, 0] += 1.0
    assert (model(sequence, moved, covariates).observational != together.observational).all()


@torch.no_grad()
def test_pooling_averages_bases_before_the_trunk() -> None:
    model, (sequence, signals, covariates) = made(replace(TINY, pool=4, n_states=0)), drawn()
    seen: list[Tensor] = []
    model.trunk.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(sequence, signals, covariates)
    one_hot = nn.functional.one_hot(sequence.long(), 5)[..., :4].float()
    each = model.sequence_encoder(one_hot) + model.signal_encoder(signals)
    torch.testing.assert_close(seen[0], each.unflatten(1, (-1, 4)).mean(dim=2))


@torch.no_grad()
def test_unknown_bases_add_nothing_but_the_constant() -> None:
    model, (sequence, signals, covariates) = made(replace(TINY, signals=(), n_states=0)), drawn()
    of_no_signal = model(sequence, signals[..., :0], covariates).observational
    assert torch.equal(model(sequence, signals, covariates).observational, of_no_signal)
    unknown = torch.full_like(sequence, 4)
    constant = model(unknown, signals, covariates * 0).observational
    torch.testing.assert_close(constant, constant[:1].expand_as(constant))  # a batch may be summed in another order


@torch.no_grad()
def test_covariates_alone_read_neither_bases_nor_signals() -> None:
    model, (sequence, signals, covariates) = made(replace(TINY, n_states=0, sequence=False, signals=())), drawn()
    found = model(sequence, signals, covariates)
    assert torch.equal(found.do, model(4 - sequence, signals + 1, covariates).observational)


@torch.no_grad()
def test_a_signal_that_is_read_alone_is_the_only_one_that_counts() -> None:
    model, (sequence, signals, covariates) = made(replace(TINY, signals=("DNase",), n_states=0)), drawn()
    other = signals + torch.tensor([1.0, 0.0, 1.0])
    first = model(sequence, signals, covariates).observational
    assert torch.equal(first, model(sequence, other, covariates).observational)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signals": ("H3K4me3",)}, "H3K4me3.*H3K27ac, DNase, Hi-C"),
        ({"signals": ("DNase",), "gate": ("Hi-C",)}, "gate names Hi-C.*DNase"),
    ],
)
def test_a_signal_that_the_genes_lack_is_refused_by_name(change: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(replace(TINY, **change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intervention_weight": 0.0}, "n_states=0"),
        ({"n_states": -1}, "from 0"),
        ({"trunk": "lstm"}, "bimamba_ref"),
        ({"signals": ()}, "n_states=0"),
        ({"signals": (), "sequence": False, "covariates": False, "n_states": 0}, "nothing is left"),
        ({"width": 30}, "multiple"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_the_mend(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(TINY, **change)


@pytest.mark.parametrize(("length", "pool", "said"), [(63, 1, "64 bases"), (130, 4, "pool=4")])
def test_windows_that_cannot_be_read_are_refused(length: int, pool: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(TINY, pool=pool).check_length(length)
