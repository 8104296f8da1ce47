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
from builders.extractors.puffin.network import Puffin
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
        torch.save(SpliceNetwork([Unit(5, 1)] * 4, OPEN).state_dict(), made / "open.pt")
        torch.save(Puffin().state_dict(), made / "puffin.pth")
    return made


def extractor(name: str, folder: Path, bin_size: int) -> Extractor:
    weights = {"splice": "open.pt", "puffin": "puffin.pth"}.get(name)
    options = ExtractorOptions(bin_size=bin_size, device="cpu")
    return load_extractor(name, options, {} if weights is None else {"weights": str(folder / weights)})


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
@settings(max_examples=8, deadline=None)
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


def test_puffins_transforms_of_another_size_change_nothing_that_counts(folder: Path) -> None:
    bins = Bins.over(Interval("c", 0, 1200), extractor("puffin", folder, 1), bin_size=1, channels=["GRO_CAP_minus"])
    assert bins.most_affected == 651
    sequence = drawn(bins.length, 3, b"ACGT")
    places = np.array([0, 325, 700, 1200, bins.length - 1])
    found = mutagenesis(bins, sequence, places)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(found, by_full_forwards(bins, sequence, places), atol=2e-4)


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
