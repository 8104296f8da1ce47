"""Conformance kits: an extractor or a source proves itself with our tests.

    from builders.testing import ExtractorTests

    class TestMine(ExtractorTests):
        factory = "mine:Mine.from_options"
        settings = {"weights": "mine.safetensors"}

Under pytest, each test of the kit then runs on it. Belongs here: what holds of every extractor and every source. Does
not: what one of them computes. Needs pytest.
"""

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from builders.execution.source_spec import SourceSpec
from builders.extractors.base import GROUP, Extractor, ExtractorOptions, load_extractor, tile_bins
from builders.extractors.sequence import UNKNOWN
from builders.factories import find_factory
from builders.source import GROUP as SOURCES
from builders.source import Source, Span, checked, compute, fetch, pad_rows
from catalog import Assembly, Contig

Settings = Mapping[str, Any]


class ExtractorTests:
    """Subclass it, name the factory, and let pytest collect the subclass (its name begins with `Test`)."""

    factory: ClassVar[str]
    """Registered name, or `module:factory`."""
    settings: ClassVar[Settings] = {}
    """Of its own, as `--set` or a mapping gives them."""
    other_settings: ClassVar[Settings] = {}
    """Settings that change values; they must change the fingerprint. Left out where there are none."""
    options: ClassVar[ExtractorOptions] = ExtractorOptions(device="cpu")
    sequences: ClassVar[int] = 5
    """Random sequences to try; few for a large network."""
    rtol: ClassVar[float] = 1e-4
    """Largest difference between batches, as a share of a channel's largest value: a network sums in another order."""

    @pytest.fixture
    def chosen(self) -> Settings:
        """Give the settings; a subclass whose files come from a fixture overrides this."""
        return self.settings

    @pytest.fixture
    def extractor(self, chosen: Settings) -> Extractor:
        """Make it, as a build does."""
        return load_extractor(self.factory, self.options, chosen)

    @pytest.fixture
    def bases(self, extractor: Extractor) -> NDArray[np.uint8]:
        """Random sequences with some N, one of them all N; `(sequences, input_length)`."""
        rng = np.random.default_rng(0)
        letters = np.frombuffer(b"ACGTacgtN", dtype=np.uint8)
        drawn = letters[rng.integers(0, len(letters), size=(self.sequences, extractor.input_length))]
        drawn[-1] = UNKNOWN
        return drawn

    def test_each_set_has_a_finite_value_for_each_sequence_and_channel(
        self, extractor: Extractor, bases: NDArray[np.uint8]
    ) -> None:
        """What a call returns is what `channels` says."""
        features = extractor(bases)
        for name, channels in extractor.channels.items():
            assert features[name].shape == (len(bases) * tile_bins(extractor), len(channels))
            assert features[name].dtype.kind in "fu"
            assert np.isfinite(features[name]).all()

    def test_the_size_of_a_batch_changes_no_value(self, extractor: Extractor, bases: NDArray[np.uint8]) -> None:
        """A sequence has the same features alone and among others."""
        batched, bins = extractor(bases), tile_bins(extractor)
        for row in range(len(bases)):
            alone = extractor(bases[row : row + 1])
            for name, values in batched.items():
                largest = np.abs(values.astype(np.float64)).max()
                among = values[row * bins : (row + 1) * bins]
                np.testing.assert_allclose(alone[name], among, rtol=0, atol=self.rtol * largest)

    def test_upper_and_lower_case_are_the_same_bases(self, extractor: Extractor, bases: NDArray[np.uint8]) -> None:
        """Soft-masked genomes have lower case."""
        lower, upper = (extractor(np.asarray(one, dtype=np.uint8)) for one in (bases | 0x20, bases & 0xDF))
        for name, values in lower.items():
            np.testing.assert_array_equal(values, upper[name])

    def test_its_input_is_left_as_it_was(self, extractor: Extractor, bases: NDArray[np.uint8]) -> None:
        """Neighbouring bins may share memory."""
        before = bases.copy()
        bases.flags.writeable = False
        extractor(bases)
        np.testing.assert_array_equal(bases, before)

    def test_it_describes_itself(self, extractor: Extractor) -> None:
        """Sizes make sense, names are distinct, and the record is plain JSON."""
        _describes_itself(extractor)
        assert extractor.input_length >= 1
        assert extractor.batch_size >= 1

    def test_the_fingerprint_changes_with_settings_that_change_values(
        self, extractor: Extractor, chosen: Settings
    ) -> None:
        """Two extractors of one fingerprint would be mixed in one set."""
        if not self.other_settings:
            pytest.skip("no other settings were given")
        other = load_extractor(self.factory, self.options, {**chosen, **self.other_settings})
        assert other.fingerprint != extractor.fingerprint

    def test_its_settings_travel_as_plain_values(self, extractor: Extractor, chosen: Settings) -> None:
        """A worker gets JSON, and makes the same extractor of it."""
        plain = find_factory(GROUP, self.factory).plain(chosen)
        assert load_extractor(self.factory, self.options, plain).fingerprint == extractor.fingerprint


class SourceTests:
    """Subclass it, and name the factory or override the fixture `source`."""

    factory: ClassVar[str]
    """Registered name, or `module:factory`."""
    settings: ClassVar[Settings] = {}
    other_settings: ClassVar[Settings] = {}
    """Settings that change values; they must change the fingerprint. Left out where there are none."""
    assembly: ClassVar[Assembly] = Assembly.of(
        "conformance",
        (Contig(name="chr1", length=5_003, digest="0" * 32), Contig(name="short", length=5, digest="1" * 32)),
    )
    """Whose contigs are read."""
    bin_size: ClassVar[int] = 128
    rtol: ClassVar[float] = 1e-4
    """Largest difference between two ways to read a bin, as a share of a channel's largest value."""

    @pytest.fixture
    def chosen(self) -> Settings:
        """Give the settings; a subclass whose files come from a fixture overrides this."""
        return self.settings

    @pytest.fixture
    def spec(self, chosen: Settings) -> SourceSpec:
        """Describe it, as a build does."""
        options = ExtractorOptions(bin_size=self.bin_size, device="cpu")
        plain = find_factory(SOURCES, self.factory).plain(chosen)
        return SourceSpec(
            kind="source", name=self.factory, options=options, settings=plain, assembly=self.assembly, genome=None
        )

    @pytest.fixture
    def source(self, spec: SourceSpec) -> Iterator[Source]:
        """Make it of its description."""
        with closing(spec.make()) as made:
            yield made

    @pytest.fixture
    def contig(self, spec: SourceSpec) -> str:
        """Name the longest contig."""
        return max(spec.assembly.lengths, key=lambda name: spec.assembly.lengths[name])

    @pytest.fixture
    def n_bins(self, spec: SourceSpec, contig: str) -> int:
        """Bins that cover the contig, 40 at the most."""
        return min(40, -(-spec.assembly.lengths[contig] // spec.options.bin_size))

    def test_each_set_has_a_finite_value_for_each_bin_and_channel(
        self, source: Source, contig: str, n_bins: int
    ) -> None:
        """What a read returns is what `channels` says."""
        rows = checked(source, source.read(contig, 0, n_bins), n_bins)
        assert all(values.dtype.kind in "fiu" for values in rows.values())

    def test_reading_at_once_equals_reading_in_parts(self, source: Source, contig: str, n_bins: int) -> None:
        """A bin does not depend on what is read with it."""
        whole = source.read(contig, 0, n_bins)
        for first, end in ((0, 1), (1, n_bins // 2), (n_bins // 2, n_bins)):
            if first < end:
                part = source.read(contig, first * source.bin_size, end - first)
                self._same(part, {name: values[first:end] for name, values in whole.items()})

    def test_the_two_steps_give_what_read_gives(self, source: Source, contig: str, n_bins: int) -> None:
        """Fetching scattered spans and computing them is reading each, in their order."""
        half = source.bin_size // 2
        spans = [Span(contig, source.bin_size, min(3, n_bins)), Span(contig, -half, 2), Span(contig, half, 1)]
        pieces = list(compute(source, fetch(source, spans), pad_rows(source)))
        found = {name: np.concatenate([piece[name] for piece in pieces]) for name in source.channels}
        each = [source.read(*span) for span in spans]
        self._same(found, {name: np.concatenate([rows[name] for rows in each]) for name in source.channels})

    def test_a_bin_outside_its_contig_has_the_pad_row(self, source: Source, spec: SourceSpec, contig: str) -> None:
        """Before base 0 and past the end."""
        pad, length = pad_rows(source), spec.assembly.lengths[contig]
        for start in (-3 * source.bin_size, length):
            self._same(source.read(contig, start, 2), {name: np.stack([row, row]) for name, row in pad.items()})

    def test_a_bin_may_reach_past_either_end(self, source: Source, spec: SourceSpec, contig: str) -> None:
        """The first and the last bin of a phase do."""
        last = spec.assembly.lengths[contig] - source.bin_size // 2
        checked(source, source.read(contig, -(source.bin_size // 2), 1), 1)
        checked(source, source.read(contig, last, 1), 1)

    def test_it_describes_itself(self, source: Source) -> None:
        """Sizes make sense, names are distinct, and the record is plain JSON."""
        _describes_itself(source)
        assert source.batch_bins >= 1
        assert source.tolerance >= 0

    def test_its_description_travels_and_makes_the_same(self, spec: SourceSpec, source: Source, contig: str) -> None:
        """A worker makes it of a pickled description."""
        with closing(pickle.loads(pickle.dumps(spec)).make()) as again:  # noqa: S301  # made in this line
            assert again.fingerprint == source.fingerprint
            assert again.channels == source.channels
            self._same(again.read(contig, 0, 2), source.read(contig, 0, 2))

    def test_it_reads_again_after_it_was_closed(self, source: Source, contig: str) -> None:
        """A worker closes it, perhaps twice."""
        before = source.read(contig, 0, 1)
        source.close()
        source.close()
        self._same(source.read(contig, 0, 1), before)

    def test_the_fingerprint_changes_with_settings_that_change_values(
        self, spec: SourceSpec, source: Source, chosen: Settings
    ) -> None:
        """Two sources of one fingerprint would be mixed in one set."""
        if not self.other_settings:
            pytest.skip("no other settings were given")
        factory = find_factory(SOURCES, self.factory)
        other = SourceSpec(
            kind=spec.kind,
            name=spec.name,
            options=spec.options,
            settings=factory.plain({**chosen, **self.other_settings}),
            assembly=spec.assembly,
            genome=spec.genome,
        )
        with closing(other.make()) as made:
            assert made.fingerprint != source.fingerprint

    def _same(self, found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
        assert set(found) == set(expected)
        for name, values in expected.items():
            largest = float(np.abs(values.astype(np.float64)).max(initial=0.0))
            np.testing.assert_allclose(found[name], values, rtol=0, atol=self.rtol * largest)


def _describes_itself(made: Source | Extractor) -> None:
    assert made.name
    assert made.fingerprint == made.fingerprint.strip() != ""
    assert made.flops_per_bin >= 0
    assert isinstance(made.licence, str)
    assert isinstance(made.citation, str)
    assert json.loads(json.dumps(made.options)) == made.options
    assert made.channels
    for channels in made.channels.values():
        names = [channel.name for channel in channels]
        assert len(set(names)) == len(names) > 0
