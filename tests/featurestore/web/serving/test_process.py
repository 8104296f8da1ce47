"""`featurestore serve` as a process of its own: what it prints, the lines of docs/api.md, how it stops."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT

import featurestore
from catalog import Channel, Grid
from featurestore.cli.main import main
from featurestore.format.layout import ContigLayout
from featurestore.format.writer import write_shard
from featurestore.store import Store, create, open_store
from featurestore.testing.fixtures import ORIGIN, assembly_of, feature_set_of, random_sequences, values_of

GENES = "gene_id\tsymbol\tcontig\tstrand\ttss\nG1\tMYC\tchr1\t+\t2000\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("process")
    store = create(folder / "genome.store", assembly_of(random_sequences({"chr1": 120_000})))
    wanted = feature_set_of(Grid(bin_size=1024), name="motif", n_channels=1, chunk_bins=16, shard_bins=128)
    described = store.declare(wanted.model_copy(update={"channels": (Channel(name="CTCF"),)}), ["chr1"])
    write_shard(
        store.objects,
        ContigLayout(described, 120_000),
        values_of(described, 120_000, 0),
        contig="chr1",
        phase=0,
        shard=0,
        origin=ORIGIN,
    )
    (folder / "genes.tsv").write_text(GENES)
    return store


@contextmanager
def started(*words: str, **environment: str) -> Iterator[str]:
    """Run the command on a free port; stopped by SIGTERM, it ends well."""
    code = "import featurestore_command as one; raise SystemExit(one.main())"
    server = subprocess.Popen(
        [sys.executable, "-c", code, "serve", *words, "--port", "0"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    said = server.stdout.readline()
    found = re.search(r"http://[^/]+:(\d+)/", said)
    assert found, (said, server.communicate(timeout=10))
    try:
        yield f"http://127.0.0.1:{found[1]}/"
    finally:
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=20)
        assert (server.returncode, out, err) == (0, "", "")


@pytest.fixture(scope="module")
def url(store: Store) -> Iterator[str]:
    with started(store.url, "--genes", str(Path(store.url).parent / "genes.tsv")) as url:
        yield url


def test_a_process_serves_the_windows_of_the_store(url: str, store: Store) -> None:
    with urllib.request.urlopen(f"{url}v1/window?gene=MYC&bins=9", timeout=20) as reply:
        found = np.asarray(json.load(reply)["values"], np.float16)
    np.testing.assert_array_equal(found, store["motif"].window("chr1", 2000, n_bins=9).values)


def test_the_client_reads_windows_and_imports_neither_zarr_nor_torch(url: str, store: Store) -> None:
    lines = [
        "import sys, featurestore",
        f"window = featurestore.open({url!r})['motif'].window('chr1', 2000, n_bins=9)",
        "print(window.values.ravel().tolist())",
        "print(sorted({'zarr', 'tensorstore', 'obstore', 'torch', 'polars'} & set(sys.modules)))",
    ]
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, check=True, capture_output=True, text=True)
    values, imported = run.stdout.splitlines()
    assert json.loads(values) == store["motif"].window("chr1", 2000, n_bins=9).values.ravel().tolist()
    assert imported == "[]"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_lines_of_the_documentation_do_what_they_say(url: str, store: Store, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    found = re.findall(r"^(curl .*)$", page, re.MULTILINE)
    lines = [line for line in found if "/v1/predict" not in line]
    assert (len(lines), len(found)) == (4, 7)
    outputs = []
    for line in lines:
        words = shlex.split(line.replace("http://127.0.0.1:8000/", url))
        outputs.append(subprocess.run([*words, "--fail"], cwd=tmp_path, check=True, capture_output=True).stdout)
    assert json.loads(outputs[0])["n_bins"] == 51
    assert outputs[1].splitlines()[-51].split(b"\t")[1] == b"chr1"
    assert np.load(tmp_path / "windows.npy").shape == (2, 51, 1)
    assert json.loads(outputs[3])[0]["symbol"] == "MYC"


def test_a_port_that_is_taken_is_refused_in_one_line(
    url: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    port = url.rstrip("/").rpartition(":")[2]
    assert main(["serve", store.url, "--port", port]) == 2
    said = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use; take another" in said
    assert "`--port 0`" in said


def test_another_address_than_loopback_needs_a_token(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", store.url, "--host", "0.0.0.0", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "FEATURESTORE_TOKEN" in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_with_a_token_it_listens_to_others_and_answers_those_who_have_it(store: Store) -> None:
    with started(store.url, "--host", "0.0.0.0", FEATURESTORE_TOKEN="s3cret") as url:
        with pytest.raises(PermissionError, match="storage_options="):
            featurestore.open(url)
        found = featurestore.open(url, storage_options={"token": "s3cret"})["motif"].window("chr1", 2000, n_bins=9)
    np.testing.assert_array_equal(found.values, store["motif"].window("chr1", 2000, n_bins=9).values)


def test_a_dry_run_says_what_would_be_served(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"human={store.url}", "--dry-run"]) == 0
    assert capsys.readouterr().out == f"human\t{open_store(store.url).url}\n"
    assert main(["serve", "missing.store", "--dry-run"]) == 2
    assert "no store at" in capsys.readouterr().err
