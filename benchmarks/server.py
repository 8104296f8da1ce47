"""`featurestore serve` on loopback: time to a window at 50 requests/s, 200 clients for a minute, memory.

    python benchmarks/server.py            # writes benchmarks/results/server.json
    python benchmarks/server.py --quick    # a few seconds: does it run here at all?

Needs the extra `web`. 131,072 bins of 40 channels, float16; windows of 251 bins at random centres, all read once before
anything is timed, so that decoded chunks come from memory. Beside the server runs what a user would write instead: one
route of FastAPI over zarr-python that gives the same array as NPY, with no records, tags, budgets or checks. Requests
arrive at fixed times whatever the answers (open loop), so a slow answer delays no later request; the two servers take
turns of five seconds. Clients and servers share the machine's cores.
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

from benchmarks.machine import machine, versions  # noqa: E402
from benchmarks.read_local import centres_of  # noqa: E402
from benchmarks.read_store import CONTIG, SET, Made, narrow_store  # noqa: E402
from benchmarks.read_timing import N_BINS, Row  # noqa: E402
from featurestore.reader import FeatureReader  # noqa: E402
from featurestore.rows.engine import rows_of  # noqa: E402
from featurestore.store import open_store  # noqa: E402

BINS, RATE, CLIENTS = 131_072, 50, 200
NPY = "application/x-npy"
_PLAIN = """
import sys, io, numpy as np, uvicorn, zarr, socket
from fastapi import FastAPI
from fastapi.responses import Response
array, app = zarr.open_array(sys.argv[1], mode="r"), FastAPI()
@app.get("/window")
def window(first: int, bins: int):
    file = io.BytesIO()
    np.save(file, array[0, first : first + bins])
    return Response(file.getvalue(), media_type="application/x-npy")
listening = socket.create_server(("127.0.0.1", 0))
listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
"""

Target = Callable[[int], str]
"""From the first bin of a window to the path that asks for it."""


class Client:
    """A connection that is kept alive; just enough of HTTP/1.1 to cost little beside the server."""

    def __init__(self, port: int, accept: str) -> None:
        self._port, self._accept = port, accept
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Fetch a path: status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {self._accept}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        return int(head.split(" ")[1]), await reader.readexactly(length)

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


async def at_rate(port: int, accept: str, paths: Sequence[str], rate: float) -> list[float]:
    """Send requests at fixed times; give the time from when each was due to its whole answer (s)."""
    idle: list[Client] = []
    taken: list[float] = []

    async def ask(path: str, due: float) -> None:
        client = idle.pop() if idle else Client(port, accept)
        status, _ = await client.get(path)
        taken.append(time.perf_counter() - due)
        assert status == 200
        idle.append(client)

    begin = time.perf_counter()
    tasks = []
    for number, path in enumerate(paths):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(path, due)))
    await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    return taken


async def at_once(port: int, accept: str, target: Target, firsts: NDArray[np.int64], seconds: float) -> dict[str, int]:
    """Let clients ask without a pause for some time; count answers by their status, and lost connections."""
    answers: dict[str, int] = {}
    end = time.perf_counter() + seconds

    async def run(number: int) -> None:
        client, rng = Client(port, accept), np.random.default_rng(number)
        while time.perf_counter() < end:
            try:
                status, _ = await client.get(target(int(rng.choice(firsts))))
            except (OSError, asyncio.IncompleteReadError) as error:
                status, client = type(error).__name__, Client(port, accept)  # type: ignore[assignment]
            answers[str(status)] = answers.get(str(status), 0) + 1
        client.close()

    await asyncio.gather(*map(run, range(CLIENTS)))
    return answers


@contextmanager
def started(*command: str) -> Iterator[tuple[int, int]]:
    """Start a server; give its port and its process id."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield int(line.partition("http://127.0.0.1:")[2].partition("/")[0]), process.pid
    finally:
        process.terminate()
        process.wait()


def held_bytes(pid: int) -> int:
    """Give the memory that a process holds (bytes)."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


def latency(port: int, plain_port: int, made: Made, rounds: int, seconds: float) -> list[Row]:
    """Time both servers in turns, at 50 requests/s; and the same windows in this process."""
    rng = np.random.default_rng(1)
    ways: dict[str, tuple[int, str, Target]] = {
        "NPY": (port, NPY, ours),
        "JSON": (port, "application/json", ours),
        "plain": (plain_port, NPY, theirs),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    rounds_p99: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in np.roll(list(ways), number).tolist():
            used, accept, target = ways[name]
            paths = [target(int(first)) for first in rng.integers(0, BINS - N_BINS, size=int(RATE * seconds))]
            times = asyncio.run(at_rate(used, accept, paths, RATE))
            taken[name] += times
            rounds_p99[name].append(1e3 * float(np.quantile(times, 0.99)))
    p99 = {name: float(np.quantile(times, 0.99)) for name, times in taken.items()}
    details: dict[str, dict[str, Any]] = {
        name: {
            "requests": len(times),
            "median_ms": 1e3 * statistics.median(times),
            "p99_ms": 1e3 * p99[name],
            "p99_ms_of_each_round": rounds_p99[name],
        }
        for name, times in taken.items()
    }
    direct = in_process(made, rng.integers(0, BINS - N_BINS, size=300))
    return [
        Row(
            "p99 of a window of 251 x 40, NPY, 50 requests/s", 1e3 * p99["NPY"], "ms", 50, at_most=True, details=details
        ),
        Row("  median of the p99 of each round of 5 s", statistics.median(rounds_p99["NPY"]), "ms", 50, at_most=True),
        Row("  the same as JSON", 1e3 * p99["JSON"], "ms"),
        Row("  median, NPY", details["NPY"]["median_ms"], "ms"),
        Row("  median of one route over zarr-python / median of ours", _ratio(details, "plain", "NPY"), "x"),
        Row("  p99 of one route over zarr-python / p99 of ours", p99["plain"] / p99["NPY"], "x"),
        Row("  median over HTTP / median in process, from the same cache", details["NPY"]["median_ms"] / direct, "x"),
    ]


def _ratio(details: dict[str, dict[str, Any]], one: str, other: str) -> float:
    return float(details[one]["median_ms"] / details[other]["median_ms"])


def in_process(made: Made, firsts: NDArray[np.int64]) -> float:
    """Time the windows with no server: median (ms)."""
    store = open_store(made.path)
    source = rows_of(store.objects, SET, cache_bytes=1 << 28)
    reader = FeatureReader(store.objects, store.assembly, store.feature_set(SET), source)
    times = []
    for _ in range(2):  # the first time fills the cache
        times = []
        for centre in _centres(firsts).tolist():
            begin = time.perf_counter()
            reader.window(CONTIG, centre, n_bins=N_BINS)
            times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


def load(port: int, pid: int, seconds: float) -> list[Row]:
    """Let 200 clients ask for a minute; watch the memory."""
    firsts = np.random.default_rng(2).integers(0, BINS - N_BINS, size=4096)
    samples: list[int] = []

    async def watched() -> dict[str, int]:
        async def watch() -> None:
            while True:
                samples.append(held_bytes(pid))
                await asyncio.sleep(seconds / 60)

        watching = asyncio.create_task(watch())
        answers = await at_once(port, NPY, ours, firsts, seconds)
        watching.cancel()
        return answers

    answers = asyncio.run(watched())
    errors = sum(count for status, count in answers.items() if status != "200")
    settled, last = samples[len(samples) // 6], max(samples[-len(samples) // 6 :])
    details = {"answers": answers, "held_mb": [round(size / 1e6, 1) for size in samples]}
    return [
        Row(f"errors of 200 clients in {seconds:g} s", errors, "", 0, at_most=True, details=details),
        Row("  answers", answers.get("200", 0) / seconds, "/s"),
        Row("  memory at the end / after a sixth of the time", last / settled, "x", 1.05, at_most=True),
    ]


def ours(first: int) -> str:
    return f"/v1/window?at={CONTIG}:{int(_centres(np.asarray([first]))[0])}&bins={N_BINS}"


def theirs(first: int) -> str:
    return f"/window?first={first}&bins={N_BINS}"


def _centres(firsts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the middles of windows by their first bins (bp)."""
    return np.asarray(centres_of(firsts))


def check_equal(port: int, plain_port: int) -> None:
    """Check that all ways give the same window."""

    async def fetch() -> list[bytes]:
        return [(await Client(port, NPY).get(ours(777)))[1], (await Client(plain_port, NPY).get(theirs(777)))[1]]

    one, other = (np.load(io.BytesIO(body)) for body in asyncio.run(fetch()))
    np.testing.assert_array_equal(one, other)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "server.json")
    args = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        made = narrow_store(Path(name) / "narrow.store", BINS)
        ask = "import featurestore_command as one; raise SystemExit(one.main())"
        with (
            started(sys.executable, "-c", ask, "serve", f"s={made.path}", "--port", "0") as (port, pid),
            started(sys.executable, "-c", _PLAIN, str(made.array_path)) as (plain_port, _),
        ):
            check_equal(port, plain_port)
            warm = [ours(first) for first in range(0, BINS - N_BINS, N_BINS)]
            asyncio.run(at_rate(port, NPY, warm, 200))
            rows = latency(port, plain_port, made, rounds=1 if args.quick else 6, seconds=2 if args.quick else 5)
            rows += load(port, pid, 5 if args.quick else 60)
    for row in rows:
        print(row.line())
    if args.quick:
        return
    report = {
        "machine": before,
        "load_at_the_end": os.getloadavg(),
        "niceness": os.nice(0),
        "versions": versions("fastapi", "numpy", "tensorstore", "uvicorn", "zarr"),
        "sizes": {"bins": BINS, "channels": 40, "n_bins": N_BINS, "rate": RATE, "clients": CLIENTS},
        "rows": [row.to_json() for row in rows],
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
