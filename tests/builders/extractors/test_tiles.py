"""Tiles of bins: the same value of a bin, whichever bins are asked for beside it and wherever its shard begins."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.extractors.puffin.extractor import PuffinExtractor
from builders.extractors.puffin.network import Puffin
from builders.extractors.source import ExtractorSource
from builders.source import Span, compute, pad_rows
from catalog import Channel, Fasta
from featurestore.testing import random_sequences, write_fasta

BIN, TILE, FLANK, LENGTH = 8, 5, 11, 1003
LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)


class WeightedBases:
    """Sums, over the bases of a bin, of what lies within `FLANK` of each, weighted by distance."""

    name = "weighted"
    tile_bins = TILE
    input_length = TILE * BIN + 2 * FLANK
    batch_size = 3
    flops_per_bin = 0.0
    licence = citation = ""
    fingerprint = "weighted"
    options: Mapping[str, object] = {}
    channels: Mapping[str, tuple[Channel, ...]] = {"weighted": (Channel(name="sum"), Channel(name="first"))}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        assert sequence.shape[1] == self.input_length
        numbers = ((sequence & 0xDF)[:, :, None] == LETTERS[:4]) @ np.arange(1.0, 5.0)
        seen = np.lib.stride_tricks.sliding_window_view(numbers, 2 * FLANK + 1, axis=1)
        per_base = seen @ np.arange(1.0, 2 * FLANK + 2)
        bins = per_base.reshape(-1, BIN)
        return {"weighted": np.stack([bins.sum(1), bins[:, 0]], axis=1).astype(np.float32)}


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bases = random_sequences({"chr1": LENGTH})["chr1"]
    return write_fasta(tmp_path_factory.mktemp("tiles") / "genome.fa", {"chr1": bases[:300] + 200 * "N" + bases[500:]})


def by_hand(text: str, start: int) -> tuple[float, float]:
    """The two channels of the bin that begins at `start`, base by base."""
    per_base = []
    for middle in range(start, start + BIN):
        around = range(middle - FLANK, middle + FLANK + 1)
        letters = [text[place] if 0 <= place < len(text) else "N" for place in around]
        numbers = [" ACGT".find(letter) if letter != "N" else 0 for letter in letters]
        per_base.append(float(sum(weight * number for weight, number in enumerate(numbers, 1))))
    return sum(per_base), per_base[0]


@settings(max_examples=40, deadline=None)
@given(spans=st.lists(st.tuples(st.integers(-40, LENGTH + 10), st.integers(1, 23)), min_size=1, max_size=4))
def test_bins_are_those_of_the_slow_oracle_wherever_a_span_begins(fasta: Path, spans: list[tuple[int, int]]) -> None:
    text = "".join(fasta.read_text().split("\n")[1:])
    with Fasta(str(fasta)) as file:
        source = ExtractorSource(WeightedBases(), file, bin_size=BIN)  # type: ignore[arg-type]  # attributes, no properties
        asked = [Span("chr1", start, n_bins) for start, n_bins in spans]
        found = np.concatenate([rows["weighted"] for rows in compute(source, source.fetch(asked), pad_rows(source))])
    expected = [by_hand(text, start + number * BIN) for start, n_bins in spans for number in range(n_bins)]
    np.testing.assert_array_equal(found, np.asarray(expected, dtype=np.float32))


def test_a_network_gives_a_bin_the_same_value_in_a_shard_of_its_own_and_in_one_of_many(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(Puffin().state_dict(), tmp_path / "puffin.pth")
    fasta = write_fasta(tmp_path / "genome.fa", random_sequences({"chr1": 64 * 64 + 17}))
    extractor = PuffinExtractor(tmp_path / "puffin.pth", bin_size=64, device="cpu")
    assert 1 < extractor.tile_bins < 64
    with Fasta(str(fasta)) as file:
        source = ExtractorSource(extractor, file, bin_size=64)
        many = source.read("chr1", 0, 64)["puffin"]
        for number in (0, 1, 40, 41, 63):
            np.testing.assert_allclose(source.read("chr1", 64 * number, 1)["puffin"][0], many[number], rtol=1e-6)
