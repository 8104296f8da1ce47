"""No operation leaves a store through a link inside it, and `verify` names the link."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featurestore
from catalog import Grid
from catalog.genes.anchors import Anchor
from featurestore import NotSealed, ZarrRows, copy, open_anchored, repair, seal, verify
from featurestore.objects.errors import LinkInStore
from featurestore.testing import build_anchored, built_store
from loaders.residence.open import open_reader

PLACES = [
    "features",
    "features/demo",
    "features/demo/chr1",
    "features/demo/chr1/values",
    "features/demo/chr1/values/zarr.json",
    "features/demo/chr1/values/c",
    "features/demo/chr1/values/c/0/1/0",
    "features/demo/zarr.json",
    "commits/demo/chr1",
    "commits/demo/chr1/0-0.json",
    "declared/demo/0.json",
    "anchored/demo/genes",
    "zarr.json",
    "MANIFEST.json",
]


@pytest.fixture
def store(tmp_path: Path) -> featurestore.Store:
    made = built_store(tmp_path / "s", {"chr1": 200, "chr2": 40}, Grid(bin_size=16))
    build_anchored(made, "demo", [Anchor("a", "chr1", 100)], name="genes", n_bins=3)
    return made


def put_outside(store: featurestore.Store, place: str) -> Path:
    """Move an object or folder of a store out of it, and leave a link there."""
    outside = Path(store.url).parent / "outside"
    outside.mkdir()
    moved = outside / "moved"
    inside = Path(store.url, place)
    shutil.move(inside, moved)
    inside.symlink_to(moved)
    return outside


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tried(action: Callable[[], Any]) -> str:
    """Run an action that may fail; tells how."""
    try:
        action()
    except (OSError, ValueError, LookupError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_read_or_changed_behind_a_link_and_verify_names_it(store: featurestore.Store, place: str) -> None:
    url = Path(store.url)
    seal(store)
    outside = put_outside(store, place)
    for path in outside.rglob("*"):
        if path.is_file() and path.suffix == ".json":
            path.write_bytes(path.read_bytes() + b" ")  # damage, which a repair would want to mend
    before = content_of(outside)
    if place == "zarr.json":
        with pytest.raises(LinkInStore, match=r"s/zarr.json is a link, and a store follows none"):
            featurestore.open(url)
        return
    opened = featurestore.open(url)
    found = verify(opened, crc=True)
    assert found.faults[0].where == place
    assert not any(fault.where.startswith(f"{place}/") for fault in found.faults)
    assert f"{place}: is a link, and a store follows none; put the file or folder itself" in str(found.faults[0])
    repaired = tried(lambda: repair(opened, found))
    sealed = tried(lambda: seal(opened, crc=False))
    assert "is a link" in sealed
    assert repaired == "" or "is a link" in repaired
    copied = tried(lambda: copy(url, url.parent / "copied"))
    assert place == "MANIFEST.json" or place.startswith("anchored") or copied == "" or "is a link" in copied
    assert content_of(outside) == before
    assert Path(url, place).is_symlink()


@pytest.mark.parametrize("place", [place for place in PLACES if "chr1/values" in place or place == "features/demo"])
def test_no_engine_reads_values_behind_a_link(store: featurestore.Store, place: str, tmp_path: Path) -> None:
    reader = store["demo"]
    put_outside(store, place)
    zarr_rows = ZarrRows(store.objects.zarr(read_only=True), "demo")
    for read in (
        lambda: reader.window("chr1", 100, n_bins=3),
        lambda: reader.with_source(zarr_rows).window("chr1", 100, n_bins=3),
        lambda: reader.to_polars("chr1", 0, 100),
        lambda: reader.to_xarray("chr1"),
        lambda: open_reader(store.url, "demo", residence="stream").window("chr1", 100, n_bins=3),
        lambda: open_reader(store.url, "demo", residence="cache", cache_dir=tmp_path).window("chr1", 100, n_bins=3),
    ):
        with pytest.raises(LinkInStore, match="is a link, and a store follows none"):
            read()


def test_anchors_behind_a_link_are_not_read(store: featurestore.Store) -> None:
    reader = open_anchored(store, "demo", "genes")
    put_outside(store, "anchored/demo/genes/values/c")
    with pytest.raises(LinkInStore, match="values/c is a link"):
        reader.windows("a")


def test_a_store_whose_root_is_a_link_is_read_and_built(store: featurestore.Store, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(store.url)
    opened = featurestore.open(tmp_path / "here")
    assert np.isfinite(opened["demo"].window("chr1", 100, n_bins=3).values).all()
    assert verify(opened, crc=True).is_sound
    Path(store.url, "loop").symlink_to(store.url)
    with pytest.raises(NotSealed, match="is a link"):
        seal(opened)


def test_keys_lead_nowhere_else(store: featurestore.Store) -> None:
    (Path(store.url).parent / "x").write_text("secret")
    for key in ("../x", "features/../../x", "./zarr.json", "features//demo/zarr.json"):
        for act in (store.objects.get, store.objects.delete, lambda key: store.objects.put(key, b"")):
            with pytest.raises(LinkInStore, match="is no key of"):
                act(key)
    assert (Path(store.url).parent / "x").read_text() == "secret"
