"""Builds into an object store that fails, and windows from it: what passes goes unnoticed, what stays is told.

Needs a server: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` in the environment, and the right to
make a bucket. `eval "$(python tests/support/s3_server.py start /tmp/s3 9300)"` starts one here.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

import featurestore
from builders.execution.scheduling import BuildStopped
from builders.extractors.base import ExtractorOptions
from builders.run import build
from featurestore import connect, verify
from featurestore.objects.errors import StoreUnavailable
from featurestore.testing import random_sequences, write_fasta
from featurestore.testing.fault_proxy import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    SLOW_DOWN,
    Fault,
    FaultProxy,
    Request,
    Rule,
    Trouble,
    sometimes,
)

pytestmark = pytest.mark.skipif(
    "AWS_ENDPOINT_URL" not in os.environ,
    reason="no S3 server: AWS_ENDPOINT_URL is not set; tests/support/s3_server.py starts one",
)
ENDPOINT = os.environ.get("AWS_ENDPOINT_URL", "")
LENGTHS = {"chr1": 9000, "chr2": 77}
SHARDS = 2 * (3 + 1)
"""Of both feature sets that the extractor makes."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    filesystem = fsspec.filesystem("s3", endpoint_url=ENDPOINT)
    name = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(name)
    yield f"s3://{name}"
    filesystem.rm(name, recursive=True)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", random_sequences(LENGTHS))


@pytest.fixture(scope="module")
def undisturbed(bucket: str, fasta: Path) -> dict[str, bytes]:
    """What a build without faults makes, by key."""
    assert built(f"{bucket}/undisturbed", fasta) == []
    return features(f"{bucket}/undisturbed")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Stand between the server and all that this test starts, worker processes too."""
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "8")
    with FaultProxy(ENDPOINT) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def built(url: str, fasta: Path) -> list[str]:
    """Build the store, and give the reasons for which shards are missing."""
    report = build(
        url,
        fasta=fasta,
        extractor="builders.testing:CompositionExtractor.from_options",
        options=ExtractorOptions(bin_size=16, device="cpu"),
        workers=1,
        shard_bins=256,
    )
    assert report.is_complete == (not report.failed)
    return list(report.failed.values())


def failed(url: str, fasta: Path) -> str:
    """Build in vain, and give what is said about it."""
    try:
        reasons = built(url, fasta)
    except (OSError, BuildStopped) as error:
        return f"{type(error).__name__}: {error}"
    assert reasons
    return reasons[0]


def below(url: str, prefix: str) -> dict[str, bytes]:
    objects = connect(url, {"endpoint_url": ENDPOINT})
    return {key: objects.get(key) for key, _ in objects.walk(prefix)}


def features(url: str) -> dict[str, bytes]:
    return below(url, "features")


def windows(url: str) -> np.ndarray:
    reader = featurestore.open(url)["composition"]
    return np.stack([reader.window("chr1", centre, n_bins=31).values for centre in range(0, 9000, 100)])


def after_two_shards(fault: Fault) -> Rule:
    """Let everything fail for good once the records of two shards are written."""
    committed: list[str] = []

    def rule(request: Request) -> Fault | None:
        if len(committed) >= 2:
            return fault
        if request.method == "PUT" and "/commits/" in request.path:
            committed.append(request.path)
        return None

    return rule


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(lambda: sometimes(0.15, [INTERNAL_ERROR], seed=1), id="500"),
        pytest.param(lambda: sometimes(0.15, [SLOW_DOWN], seed=2), id="503 SlowDown"),
        pytest.param(lambda: sometimes(0.15, [Trouble.RESET_BEFORE], seed=3), id="reset before the server sees it"),
        pytest.param(lambda: sometimes(0.15, [Trouble.RESET_AFTER], seed=4), id="reset after the server did it"),
        pytest.param(lambda: sometimes(0.15, [Trouble.CUT], seed=5), id="bodies cut short"),
        pytest.param(lambda: lambda request: Trouble.STALL if request.number in (5, 40) else None, id="stalls"),
    ],
)
def test_a_build_through_faults_that_pass_is_the_build_without(
    bucket: str, fasta: Path, undisturbed: dict[str, bytes], proxy: FaultProxy, rule: Callable[[], Rule]
) -> None:
    url = f"{bucket}/{uuid.uuid4().hex}"
    proxy.rule, proxy.latency_s = rule(), 0.005
    assert built(url, fasta) == []
    assert proxy.traffic.faults.total() >= 2
    assert features(url) == undisturbed
    found = verify(featurestore.open(url), crc=True)
    assert found.is_sound
    assert found.shards == SHARDS
    proxy.rule = sometimes(0.15, [SLOW_DOWN, Trouble.CUT, Trouble.RESET_BEFORE], seed=6)
    np.testing.assert_array_equal(windows(url), windows(f"{bucket}/undisturbed"))


@pytest.mark.parametrize(
    ("fault", "kind", "mend"),
    [
        pytest.param(SLOW_DOWN, "StoreUnavailable", "when the store answers", id="throttled for good"),
        pytest.param(Trouble.RESET_AFTER, "StoreUnavailable", "when the store answers", id="connections always reset"),
        pytest.param(ACCESS_DENIED, "PermissionError", "set AWS_ACCESS_KEY_ID", id="credentials revoked"),
        pytest.param(EXPIRED_TOKEN, "PermissionError", "AWS_SESSION_TOKEN", id="token expired"),
    ],
)
def test_a_build_that_loses_its_store_half_way_says_so_and_is_finished_later(
    bucket: str,
    fasta: Path,
    undisturbed: dict[str, bytes],
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    kind: str,
    mend: str,
) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0.5")
    url = f"{bucket}/{uuid.uuid4().hex}"
    proxy.rule = after_two_shards(fault)
    told = failed(url, fasta)
    assert kind in told
    assert f"{url}/" in told
    assert mend in told
    assert "what was committed stays: run the same command again" in told
    proxy.rule = None
    committed = below(url, "commits")
    assert len(committed) in (2, 3)  # of a reset after the third, only the answer was lost
    assert verify(featurestore.open(url), crc=True).is_sound
    assert built(url, fasta) == []
    assert features(url) == undisturbed
    assert committed.items() <= below(url, "commits").items()


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_told_at_once_and_nothing_is_written(
    bucket: str, fasta: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url = f"{bucket}/{uuid.uuid4().hex}"
    right = os.environ[variable]
    monkeypatch.setenv(variable, "wrong")
    with pytest.raises(PermissionError, match=r"403 (SignatureDoesNotMatch|InvalidAccessKeyId); credentials are wrong"):
        built(url, fasta)
    assert proxy.traffic.requests.total() == 1
    monkeypatch.setenv(variable, right)
    assert list(connect(url).walk("")) == []


def test_a_server_that_does_not_answer_ends_a_build_within_its_budget(
    bucket: str, fasta: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "1")
    proxy.rule = lambda request: Trouble.STALL
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"no answer in time, tried for .*FEATURESTORE_RETRY_S"):
        built(f"{bucket}/{uuid.uuid4().hex}", fasta)
    assert time.monotonic() - started < 20


def test_windows_end_in_a_clear_error_when_the_store_stays_silent(
    bucket: str, undisturbed: dict[str, bytes], proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert undisturbed
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0.5")
    # In a process of its own: tensorstore reads once how long it may wait, and an earlier test may have said.
    monkeypatch.delenv("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", raising=False)
    script = (
        "import sys, featurestore\n"
        "reader = featurestore.open(sys.argv[1])['composition']\n"
        "reader.window('chr2', 5, n_bins=1)\n"
        "print('opened', flush=True)\n"
        "sys.stdin.readline()\n"
        "reader.window('chr1', 5000, n_bins=31)\n"
    )
    command = [sys.executable, "-c", script, f"{bucket}/undisturbed"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "opened\n"
        proxy.rule = lambda request: Trouble.STALL
        _, errors = process.communicate("\n", timeout=60)
    assert process.returncode == 1
    assert "StoreUnavailable: could not read" in errors
    assert "when the store answers" in errors


def test_of_many_creators_whose_answers_get_lost_exactly_one_wins(bucket: str, proxy: FaultProxy) -> None:
    proxy.rule = sometimes(0.3, [Trouble.RESET_AFTER, Trouble.RESET_BEFORE, INTERNAL_ERROR], seed=7)
    objects = connect(f"{bucket}/{uuid.uuid4().hex}")
    with ThreadPoolExecutor(8) as pool:
        for number in range(15):
            written = list(pool.map(lambda who, key=f"k{number}": objects.create(key, b"%d" % who), range(8)))
            assert written.count(True) == 1
            assert objects.get(f"k{number}") == b"%d" % written.index(True)
    assert proxy.traffic.faults.total() > 20
