"""A Hugging Face Hub on loopback: the part of its HTTP interface that pushing and pulling a dataset use.

Belongs here: repositories in memory with commits, large files by the LFS protocol, tokens, faults on request. Does not:
Xet, the Hub's own storage protocol; with `HF_HUB_DISABLE_XET` the client speaks LFS, which the Hub serves too.

Written after the client, huggingface_hub 2.4 (`_commit_api.py`, `lfs.py`, `hf_api.py`, `hf_file_system.py`). It refuses
what the Hub refuses: a wrong token, a large file that was not uploaded or whose digest is another, the deletion of a
file that is not there, binary files committed as text.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "hf_aSecretThatMustNotBeShown"
_PAGE = 7
"""Entries of a listing in one reply, so that clients have to turn pages."""


@dataclass
class Repository:
    """Commits, each a mapping of paths to contents; the last one is `main`."""

    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b"*.bin filter=lfs\n"}])

    def sha(self, number: int) -> str:
        return hashlib.sha1(f"commit {number}".encode()).hexdigest()

    def tree(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        number = len(self.commits) - 1
        if revision != "main":
            number = next((one for one in range(len(self.commits)) if self.sha(one) == revision), -1)
        return None if number < 0 else (self.sha(number), self.commits[number])


def is_large(data: bytes) -> bool:
    """Decide as the Hub does: what is not text, or is large, is no file of git."""
    return b"\0" in data or len(data) > 10 << 20 or not _is_text(data)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class Hub(ThreadingHTTPServer):
    """The server; tests read and change what it holds."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.uploaded: dict[str, bytes] = {}
        """Large files by sha256, also those of no commit yet."""
        self.log: list[tuple[str, str]] = []
        self.before: Callable[[str, str], int | None] = lambda method, path: None
        """Called with every request; a status it gives is the reply."""
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repository: str) -> dict[str, bytes]:
        """Return the newest files of a repository."""
        return self.repositories[repository].commits[-1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a Hub, and have huggingface_hub speak to it, with a token."""
    hub = Hub()
    Thread(target=hub.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", TOKEN)
        try:
            yield hub
        finally:
            hub.shutdown()
            hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.path_only, self.query = unquote(parts.path), parse_qs(parts.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.log.append((method, self.path_only))
        status = self.server.before(method, self.path_only)
        if status is not None:
            return self._reply(status, {"error": "injected"})
        for route, answer in _ROUTES:
            found = re.fullmatch(route, f"{method} {self.path_only}")
            if found:
                return answer(self, **found.groupdict())
        return self._reply(404, {"error": f"no route for {method} {self.path_only}"})

    def _reply(self, status: int, document: Any = None, *, data: bytes | None = None, **headers: str) -> None:
        body = json.dumps(document).encode() if data is None else data
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _is_allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._reply(401, {"error": "Invalid username or password."})
        return False

    def _repository(self, name: str) -> Repository | None:
        found = self.server.repositories.get(name)
        if found is not None and not found.private:
            return found
        if found is not None and self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return found
        self._reply(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return None

    def _tree(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self._repository(name)
        if repository is None:
            return None
        found = repository.tree(revision)
        if found is None:
            self._reply(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        return found

    def create(self) -> None:
        wanted = json.loads(self.body)
        if not self._is_allowed():
            return
        name = f"{wanted['organization']}/{wanted['name']}"
        url = f"{self.server.url}/datasets/{name}"
        if name in self.server.repositories:
            self._reply(409, {"error": "You already created this dataset repo", "url": url})
            return
        assert wanted["type"] == "dataset"
        self.server.repositories[name] = Repository(private=wanted.get("visibility") == "private")
        self._reply(200, {"url": url, "name": name})

    def validate_card(self) -> None:
        self._reply(200, {"errors": [], "warnings": []})

    def info(self, name: str, revision: str = "main") -> None:
        found = self._tree(name, revision)
        if found is not None:
            self._reply(200, {"id": name, "sha": found[0], "siblings": [], "private": False, "tags": []})

    def preupload(self, name: str, revision: str) -> None:
        if not self._is_allowed() or (found := self._tree(name, revision)) is None:
            return
        answers = []
        for file in json.loads(self.body)["files"]:
            sample, path = base64.b64decode(file["sample"]), file["path"]
            mode = "lfs" if is_large(sample) or file["size"] > 10 << 20 else "regular"
            there = found[1].get(path)
            answers.append(
                {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None if there is None else _oid(there)}
            )
        self._reply(200, {"files": answers})

    def batch(self, name: str) -> None:
        if not self._is_allowed() or self._repository(name) is None:
            return
        objects = []
        for item in json.loads(self.body)["objects"]:
            actions = {
                "upload": {"href": f"{self.server.url}/lfs/{item['oid']}", "header": {}},
                "verify": {"href": f"{self.server.url}/verify/{name}", "header": {}},
            }
            known = item["oid"] in self.server.uploaded
            objects.append({"oid": item["oid"], "size": item["size"]} | ({} if known else {"actions": actions}))
        self._reply(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            self._reply(400, {"error": "digest"})
            return
        self.server.uploaded[oid] = self.body
        self._reply(200, {})

    def verify(self, name: str) -> None:
        item = json.loads(self.body)
        known = len(self.server.uploaded.get(item["oid"], b"")) == item["size"]
        self._reply(200 if known else 404, {})

    def commit(self, name: str, revision: str) -> None:
        if not self._is_allowed() or (repository := self._repository(name)) is None:
            return None
        assert revision == "main"
        with self.server.lock:
            files = dict(repository.commits[-1])
            for line in self.body.splitlines():
                item = json.loads(line)
                value, kind = item["value"], item["key"]
                if kind == "file":
                    data = base64.b64decode(value["content"])
                    if is_large(data):
                        return self._reply(400, {"error": "Your push was rejected because it contains binary files."})
                    files[value["path"]] = data
                elif kind == "lfsFile":
                    if value["oid"] not in self.server.uploaded:
                        return self._reply(400, {"error": "LFS pointer pointed to a file that does not exist"})
                    files[value["path"]] = self.server.uploaded[value["oid"]]
                elif kind == "deletedFile" and files.pop(value["path"], None) is None:
                    return self._reply(404, {"error": "A file with this name doesn't exist"})
            repository.commits.append(files)
        oid = repository.sha(len(repository.commits) - 1)
        return self._reply(
            200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/datasets/{name}/commit/{oid}"}
        )

    def tree(self, name: str, revision: str, folder: str | None = None) -> None:
        found = self._tree(name, revision)
        if found is None:
            return
        start = f"{folder}/" if folder else ""
        below = {path: data for path, data in found[1].items() if path.startswith(start)}
        if start and not below:
            self._reply(404, {"error": "not there"}, X_Error_Code="EntryNotFound")
            return
        deep = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = _entries(below, start, deep=deep)
        first = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if first + _PAGE < len(entries):
            place = f"{self.server.url}{urlsplit(self.path).path}?recursive={deep}&cursor={first + _PAGE}"
            headers["Link"] = f'<{place}>; rel="next"'
        self._reply(200, entries[first : first + _PAGE], **headers)

    def paths_info(self, name: str, revision: str) -> None:
        found = self._tree(name, revision)
        if found is not None:
            wanted = parse_qs(self.body.decode())["paths"] if self.body[:1] != b"{" else json.loads(self.body)["paths"]
            entries = _entries(found[1], "", deep=True)
            self._reply(200, [entry for entry in entries if entry["path"] in wanted])

    def resolve(self, name: str, revision: str, path: str) -> None:
        found = self._tree(name, revision)
        if found is None:
            return
        commit, files = found
        if path not in files:
            self._reply(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return
        data, status = files[path], 200
        headers = {"ETag": f'"{_oid(data)}"', "X_Repo_Commit": commit, "Accept_Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        self._reply(status, data=data, **headers)


def _oid(data: bytes) -> str:
    if is_large(data):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entries(files: dict[str, bytes], start: str, *, deep: bool) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        parts = path.removeprefix(start).split("/")
        for depth in range(1, len(parts) if deep else min(2, len(parts))):
            folder = start + "/".join(parts[:depth])
            entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        if deep or len(parts) == 1:
            file: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _oid(data)[:40]}
            if is_large(data):
                file["lfs"] = {"oid": _oid(data), "size": len(data), "pointerSize": 130}
            entries[path] = file
    return list(entries.values())


_NAME = r"(?P<name>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES: list[tuple[str, Callable[..., None]]] = [
    ("POST /api/repos/create", _Handler.create),
    ("POST /api/validate-yaml", _Handler.validate_card),
    (f"GET /api/datasets/{_NAME}", _Handler.info),
    (f"GET /api/datasets/{_NAME}/revision/{_REVISION}", _Handler.info),
    (f"POST /api/datasets/{_NAME}/preupload/{_REVISION}", _Handler.preupload),
    (f"POST /api/datasets/{_NAME}/commit/{_REVISION}", _Handler.commit),
    (f"POST /api/datasets/{_NAME}/paths-info/{_REVISION}", _Handler.paths_info),
    (f"GET /api/datasets/{_NAME}/tree/{_REVISION}(?:/(?P<folder>.+))?", _Handler.tree),
    (rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT /lfs/(?P<oid>[0-9a-f]{64})", _Handler.upload),
    (f"POST /verify/{_NAME}", _Handler.verify),
    (f"(?:GET|HEAD) /datasets/{_NAME}/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve),
]
