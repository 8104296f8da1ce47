"""One-hot bases and counts of words, against counting by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.extractors.composition import KmerExtractor, KmerSettings
from builders.testing import ExtractorTests

COMPLEMENT = str.maketrans("ACGT", "TGCA")
texts = st.text("ACGTNacgt", min_size=12, max_size=12)


def coded(text: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(text.encode(), dtype=np.uint8)[None]


@given(text=texts, k=st.integers(1, 4), canonical=st.booleans())
def test_words_are_counted_as_by_hand(text: str, k: int, canonical: bool) -> None:
    extractor = KmerExtractor(KmerSettings(k=k, canonical=canonical), bin_size=len(text))
    words = [text.upper()[start : start + k] for start in range(len(text) - k + 1)]
    words = [word for word in words if "N" not in word]
    if canonical:
        words = [min(word, word.translate(COMPLEMENT)[::-1]) for word in words]
    counted = Counter(words)
    expected = [counted[channel.name] / max(1, len(words)) for channel in extractor.channels["kmer"]]
    np.testing.assert_allclose(extractor(coded(text))["kmer"][0], expected, rtol=1e-6)


@given(text=texts)
def test_canonical_words_are_the_same_from_either_strand(text: str) -> None:
    extractor = KmerExtractor(KmerSettings(k=3), bin_size=len(text))
    turned = text.upper().translate(COMPLEMENT)[::-1]
    np.testing.assert_array_equal(extractor(coded(text))["kmer"], extractor(coded(turned))["kmer"])


def test_one_hot_has_a_channel_a_base_and_letter() -> None:
    extractor = load_extractor("onehot", ExtractorOptions(bin_size=3))
    (row,) = extractor(coded("aNT"))["onehot"]
    on = [channel.name for channel, value in zip(extractor.channels["onehot"], row, strict=True) if value]
    assert on == ["A0000", "T0002"]
    assert row.sum() == 2


def test_a_word_longer_than_the_bin_and_too_many_words_are_refused() -> None:
    with pytest.raises(ValueError, match="a bin of 3 bp holds no word of 4"):
        KmerExtractor(KmerSettings(k=4), bin_size=3)
    with pytest.raises(ValueError, match="1 to 7"):
        KmerSettings(k=8)


class TestOneHot(ExtractorTests):
    factory = "onehot"
    options = ExtractorOptions(bin_size=20, device="cpu")


class TestDinucleotide(ExtractorTests):
    factory = "dinucleotide"
    options = ExtractorOptions(bin_size=20, device="cpu")


class TestKmer(ExtractorTests):
    factory = "kmer"
    options = ExtractorOptions(bin_size=20, device="cpu")
    other_settings = {"canonical": "false"}  # noqa: RUF012 - as the kit has it
