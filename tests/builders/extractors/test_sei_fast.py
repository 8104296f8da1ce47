"""The network arranged for speed against the network as published."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkout import SHARED
from numpy.typing import NDArray

from benchmarks.sei_plain import rule_state
from builders.extractors.sei.head import Head, linear
from builders.extractors.sei.inference import FastSei, features
from builders.extractors.sei.network import SeiNetwork, encode, reverse_complement
from builders.extractors.sei.precision import MEASURED_ERRORS, round_to_tf32_
from builders.extractors.sei.tiled_conv import Scratch

SMALL = SHARED / "golden" / "sei_small_forward.npz"
needs_golden = pytest.mark.skipif(not SMALL.is_file(), reason=f"no golden arrays at {SMALL}")

TOLERANCE = 2e-5
"""Absolute, float32 against float64, as in test_sei."""


@pytest.fixture(scope="module")
def network() -> SeiNetwork:
    network = SeiNetwork(64)
    network.load_state_dict(rule_state(64))
    return network.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def fast(network: SeiNetwork) -> FastSei:
    return FastSei(network)


@pytest.fixture(scope="module")
def golden() -> Mapping[str, NDArray[Any]]:
    with np.load(SMALL) as archive:
        return dict(archive)


def random_bases(n: int) -> torch.Tensor:
    """Make sequences with runs of N at an end, across an end of a tile, and inside."""
    rng = np.random.default_rng(5)
    rows = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, (n, 4096))]
    for row, start, end in ((0, 0, 3), (1, 4093, 4096), (2, 1000, 1500)):
        rows[row % n, start:end] = ord("N")
    return torch.from_numpy(rows)


@needs_golden
def test_both_strands_of_all_golden_sequences_are_those_of_the_published_code(
    fast: FastSei, golden: Mapping[str, NDArray[Any]]
) -> None:
    onehot = encode(torch.from_numpy(golden["sequences"]))
    profiles = fast(torch.cat([onehot, reverse_complement(onehot)])).numpy()
    np.testing.assert_allclose(profiles[:6], golden["fwd64"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(profiles[6:], golden["rc64"], rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_random_sequences_with_runs_of_n_give_what_the_published_layers_give(
    network: SeiNetwork, fast: FastSei
) -> None:
    onehot = encode(random_bases(3))
    with torch.inference_mode():
        expected = network.embed(onehot)
        torch.testing.assert_close(fast.embed(onehot), expected, rtol=TOLERANCE, atol=2e-3)
        torch.testing.assert_close(fast(onehot), network.head(expected), rtol=0, atol=TOLERANCE)


def test_the_number_of_sequences_in_a_batch_changes_no_profile(fast: FastSei) -> None:
    onehot = encode(random_bases(5))  # one more than the first level takes at a time
    together = fast(onehot)
    torch.testing.assert_close(fast(onehot[4:]), together[4:], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(fast(onehot), together, rtol=0, atol=0)


@needs_golden
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_coarser_precision_is_off_by_about_what_is_stated(
    network: SeiNetwork, golden: Mapping[str, NDArray[Any]], precision: str
) -> None:
    stated = MEASURED_ERRORS[precision]
    computed = features(
        FastSei(network, precision=precision), None, torch.from_numpy(golden["sequences"][[0, 3, 5]]), ("profiles",)
    )
    off = np.abs(computed["profiles"].numpy() - golden["avg64"][[0, 3, 5]])
    # Another network than the measured one, and an extreme of fewer values: within a factor of two.
    assert off.max() < 2 * stated["profiles_max"]
    assert stated["profiles_mean"] / 2 < off.mean() < 2 * stated["profiles_mean"]


def test_preparing_leaves_the_38_parameters_as_they_are(network: SeiNetwork, fast: FastSei) -> None:
    state, rule = network.state_dict(), rule_state(64)
    assert list(state) == list(rule)
    assert len(state) == 38
    assert all(torch.equal(value, rule[key]) for key, value in state.items())
    assert not isinstance(fast, torch.nn.Module)


def test_releasing_frees_the_network_and_changes_no_value(network: SeiNetwork) -> None:
    onehot = encode(random_bases(1))
    spent = SeiNetwork(64)
    spent.load_state_dict(network.state_dict())
    direct = FastSei(spent, kernel="direct", release=True)
    assert all(parameter.is_meta for parameter in spent.parameters())
    with torch.inference_mode():
        torch.testing.assert_close(direct(onehot), network(onehot), rtol=0, atol=TOLERANCE)


def test_a_sequence_of_another_length_is_refused(fast: FastSei) -> None:
    with pytest.raises(ValueError, match=r"\(batch, 4, 4096\), got \(1, 4, 4095\).*fill up with N"):
        fast.embed(torch.zeros(1, 4, 4095))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"kernel": "fft"}, "tiled or direct, got 'fft'", id="kernel"),
        pytest.param({"precision": "fp8"}, "fp32, tf32, bf16, not 'fp8'; use precision='fp32'", id="precision"),
    ],
)
def test_an_option_without_such_a_value_is_refused(options: dict[str, str], message: str) -> None:
    with torch.device("meta"):
        network = SeiNetwork(8)
    with pytest.raises(ValueError, match=message):
        FastSei(network, **options)  # type: ignore[arg-type]  # every option here is text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_few_rows_times_a_large_matrix_is_what_torch_gives(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator).to(dtype) for shape in ((3, 70), (50, 70), (50,)))
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))


@pytest.mark.parametrize("n_profiles", [61, 64])
@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-6), ("tf32", 1e-3), ("bf16", 1e-2)])
def test_profiles_that_fill_no_whole_rows_are_padded_and_cut_off_again(
    n_profiles: int, precision: str, atol: float
) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(30, n_profiles), torch.nn.ReLU(), torch.nn.Linear(n_profiles, n_profiles), torch.nn.Sigmoid()
    )
    x = torch.randn(5, 30)
    with torch.inference_mode():
        expected = layers(x)
        head = Head(layers, Scratch(torch.device("cpu"), precision), release=True)
        torch.testing.assert_close(head(x), expected, rtol=0, atol=atol)
    assert all(weight.is_meta for weight in layers.parameters())
    is_padded = precision != "fp32"
    assert [weight.shape[0] for weight, _ in head._layers] == [64 if is_padded else n_profiles] * 2


def test_rounding_to_tf32_keeps_ten_bits_to_nearest() -> None:
    step = 2.0**-10
    x = torch.tensor([1.0, 1 + step, 1 + 0.4 * step, 1 + 0.6 * step, -1 - 0.6 * step, 3e-5, 0.0])
    rounded = round_to_tf32_(x.clone())
    assert rounded[:5].tolist() == [1.0, 1 + step, 1.0, 1 + step, -1 - step]
    assert torch.all((rounded - x).abs() <= x.abs() * step / 2)
