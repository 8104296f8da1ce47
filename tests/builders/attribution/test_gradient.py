"""Gradient x input is what numerical differences say, less the mean over the four bases."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from keras_files import write_keras
from mpra_files import write as write_mpra
from numpy.typing import NDArray
from sei_files import published, rule_state

from builders.attribution.bins import Bins
from builders.attribution.gradient import gradient
from builders.attribution.request import AttributionRequest
from builders.attribution.run import attribute
from builders.extractors.base import DifferentiableExtractor, Extractor, ExtractorOptions, load_extractor
from builders.extractors.puffin.network import Puffin
from builders.extractors.splice.network import OPEN, SpliceNetwork, Unit
from catalog import Interval

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
STEP = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(SpliceNetwork([Unit(5, 1)] * 4, OPEN).state_dict(), made / "open.pt")
        torch.save(Puffin().state_dict(), made / "puffin.pth")
    write_keras(made / "xpresso.h5")
    write_mpra(made)
    return made


def made(name: str, folder: Path, bin_size: int) -> Extractor:
    files: dict[str, dict[str, str]] = {
        "splice": {"weights": "open.pt"},
        "puffin": {"weights": "puffin.pth"},
        "xpresso": {"weights": "xpresso.h5"},
        "mpra-dragonn": {"weights": "pretrained.hdf5", "architecture": "model.json"},
    }
    chosen = {key: str(folder / file) for key, file in files[name].items()}
    return load_extractor(name, ExtractorOptions(bin_size=bin_size, device="cpu"), chosen)


def in_double_precision(network: Any) -> None:
    """Turn the networks of an extractor, which their copies share."""
    networks, _ = network._loaded
    for one in networks if isinstance(networks, list) else [networks]:
        one.double()


def drawn(length: int, letters: bytes = b"ACGTN") -> NDArray[np.uint8]:
    return np.frombuffer(letters, dtype=np.uint8)[np.random.default_rng(8).integers(0, len(letters), length)]


def output(network: Any, bins: Bins, rows: NDArray[np.uint8], moved: torch.Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        found = network.predicted(network.encoded(rows).double() + moved)[bins.feature_set].sum(0)
    values: NDArray[np.float64] = found.numpy()[list(bins.columns)]
    return values


@pytest.mark.parametrize(
    ("name", "bin_size", "length"), [("splice", 3, 30), ("puffin", 1, 12), ("xpresso", 16, 50), ("mpra-dragonn", 8, 30)]
)
def test_a_score_is_the_slope_towards_a_base_away_from_the_mean_of_the_four(
    name: str, bin_size: int, length: int, folder: Path
) -> None:
    bins = Bins.over(Interval("c", 90, 90 + length), made(name, folder, bin_size), bin_size=bin_size, channels=None)
    sequence = drawn(bins.length)
    network = bins.network(bins.n_bins)
    found = gradient(bins, sequence)
    assert found.shape == (bins.length, 4, len(bins.columns))
    near = 1e-3 * np.abs(found).max(axis=(0, 1))
    assert (near > 0).all()
    assert (np.abs(found.sum(1)) <= near).all()
    in_double_precision(network)
    inputs = bins.inputs(sequence[None])
    for place in (0, bins.length // 2, bins.length // 2 + 3, bins.length - 1):
        for base in range(4):
            moved = torch.zeros(len(inputs), 4, inputs.shape[1], dtype=torch.float64)
            for row in range(len(inputs)):  # the same base of each bin that reads it
                if 0 <= (at := place - row * bin_size) < inputs.shape[1]:
                    moved[row, :, at] = STEP * (torch.arange(4) == base) - STEP / 4
            slope = (output(network, bins, inputs, moved) - output(network, bins, inputs, -moved)) / (2 * STEP)
            assert (np.abs(found[place, base] - slope) <= near).all()


@pytest.mark.parametrize(("name", "bin_size"), [("splice", 3), ("puffin", 1), ("xpresso", 16), ("mpra-dragonn", 8)])
def test_tensors_hold_what_a_call_gives(name: str, bin_size: int, folder: Path) -> None:
    extractor = made(name, folder, bin_size)
    assert isinstance(extractor, DifferentiableExtractor)
    sequence = drawn(2 * extractor.input_length).reshape(2, -1)
    ((feature_set, called),) = extractor(sequence).items()
    np.testing.assert_array_equal(extractor.predicted(extractor.encoded(sequence))[feature_set].numpy(), called)


@pytest.mark.slow
def test_seis_classes_have_the_slopes_of_its_published_layers(tmp_path: Path) -> None:
    torch.save(published(rule_state(8)), tmp_path / "sei.pth")
    settings = {"weights": str(tmp_path / "sei.pth"), "results": "float32"}
    options = ExtractorOptions(device="cpu", outputs=("profiles",))
    extractor: Any = load_extractor("sei", options, settings)
    bins = Bins.over(Interval("c", 5000, 5100), extractor, bin_size=None, channels=["profile00003"])
    sequence = drawn(bins.length, b"ACGT")
    np.testing.assert_allclose(
        extractor.predicted(extractor.encoded(sequence[None]))["profiles"].numpy(),
        extractor(sequence[None])["profiles"],
        atol=2e-5,
    )
    found = gradient(bins, sequence)[:, :, 0]
    direction = torch.zeros(1, 4, bins.length)
    direction[0, 2] = 0.01
    direction[0] -= direction[0].mean(0)
    ends = [extractor.predicted(extractor.encoded(sequence[None]) + sign * direction) for sign in (1, -1)]
    slope = float((ends[0]["profiles"] - ends[1]["profiles"])[0, 3]) / 2
    assert slope == pytest.approx(float((found.T * direction[0].numpy()).sum()), rel=0.02)


def test_the_verb_gives_gradient_times_input_in_the_rows_of_the_bases_that_stand_there(
    folder: Path, tmp_path: Path
) -> None:
    text = drawn(200, b"ACGT").tobytes().decode()
    (tmp_path / "g.fa").write_text(f">c\n{text}\n")
    request = AttributionRequest(
        fasta=str(tmp_path / "g.fa"),
        region="c:101-110",
        extractor="splice",
        settings={"weights": str(folder / "open.pt")},
        channels=("donor_plus_sum",),
        method="gradient",
        out=tmp_path / "out.parquet",
        device="cpu",
    )
    table = pl.read_parquet(attribute(request).out)
    bins = Bins.over(Interval("c", 100, 110), made("splice", folder, 1), bin_size=1, channels=["donor_plus_sum"])
    sequence = np.frombuffer(text[bins.start :][: bins.length].encode(), dtype=np.uint8)
    onehot = (sequence[:, None] == LETTERS)[:, :, None]
    expected = (gradient(bins, sequence) * onehot).sum(1)[100 - bins.start :][:10, 0]
    standing = table.filter(pl.col("base") == pl.col("ref"))["splice:donor_plus_sum"]
    np.testing.assert_array_equal(standing.to_numpy(), expected)


def test_an_extractor_without_a_gradient_is_refused_and_those_that_have_one_are_named(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">c\n" + "ACGT" * 50 + "\n")
    request = AttributionRequest(
        fasta=str(tmp_path / "g.fa"), region="c:10-20", bin_size=64, method="gradient", out=tmp_path / "out.npz"
    )
    with pytest.raises(ValueError, match=r"motif has no gradient .* puffin, splice, sei, xpresso and mpra-dragonn"):
        attribute(request)
