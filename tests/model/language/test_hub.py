import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.runtime.weight_files import is_hub_id
from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.testing import write_tiny_backbone

REVISION = "0123456789abcdef0123456789abcdef01234567"
_LOAD = "from model.language.backbone import Backbone; print(Backbone('owner/model').layers)"


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as one model takes."""

    files: dict[str, bytes]
    requested: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.removeprefix(f"/owner/model/resolve/{REVISION}/")
        if path.startswith("/api/models/owner/model"):
            if path.endswith(f"tree/{REVISION}"):
                found: object = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in self.files.items()
                ]
            else:
                found = {
                    "id": "owner/model",
                    "sha": REVISION,
                    "siblings": [{"rfilename": name} for name in self.files],
                }
            self._answer(json.dumps(found).encode(), "application/json")
        elif name in self.files:
            self.requested.append(name)
            self._answer(self.files[name], "application/octet-stream")
        else:
            self.send_error(404)

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _serving(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    requested: list[str] = []
    handler = type("Hub", (_Hub,), {"files": files, "requested": requested})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requested
        server.shutdown()


@pytest.mark.slow
def test_a_model_of_the_hub_is_fetched_once_without_pickles_code_or_other_formats(tmp_path: Path) -> None:
    tiny = write_tiny_backbone(tmp_path / "tiny", "llama")
    wanted = {path.name: path.read_bytes() for path in tiny.iterdir()}
    others = ["pytorch_model.bin", "modeling.py", "original/params.json", "onnx/model.safetensors", "model.gguf"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    with _serving(wanted | dict.fromkeys(others, b"not to be read")) as (endpoint, requested):
        online = subprocess.run(
            [sys.executable, "-c", _LOAD],
            env=environment | {"HF_ENDPOINT": endpoint},
            capture_output=True,
            text=True,
            check=False,
        )
        assert online.stdout == "3\n", online.stderr
        assert set(requested) == set(wanted)
    offline = subprocess.run(
        [sys.executable, "-c", _LOAD],
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert offline.stdout == "3\n", offline.stderr


def test_a_model_that_is_neither_here_nor_to_be_had_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"owner/model is no folder here.*give the folder.*HF_HUB_OFFLINE"):
        Backbone("owner/model")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("meta-llama/Meta-Llama-3-8B", True, id="an id"),
        pytest.param("./meta-llama/Meta-Llama-3-8B", False, id="a folder below this one"),
        pytest.param("/models/llama", False, id="a folder from the root"),
        pytest.param("models/llama/8b", False, id="too deep for an id"),
        pytest.param("../llama", False, id="a folder beside this one"),
        pytest.param("llama", False, id="a name without an owner"),
    ],
)
def test_an_id_of_the_hub_is_told_from_a_folder(name: str, expected: bool) -> None:
    assert is_hub_id(name) is expected
    assert is_hub_id(Path(name)) is (expected or name.startswith("./"))


def test_a_folder_that_is_there_is_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert not is_hub_id("owner/model")
    with pytest.raises(BackboneError, match=r"no config.json"):
        Backbone("owner/model")
