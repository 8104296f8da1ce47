"""Run the blocks of a page as its reader would: Python in one session, shell blocks with bash, all in one folder.

A `featurestore` in a shell block is answered by this process, which has its imports behind it: a process of its own
takes three seconds to begin, and there are a hundred. What serves until it is stopped is a process of its own.

Belongs here: running. Does not: finding blocks (`code_blocks`), the files that pages name (`page_inputs`).
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from checkout import ROOT
from code_blocks import SHELL, Block

from featurestore.cli import main as cli

_EXPECTED = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)
_PORT = 8000
"""Where the pages serve; a free port takes its place."""
_MOST_S = 300
_DOOR = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect({socket!r})
    asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(door, [len(asked).to_bytes(4, "big")], [1, 2])
    door.sendall(asked)
    sys.exit(int(door.recv(16)))
"""


class PageRunner:
    """One reader of one page.

    Parameters
    ----------
    folder
        Where the reader sits; the caller has made it the current folder.
    smaller
        Words of the page, and what is run in their place so that it takes seconds.
    apart
        Each command is a process of its own, too: it finds packages that this process does not.
    """

    def __init__(self, folder: Path, *, smaller: Mapping[str, str], apart: bool = False) -> None:
        self.folder = folder
        self.apart = apart
        self.names: dict[str, Any] = {}
        self.changes = dict(smaller)
        self._door = Path(tempfile.mkdtemp(prefix="door"))
        self._listening = socket.socket(socket.AF_UNIX)
        self._serving: subprocess.Popen[bytes] | None = None
        self._make_door()

    def __enter__(self) -> "PageRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_serving()
        self._listening.close()
        shutil.rmtree(self._door)

    def run(self, block: Block) -> str:
        """Run a block, and give what it printed; an assertion names the block that failed."""
        code = self._made_smaller(block.code)
        if block.is_tests:
            (self.folder / "test_block.py").write_text(code)
            code = "python -m pytest -q -p no:cacheprovider --rootdir . --import-mode importlib test_block.py"
            return self._bash(code, block)
        if block.is_served:
            self._serve(code, block)
            return ""
        if block.language in SHELL:
            return self._bash(code, block)
        if block.language == "javascript":
            done = subprocess.run(["node", "-e", code], cwd=self.folder, capture_output=True, text=True)
            assert done.returncode == 0, f"{block}: {done.stderr}"
            return done.stdout
        assert block.language == "python", f"{block}: nothing here runs {block.language}"
        return self._python(code, block)

    def _made_smaller(self, code: str) -> str:
        for words, other in self.changes.items():
            code = code.replace(words, other)
        return code

    def _python(self, code: str, block: Block) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(block), "exec"), self.names)
        if expected := _EXPECTED.findall(code):
            assert printed.getvalue().splitlines() == expected, str(block)
        return printed.getvalue()

    def _bash(self, code: str, block: Block) -> str:
        with tempfile.TemporaryFile(dir=self._door) as printed:
            process = self._started(code, printed, through_door=not self.apart)
            give_up = time.monotonic() + _MOST_S
            try:
                while process.poll() is None and time.monotonic() < give_up:
                    self._answer()
            finally:
                _end(process)
            printed.seek(0)
            text = printed.read().decode(errors="replace")
        assert process.returncode == 0, f"{block} ended with {process.returncode}:\n{text[-4000:]}"
        return text

    def _serve(self, code: str, block: Block) -> None:
        self._stop_serving()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.changes[f"127.0.0.1:{_PORT}"] = f"127.0.0.1:{port}"
        code = code.replace("featurestore serve ", f"featurestore serve --port {port} ")
        log = self.folder / "served.log"
        with log.open("wb") as printed:
            self._serving = self._started(code, printed, through_door=False)
        give_up = time.monotonic() + _MOST_S
        while True:
            assert self._serving.poll() is None, f"{block} ended: {log.read_text()[-4000:]}"
            assert time.monotonic() < give_up, f"{block} serves nothing: {log.read_text()[-4000:]}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.1)

    def _started(self, code: str, printed: Any, *, through_door: bool) -> "subprocess.Popen[bytes]":
        places = [*([str(self._door)] if through_door else []), str(Path(sys.executable).parent), os.environ["PATH"]]
        # curl reads .curlrc there: an answer of 404 or 500 is a failure, which it is not by itself.
        environment = os.environ | {"PATH": os.pathsep.join(places), "CURL_HOME": str(self._door)}
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _stop_serving(self) -> None:
        if self._serving is not None:
            _end(self._serving)
            self._serving = None

    def _make_door(self) -> None:
        path = self._door / "socket"
        self._listening.bind(str(path))
        self._listening.listen()
        self._listening.settimeout(0.05)
        command = self._door / "featurestore"
        command.write_text(_DOOR.format(python=sys.executable, socket=str(path)))
        command.chmod(0o755)
        (self._door / ".curlrc").write_text("fail\nmax-time = 120\n")

    def _answer(self) -> None:
        """Run one command that waits at the door, in the folder, environment and streams of who asks."""
        try:
            asking, _ = self._listening.accept()
        except TimeoutError:
            return
        with asking:
            asking.settimeout(10)
            length, streams, *_ = socket.recv_fds(asking, 4, 2)
            with asking.makefile("rb") as asked:
                words, folder, environment = json.loads(asked.read(int.from_bytes(length, "big")))
            assert words[:1] != ["serve"] or "--dry-run" in words, "a block that serves is marked `run: until stopped`"
            with (
                os.fdopen(streams[0], "w") as out,
                os.fdopen(streams[1], "w") as error,
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(error),
                _as_asked(folder, environment),
            ):
                status = cli.main(words)
            asking.sendall(str(status).encode())


@contextlib.contextmanager
def _as_asked(folder: str, environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    exported = {name: value for name, value in environment.items() if name not in ("PATH", "CURL_HOME", "_", "SHLVL")}
    with contextlib.chdir(folder):
        os.environ.update(exported)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a shell and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return


def copy_of(name: str, folder: Path) -> None:
    """Copy a folder of the checkout, so that what a page runs there writes nothing into the checkout."""
    shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
