"""An S3 server in memory and a proxy before it that makes faults, for all tests of the folder."""

import threading
from collections.abc import Iterator

import pytest
from tiny_s3 import TinyS3

from featurestore import Objects, connect
from featurestore.testing.fault_proxy import FaultProxy


@pytest.fixture
def s3() -> Iterator[TinyS3]:
    with TinyS3() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(s3: TinyS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "2")
    with FaultProxy(s3.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def objects(proxy: FaultProxy) -> Objects:
    return connect("s3://bucket/a")
