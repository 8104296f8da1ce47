"""Puffin predicts what the published layers say, from either strand alike, in every bin."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkout import SHARED
from torch import Tensor

from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.extractors.networks.onehot import encode
from builders.extractors.networks.torch_file import WeightsError
from builders.extractors.puffin.extractor import PuffinExtractor
from builders.extractors.puffin.network import FLANK_BP, Puffin, load_puffin
from builders.testing import ExtractorTests
from featurestore.testing import random_sequences

PUBLISHED = SHARED / "data" / "real_weights" / "puffin.pth"
COMPLEMENT = bytes.maketrans(b"ACGTacgt", b"TGCAtgca")
BIN = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published shapes; the published one where it is at hand."""
    if PUBLISHED.exists():
        return PUBLISHED
    path = tmp_path_factory.mktemp("puffin") / "puffin.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(Puffin().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def bases() -> np.ndarray[Any, np.dtype[np.uint8]]:
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)
    return letters[np.random.default_rng(2).integers(0, 5, (3, BIN + 2 * FLANK_BP))]


def made(weights: Path, **settings: Any) -> Extractor:
    return load_extractor("puffin", ExtractorOptions(bin_size=BIN, device="cpu"), {"weights": weights, **settings})


def by_plain_convolutions(weights: Path, onehot: Tensor) -> Tensor:
    """The published network with `F.conv1d` alone, and the zeros at the ends that it is defined with."""
    state = torch.load(weights, map_location="cpu", weights_only=True)

    def both(name: str) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        forward = F.conv1d(onehot, weight, bias, padding="same")
        reverse = F.conv1d(onehot.flip(1, 2), weight, bias, padding="same").flip(2)
        return F.softplus(torch.cat([forward, reverse], dim=1))

    effects = F.conv1d(both("conv"), state["deconv.weight"], state["deconv.bias"], padding="same")
    effects += F.conv1d(both("conv_sim"), state["deconv_sim.weight"], state["deconv_sim.bias"], padding="same")
    effects += F.conv_transpose1d(both("conv_inr"), state["deconv_inr.weight"], state["deconv_inr.bias"], padding=7)
    return F.softplus(effects)[..., FLANK_BP:-FLANK_BP]


def test_fourier_transforms_give_the_plain_convolutions_on_both_strands(weights: Path, bases: Any) -> None:
    onehot = encode(torch.from_numpy(bases))
    forward, reverse = load_puffin(weights)(onehot)
    torch.testing.assert_close(forward, by_plain_convolutions(weights, onehot), rtol=0, atol=1e-4)
    turned = by_plain_convolutions(weights, onehot.flip(1, 2)).flip(1, 2)
    torch.testing.assert_close(reverse, turned, rtol=0, atol=1e-4)


def test_a_bin_is_the_signal_of_its_bases_added_up(weights: Path, bases: Any) -> None:
    per_base = load_puffin(weights)(encode(torch.from_numpy(bases))).mean(0)
    expected = np.expm1(per_base.numpy().astype(np.float64)).sum(axis=2)[:, [0, 1, 2, 3, 4, 9, 8, 7, 6, 5]]
    np.testing.assert_allclose(made(weights, transform="none")(bases)["puffin"], expected, rtol=1e-4)
    np.testing.assert_allclose(made(weights)(bases)["puffin"], np.log1p(expected), rtol=1e-4)


def test_the_other_strand_has_the_tracks_of_this_one_exchanged(weights: Path, bases: Any) -> None:
    extractor = made(weights)
    turned = np.stack([np.frombuffer(row.tobytes().translate(COMPLEMENT)[::-1], dtype=np.uint8) for row in bases])
    here, there = extractor(bases)["puffin"], extractor(turned)["puffin"]
    np.testing.assert_allclose(there, np.roll(here, 5, axis=1), rtol=1e-4, atol=1e-6)
    names = [channel.name for channel in extractor.channels["puffin"]]
    assert [name.replace("_plus", "_minus") for name in names[:5]] == names[5:]


def test_a_larger_bin_sees_what_smaller_ones_see(weights: Path) -> None:
    sequence = random_sequences({"chr1": 2 * BIN + 2 * FLANK_BP})["chr1"]
    whole = np.frombuffer(sequence.encode(), dtype=np.uint8)[None]
    halves = np.concatenate([whole[:, : BIN + 2 * FLANK_BP], whole[:, BIN:]])
    small = made(weights, transform="none")(halves)["puffin"].sum(axis=0)
    large = PuffinExtractor(weights, bin_size=2 * BIN, transform="none", device="cpu")(whole)["puffin"][0]
    np.testing.assert_allclose(large, small, rtol=1e-4)


@pytest.mark.parametrize("change", ["transform", "bin_size", "weights"])
def test_the_fingerprint_tells_settings_and_weights_apart(change: str, weights: Path, tmp_path: Path) -> None:
    one = PuffinExtractor(weights, bin_size=BIN, device="cpu")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    torch.save({name: 2 * value for name, value in state.items()}, tmp_path / "other.pth")
    others = {
        "transform": PuffinExtractor(weights, bin_size=BIN, device="cpu", transform="none"),
        "bin_size": PuffinExtractor(weights, bin_size=2 * BIN, device="cpu"),
        "weights": PuffinExtractor(tmp_path / "other.pth", bin_size=BIN, device="cpu"),
    }
    assert one.fingerprint != others[change].fingerprint


def test_a_file_of_another_network_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    state = Puffin().state_dict()
    state["conv.weight"] = state["conv.weight"][:, :3]
    del state["deconv.bias"]
    torch.save(state, tmp_path / "puffin.pth")
    expected = r"missing deconv\.bias \(10,\); conv\.weight has shape \(10, 3, 51\), expected \(10, 4, 51\)"
    with pytest.raises(WeightsError, match=expected):
        load_puffin(tmp_path / "puffin.pth")
    with pytest.raises(FileNotFoundError, match=r"resources/puffin\.pth of github\.com/jzhoulab/puffin"):
        PuffinExtractor(tmp_path / "none.pth")


class TestPuffin(ExtractorTests):
    factory = "puffin"
    options = ExtractorOptions(bin_size=BIN, device="cpu")
    other_settings = {"transform": "none"}  # noqa: RUF012 - as the kit has it

    @pytest.fixture
    def chosen(self, weights: Path) -> dict[str, Any]:
        return {"weights": str(weights)}
