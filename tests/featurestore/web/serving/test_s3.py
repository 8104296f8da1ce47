"""A store in an object store that fails, behind the server: the windows of Python, or a 503 with `Retry-After`.

The object store is a few lines of HTTP, and the proxy before it makes the faults; `make test-s3` puts a real one there.
"""

import os
import uuid
from collections.abc import Iterator

import fsspec
import numpy as np
import pytest
from served import client_of

from catalog import Grid
from featurestore.format.layout import values_path
from featurestore.store import Store
from featurestore.testing.fault_proxy import INTERNAL_ERROR, SLOW_DOWN, FaultProxy, Trouble, sometimes
from featurestore.testing.fixtures import built_store

PASSING = [SLOW_DOWN, INTERNAL_ERROR, Trouble.RESET_BEFORE, Trouble.CUT]
CENTRES = (0, 90, 199, 20)


@pytest.fixture(params=["tiny", "real"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, FaultProxy]]:
    """Build a store of two phases on S3, behind the proxy."""
    if request.param == "tiny":
        proxy = request.getfixturevalue("proxy")
        yield built_store("s3://bucket/store", {"chr1": 200}, Grid(bin_size=8, offsets=(0, 4)), name="half"), proxy
        return
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is None:
        pytest.skip("no S3 server: AWS_ENDPOINT_URL is not set")
    files = fsspec.filesystem("s3", endpoint_url=endpoint)
    bucket = f"featurestore-{uuid.uuid4().hex[:12]}"
    files.mkdir(bucket)
    with FaultProxy(endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("FEATURESTORE_RETRY_S", "3")
        url = f"s3://{bucket}/store"
        yield built_store(url, {"chr1": 200}, Grid(bin_size=8, offsets=(0, 4)), name="half"), proxy
    files.rm(bucket, recursive=True)


def test_windows_over_a_store_that_fails_now_and_then_are_those_of_the_store(store: tuple[Store, FaultProxy]) -> None:
    opened, proxy = store
    expected = opened["half"].windows("chr1", CENTRES, n_bins=9).values
    query = "&".join(f"at=chr1:{centre}" for centre in CENTRES)
    with client_of(opened, cache_bytes=0) as client:
        proxy.rule = sometimes(0.2, PASSING)
        for _ in range(3):
            reply = client.get(f"/v1/windows?bins=9&{query}")
            assert reply.status_code == 200, reply.text
            np.testing.assert_array_equal(np.asarray(reply.json()["values"], np.float16), expected)
        key = f"{values_path('half', 'chr1')}/c/0/1/0"
        part = client.get(f"/stores/a/{key}", headers={"Range": "bytes=5-40"})
        proxy.rule = None
        assert part.content == opened.objects.get(key)[5:41]
    assert proxy.traffic.faults.total() > 0


def test_a_store_that_does_not_answer_is_503_and_served_again_when_it_does(
    store: tuple[Store, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, proxy = store
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0.2")
    with client_of(opened, cache_bytes=0) as client:
        assert client.get("/v1/window?at=chr1:20&bins=3").status_code == 200
        proxy.rule = lambda request: SLOW_DOWN
        reply = client.get("/v1/window?at=chr1:90&bins=3")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "2"), reply.text
        assert "s3://" not in reply.text
        proxy.rule = None
        assert client.get("/v1/window?at=chr1:90&bins=3").status_code == 200
