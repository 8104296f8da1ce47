"""MPRA-DragoNN predicts what its published layers say, the mean of both strands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkout import SHARED
from mpra_files import LENGTH, described, tiny_weights, write
from numpy.typing import NDArray

from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.extractors.networks.keras_file import KerasFileError
from builders.testing import ExtractorTests

PUBLISHED = SHARED / "data" / "real_weights"
COMPLEMENT = bytes.maketrans(b"ACGTacgt", b"TGCAtgca")


def made(settings: Mapping[str, Any]) -> Extractor:
    return load_extractor("mpra-dragonn", ExtractorOptions(device="cpu"), settings)


def by_hand(weights: Mapping[str, Mapping[str, NDArray[Any]]], sequence: bytes) -> NDArray[np.float64]:
    """Keras's layers on one sequence, position by position, in double precision."""
    x = np.array([[base == letter for letter in b"ACGT"] for base in sequence.upper()], dtype=float)
    for number in range(1, len(weights) // 2 + 1):
        kernel, bias = (weights[f"conv1d_{number}"][part].astype(float) for part in ("kernel", "bias"))
        places = range(len(x) - len(kernel) + 1)
        found = np.array([np.einsum("ki,kio->o", x[at : at + len(kernel)], kernel) + bias for at in places])
        norm = weights[f"batch_normalization_{number}"]
        scaled = (np.maximum(found, 0) - norm["moving_mean"]) / np.sqrt(norm["moving_variance"].astype(float) + 1e-3)
        x = scaled * norm["gamma"] + norm["beta"]
    return np.asarray(x.ravel() @ weights["dense_1"]["kernel"].astype(float) + weights["dense_1"]["bias"])


def random_bases(length: int, seed: int = 3) -> NDArray[np.uint8]:
    letters = np.frombuffer(b"ACGTNacgt", dtype=np.uint8)
    return letters[np.random.default_rng(seed).integers(0, len(letters), (4, length))]


def both_strands(weights: Mapping[str, Mapping[str, NDArray[Any]]], row: NDArray[np.uint8]) -> NDArray[np.float64]:
    turned = row.tobytes()[::-1].translate(COMPLEMENT)
    return (by_hand(weights, row.tobytes()) + by_hand(weights, turned)) / 2


def test_a_bin_is_the_mean_of_both_strands_in_plain_numpy(tmp_path: Path) -> None:
    bases = random_bases(LENGTH)
    found = made(write(tmp_path))(bases)["mpra-dragonn"]
    expected = np.array([both_strands(tiny_weights(), row) for row in bases])
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    forward = made(write(tmp_path) | {"strands": "forward"})(bases)["mpra-dragonn"]
    np.testing.assert_allclose(forward, [by_hand(tiny_weights(), row.tobytes()) for row in bases], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published weights at {PUBLISHED}")
def test_the_published_weights_are_read_as_plain_numpy_reads_them() -> None:
    settings = {
        "weights": PUBLISHED / "mpra_dragonn_conv.hdf5",
        "architecture": PUBLISHED / "mpra_dragonn_conv.model.json",
    }
    extractor = made(settings)
    assert (extractor.input_length, len(extractor.channels["mpra-dragonn"])) == (145, 12)
    with h5py.File(settings["weights"]) as file:
        weights = {
            name: {part.partition(":")[0]: values[()] for part, values in file[name][name].items()}
            for name in file
            if len(file[name])
        }
    bases = random_bases(145)
    expected = np.array([both_strands(weights, row) for row in bases])
    np.testing.assert_allclose(extractor(bases)["mpra-dragonn"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda layers: layers.pop(), "no network of MPRA-DragoNN's form", id="a layer less"),
        pytest.param(lambda layers: layers[0]["config"].update(padding="same"), "padding='same'", id="padding"),
        pytest.param(lambda layers: layers[3]["config"].update(activation="elu"), "activation='elu'", id="no ReLU"),
        pytest.param(
            lambda layers: layers[0]["config"].update(batch_input_shape=[None, 1 << 40, 4]), "is of shape", id="longer"
        ),
        pytest.param(
            lambda layers: layers[0]["config"].update(batch_input_shape=[None, 21, 4]), "expected 102", id="other bp"
        ),
        pytest.param(lambda layers: layers[1]["config"].update(epsilon=-1.0), "epsilon=-1.0", id="epsilon"),
    ],
)
def test_another_network_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    layers = described()
    change(layers)
    with pytest.raises(KerasFileError, match=message):
        made(write(tmp_path, layers=layers))


def test_weights_without_their_layers_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    settings = write(tmp_path)
    with pytest.raises(KerasFileError, match="`architecture=`"):
        made({"weights": settings["weights"]})
    settings["architecture"].write_text("[]")
    with pytest.raises(KerasFileError, match=r"is no JSON object, but a list; expected what Keras"):
        made(settings)


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    for name, part, shape in (
        ("conv1d_2", "kernel", (3, 4, 6)),
        ("dense_1", "bias", (11,)),
        ("conv1d_1", "bias", (9,)),
    ):
        weights = tiny_weights()
        weights[name][part] = np.ones(shape, np.float32)
        with pytest.raises(KerasFileError, match=r"channels, expected|do not fit one another"):
            made(write(tmp_path, weights))


class TestMpraDragonn(ExtractorTests):
    factory = "mpra-dragonn"
    other_settings = {"strands": "forward"}  # noqa: RUF012

    @pytest.fixture
    def chosen(self, tmp_path: Path) -> Any:
        return write(tmp_path)
