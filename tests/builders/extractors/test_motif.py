import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.extractors.motif import extractor as scan
from builders.extractors.motif.extractor import (
    FALSE_POSITIVE_RATE,
    LEAST_SHARE,
    MotifExtractor,
    MotifSettings,
    scores,
    threshold,
)
from catalog.motifs import IUPAC, MOTIFS, Motif, find_motif, pwm

BIN = 64
SHORT = MotifExtractor(bin_size=BIN)
NAMES = [channel.name for channel in SHORT.channels["motif"]]
COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")


def ascii_bins(*bins: str) -> NDArray[np.uint8]:
    return np.array([list(text.encode()) for text in bins], dtype=np.uint8)


def reverse_complement(text: str) -> str:
    return text.translate(COMPLEMENT)[::-1]


def random_bins(n: int, bin_size: int, seed: int = 0) -> NDArray[np.uint8]:
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    return letters[np.random.default_rng(seed).integers(0, 4, (n, bin_size))]


TABLES = {motif.consensus: scores(pwm(motif.consensus)).tolist() for motif in MOTIFS}


def score_of(word: str, consensus: str) -> float:
    table = TABLES[consensus]
    return sum(table[i]["ACGT".index(base)] if base in "ACGT" else float("-inf") for i, base in enumerate(word))


def obvious_values(text: str) -> dict[str, float]:
    text = text.upper()
    values: dict[str, float] = {}
    for motif in MOTIFS:
        length, lowest = len(motif.consensus), SHORT.thresholds[motif.name]
        values[motif.name] = 0
        for start in range(len(text) - length + 1):
            word = text[start : start + length]
            strands = (word, reverse_complement(word))
            values[motif.name] += any(score_of(strand, motif.consensus) >= lowest for strand in strands)
    known = sum(base in "ACGT" for base in text)
    c, g = text.count("C"), text.count("G")
    values["GC"] = (c + g) / known if known else 0
    values["CpG"] = min(4.0, text.count("CG") * known / (c * g)) if c and g else 0
    values["N"] = 1 - known / len(text)
    return values


@st.composite
def bins(draw: st.DrawFn) -> str:
    """Draw a bin full of sites, near-sites, N, lower case and chance."""
    text = ""
    while len(text) < BIN:
        motif = draw(st.sampled_from(MOTIFS))
        site = "".join(draw(st.sampled_from(IUPAC[letter])) for letter in motif.consensus)
        if draw(st.booleans()):
            site = reverse_complement(site)
        if draw(st.booleans()):
            at = draw(st.integers(0, len(site) - 1))
            site = site[:at] + draw(st.sampled_from("ACGTNR")) + site[at + 1 :]
        text += site.lower() if draw(st.booleans()) else site
        text += draw(st.text("ACGTacgtN", max_size=6))
    shift = draw(st.integers(0, len(text) - BIN))
    return text[shift : shift + BIN]


@settings(max_examples=60, deadline=None)
@given(st.lists(bins(), min_size=1, max_size=3))
def test_every_value_is_that_of_a_loop_over_positions_and_strands(texts: list[str]) -> None:
    values = SHORT(ascii_bins(*texts))["motif"]
    for row, text in zip(values, texts, strict=True):
        expected = obvious_values(text)
        assert dict(zip(NAMES, row.tolist(), strict=True)) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(bins())
def test_the_reverse_complement_has_the_same_values(text: str) -> None:
    forward, reverse = SHORT(ascii_bins(text, reverse_complement(text)))["motif"]
    assert np.array_equal(forward, reverse)


def test_batch_and_block_size_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = MotifExtractor(bin_size=512)
    sequence = random_bins(301, 512)
    whole = extractor(sequence)["motif"]
    one_by_one = np.concatenate([extractor(sequence[i : i + 1])["motif"] for i in range(len(sequence))])
    assert np.array_equal(whole, one_by_one)
    monkeypatch.setattr(scan, "_BLOCK_BASES", 1500)
    assert np.array_equal(whole, extractor(sequence)["motif"])


@pytest.mark.parametrize("motif", MOTIFS, ids=lambda motif: motif.name)
def test_a_site_counts_anywhere_in_the_bin_but_not_across_its_edge(motif: Motif) -> None:
    site = "".join(IUPAC[letter][0] for letter in motif.consensus)
    column = NAMES.index(motif.name)
    for start in (0, 17, BIN - len(site)):
        text = "N" * start + site + "N" * (BIN - start - len(site))
        assert SHORT(ascii_bins(text))["motif"][0, column] == 1
    left = "N" * (BIN - len(site) + 1) + site[:-1]
    right = site[-1] + "N" * (BIN - 1)
    assert SHORT(ascii_bins(left, right))["motif"][:, column].tolist() == [0, 0]


def test_a_palindromic_site_counts_once() -> None:
    text = "N" * 20 + "TGACGTCA" + "N" * (BIN - 28)
    assert SHORT(ascii_bins(text))["motif"][0, NAMES.index("CREB")] == 1


@pytest.mark.parametrize("motif", MOTIFS, ids=lambda motif: motif.name)
def test_a_site_among_known_bases_counts_once(motif: Motif) -> None:
    # Known flanks matter: beside N, a second match one base further along could not show.
    rng = np.random.default_rng(0)
    sequence = random_bins(1000, BIN)
    for offset, letter in enumerate(motif.consensus):
        sequence[:, 20 + offset] = rng.choice(list(IUPAC[letter].encode()), len(sequence))
    counts = SHORT(sequence)["motif"][:, NAMES.index(motif.name)]
    assert counts.min() == 1
    assert counts.mean() < 1.05  # chance matches beside it: at most 0.02


def test_a_bin_shorter_than_the_motifs_has_values() -> None:
    values = MotifExtractor(bin_size=3)(ascii_bins("CGA"))["motif"][0]
    assert values[:-3].tolist() == [0] * len(MOTIFS)
    assert values[-3:].tolist() == pytest.approx([2 / 3, 3, 0])


def test_a_bin_of_n_is_zero_but_for_n() -> None:
    values = SHORT(ascii_bins("N" * BIN, "-" * BIN))["motif"]
    assert values[:, :-1].tolist() == [[0] * (len(NAMES) - 1)] * 2
    assert values[:, -1].tolist() == [1, 1]


@pytest.mark.parametrize("motif", [m for m in MOTIFS if len(m.consensus) == 8], ids=lambda motif: motif.name)
@pytest.mark.parametrize("rate", [FALSE_POSITIVE_RATE, 1e-3])
def test_the_threshold_is_the_lowest_that_keeps_the_rate_among_all_words(motif: Motif, rate: float) -> None:
    every = np.array([score_of("".join(w), motif.consensus) for w in itertools.product("ACGT", repeat=8)])
    lowest = threshold(scores(pwm(motif.consensus)), rate)
    assert lowest is not None
    assert np.mean(every >= lowest) <= rate
    next_lower = every[every < lowest].max()
    assert np.mean(every >= next_lower) > rate or next_lower < LEAST_SHARE * every.max()


def test_random_sequence_has_less_than_a_fifth_of_a_match_a_bin() -> None:
    counts = MotifExtractor()(random_bins(1024, 4096))["motif"][:, : len(MOTIFS)]
    # 1,024 bins of 0.2 matches: 205 expected at the most, 14 standard deviation.
    assert counts.sum(axis=0).max() < 205 + 3 * 14
    assert counts.mean() < 0.15


def test_a_consensus_too_vague_for_the_rate_has_no_threshold() -> None:
    assert threshold(scores(pwm("TATAWAWR"))) is None


def test_a_pwm_holds_probabilities_that_favour_the_allowed_bases() -> None:
    for motif in MOTIFS:
        matrix = pwm(motif.consensus)
        assert matrix.shape == (len(motif.consensus), 4)
        assert matrix.sum(axis=1) == pytest.approx(1)
        for row, letter in zip(matrix, motif.consensus, strict=True):
            least_allowed = min(row["ACGT".index(base)] for base in IUPAC[letter])
            assert all(0 < p < least_allowed for base, p in zip("ACGT", row, strict=True) if base not in IUPAC[letter])
    assert pwm("A")[0].tolist() == pytest.approx([20.25 / 21, 0.25 / 21, 0.25 / 21, 0.25 / 21])


def test_the_table_has_distinct_names_and_can_be_asked() -> None:
    assert len({motif.name for motif in MOTIFS}) == len(MOTIFS)
    assert find_motif("CREB").consensus == "TGACGTCA"
    with pytest.raises(KeyError, match="there are TATA, SP1"):
        find_motif("TBP")


@pytest.mark.parametrize(
    ("consensus", "mend"), [("ACGTACGX", "use IUPAC"), ("ACGT", "add flanks"), ("A" * 21, "cut the ends off")]
)
def test_a_motif_refuses_what_is_no_consensus(consensus: str, mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        Motif(name="X", consensus=consensus, family="", source="")


def test_it_is_found_by_its_registered_name_and_describes_itself() -> None:
    extractor = load_extractor("motif", ExtractorOptions(bin_size=128))
    assert isinstance(extractor, Extractor)
    assert isinstance(extractor, MotifExtractor)
    assert extractor.input_length == extractor.options["bin_size"] == 128
    groups = {channel.group for channel in extractor.channels["motif"]}
    assert groups == {"TF", "core-promoter", "composition"}
    assert extractor(random_bins(2, 128))["motif"].shape == (2, len(extractor.channels["motif"]))


def test_the_fingerprint_is_stable_and_tells_settings_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MotifExtractor(bin_size=64).fingerprint == SHORT.fingerprint
    assert MotifExtractor(bin_size=65).fingerprint != SHORT.fingerprint
    monkeypatch.setattr(scan, "MOTIFS", MOTIFS[:-1])
    assert MotifExtractor(bin_size=64).fingerprint != SHORT.fingerprint


def test_options_that_do_not_suit_are_refused() -> None:
    with pytest.raises(ValueError, match="leave outputs out"):
        MotifExtractor.from_options(ExtractorOptions(outputs=("classes",)), MotifSettings())
    with pytest.raises(ValueError, match=r"no setting is called .weights."):
        load_extractor("motif", ExtractorOptions(), {"weights": "w.pth"})
    with pytest.raises(ValueError, match="at least 1; got 0"):
        MotifExtractor(bin_size=0)


@pytest.mark.parametrize(
    "sequence",
    [
        pytest.param(np.zeros((2, BIN + 1), dtype=np.uint8), id="another bin size"),
        pytest.param(np.zeros(BIN, dtype=np.uint8), id="no batch axis"),
        pytest.param(np.zeros((2, BIN), dtype=np.int64), id="another dtype"),
    ],
)
def test_sequence_of_another_shape_is_refused(sequence: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="cut the sequence into bins of 64 bp, padded with N"):
        SHORT(sequence)
