"""Start and stop a real S3 server on this machine, for the tests and benchmarks that want one.

    eval "$(python tests/support/s3_server.py start /tmp/s3 9300)"
    pytest tests/featurestore/objects/test_s3.py tests/builders/test_faults.py
    python tests/support/s3_server.py stop /tmp/s3 --wipe

`start` prints `export` lines and nothing else; what it does goes to stderr. It runs three ordinary processes of Ceph on
127.0.0.1: a monitor, one disk (a sparse file in the folder) and the gateway that speaks S3. They check signatures,
which most imitations do not, and keep their data over a stop. One copy, and ports open to all on this machine: only for
tests.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

PACKAGES = {
    "ceph": "ceph-common",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "monmaptool": "ceph-common",
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
}
"""The package of Debian and Ubuntu that holds each program."""
ACCESS_KEY, SECRET_KEY, REGION = "featurestore", "featurestore-secret", "us-east-1"
DAEMONS = ("mon", "osd", "rgw")
DISK_BYTES = 16 << 30
"""The most that the store can hold; the file grows as data comes."""

CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}
public_network = 127.0.0.0/8
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# Without keys nothing can be encrypted, and the gateway asks for encryption unless told not to: it would never start.
ms_mon_client_mode = crc
ms_mon_service_mode = crc
ms_mon_cluster_mode = crc
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
log_file = {folder}/log/$name.log
mon_cluster_log_file = {folder}/log/cluster.log
crash_dir = {folder}/log
log_to_stderr = false
err_to_stderr = true
# One copy of everything on one disk, in few pools' worth of placement groups.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 1000

[mon]
mon_data = {folder}/mon
# Agree on each change at once: the first start takes half the time.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
# A test machine's disk may be nearly full.
mon_data_avail_warn = 2
mon_data_avail_crit = 1

[osd]
osd_data = {folder}/osd
ms_bind_port_min = {osd_first_port}
ms_bind_port_max = {osd_last_port}
bluestore_block_create = true
bluestore_block_path =
bluestore_block_size = {disk_bytes}
bluestore_block_preallocate_file = false
osd_max_scrubs = 0
# A gateway that was killed counts as a watcher for this long, and the next one waits for it (default 30 s).
osd_client_watch_timeout = 3

[client]
log_file =
admin_socket =

[client.rgw]
log_file = {folder}/log/rgw.log
admin_socket = {folder}/run/rgw.asok
rgw_enable_usage_log = false
rgw_enable_ops_log = false
client_notify_timeout = 1
"""


class ServerFailed(RuntimeError):
    """The server could not be started; the message says which part, and where its log is."""


class Server:
    """The three processes of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "ceph.conf"

    def start(self, port: int) -> None:
        """Start what does not run yet; a new folder is set up first (ports `port` to `port` + 19)."""
        for name in ("run", "log", "mon", "osd"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        is_new = not (self.folder / "complete").exists()
        if is_new:
            self._configure(port)
        self._start("mon", ["ceph-mon", "-i", "a", "-f"])
        self._wait("mon", lambda: self._ceph("mon", "stat") is not None)
        if is_new:
            self._make_disk()
        elif not self.pid("osd"):
            self._ceph("osd", "down", "osd.0")  # after a kill the map still has it up, and requests go there
        self._start("osd", ["ceph-osd", "-i", "0", "-f", "--crush-location", "root=default host=local"])
        self._wait("osd", lambda: "1 up" in (self._ceph("osd", "stat") or ""))
        if is_new:
            keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
            self._run(
                "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=tests", "--display-name=tests", *keys
            )
            (self.folder / "complete").touch()
        # Without tcp_nodelay small range reads wait 40 ms for an acknowledgement that the client holds back.
        frontend = f"--rgw_frontends=beast endpoint=127.0.0.1:{port} tcp_nodelay=1"
        self._start("rgw", ["radosgw", "-n", "client.rgw", "-f", frontend])
        self._wait("rgw", lambda: _answers(port))

    def stop(self) -> None:
        """End the processes, the gateway first."""
        for name in reversed(DAEMONS):
            for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
                pid = self.pid(name)
                if pid is None:
                    break
                os.kill(pid, number)
                give_up = time.monotonic() + (0 if number == signal.SIGCONT else 10)
                while self.pid(name) is not None and time.monotonic() < give_up:
                    time.sleep(0.05)
            (self.folder / "run" / f"{name}.pid").unlink(missing_ok=True)

    def pid(self, name: str) -> int | None:
        """Give the process id of a daemon that runs, or None.

        A number in a file may long be another's process: only one that was started with our configuration counts.
        """
        try:
            pid = int((self.folder / "run" / f"{name}.pid").read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self.configuration).encode() in arguments else None

    def _configure(self, port: int) -> None:
        self.stop()
        for name in ("mon", "osd"):
            shutil.rmtree(self.folder / name)
            (self.folder / name).mkdir()
        fsid = str(uuid.uuid4())
        self.configuration.write_text(
            CONFIGURATION.format(
                folder=self.folder,
                fsid=fsid,
                mon_port=port + 1,
                osd_first_port=port + 2,
                osd_last_port=port + 19,
                disk_bytes=DISK_BYTES,
            )
        )
        monitors = str(self.folder / "monmap")
        address = f"[v2:127.0.0.1:{port + 1}]"
        self._run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, monitors)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monitors)

    def _make_disk(self) -> None:
        name = str(uuid.uuid4())
        self._run("ceph", "osd", "new", name, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", name)
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=local")

    def _start(self, name: str, command: list[str]) -> None:
        if self.pid(name) is not None:
            return
        _say(f"starting {command[0]}")
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                [command[0], "-c", str(self.configuration), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / "run" / f"{name}.pid").write_text(str(process.pid))

    def _wait(self, name: str, is_ready: Callable[[], bool], *, timeout_s: float = 90) -> None:
        give_up = time.monotonic() + timeout_s
        while not is_ready():
            if self.pid(name) is None or time.monotonic() > give_up:
                log = self.folder / "log" / f"{name}.out"
                ended = "ended" if self.pid(name) is None else f"was not ready after {timeout_s:.0f} s"
                raise ServerFailed(f"{name} {ended}: {log.read_text()[-1000:]} (more in {log.parent})")
            time.sleep(0.1)

    def _ceph(self, *arguments: str) -> str | None:
        command = ["ceph", "-c", str(self.configuration), "--connect-timeout", "20", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr if done.returncode == 0 else None

    def _run(self, program: str, *arguments: str) -> None:
        configuration = [] if program == "monmaptool" else ["-c", str(self.configuration)]
        done = subprocess.run([program, *configuration, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            hint = "; its folder must be on a disk that allows O_DIRECT (ext4, xfs)" if "--mkfs" in arguments else ""
            raise ServerFailed(f"{program} {' '.join(arguments[:4])} failed{hint}: {done.stderr[-1000:]}")


def _answers(port: int) -> bool:
    """Tell whether a bucket can be made: the gateway accepts connections some time before that."""
    import s3fs

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass
        # No region: s3fs would ask for the bucket to lie there, and Ceph knows no region by that name.
        files = s3fs.S3FileSystem(key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=f"http://127.0.0.1:{port}")
        files.mkdir("server-is-ready")
        files.rmdir("server-is-ready")
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    print(f"s3_server: {text}", file=sys.stderr)


def start(folder: Path, port: int) -> int:
    """Start the server and print what a shell is to export."""
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if missing:
        packages = " ".join(missing)
        _say(
            f"Ceph is not installed here; on Debian or Ubuntu: sudo apt-get install --no-install-recommends {packages}"
        )
        return 1
    try:
        Server(folder).start(port)
    except ServerFailed as error:
        _say(str(error))
        return 1
    print(f"export AWS_ENDPOINT_URL=http://127.0.0.1:{port}")
    print(f"export AWS_ACCESS_KEY_ID={ACCESS_KEY}")
    print(f"export AWS_SECRET_ACCESS_KEY={SECRET_KEY}")
    print(f"export AWS_REGION={REGION}")
    print(f"export AWS_DEFAULT_REGION={REGION}")
    return 0


def stop(folder: Path, *, wipe: bool) -> int:
    """End the server; `wipe` removes its folder as well."""
    server = Server(folder)
    if not server.configuration.exists():
        _say(f"{folder} holds no server that this script made")
        return 1
    server.stop()
    if wipe:
        shutil.rmtree(folder)
    return 0


def main() -> int:
    """Run `start` or `stop`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    starting = verbs.add_parser("start", help="start the server of a folder and print its environment")
    starting.add_argument("folder", type=Path)
    starting.add_argument("port", type=int, help="port on 127.0.0.1; the 19 after it are used too")
    stopping = verbs.add_parser("stop", help="stop the server of a folder")
    stopping.add_argument("folder", type=Path)
    stopping.add_argument("--wipe", action="store_true", help="remove the folder and all data in it")
    args = parser.parse_args()
    folder = args.folder.resolve()
    return start(folder, args.port) if args.verb == "start" else stop(folder, wipe=args.wipe)


if __name__ == "__main__":
    sys.exit(main())
