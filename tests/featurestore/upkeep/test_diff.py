"""The figures of a difference are those of whole arrays, however the two are stored; nonsense is refused."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from catalog import Assembly, AssemblyMismatch, Grid
from featurestore import Commit, ContigLayout, NotBuilt, Store, create, write_shard
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.testing import ORIGIN, assembly_of, built_store, feature_set_of, random_sequences
from featurestore.upkeep.channel_diff import ChannelSums, Largest
from featurestore.upkeep.diff import SetDifference, diff
from featurestore.upkeep.transfer import copy

LENGTHS = {"chr1": 260, "chr2": 77}
ASSEMBLY = assembly_of(random_sequences(LENGTHS))
BIN = 16


@pytest.fixture(autouse=True, scope="module")
def _shards_are_read_in_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[SetDifference.__module__], "_READ_VALUES", 12)
        yield


class Stored(NamedTuple):
    """How one side of a comparison is stored."""

    offsets: tuple[int, ...]
    channels: tuple[int, ...]
    """Columns of the values, in the order in which they are stored."""
    chunk_bins: int
    chunks: int
    built: frozenset[int]
    """Shards that are built, of each phase and contig."""


@st.composite
def storages(draw: st.DrawFn) -> Stored:
    """Draw ways to store the same features, all with offset 0 and channel 0 among others."""
    offsets = draw(st.permutations([0, *draw(st.lists(st.sampled_from([4, 8]), unique=True))]))
    channels = draw(st.permutations([0, *draw(st.lists(st.sampled_from([1, 2, 3]), unique=True))]))
    built = draw(st.frozensets(st.integers(0, 8)) | st.just(frozenset(range(9))))
    return Stored(tuple(offsets), tuple(channels), draw(st.sampled_from([2, 3])), draw(st.integers(1, 4)), built)


def values_at(contig: str, offset: int, *, changed: float, seed: int) -> NDArray[np.float16]:
    """Give four channels of one phase, the same for both sides but for a share of the values; `(bins, 4)`."""
    bins = -(-(LENGTHS[contig] + offset) // BIN)
    rng = np.random.default_rng([len(contig), LENGTHS[contig], offset])
    values = rng.normal(5, 1, size=(bins, 4)).astype(np.float16)
    other = np.random.default_rng([seed, LENGTHS[contig], offset])
    return np.where(other.random((bins, 4)) < changed, other.normal(5, 1, (bins, 4)), values).astype(np.float16)


def build(path: Path, stored: Stored, *, changed: float = 0.0, seed: int = 1, name: str = "demo") -> Store:
    store = create(path, ASSEMBLY)
    described = feature_set_of(
        Grid(bin_size=BIN, offsets=stored.offsets),
        name=name,
        n_channels=4,
        chunk_bins=stored.chunk_bins,
        shard_bins=stored.chunk_bins * stored.chunks,
    )
    chosen = {
        field: tuple(getattr(described, field)[channel] for channel in stored.channels) for field in ("channels", "pad")
    }
    described = store.declare(described.model_copy(update=chosen), list(LENGTHS))
    for contig, length in LENGTHS.items():
        planned = ContigLayout(described, length)
        for phase, offset in enumerate(stored.offsets):
            values = values_at(contig, offset, changed=changed, seed=seed)[:, stored.channels]
            for shard in range(planned.n_shards(phase)):
                first, end = planned.shard_span(phase, shard)
                if shard in stored.built:
                    rows = values[first:end]
                    write_shard(store.objects, planned, rows, contig=contig, phase=phase, shard=shard, origin=ORIGIN)
    return store


def is_built(store: Store, contig: str, offset: int) -> NDArray[np.bool_]:
    """Tell from the single records which rows of a phase are built."""
    described = store.feature_set("demo")
    planned, phase = ContigLayout(described, LENGTHS[contig]), described.offsets.index(offset)
    there = np.zeros(planned.n_bins(phase), dtype=bool)
    for shard in range(planned.n_shards(phase)):
        first, end = planned.shard_span(phase, shard)
        there[first:end] = store.commits("demo").read(contig, phase, shard) is not None
    return there


class Rows(NamedTuple):
    """All rows that both have, from whole arrays."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    """`(bins, common channels)`."""
    places: list[tuple[str, int, int]]
    only_a: int
    only_b: int


def whole_rows(a: Store, b: Store, channels: Sequence[int], offsets: Sequence[int], changed: float) -> Rows:
    one: list[NDArray[np.float16]] = []
    other: list[NDArray[np.float16]] = []
    places: list[tuple[str, int, int]] = []
    only_a = only_b = 0
    for contig in LENGTHS:
        for offset in offsets:
            in_a, in_b = is_built(a, contig, offset), is_built(b, contig, offset)
            only_a, only_b = only_a + int((in_a & ~in_b).sum()), only_b + int((in_b & ~in_a).sum())
            both = np.flatnonzero(in_a & in_b)
            one.append(values_at(contig, offset, changed=0, seed=1)[both][:, channels])
            other.append(values_at(contig, offset, changed=changed, seed=1)[both][:, channels])
            spans = [(row * BIN - offset, (row + 1) * BIN - offset) for row in both.tolist()]
            places += [(contig, max(start, 0), min(end, LENGTHS[contig])) for start, end in spans]
    return Rows(np.concatenate(one).astype(float), np.concatenate(other).astype(float), places, only_a, only_b)


@given(storages(), storages(), st.sampled_from([0.0, 0.02, 1.0]))
@settings(max_examples=25, deadline=None)
def test_the_figures_are_those_of_whole_arrays_however_the_two_are_stored(
    tmp_path_factory: pytest.TempPathFactory, stored_a: Stored, stored_b: Stored, changed: float
) -> None:
    path = tmp_path_factory.mktemp("pair")
    a, b = build(path / "a", stored_a), build(path / "b", stored_b, changed=changed)
    (found,) = diff(a, b, largest=10).sets
    channels = [channel for channel in stored_a.channels if channel in stored_b.channels]
    offsets = [offset for offset in stored_a.offsets if offset in stored_b.offsets]
    expected = whole_rows(a, b, channels, offsets, changed)
    assert [row.channel for row in found.channels] == [f"channel{channel}" for channel in channels]
    assert (found.bins_only_a, found.bins_only_b) == (expected.only_a, expected.only_b)
    assert found.equal_bins + found.channels[0].bins == len(expected.a)
    change = np.abs(expected.b - expected.a)
    for row, one in zip(found.channels, change.T, strict=True):
        assert row.changed == np.count_nonzero(one)
        assert row.max_abs == one.max(initial=0)
        # What is equal by hash is not read, and adds nothing to these sums.
        assert row.mean_abs * row.bins == pytest.approx(one.sum())
        assert row.rms**2 * row.bins == pytest.approx((one**2).sum())
    sizes = sorted(change.ravel(), reverse=True)[:10]
    assert [abs(item.difference) for item in found.largest] == [size for size in sizes if size]
    named = {
        (*place, f"channel{channel}", expected.a[row, column], expected.b[row, column])
        for row, place in enumerate(expected.places)
        for column, channel in enumerate(channels)
    }
    assert named.issuperset(found.largest)
    alike = stored_a._replace(offsets=(), built=stored_b.built) == stored_b._replace(offsets=())
    same_rows = set(stored_a.offsets) == set(stored_b.offsets) and expected.only_a == expected.only_b == 0
    assert found.is_equal == (alike and same_rows and not change.any())


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.sampled_from([(0, 1), (1000, 0.5), (60000, 16)]),
    st.integers(0, 100),
)
@settings(max_examples=50, deadline=None)
def test_the_correlation_over_blocks_is_that_over_all_rows(
    blocks: list[int], spread: tuple[float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(*spread, size=(sum(blocks), 3)).astype(np.float16)
    b = (a + rng.normal(0, spread[1], size=a.shape)).astype(np.float16)
    b[:, 2] = 7
    sums = ChannelSums(["x", "y", "constant"])
    for rows in np.split(np.arange(len(a)), np.cumsum(blocks)[:-1]):
        sums.add(a[rows], b[rows])
    for channel, row in enumerate(sums.changes()):
        x, y = a[:, channel].astype(float), b[:, channel].astype(float)
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert row.correlation is None
        else:
            assert row.correlation == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 12), st.integers(1, 20))
def test_of_equal_changes_the_first_are_kept(changes: list[int], most: int, block: int) -> None:
    values = np.asarray(changes, dtype=np.float16)[:, None]
    largest = Largest(most)
    for first in range(0, len(values), block):
        rows = values[first : first + block]
        spans = [(first + row, first + row + 1) for row in range(len(rows))]
        largest.offer(np.zeros_like(rows), rows, contig="c", spans=spans, channels=["x"])
    by_size = sorted((-change, place) for place, change in enumerate(changes) if change)
    assert [(-item.b, item.start) for item in largest.changes()] == by_size[:most]


STORED = Stored((0, 8), (0, 1, 2), 2, 2, frozenset(range(9)))


def only_set(a: Store, b: Store) -> SetDifference:
    (found,) = diff(a, b).sets
    return found


def test_a_copy_is_equal_and_no_shard_of_it_is_read(tmp_path: Path) -> None:
    a = build(tmp_path / "a", STORED)
    copy(a.url, tmp_path / "b")
    for shard in (tmp_path / "b").rglob("values/c/*/*/0"):
        shard.write_bytes(b"")  # anyone who reads it notices
    b = create(tmp_path / "b", ASSEMBLY)
    found = diff(a, b)
    assert found.is_equal
    assert (found.sets[0].read_shards, found.sets[0].channels[0].bins) == (0, 0)
    assert found.sets[0].equal_shards == len(list(b.commits("demo").records()))


def test_shards_of_other_bytes_and_the_same_values_are_equal(tmp_path: Path) -> None:
    a, b = build(tmp_path / "a", STORED), build(tmp_path / "b", STORED)
    commit = b.commits("demo").read("chr2", 0, 0)
    assert isinstance(commit, Commit)
    b.objects.delete(commit.key)
    b.commits("demo").add(commit.model_copy(update={"sha256": "0" * 64}))
    found = only_set(a, b)
    assert found.read_shards == 1
    assert found.is_equal


def test_what_differs_in_description_is_told_field_by_field(tmp_path: Path) -> None:
    a = built_store(tmp_path / "a", LENGTHS, Grid(bin_size=BIN, offsets=(0, 8)), n_channels=3)
    b = built_store(
        tmp_path / "b", LENGTHS, Grid(bin_size=BIN, offsets=(4, 0)), contigs=["chr1"], n_channels=2, fingerprint="f1"
    )
    found = only_set(a, b)
    assert found.description == {"fingerprint": ("f0", "f1")}
    assert (found.channels_only.a, found.channels_only.b) == (["channel2"], [])
    assert (found.offsets_only.a, found.offsets_only.b) == (["8"], ["4"])
    assert (found.contigs_only.a, found.contigs_only.b) == (["chr2"], [])
    assert not found.is_equal


def test_channels_and_pad_are_compared_by_name(tmp_path: Path) -> None:
    a = create(tmp_path / "a", ASSEMBLY)
    described = a.declare(feature_set_of(Grid(bin_size=BIN)), ["chr1"])
    first = described.channels[0].model_copy(update={"description": "other"})
    changed = {"channels": (*described.channels[:0:-1], first), "pad": (-3.0, 9.0, -1.0)}
    b = create(tmp_path / "b", ASSEMBLY)
    b.declare(described.model_copy(update=changed), ["chr1"])
    found = only_set(a, b)
    assert sorted(found.description) == ["channel channel0", "order of channels", "pad of channel1"]
    assert found.description["pad of channel1"] == (-2.0, 9.0)


# What is refused


@pytest.mark.parametrize(
    ("assembly", "first", "differs"),
    [
        pytest.param(ASSEMBLY, Grid(bin_size=8), "the bins of the other", id="bins of another size"),
        pytest.param(ASSEMBLY, None, "name one of each with `pairs=`", id="no set of one name"),
        pytest.param(
            assembly_of(random_sequences(LENGTHS, seed=1)), Grid(bin_size=BIN), "build one of them on", id="assembly"
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, assembly: Assembly, first: Grid | None, differs: str
) -> None:
    a = build(tmp_path / "a", STORED)
    b = create(tmp_path / "b", assembly)
    if first is not None:
        b.declare(feature_set_of(first), ["chr1"])
    with pytest.raises((AssemblyMismatch, NotBuilt, ValueError), match=differs):
        diff(a, b)


def test_sets_without_a_common_channel_are_refused(tmp_path: Path) -> None:
    store = build(tmp_path, STORED)
    build(tmp_path, STORED._replace(channels=(3,)), name="other")
    with pytest.raises(ValueError, match="choose sets that share some"):
        diff(store, store, pairs=[("demo", "other")])
    with pytest.raises(NotBuilt, match="it has demo, other"):
        diff(store, store, pairs=[("demo", "absent")])


# The command


def test_the_command_exits_0_on_equal_and_1_on_different_stores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, changed in (("a", 0.0), ("b", 0.0), ("c", 0.1)):
        build(tmp_path / name, STORED, changed=changed)
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert main(["diff", a, b]) == 0
    assert "0 compared" in capsys.readouterr().out
    out = tmp_path / "changes.tsv"
    assert main(["diff", a, c, "--feature-set", "demo", "--json", "--out", str(out), "--top", "7"]) == 1
    document = json.loads(capsys.readouterr().out)
    header, *rows = (line.split("\t") for line in out.read_text().splitlines())
    assert header == ["#contig", "start", "end", "channel", "a", "b", "difference", "set"]
    assert len(rows) == 7
    differences = [abs(float(row[6])) for row in rows]
    assert differences == sorted(differences, reverse=True)
    assert differences[0] == pytest.approx(max(row["max_abs"] for row in document["sets"][0]["channels"]), rel=1e-4)
    assert all(0 <= int(start) < int(end) <= LENGTHS[contig] for contig, start, end, *_ in rows)
    assert main(["diff", a, c]) == 1
    assert "3 of 3 channels changed" in capsys.readouterr().out


def test_the_command_compares_two_sets_of_one_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, STORED)
    build(tmp_path, STORED, changed=1.0, name="other")
    assert main(["diff", str(tmp_path), "--set-a", "demo", "--set-b", "other"]) == 1
    assert "demo and other" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        pytest.param(["a"], "two of its sets by `--feature-set-a` and `--feature-set-b`", id="one store"),
        pytest.param(["a", "a", "--set-a", "demo"], "one feature set of each", id="half a pair"),
        pytest.param(["a", "a", "--set", "x", "--set-a", "demo", "--set-b", "y"], "one name for both", id="both"),
        pytest.param(["a", "a", "--top", "0"], "at least 1", id="none to write"),
        pytest.param(["a", "a", "--set", "absent"], "it has demo", id="a set that is not there"),
    ],
)
def test_the_command_exits_2_and_names_the_mend(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    mend: str,
) -> None:
    build(tmp_path / "a", STORED)
    monkeypatch.chdir(tmp_path)
    assert main(["diff", *arguments]) == 2
    assert mend in capsys.readouterr().err


def test_long_lists_are_cut_short_and_single_values_too(tmp_path: Path) -> None:
    from featurestore.cli.diff_report import describe

    a, b = (build(tmp_path / name, STORED, changed=changed) for name, changed in (("a", 0.0), ("b", 0.5)))
    lines = list(describe(diff(a, b), most=2))
    assert sum("channel" in line and "%" in line for line in lines) == 2
    assert layout.FEATURES not in "".join(lines)
