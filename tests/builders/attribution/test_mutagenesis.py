"""In-silico mutagenesis is what full forwards of every mutant say, whichever bins are computed again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.attribution.mutagenesis import mutagenesis
from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.extractors.networks.onehot import encode
from builders.extractors.puffin.mutants import PuffinMutants
from builders.extractors.puffin.network import FLANK_BP, Puffin, by_strand, load_puffin
from builders.extractors.splice.extractor import site_probabilities
from builders.extractors.splice.mutants import SpliceMutants
from builders.extractors.splice.network import OPEN, SpliceNetwork, Unit
from catalog import Interval

PUBLISHED = SHARED / "data" / "real_weights"
LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small splice network, and of Puffin's own shapes."""
    made = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name in ("open.pt", "other.pt"):
            torch.save(SpliceNetwork([Unit(5, 1)] * 4, OPEN).state_dict(), made / name)
        torch.save(Puffin().state_dict(), made / "puffin.pth")
    return made


def extractor(name: str, folder: Path, bin_size: int) -> Extractor:
    files = {"splice": ["open.pt", "other.pt"], "puffin": ["puffin.pth"]}.get(name, [])
    options = ExtractorOptions(bin_size=bin_size, device="cpu")
    weights = ",".join(str(folder / file) for file in files)
    return load_extractor(name, options, {"weights": weights} if weights else {})


def drawn(length: int, seed: int, letters: bytes = b"ACGTacgtN") -> NDArray[np.uint8]:
    return np.frombuffer(letters, dtype=np.uint8)[np.random.default_rng(seed).integers(0, len(letters), length)]


def by_full_forwards(bins: Bins, sequence: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[Any]:
    """The slow way: every mutant whole, every bin of it."""

    def output(whole: NDArray[np.uint8]) -> NDArray[Any]:
        if bins.tiled is not None:
            network = bins.tiled(bin_size=bins.bin_size, n_bins=bins.n_bins)
            return network(whole[None])[bins.feature_set].astype(float).sum(0)
        windows = np.stack([whole[j * bins.bin_size :][: bins.reach] for j in range(bins.n_bins)])
        return bins.extractor(windows)[bins.feature_set].astype(float).sum(0)

    found = np.zeros((len(places), 4, len(bins.columns)))
    for row, place in enumerate(places):
        for base, letter in enumerate(LETTERS):
            mutant = sequence.copy()
            mutant[place] = letter
            found[row, base] = (output(mutant) - output(sequence))[list(bins.columns)]
    return found


@pytest.mark.parametrize("name", ["splice", "motif", "kmer", "onehot"])
@settings(max_examples=5, deadline=None)
@given(bin_size=st.integers(4, 40), length=st.integers(1, 130), seed=st.integers(0, 99), data=st.data())
def test_the_bins_that_read_a_place_change_as_full_forwards_do(
    name: str, bin_size: int, length: int, seed: int, data: st.DataObject, folder: Path
) -> None:
    size = data.draw(st.integers(1, 5)) if name == "splice" else bin_size
    bins = Bins.over(Interval("c", 500, 500 + length), extractor(name, folder, size), bin_size=size, channels=None)
    sequence = drawn(bins.length, seed)
    places = np.array(data.draw(st.lists(st.integers(0, bins.length - 1), min_size=1, max_size=6)))
    sequence[places] = LETTERS[places % 4]
    found = mutagenesis(bins, sequence, places)
    np.testing.assert_allclose(found, by_full_forwards(bins, sequence, places), atol=2e-4)
    assert (found[np.arange(len(places)), places % 4] == 0).all()


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 120), seed=st.integers(0, 99), data=st.data())
def test_of_each_layer_only_the_places_that_a_base_reaches_differ(length: int, seed: int, data: st.DataObject) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = SpliceNetwork([*[Unit(3, 1)] * 4, *[Unit(5, 2)] * 4], OPEN).eval().requires_grad_(False)
    sequence = drawn(length + 2 * network.flank_bp, seed, b"ACGT")
    place, base = data.draw(st.integers(0, len(sequence) - 1)), data.draw(st.integers(0, 3))
    mutant = sequence.copy()
    mutant[place] = LETTERS[base]
    both = encode(torch.from_numpy(np.stack([sequence, mutant]))).double()
    expected = site_probabilities([network.double()], both).sum(2)
    found = SpliceMutants([network], both[:1]).changes(np.array([place]), np.array([base]))
    np.testing.assert_allclose(found[0, :4], (expected[1] - expected[0]).numpy(), atol=1e-10)


@pytest.mark.parametrize("length", [3, 40, 700])
def test_the_effects_of_changed_elements_are_those_of_the_whole_network(length: int, folder: Path) -> None:
    network = load_puffin(folder / "puffin.pth").double()
    sequence = drawn(length + 2 * FLANK_BP, 3)
    places = np.array([0, 49, 325, len(sequence) // 2, len(sequence) - 51, len(sequence) - 1])
    bases = np.array([0, 1, 2, 3, 0, 1])
    whole = np.repeat(sequence[None], len(places) + 1, axis=0)
    whole[np.arange(len(places)), places] = LETTERS[bases]
    onehot = encode(torch.from_numpy(whole)).double()
    output = network(onehot).mean(0).sum(2).numpy()
    mutants = PuffinMutants(network, onehot[-1:], signal=lambda before: by_strand(before).mean(0))
    expected = output[:-1] - output[-1]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(mutants.changes(places, bases), expected, atol=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no real inputs at {SHARED}; set FEATURESTORE_SHARED")
@pytest.mark.parametrize(("name", "file"), [("puffin", "puffin.pth"), ("splice", "openspliceai_mane_400nt_rs10.pt")])
def test_published_networks_change_as_full_forwards_do(name: str, file: str) -> None:
    made = load_extractor(name, ExtractorOptions(bin_size=1, device="cpu"), {"weights": str(PUBLISHED / file)})
    bins = Bins.over(Interval("c", 0, 1500), made, bin_size=None, channels=None)
    sequence = drawn(bins.length, 4, b"ACGT")
    places = np.arange(0, bins.length, 97)
    np.testing.assert_allclose(
        mutagenesis(bins, sequence, places), by_full_forwards(bins, sequence, places), atol=2e-3, rtol=1e-3
    )


def test_progress_ends_at_the_last_place(folder: Path) -> None:
    bins = Bins.over(Interval("c", 0, 700), extractor("motif", folder, 64), bin_size=64, channels=["GC"])
    told: list[tuple[int, int]] = []
    mutagenesis(bins, drawn(bins.length, 0, b"ACGT"), np.arange(700), progress=lambda *both: told.append(both))
    assert told[-1] == (700, 700)
    assert len(told) > 1
