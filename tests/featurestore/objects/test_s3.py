"""The same store in an object store, against a real server.

Needs `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` in the environment, and the right to make a
bucket.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

import featurestore
from builders.extractors.base import ExtractorOptions
from builders.run import build
from catalog import Grid
from featurestore import TensorStoreRows, verify
from featurestore.testing import built_store, feature_set_of, random_sequences, values_of, write_fasta
from loaders import WindowDataset

pytestmark = pytest.mark.skipif(
    "AWS_ENDPOINT_URL" not in os.environ, reason="no S3 server: AWS_ENDPOINT_URL is not set"
)
LENGTHS = {"chr1": 1000, "chr2": 77}
GRID = Grid(bin_size=16, offsets=(0, 8))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    filesystem = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    name = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(name)
    yield f"s3://{name}"
    filesystem.rm(name, recursive=True)


def test_windows_from_s3_are_those_that_were_written(bucket: str, capfd: pytest.CaptureFixture[str]) -> None:
    url = f"{bucket}/some/where.store"
    built_store(url, LENGTHS, GRID)
    store = featurestore.open(url)
    assert verify(store, crc=True).is_sound
    reader = store["demo"]
    assert isinstance(reader.source, TensorStoreRows)
    found = reader.window("chr1", 500, n_bins=9)
    expected = values_of(feature_set_of(GRID), 1000, found.phase)
    first = (int(found.starts[0]) + GRID.offsets[found.phase]) // 16
    np.testing.assert_array_equal(found.values, expected[first : first + 9])
    named = {
        "key": os.environ["AWS_ACCESS_KEY_ID"],
        "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    }
    other = featurestore.open(url, storage_options=named)["demo"]
    assert isinstance(other.source, TensorStoreRows)
    np.testing.assert_array_equal(other.window("chr1", 500, n_bins=9).values, found.values)
    assert store["demo"].to_xarray("chr2").sizes["channel"] == 3
    assert capfd.readouterr().err == ""


def test_a_build_into_s3_goes_on_where_it_stopped_and_every_residence_reads_it(bucket: str, tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "g.fa", random_sequences({"chr1": 9000}))
    url = f"{bucket}/built.store"
    settings = {
        "fasta": fasta,
        "extractor": "builders.testing:CompositionExtractor.from_options",
        "options": ExtractorOptions(bin_size=16, device="cpu"),
        "workers": 1,
        "shard_bins": 256,
    }
    assert build(url, **settings).is_complete
    assert build(url, **settings).built == 0
    windows = {"contigs": "chr1", "centres": [8, 4000, 8999], "n_bins": 31}
    tensors = [
        WindowDataset(url, "composition", residence=residence, cache_dir=tmp_path / "cache", **windows)[[0, 1, 2]]
        for residence in ("memory", "cache", "stream")
    ]
    assert all((tensor == tensors[0]).all() for tensor in tensors)
    assert tensors[0].sum() == 3 * 31 * 16
