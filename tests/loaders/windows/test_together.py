"""Several datasets as one: side by side over the same bases, or one after the other."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader

import featurestore
from catalog import AssemblyMismatch, Grid
from featurestore import FingerprintMismatch
from featurestore.testing import (
    assembly_of,
    build_set,
    built_store,
    random_sequences,
    values_of,
)
from loaders import AlignedDataset, JoinedDataset, WindowDataset, aligned_dataset, data_loader

LENGTHS = {"chr1": 1000, "chr2": 77}
CONTIGS = ["chr1", "chr2", "chr1", "chr2", "chr1", "chr1"]
CENTRES = [3, 76, 999, 0, 500, 321]
STRANDS = ["+", "-", "-", "+", ".", "-"]
WIDE, NARROW = Grid(bin_size=16, offsets=(0, 8)), Grid(bin_size=4)


def several(path: Path, lengths: dict[str, int], **grids: Grid) -> Path:
    """Build a store of several feature sets."""
    store = featurestore.create(path, assembly_of(random_sequences(lengths)))
    for name, grid in grids.items():
        build_set(store, grid, name=name, n_channels=len(name))
    return path


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several(tmp_path_factory.mktemp("together") / "s", LENGTHS, classes=WIDE, tracks=NARROW)


def aligned(url: Path, **settings: Any) -> AlignedDataset:
    arguments: dict[str, Any] = {"contigs": CONTIGS, "centres": CENTRES, "n_bins": 5, "strands": STRANDS}
    return aligned_dataset(url, ["classes", "tracks"], **(arguments | settings))


def rows_at(url: Path, name: str, contig: str, start: int, n_bins: int) -> torch.Tensor:
    """Read the bins that begin at a base one by one, from the values that were built: slow and obvious."""
    feature_set = featurestore.open(url)[name].feature_set
    rows = []
    for first in range(start, start + n_bins * feature_set.bin_size, feature_set.bin_size):
        phase = next(p for p, o in enumerate(feature_set.offsets) if (first + o) % feature_set.bin_size == 0)
        values = values_of(feature_set, LENGTHS[contig], phase)
        row = (first + feature_set.offsets[phase]) // feature_set.bin_size
        rows.append(values[row] if 0 <= row < len(values) else np.asarray(feature_set.pad, dtype=np.float16))
    return torch.from_numpy(np.stack(rows)).float()


# Aligned


@given(st.integers(1, 9), st.integers(0, 3), st.integers(0, 5), st.booleans())
@settings(max_examples=20, deadline=None)
def test_every_set_covers_the_same_bases_and_gives_its_own_bins(
    url: Path, n_bins: int, jitter_bins: int, jitter_bp: int, turned: bool
) -> None:
    orient = "gene" if turned else "forward"
    dataset = aligned(url, n_bins=n_bins, jitter_bins=jitter_bins, jitter_bp=jitter_bp, orient=orient)
    dataset.set_epoch(2)
    assert dataset.n_bins_of == {"classes": n_bins, "tracks": 4 * n_bins}
    batch = dataset[range(6)]
    placed = dataset.parts["classes"].placed(range(6))
    assert np.array_equal(dataset.residuals(range(6)), placed.residuals)
    for name, tensor in batch.items():
        for window in range(6):
            wanted = rows_at(url, name, CONTIGS[window], int(placed.starts[window]), dataset.n_bins_of[name])
            wanted = wanted.flip(0) if turned and STRANDS[window] == "-" else wanted
            assert torch.equal(tensor[window], wanted)
            assert torch.equal(dataset[window][name], wanted)


def test_the_lead_gives_what_it_gives_alone_and_says_so(url: Path) -> None:
    dataset = aligned(url)
    alone = WindowDataset(url, "classes", contigs=CONTIGS, centres=CENTRES, n_bins=5)
    assert torch.equal(dataset[[1, 4]]["classes"], alone[[1, 4]])
    assert {name: len(names) for name, names in dataset.channel_names.items()} == {"classes": 7, "tracks": 6}
    assert dataset.fingerprints == {"classes": "f0", "tracks": "f0"}
    dataset.n_bins = 2
    assert dataset[[0]]["tracks"].shape == (1, 8, 6)
    with pytest.raises(IndexError, match="has 6 windows"):
        _ = dataset[[6]]


def test_sets_have_settings_of_their_own_and_come_from_stores_of_their_own(url: Path, tmp_path: Path) -> None:
    several(tmp_path / "other", LENGTHS, accessibility=Grid(bin_size=8, offsets=(0, 3)))
    places: dict[str, Any] = {"contigs": CONTIGS, "centres": CENTRES}
    dataset = AlignedDataset(
        {
            "a": WindowDataset(tmp_path / "other", "accessibility", **places),
            "c": WindowDataset(url, "classes", channels=["channel2"], n_bins=3, **places),
        }
    )
    assert {name: tensor.shape for name, tensor in dataset[[0, 3]].items()} == {"a": (2, 6, 13), "c": (2, 3, 1)}
    own = aligned_dataset(url, {"classes": {"channels": ["channel2"]}, "tracks": {}}, n_bins=3, **places)
    assert torch.equal(own[[0, 3]]["classes"], dataset[[0, 3]]["c"])


def test_aligned_windows_go_through_loaders_and_pickles(url: Path) -> None:
    dataset = aligned(url)
    whole = dataset[range(6)]
    plain = list(DataLoader(dataset, batch_size=4))
    ours = list(data_loader(pickle.loads(pickle.dumps(dataset)), batch_size=4))
    shuffled = list(data_loader(dataset, batch_size=4, shuffle=True, buffer_blocks=2))
    for name in ("classes", "tracks"):
        assert torch.equal(torch.cat([batch[name] for batch in plain]), whole[name])
        assert torch.equal(torch.cat([batch[name] for batch in ours]), whole[name])
    sums = sorted(
        (batch["classes"][i].sum() + batch["tracks"][i].sum()).item()
        for batch in shuffled
        for i in range(len(batch["classes"]))
    )
    assert sums == sorted((whole["classes"][i].sum() + whole["tracks"][i].sum()).item() for i in range(6))


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ({"a": Grid(bin_size=16), "b": Grid(bin_size=6)}, "'b' has bins of 6 bp, which do not divide the 16 bp of 'a'"),
        ({"a": Grid(bin_size=16, offsets=(0, 6)), "b": Grid(bin_size=4)}, "build 'b' at the offsets 2 too"),
        ({"a": Grid(bin_size=16), "b": Grid(bin_size=16, offsets=(8,))}, "build 'b' at the offsets 0 too"),
    ],
)
def test_bins_that_cannot_cover_the_same_bases_are_refused(
    tmp_path: Path, grids: dict[str, Grid], message: str
) -> None:
    several(tmp_path / "s", LENGTHS, **grids)
    with pytest.raises(ValueError, match=message):
        aligned_dataset(tmp_path / "s", list(grids), contigs="chr1", centres=[5])


def test_windows_that_differ_or_lie_on_specks_are_refused(url: Path, tmp_path: Path) -> None:
    def part(name: str, **settings: Any) -> WindowDataset:
        return WindowDataset(url, name, **({"contigs": "chr1", "centres": [5]} | settings))

    for other in ({"centres": [6]}, {"contigs": "chr2"}, {"jitter_bp": 3}, {"seed": 1}):
        with pytest.raises(ValueError, match="'tracks' and 'classes' are to cover the same bases, but differ"):
            AlignedDataset({"tracks": part("tracks"), "classes": part("classes", **other)})
    with pytest.raises(ValueError, match="name one part at least"):
        AlignedDataset({})
    several(tmp_path / "specks", {"speck": 3, "chr1": 50}, classes=WIDE, tracks=NARROW)
    with pytest.raises(ValueError, match=r"speck has 3 bp, less than one bin of 'tracks' \(4 bp\); leave out"):
        aligned_dataset(tmp_path / "specks", ["classes", "tracks"], contigs=["chr1", "speck"], centres=[1, 1])


def test_an_unknown_set_is_refused_with_those_there_are(url: Path) -> None:
    with pytest.raises(featurestore.NotBuilt, match="has no feature set 'sei'; it has classes, tracks"):
        aligned_dataset(url, ["classes", "sei"], contigs="chr1", centres=[5])


# Agreement


@pytest.mark.parametrize("together", ["aligned", "joined"])
def test_mixed_assemblies_and_fingerprints_are_refused(tmp_path: Path, together: str) -> None:
    built_store(tmp_path / "a", LENGTHS, WIDE)
    built_store(tmp_path / "b", {"chr1": 1000, "chr2": 78}, WIDE)
    built_store(tmp_path / "c", LENGTHS, WIDE, fingerprint="f1")
    built_store(tmp_path / "d", LENGTHS, Grid(bin_size=2 * WIDE.bin_size))

    def put_together(*names: str) -> Any:
        parts = {name: WindowDataset(tmp_path / name, "demo", contigs="chr1", centres=[5]) for name in names}
        return AlignedDataset(parts) if together == "aligned" else JoinedDataset(list(parts.values()))

    assert put_together("a").fingerprints in ({"a": "f0"}, {"demo": "f0"})
    with pytest.raises(AssemblyMismatch, match="one position means two places; open stores of one assembly"):
        put_together("a", "b")
    with pytest.raises(FingerprintMismatch, match=r"demo of .*c was made with fingerprint f1, not f0 as that of .*a: "):
        put_together("a", "c")
    with pytest.raises(FingerprintMismatch, match=r"bins of 32 bp, not 16 bp as that of .*a: .*featurestore diff"):
        put_together("a", "d")


# Joined


@given(st.lists(st.integers(-9, 8), min_size=1, max_size=12))
@settings(deadline=None)
def test_joined_datasets_are_their_windows_one_after_the_other(url: Path, indices: list[int]) -> None:
    one = WindowDataset(url, "classes", contigs=CONTIGS, centres=CENTRES, n_bins=3)
    other = WindowDataset(url, "classes", contigs="chr1", centres=[10, 20, 30], n_bins=3)
    joined = JoinedDataset([one, other])
    whole = torch.cat([one[range(6)], other[range(3)]])
    assert len(joined) == 9
    assert torch.equal(joined[indices], whole[indices])
    assert torch.equal(joined[indices[0]], whole[indices[0]])
    assert torch.equal(torch.stack(joined.__getitems__(indices)), whole[indices])


def test_joined_datasets_share_settings_and_epochs_but_no_blocks(url: Path) -> None:
    parts = [WindowDataset(url, "classes", contigs=CONTIGS, centres=CENTRES, n_bins=3, jitter_bp=9) for _ in range(2)]
    joined = JoinedDataset(parts)
    blocks = joined.blocks().tolist()
    assert not set(blocks[:6]) & set(blocks[6:])
    joined.n_bins = 4
    joined.set_epoch(2)
    assert joined[[0, 11]].shape == (2, 4, 7)
    assert (joined.n_bins, joined.channel_names) == (4, parts[1].channel_names)
    assert np.array_equal(parts[0].centres_at(range(6)), parts[1].centres_at(range(6)))
    assert parts[1].centres_at(range(6)).tolist() != CENTRES
    batches = list(data_loader(joined, batch_size=5, shuffle=True, buffer_blocks=1))
    assert sum(map(len, batches)) == 12


def test_datasets_that_are_not_alike_are_not_joined(url: Path) -> None:
    def part(name: str = "classes", **settings: Any) -> WindowDataset:
        return WindowDataset(url, name, contigs="chr1", centres=[5], **settings)

    with pytest.raises(ValueError, match=r"but name is classes in one and tracks in another; .*AlignedDataset"):
        JoinedDataset([part(), part("tracks")])
    with pytest.raises(ValueError, match="n_bins is 251 in one and 5 in another; make them alike"):
        JoinedDataset([part(), part(n_bins=5)])
    with pytest.raises(ValueError, match="channel_names is"):
        JoinedDataset([part(), part(channels=["channel0"])])
    with pytest.raises(ValueError, match="dtype is"):
        JoinedDataset([part(), part(dtype=torch.float16)])
    with pytest.raises(ValueError, match="name one at least"):
        JoinedDataset([])
    with pytest.raises(TypeError, match=r"use loaders.JoinedDataset\(\[one, other\]\)"):
        data_loader(ConcatDataset([part(), part()]))
