"""The readers of docs/format.md, which know no Zarr, against the test vectors and against damaged ones."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import format_vectors
import pytest
from checkout import ROOT

import featurestore
from featurestore.upkeep.seal import seal

READERS = ROOT / "docs" / "examples" / "format"
STORE = format_vectors.VECTORS / "tiny.store"
EXPECTED = json.loads((format_vectors.VECTORS / "expected.json").read_text())
SHARD = Path("features/half/chrA/values/c/0/1/0")
NODE_MODULES = ROOT / "web" / "node_modules"

IN_NODE = """
const { readWindow } = require(process.argv[1]);
const { readFileSync, writeFileSync } = require("node:fs");
const [store, shard, windows] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];
const answer = (w) => {
  try {
    return readWindow(store, w.set, w.contig, w.centre, w.n_bins);
  } catch (error) {
    return { error: error.message };
  }
};
const answers = windows.map(answer);
const whole = readFileSync(shard);
const damaged = [...whole.keys()].map((at) => {
  const bytes = Buffer.from(whole);
  bytes[at] ^= 1;
  writeFileSync(shard, bytes);
  return answer({ set: "half", contig: "chrA", centre: 35, n_bins: 11 }).error ?? "read";
});
console.log(JSON.stringify({ answers, damaged }));
"""


def python_reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_window", READERS / "read_window.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_python(store: Path, window: dict[str, Any]) -> dict[str, Any]:
    try:
        found = python_reader().read_window(store, window["set"], window["contig"], window["centre"], window["n_bins"])
    except (LookupError, ValueError) as error:
        return {"error": str(error)}
    return dict(found)


def agrees(found: dict[str, Any], window: dict[str, Any]) -> bool:
    if "error" in window:
        return window["error"] in found.get("error", "")
    return {name: window[name] for name in ("phase", "first_bin", "residual", "values")} == found


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORE, tmp_path / "tiny.store"))


@pytest.mark.parametrize(
    "window", EXPECTED, ids=lambda window: f"{window['set']} {window['contig']} {window['centre']}"
)
def test_the_python_reader_and_this_package_read_the_windows_of_the_vectors(window: dict[str, Any]) -> None:
    assert agrees(in_python(STORE, window), window)
    features = featurestore.open(STORE)[window["set"]]
    if "error" in window:
        with pytest.raises(featurestore.NotBuilt):
            features.window(window["contig"], window["centre"], n_bins=window["n_bins"])
    else:
        ours = features.window(window["contig"], window["centre"], n_bins=window["n_bins"])
        assert ours.values.tolist() == window["values"]
        assert ours.residual == window["residual"]


def test_each_flipped_byte_of_a_shard_is_refused_by_the_python_reader(copied: Path) -> None:
    whole = (copied / SHARD).read_bytes()
    for at in range(len(whole)):
        (copied / SHARD).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = in_python(copied, {"set": "half", "contig": "chrA", "centre": 35, "n_bins": 11})
        assert "damaged" in found.get("error", ""), f"byte {at}"


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
@pytest.mark.skipif(not (NODE_MODULES / "fzstd").exists(), reason="no fzstd here: `npm ci` in web/ installs it")
def test_the_javascript_reader_reads_the_vectors_and_refuses_each_flipped_byte(copied: Path) -> None:
    command = ["node", "-e", IN_NODE, READERS / "read_window.cjs", copied, copied / SHARD, json.dumps(EXPECTED)]
    run = subprocess.run(command, env={**os.environ, "NODE_PATH": str(NODE_MODULES)}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert all(agrees(answer, window) for answer, window in zip(found["answers"], EXPECTED, strict=True))
    assert len(found["damaged"]) == (STORE / SHARD).stat().st_size
    assert all("damaged" in answer for answer in found["damaged"])


def test_what_is_written_today_is_what_the_vectors_hold(tmp_path: Path) -> None:
    format_vectors.write(tmp_path)
    for path in filter(Path.is_file, sorted(STORE.rglob("*"))):
        again = tmp_path / "tiny.store" / path.relative_to(STORE)
        # Commit records hold the time; the bytes of zstd depend on its version, and readers compare the values.
        if path.name == "zarr.json" or "declared" in path.parts:
            assert again.read_bytes() == path.read_bytes(), path
        assert again.exists()
    assert (tmp_path / "expected.json").read_text() == (format_vectors.VECTORS / "expected.json").read_text()


def test_a_document_has_the_digest_that_the_page_says() -> None:
    record = json.loads((STORE / "commits/half/chrA/0-1.json").read_text())
    digest = record.pop("digest")
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).hexdigest() == digest
    assert hashlib.sha256((STORE / SHARD).read_bytes()).hexdigest() == record["sha256"]


def test_a_sealed_store_has_the_top_hash_that_the_page_says(copied: Path) -> None:
    for folder in ("features", "declared", "commits"):  # of the set with a missing shard: seal refuses it
        shutil.rmtree(copied / folder / "byte")
    seal(featurestore.open(copied))
    left_out = (
        "commits/",
        "declared/",
        "MANIFEST.json",
        "catalog.json",
        "croissant.json",
        "explorer.json",
        "README.md",
    )
    keys = sorted(path.relative_to(copied).as_posix() for path in copied.rglob("*") if path.is_file())
    coordinate = re.compile(r"features/[^/]+/[^/]+/(phase|bin|channel)/.+")
    contents = {
        key: (copied / key).read_bytes()
        for key in keys
        if not key.startswith(left_out) and not coordinate.fullmatch(key)
    }
    manifest = json.loads((copied / "MANIFEST.json").read_text())
    assert manifest["hashed_as"]
    digests = {key: (len(data), hashlib.sha256(data).hexdigest()) for key, data in contents.items()}
    lines = "".join(f"{key}\t{size}\t{digest}\n" for key, (size, digest) in (digests | manifest["hashed_as"]).items())
    assert hashlib.sha256(lines.encode()).hexdigest() == manifest["top_hash"]
