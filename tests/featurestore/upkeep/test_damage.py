"""No damage goes unnoticed: any bit that flips, in any object of a store, and any object that is cut short."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import featurestore
from catalog import Grid
from catalog.genes.anchors import Anchor
from featurestore import ContigLayout, NotAStore, NotBuilt, ZarrRows, repair, seal, verify, write_shard
from featurestore.anchored.declare import declare_anchored
from featurestore.anchored.layout import describe_anchored
from featurestore.format import layout
from featurestore.format.layout import ArrayLayout
from featurestore.testing import ORIGIN, built_store, feature_set_of, values_of

LENGTHS = {"chr1": 120, "chr2": 40}
GRID = Grid(bin_size=16, offsets=(0, 5))


@contextmanager
def damaged(path: Path, rng: np.random.Generator) -> Iterator[str]:
    """Flip one bit of a file, or cut it short, for a while; tells what was done."""
    whole = path.read_bytes()
    if rng.random() < 0.8:
        bit = int(rng.integers(8 * len(whole)))
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        what = f"{path}: bit {bit % 8} of byte {bit // 8} flipped"
    else:
        data = bytearray(whole[: rng.integers(len(whole))])
        what = f"{path}: cut to {len(data)} of {len(whole)} bytes"
    path.write_bytes(data)
    try:
        yield what
    finally:
        path.write_bytes(whole)


ANCHORS = [Anchor("first", "chr1", 30, "+"), Anchor("second", "chr1", 77), Anchor("third", "chr2", 5, "-")]


def store_with_anchors(url: Path) -> featurestore.Store:
    """Build a store of every kind of object."""
    store = built_store(url, LENGTHS, GRID)
    build_what_is_missing(store)
    return store


def build_what_is_missing(store: featurestore.Store) -> None:
    described = store.feature_set("demo")
    arrays: list[tuple[ArrayLayout, str, int, int]] = [
        (inside, contig, phase, shard)
        for contig, length in LENGTHS.items()
        for inside in [ContigLayout(described, length)]
        for phase in range(len(described.offsets))
        for shard in range(inside.n_shards(phase))
    ]
    (anchored,) = describe_anchored(
        [described], ANCHORS, name="genes", n_bins=3, assembly=store.assembly.digest, shard_anchors=2
    )
    declare_anchored(store, anchored, ANCHORS)
    arrays += [(anchored, layout.ANCHORS, 0, shard) for shard in range(anchored.n_shards)]
    for array, contig, phase, shard in arrays:
        if (phase, shard) not in store.commits(array.key).shards().get(layout.contig_key(contig), set()):
            length = LENGTHS.get(contig, 16 * 3 * len(ANCHORS))  # so many bins are around anchors
            values = values_of(described, length, phase)[slice(*array.shard_span(phase, shard))]
            write_shard(store.objects, array, values, contig=contig, phase=phase, shard=shard, origin=ORIGIN)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_noticed(url: Path) -> bool:
    """Tell whether opening fails with a mend, or verifying finds a fault."""
    try:
        return not verify(featurestore.open(url), crc=True).is_sound
    except NotAStore as error:
        return "copy" in str(error) or "version" in str(error)


def read(url: Path) -> int:
    """Read the whole of every contig and phase with both engines; fails if a value is wrong, counts what was read."""
    try:
        store = featurestore.open(url)
        reader = store["demo"]
        sources = (reader.source, ZarrRows(store.objects.zarr(read_only=True), "demo"))
    except (NotAStore, NotBuilt):
        return 0
    count = 0
    for source, (contig, length), phase in itertools.product(sources, LENGTHS.items(), range(2)):
        centre = 24 - GRID.offsets[phase]  # the middle of a bin, so that this phase is the one that is read
        try:
            window = reader.with_source(source).window(contig, centre, n_bins=17)
        except Exception:  # the libraries have many names for what they cannot read
            continue
        assert window.phase == phase
        inside = window.values[(window.starts > -16) & (window.starts < length)]
        np.testing.assert_array_equal(inside, values_of(feature_set_of(GRID), length, phase))
        count += 1
    return count


@pytest.mark.parametrize(
    ("is_sealed", "damages"),
    [
        pytest.param(True, 100, id="sealed, 100"),
        pytest.param(True, 500, id="sealed, 500", marks=pytest.mark.slow),
        pytest.param(False, 500, id="unsealed, 500", marks=pytest.mark.slow),
    ],
)
def test_every_flipped_bit_and_every_truncation_is_found_and_none_is_read_as_a_value(
    tmp_path: Path, is_sealed: bool, damages: int
) -> None:
    store = store_with_anchors(tmp_path)
    if is_sealed:
        seal(store)
    assert not is_noticed(tmp_path)
    assert read(tmp_path) == 8
    rng = np.random.default_rng(1 + is_sealed)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    before = files_of(tmp_path)
    for number in range(damages):
        # Each file in turn: small ones, such as a coordinate, as often as large ones.
        with damaged(files[number % len(files)], rng) as what:
            assert is_noticed(tmp_path), what
            if "features" in files[number % len(files)].parts:
                read(tmp_path)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("is_sealed", [False, True], ids=["unsealed", "sealed"])
def test_repair_and_a_build_give_back_the_undamaged_bytes_of_any_object(tmp_path: Path, is_sealed: bool) -> None:
    store = store_with_anchors(tmp_path)
    whole = files_of(tmp_path)
    if is_sealed:
        seal(store)
    rng = np.random.default_rng(3)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path != tmp_path / "zarr.json")
    for path in files[:: 3 if is_sealed else 1]:
        with damaged(path, rng) as what:
            store = featurestore.open(tmp_path)
            repair(store, verify(store, crc=True))
            build_what_is_missing(store)
            assert verify(store, crc=True).is_sound, what
            after = files_of(tmp_path)
            assert after.keys() == whole.keys(), what
            assert all(after[key] == whole[key] for key in whole if not key.startswith("commits/")), what
            if is_sealed:
                seal(store)
