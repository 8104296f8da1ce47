"""Splice sites by the published networks: the layers of the file, both strands, published scores of variants."""

import gzip
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkout import SHARED
from numpy.typing import NDArray
from torch import Tensor

from builders.extractors.base import Extractor, ExtractorOptions, load_extractor, tile_bins
from builders.extractors.networks.keras_file import KerasFileError, read_keras_layers
from builders.extractors.networks.onehot import encode
from builders.extractors.networks.torch_file import WeightsError
from builders.extractors.splice.extractor import SpliceExtractor, site_probabilities
from builders.extractors.splice.files import load_splice
from builders.extractors.splice.network import OPEN, SpliceNetwork, Unit
from builders.testing import ExtractorTests

PUBLISHED = SHARED / "data" / "real_weights"
GOLDEN = SHARED / "data" / "spliceai_golden"
needs_data = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no real inputs at {SHARED}; set FEATURESTORE_SHARED")
BIN = 32
COMPLEMENT = bytes.maketrans(b"ACGTacgtN", b"TGCAtgcaN")


def write_open(path: Path, *, seed: int = 0, units: int = 4, kernel: int = 5) -> Path:
    """A small network with the parameter names of OpenSpliceAI, its batch norms set to something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = SpliceNetwork([Unit(kernel, 1)] * units, OPEN)
        for name, value in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.copy_(torch.rand_like(value) + 0.5)
        torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("splice")
    return [write_open(folder / f"open_{seed}.pt", seed=seed) for seed in (0, 1)]


def drawn(length: int, *, rows: int = 2, seed: int = 0) -> NDArray[np.uint8]:
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    return letters[np.random.default_rng(seed).integers(0, 4, (rows, length))]


def made(weights: list[Path], bin_size: int = BIN) -> Extractor:
    options = ExtractorOptions(bin_size=bin_size, device="cpu")
    return load_extractor("splice", options, {"weights": ",".join(map(str, weights))})


def test_the_network_is_that_of_the_file_layer_by_layer(weights: list[Path]) -> None:
    state = torch.load(weights[0], weights_only=True)
    x = encode(torch.from_numpy(drawn(100)))

    def convolved(name: str, x: Tensor, **more: Any) -> Tensor:
        return F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], **more)

    def normed(name: str, x: Tensor) -> Tensor:
        mean, var, scale, shift = (
            state[f"{name}.{part}"][:, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return torch.where((y := (x - mean) / (var + 1e-5).sqrt() * scale + shift) > 0, y, 0.1 * y)

    trunk = convolved("initial_conv", x)
    total = convolved("initial_skip.conv", trunk)
    for number in range(4):
        unit = f"residual_units.{number}"
        hidden = convolved(f"{unit}.conv1", normed(f"{unit}.batchnorm1", trunk), padding="same")
        trunk = trunk + convolved(f"{unit}.conv2", normed(f"{unit}.batchnorm2", hidden), padding="same")
    total = total + convolved("residual_units.4.conv", trunk)
    expected = F.softmax(convolved("final_conv", total[..., 16:-16]), dim=1)
    torch.testing.assert_close(load_splice(weights[0])(x), expected, rtol=1e-5, atol=1e-6)


def test_a_bin_has_the_sum_and_the_largest_probability_of_its_bases(weights: list[Path]) -> None:
    extractor = made(weights)
    bases = drawn(extractor.input_length)
    networks = [load_splice(path) for path in weights]
    per_base = site_probabilities(networks, encode(torch.from_numpy(bases))).numpy()
    found = extractor(bases)["splice"].reshape(len(bases), tile_bins(extractor), 8)
    for number in range(tile_bins(extractor)):
        inside = per_base[:, :, number * BIN : (number + 1) * BIN]
        np.testing.assert_allclose(found[:, number, :4], inside.sum(2), rtol=1e-5)
        np.testing.assert_allclose(found[:, number, 4:], inside.max(2), rtol=1e-6)


def test_the_other_strand_has_the_sites_of_this_one(weights: list[Path]) -> None:
    extractor = made(weights)
    bases = drawn(extractor.input_length)
    turned = np.stack([np.frombuffer(row.tobytes().translate(COMPLEMENT)[::-1], dtype=np.uint8) for row in bases])
    bins = tile_bins(extractor)
    here, there = (extractor(one)["splice"].reshape(len(bases), bins, 2, 2, 2) for one in (bases, turned))
    np.testing.assert_allclose(there, here[:, ::-1, :, ::-1], rtol=1e-4, atol=1e-6)
    names = np.array([channel.name for channel in extractor.channels["splice"]]).reshape(2, 2, 2)
    assert [name.replace("_plus_", "_minus_") for name in names[:, 0].ravel()] == list(names[:, 1].ravel())


def test_networks_that_see_different_context_are_not_averaged(weights: list[Path], tmp_path: Path) -> None:
    wider = write_open(tmp_path / "wider.pt", kernel=7)
    with pytest.raises(ValueError, match=r"open_0\.pt, wider\.pt see 32, 48 bases around each"):
        SpliceExtractor([weights[0], wider])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv.weight": torch.zeros(3)}, "0 residual units, and SpliceAI has 4, 8, 12 or 16"),
        ({f"residual_units.{n}.conv1.weight": torch.zeros(32, 32, 5) for n in range(4)}, "missing initial_conv"),
    ],
)
def test_another_network_is_refused(content: Mapping[str, Tensor], message: str, tmp_path: Path) -> None:
    torch.save(dict(content), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=message):
        load_splice(tmp_path / "other.pt")


@needs_data
def test_a_keras_network_of_another_form_is_refused() -> None:
    with pytest.raises(KerasFileError, match="no network of SpliceAI's form"):
        load_splice(PUBLISHED / "xpresso_human.h5")


@needs_data
@pytest.mark.parametrize("context", [80, 400, 2000, 10_000])
def test_the_published_networks_see_as_many_bases_as_their_names_say(context: int) -> None:
    network = load_splice(PUBLISHED / f"openspliceai_mane_{context}nt_rs10.pt")
    assert 2 * network.flank_bp == context
    found = network(encode(torch.from_numpy(drawn(context + 10, rows=1))))
    torch.testing.assert_close(found.sum(1), torch.ones(1, 10))


class TestSplice(ExtractorTests):
    factory = "splice"
    options = ExtractorOptions(bin_size=BIN, device="cpu")

    @pytest.fixture
    def chosen(self, weights: list[Path]) -> dict[str, Any]:
        return {"weights": [str(path) for path in weights]}

    @pytest.fixture(autouse=True)
    def _others(self, weights: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "other_settings", {"weights": [str(weights[0])]})


@pytest.fixture(scope="session")
def spliceai(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The five networks of SpliceAI, out of the wheel that carries them; nothing of it is installed or run."""
    cache = Path.home() / ".cache" / "genomic-featurestore-tests" / "spliceai-1.3.1"
    wheels = list(cache.glob("spliceai-1.3.1-*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        if subprocess.run([*command, "spliceai==1.3.1"], capture_output=True, timeout=300).returncode:
            pytest.skip("the wheel of spliceai 1.3.1 cannot be downloaded")
        wheels = list(cache.glob("spliceai-1.3.1-*.whl"))
    folder = tmp_path_factory.mktemp("spliceai")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return [Path(wheel.extract(f"spliceai/models/spliceai{number}.h5", folder)) for number in range(1, 6)]


def by_keras_graph(path: Path, onehot: Tensor) -> Tensor:
    """Each layer of the file in turn, as Keras defines it."""
    layers = {layer.name: layer for layer in read_keras_layers(path)}
    known: dict[str, Tensor] = {}

    def value(name: str) -> Tensor:
        if name not in known:
            layer = layers[name]
            read = [value(one) for one in layer.inputs]
            weights = {key: torch.from_numpy(numbers.copy()) for key, numbers in layer.weights.items()}
            known[name] = computed(layer.kind, layer.settings, read, weights)
        return known[name]

    def computed(kind: str, settings: dict[str, Any], read: list[Tensor], weights: dict[str, Tensor]) -> Tensor:
        if kind == "InputLayer":
            return onehot
        if kind == "Conv1D":
            found = F.conv1d(
                read[0],
                weights["kernel"].permute(2, 1, 0),
                weights["bias"],
                dilation=settings["dilation_rate"][0],
                padding=settings["padding"],
            )
            return F.softmax(found, dim=1) if settings["activation"] == "softmax" else found
        if kind == "BatchNormalization":
            mean, var = weights["moving_mean"][:, None], weights["moving_variance"][:, None]
            scale, shift = weights["gamma"][:, None], weights["beta"][:, None]
            return (read[0] - mean) / (var + settings["epsilon"]).sqrt() * scale + shift
        if kind == "Cropping1D":
            first, last = settings["cropping"]
            return read[0][..., first : read[0].shape[2] - last]
        return read[0] + read[1] if kind == "Add" else F.relu(read[0])

    return value(list(layers)[-1])


@pytest.mark.slow
def test_spliceai_is_its_keras_graph(spliceai: list[Path]) -> None:
    onehot = encode(torch.from_numpy(drawn(10_040, rows=1)))
    for path in spliceai[:2]:
        torch.testing.assert_close(load_splice(path)(onehot), by_keras_graph(path, onehot), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("position", "alt", "scores", "places"),
    [
        (94_077, "C", (0.15, 0.27, 0.00, 0.05), (89, -23, -267, 193)),
        (94_555, "T", (0.01, 0.18, 0.15, 0.62), (-2, 110, -190, 0)),
    ],
)
def test_spliceai_scores_variants_as_published(
    spliceai: list[Path], position: int, alt: str, scores: tuple[float, ...], places: tuple[int, ...]
) -> None:
    """GRCh37 chr10, gene TUBB8 on the minus strand: bases outside its transcript are not known."""
    first, last, reach = 92_892, 95_529, 500
    text = gzip.decompress((GOLDEN / "test.fa.gz").read_bytes()).split(b"\n", 1)[1].replace(b"\n", b"").upper()
    transcript = b"N" * first + text[first:last] + b"N" * (len(text) - last)
    start = position - 1 - reach - 5000
    window = bytearray(transcript[start : position + reach + 5000])
    networks = [load_splice(path) for path in spliceai]

    def predicted() -> NDArray[np.float32]:
        onehot = encode(torch.frombuffer(bytearray(window), dtype=torch.uint8)[None])
        with torch.inference_mode():
            found: NDArray[np.float32] = site_probabilities(networks, onehot)[0, 2:].numpy()
        return found

    reference = predicted()
    window[reach + 5000] = ord(alt)
    change = predicted() - reference
    gained_and_lost = [sign * site for site in change for sign in (1, -1)]
    assert tuple(round(float(one.max()), 2) for one in gained_and_lost) == scores
    assert tuple(int(one.argmax()) - reach for one in gained_and_lost) == places
