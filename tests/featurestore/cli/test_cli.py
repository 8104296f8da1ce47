"""The command: what it prints, what it exits with, and a word where something is wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import typer

import featurestore
from catalog import Grid
from featurestore.cli import main as cli
from featurestore.format import layout
from featurestore.testing import built_store, random_sequences, write_fasta

COMMAND = Path(sys.executable).with_name("featurestore")
COMPOSITION = "builders.testing:CompositionExtractor.from_options"
# Shards of 256 bins, the fewest that six channels allow: six of chr1 and one of chr2.
LENGTHS = {"chr1": 16 * 256 * 6 - 5, "chr2": 640}
SETTINGS = ("--extractor", COMPOSITION, "--bin-size", 16, "--shard-bins", 256)
ON_CPU = ("--device", "cpu")  # spares each process the import of torch


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return Ran(status, *capsys.readouterr())

    return run


def run_process(*arguments: object, **environment: str) -> Ran:
    command = [str(COMMAND), *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "tiny.fa", random_sequences(LENGTHS, seed=4))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, fasta: Path) -> tuple[Path, Ran]:
    """Build by the command, as a process of its own."""
    store = tmp_path_factory.mktemp("built") / "tiny.store"
    return store, run_process("build", store, "--fasta", fasta, "--workers", 1, *SETTINGS, *ON_CPU)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A small store to read, and to damage."""
    built_store(tmp_path / "s", {"chr1": 1000, "chr2": 77}, Grid(bin_size=16, offsets=(0, 8)))
    return tmp_path / "s"


# Building


def test_a_build_exits_0_when_all_is_committed(built: tuple[Path, Ran], run: Run) -> None:
    store, ran = built
    assert ran.status == 0, ran.err
    assert "7 of 7 shards committed, 7 by this run: 1,576 bins" in ran.out
    assert run("status", store).status == 0
    assert run("verify", store, "--crc").status == 0


def test_building_again_does_nothing_and_says_so(built: tuple[Path, Ran], fasta: Path, run: Run) -> None:
    ran = run("build", built[0], "--fasta", fasta, *SETTINGS, *ON_CPU, "--json")
    report = json.loads(ran.out)
    assert (ran.status, report["is_complete"], report["built"], report["was_there"]) == (0, True, 0, 7)


def test_a_plan_foretells_the_build_and_writes_nothing(
    built: tuple[Path, Ran], fasta: Path, tmp_path: Path, run: Run
) -> None:
    ran = run("plan", tmp_path / "s", "--fasta", fasta, *SETTINGS, "--bins-per-second", 10, "--json")
    assert ran.status == 0
    plan = json.loads(ran.out)
    assert plan["feature_sets"] == {"composition": 5, "length": 1}
    assert (plan["shards"], plan["shards_todo"], plan["bins"], plan["bins_todo"]) == (7, 7, 1576, 1576)
    assert plan["bytes"] == 1576 * 6 * 2
    assert plan["hours"] == pytest.approx(1576 / 10 / 3600)
    assert list(tmp_path.iterdir()) == []
    text = run("plan", tmp_path / "s", "--fasta", fasta, *SETTINGS, "--bins-per-second", 10).out
    assert "composition (5 channels), length (1 channels) in bins of 16 bp, offsets 0 bp" in text
    assert "7 of 7 shards to build: 1,576 of 1,576 bins" in text
    assert "at most 18,912 bytes (before compression)" in text
    assert "licence: none needed" in text
    assert "2.6 minutes at 10 bins/s (as given)" in text
    assert "0 of 7 shards to build: 0 of 1,576 bins" in run("plan", built[0], "--fasta", fasta, *SETTINGS).out


def test_a_poisoned_shard_is_printed_and_the_build_exits_1(tmp_path: Path, run: Run) -> None:
    sequences = random_sequences({"good": 600, "bad": 9000}, seed=1)
    sequences["bad"] = sequences["bad"][:5000] + "X" + sequences["bad"][5001:]
    poisoned = write_fasta(tmp_path / "x.fa", sequences)
    ran = run("build", tmp_path / "s", "--fasta", poisoned, "--workers", 1, *SETTINGS, *ON_CPU)
    assert ran.status == 1
    assert "failed: bad phase 0 shard 1 (bins 256-511): ValueError: this sequence holds an X" in ran.err
    assert "3 of 4 shards committed, 3 by this run" in ran.out
    assert "licence: none needed" in ran.out
    ran = run("status", tmp_path / "s", "--json")
    assert (ran.status, json.loads(ran.out)["complete"]) == (1, False)
    ran = run("verify", tmp_path / "s")
    assert ran.status == 0, "what was never built is no fault"
    assert "2 shards not built yet" in ran.out


def stop_after_a_commit(store: Path, command: list[str], stop: signal.Signals, **environment: str) -> int:
    """Run a build until it has committed one more shard, stop it, and give its exit status."""
    committed = len(commits(store))
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # A shell starts its background jobs, and so perhaps these tests, with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        patience = time.monotonic() + 120
        while len(commits(store)) == committed:
            assert process.poll() is None, "the build ended by itself"
            assert time.monotonic() < patience, "no shard was committed in two minutes"
            time.sleep(0.02)
        os.killpg(process.pid, stop)  # the whole group, as a terminal does on Ctrl-C
        return process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def commits(store: Path) -> list[Path]:
    """List the records of the set that is committed last."""
    return list(store.glob("commits/length/*/*.json"))


@pytest.mark.slow
def test_a_build_that_is_interrupted_and_then_killed_goes_on_where_it_was(
    built: tuple[Path, Ran], fasta: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "slow_composition.py").write_text(
        "import time\n"
        "from builders.testing import CompositionExtractor\n"
        "class Slow(CompositionExtractor):\n"
        "    def __call__(self, sequence):\n"
        "        time.sleep(0.03)\n"
        "        return super().__call__(sequence)\n"
    )
    store = tmp_path / "s"
    command = ("build", store, "--fasta", fasta, "--workers", 1, *SETTINGS, *ON_CPU)
    slowly = [str(COMMAND), *map(str, command), "--extractor", "slow_composition:Slow.from_options"]
    assert stop_after_a_commit(store, slowly, signal.SIGINT, PYTHONPATH=str(tmp_path)) == 130
    assert stop_after_a_commit(store, slowly, signal.SIGKILL, PYTHONPATH=str(tmp_path)) == -signal.SIGKILL
    done = len(commits(store))
    assert 2 <= done < 7
    assert run("status", store).status == 1
    assert run("verify", store, "--crc").status == 0, "a stopped build committed a shard that is not whole"

    ran = run(*command)
    assert ran.status == 0, ran.err
    assert f"7 of 7 shards committed, {7 - done} by this run" in ran.out
    assert run("verify", store, "--crc").status == 0
    for path in built[0].rglob("values/c/*/*/0"):
        assert (store / path.relative_to(built[0])).read_bytes() == path.read_bytes()


# Reading


def test_info_tells_what_a_store_holds(store: Path, run: Run) -> None:
    text = run("info", store).out
    assert "2 contigs, 1,077 bp" in text
    assert "demo: 3 channels, bins of 16 bp, float16, offsets 0, 8 bp, by demo f0" in text
    assert "channel0, channel1, channel2" in text
    document = json.loads(run("info", store, "--json").out)
    (described,) = document["feature_sets"]
    assert described["channels"] == ["channel0", "channel1", "channel2"]
    assert document["assembly"]["digest"] == featurestore.open(store).assembly.digest
    assert document["format"] == 1


def test_status_counts_what_is_committed_and_exits_1_while_something_is_missing(store: Path, run: Run) -> None:
    ran = run("status", store)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "complete")
    (store / layout.commit_key("demo", "chr1", 1, 3)).unlink()
    ran = run("status", store)
    assert ran.status == 1
    assert ran.out.splitlines()[-1] == "not complete: run the same `featurestore build` again"
    rows = json.loads(run("status", store, "--json").out)["contigs"]
    counts = {(row["contig"], row["offset"]): (row["shards"], row["committed"]) for row in rows}
    assert counts == {("chr1", 0): (16, 16), ("chr1", 8): (16, 15), ("chr2", 0): (2, 2), ("chr2", 8): (2, 2)}


def test_verify_finds_a_flipped_byte_and_exits_1(store: Path, run: Run) -> None:
    ran = run("verify", store, "--crc")
    assert ran.status == 0
    assert ran.out.startswith("sound: 36 shards, ")
    path = store / layout.shard_key("demo", "chr1", 1, 3)
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    assert run("verify", store).status == 0, "sizes alone do not tell"
    ran = run("verify", store, "--crc")
    assert ran.status == 1
    assert (
        f"fault: {layout.shard_key('demo', 'chr1', 1, 3)}: its bytes are not those that were committed; "
        "`featurestore repair`" in ran.out
    )
    assert "NOT sound: 36 shards" in ran.out
    document = json.loads(run("verify", store, "--crc", "--json").out)
    assert (document["sound"], [fault["where"] for fault in document["faults"]]) == (
        False,
        [layout.shard_key("demo", "chr1", 1, 3)],
    )
    path.write_bytes(data[:-1])
    assert run("verify", store).status == 1


@pytest.mark.parametrize("place", ["chr1:500", "1:500", "chr1:5,00"])
def test_get_prints_the_window_as_a_table(store: Path, run: Run, place: str) -> None:
    ran = run("get", store, place, "--n-bins", 5)
    assert ran.status == 0
    header, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert header == ["contig", "start", "channel0", "channel1", "channel2"]
    window = featurestore.open(store)["demo"].window("chr1", 500, n_bins=5)
    assert [row[0] for row in rows] == ["chr1"] * 5
    assert [int(row[1]) for row in rows] == window.starts.tolist()
    np.testing.assert_array_equal(np.array([row[2:] for row in rows], dtype=np.float16), window.values)


def test_get_gives_the_same_window_in_every_form(store: Path, tmp_path: Path, run: Run) -> None:
    window = featurestore.open(store)["demo"].window("chr2", 3, n_bins=4)
    document = json.loads(run("get", store, "chr2:3", "--n-bins", 4, "--json").out)
    assert (document["contig"], document["centre"], document["residual"]) == ("chr2", 3, window.residual)
    assert document["channels"] == ["channel0", "channel1", "channel2"]
    np.testing.assert_array_equal(np.array(document["values"], dtype=np.float16), window.values)
    assert document["starts"] == window.starts.tolist()

    ran = run("get", store, "chr2:3", "--n-bins", 4, "--out", tmp_path / "w.npz")
    assert f"w.npz: 4 bins x 3 channels, residual {window.residual} bp" in ran.out.replace("\n", "")
    with np.load(tmp_path / "w.npz") as kept:
        np.testing.assert_array_equal(kept["values"], window.values)
        np.testing.assert_array_equal(kept["starts"], window.starts)
        assert kept["channels"].tolist() == document["channels"]
        assert kept["residual"] == window.residual

    assert run("get", store, "chr2:3", "--n-bins", 4, "--out", tmp_path / "w.tsv").status == 0
    assert (tmp_path / "w.tsv").read_text() == run("get", store, "chr2:3", "--n-bins", 4).out


def test_what_leaves_a_store_states_its_licence(built: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    window = ("get", built[0], "chr1:5", "--feature-set", "composition", "--n-bins", 1)
    ran = run(*window)
    assert (ran.err, len(ran.out.splitlines())) == ("licence: none needed\n", 2)
    assert json.loads(run(*window, "--json").out)["licence"] == "none needed"
    for file in (tmp_path / "w.tsv", tmp_path / "w.npz"):
        assert run(*window, "--out", file).out.endswith("licence: none needed\n")
    with np.load(tmp_path / "w.npz") as kept:
        assert kept["licence"] == "none needed"
    assert "licence of composition: none needed" in run("copy", built[0], tmp_path / "copy").out


def test_a_window_has_251_bins_unless_told(store: Path, run: Run) -> None:
    assert len(run("get", store, "chr1:5").out.splitlines()) == 1 + 251


def test_the_installed_command_reads_a_store(store: Path) -> None:
    ran = run_process("get", store, "chr1:500", "--feature-set", "demo", "--n-bins", 3)
    assert (ran.status, ran.err, len(ran.out.splitlines())) == (0, "", 4)


def test_the_installed_command_explains_itself_without_a_traceback(store: Path) -> None:
    ran = run_process("get", store, "chr1:500", "--feature-set", "sei")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert "Traceback" in run_process("get", store, "chr1:500", "--feature-set", "sei", FEATURESTORE_DEBUG="1").err


# Errors of the user


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["info", "{tmp}/none"], "no store at .*`featurestore build .* makes one", id="info, no store"),
        pytest.param(["status", "{tmp}/none"], "no store at .*`featurestore build", id="status, no store"),
        pytest.param(["verify", "{tmp}"], "no store at .*`featurestore build", id="verify, a folder"),
        pytest.param(["info", "{fasta}"], "is a file, and a store is a folder; name another place", id="info, a file"),
        pytest.param(["info", "s4://a/b"], "Protocol not known: s4", id="info, no such scheme"),
        pytest.param(["get", "{store}", "sei", "chr1:5"], "no feature set 'sei'; it has demo", id="no such set"),
        pytest.param(["get", "{store}", "demo", "chr9:5"], "no contig 'chr9'; it has chr1, chr2", id="no such contig"),
        pytest.param(["get", "{store}", "demo", "chr1"], "as in chr1:1000000; got 'chr1'", id="no position"),
        pytest.param(["get", "{store}", "demo", ":5"], "as in chr1:1000000; got ':5'", id="no contig"),
        pytest.param(["get", "{store}", "demo", "chr1:-5"], "got 'chr1:-5'", id="negative position"),
        pytest.param(["get", "{store}", "demo", "chr1:1000"], "bases are 0 to 999", id="past the contig"),
        pytest.param(["get", "{store}", "demo", "chr1:5", "--n-bins", "0"], "at least 1 bin", id="no bins"),
        pytest.param(
            ["get", "{store}", "demo", "chr1:5", "--out", "w.csv"], "takes .npz or .tsv, got .*/w.csv", id="csv"
        ),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{tmp}/no.fa"], "no FASTA file at .*give the path", id="no FASTA"
        ),
        pytest.param(["build", "{tmp}/new", "--fasta", "{empty}"], "is empty.*fetch it again", id="empty FASTA"),
        pytest.param(["plan", "{tmp}/new", "--fasta", "{empty}"], "is empty.*fetch it again", id="plan, empty FASTA"),
        pytest.param(
            ["get", "{store}", "demo", "chr1:5", "--json", "--out", "w.tsv"], "--json prints", id="json and a file"
        ),
        pytest.param(
            ["plan", "{tmp}/new", "--fasta", "{fasta}", "--bins-per-second", "0"], "above 0; got 0", id="plan, no speed"
        ),
        pytest.param(["plan", "{tmp}/new", "--fasta", "{fasta}", "--contigs", ","], "leave the option out", id="none"),
        pytest.param(["build", "{tmp}/new", "--fasta", "{fasta}", "--device", "tpu"], "cuda:N; got 'tpu'", id="device"),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{fasta}", "--extractor", "sei", "--precision", "fp8"],
            r"fp32\|tf32\|bf16",
            id="precision",
        ),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{fasta}", "--extractor", "builders.testing:Nope"],
            "cannot be loaded as module:factory",
            id="no such factory",
        ),
        pytest.param(["build", "{store}", "--fasta", "{fasta}", "--workers", "0"], "at least 1 worker", id="no worker"),
        pytest.param(["build", "{tmp}/new"], "give the genome, `--fasta FILE`", id="no genome"),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{fasta}", "--extractor", "enformer"],
            "no extractor is called 'enformer'; installed are bases, ",
            id="no such extractor",
        ),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{fasta}", "--extractor", "nowhere:make"],
            "No module named 'nowhere'",
            id="no such module",
        ),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{fasta}", "--extractor", "sei"],
            r"weights has to be set \(path\): sei\.pth as published",
            id="no weights",
        ),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{fasta}", "--offsets", "0,x"],
            r"`--offsets` is \[int, \.\.\.\]; got '0,x'",
            id="offset that is no number",
        ),
        pytest.param(
            ["plan", "{tmp}/new", "--fasta", "{fasta}", "--offsets", "5000"],
            "the same tiling has offset 904",
            id="offset past the bin",
        ),
        pytest.param(
            ["plan", "{tmp}/new", "--fasta", "{fasta}", "--contigs", "chr99"],
            "no contig 'chr99'; it has chr1, chr2",
            id="contig that the FASTA lacks",
        ),
        pytest.param(
            ["plan", "{tmp}/new", "--fasta", "{fasta}", "--bin-size", "0"], "at least 1; got 0", id="no bases"
        ),
        pytest.param(
            ["plan", "{tmp}/new", "--fasta", "{fasta}", "--shard-bins", "0"], "at least 1 bin", id="no bins a shard"
        ),
        pytest.param(
            ["build", "{tmp}/new", "--fasta", "{fasta}", "--workers", "0"], "at least 1 worker, got 0", id="no workers"
        ),
        pytest.param(
            ["build", "{empty}", "--fasta", "{fasta}"], "empty.fa is a file, and a store is a folder", id="a file"
        ),
        pytest.param(
            ["simulate", "{tmp}/new", "--density", "human", "--contig-length", "90000"],
            "`--density` and `--contig-length` both say how long the contigs are; give one of them",
            id="two lengths of a contig",
        ),
        pytest.param(
            ["build", "{store}", "--fasta", "{fasta}"], "first differ at chr1.*store of its own", id="another assembly"
        ),
    ],
)
def test_a_mistake_is_explained_in_one_line_with_the_mend_and_exits_2(
    store: Path, fasta: Path, tmp_path: Path, run: Run, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.fa").touch()
    names = {"tmp": tmp_path, "store": store, "fasta": fasta, "empty": tmp_path / "empty.fa"}
    ran = run(*(argument.format(**names) for argument in arguments))
    assert (ran.status, ran.out) == (2, "")
    *stages, line = ran.err.splitlines()  # a stage is named where it lasted
    assert line.startswith("error: ")
    assert all(stage.startswith("build: ") for stage in stages)
    assert re.search(message, line), ran.err
    assert not (tmp_path / "new").exists(), "a mistake left the beginning of a store"


def test_a_build_with_other_settings_is_refused(built: tuple[Path, Ran], fasta: Path, run: Run) -> None:
    ran = run("build", built[0], "--fasta", fasta, *SETTINGS, *ON_CPU, "--precision", "bf16")
    assert ran.status == 2
    assert re.search(r"^error: .* already has 'composition' with fingerprint .*another store", ran.err), ran.err


def test_a_shard_that_is_missing_or_damaged_is_never_printed_as_values(store: Path, run: Run) -> None:
    key = layout.shard_key("demo", "chr1", 0, 0)
    whole = (store / key).read_bytes()
    (store / key).write_bytes(whole[: len(whole) // 2])
    ran = run("get", store, "chr1:8", "--n-bins", 1)
    assert (ran.status, ran.out) == (2, "")
    assert re.search("^error: .*featurestore verify", ran.err), ran.err
    (store / layout.commit_key("demo", "chr1", 0, 0)).unlink()
    ran = run("get", store, "chr1:8", "--n-bins", 1)
    assert (ran.status, ran.out) == (2, "")
    assert re.search("^error: demo is not built for chr1 bins 0-3.*`featurestore build .* --contigs chr1", ran.err), (
        ran.err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["get", "{store}"], "Missing argument 'CONTIG:POSITION'"),
        (["get", "{store}", "demo", "chr1:5", "--n-bins", "three"], "--n-bins.*valid integer"),
        (["get", "{store}", "demo", "chr1:5", "--bins", "3"], "No such option: --bins"),
        (["build", "{store}", "--shard-bins", "many"], "--shard-bins.*valid integer"),
    ],
)
def test_a_wrong_option_shows_the_usage_and_exits_2(store: Path, run: Run, arguments: list[str], message: str) -> None:
    ran = run(*(argument.format(store=store) for argument in arguments))
    assert ran.status == 2
    assert ran.err.startswith("Usage: ")
    assert re.search(message, ran.err), ran.err


# Help


def test_the_command_without_a_verb_lists_the_verbs(run: Run) -> None:
    for ran in (run(), run("--help")):
        shown = ran.out + ran.err
        assert {"info", "status", "verify", "get", "plan", "build"} <= {
            line.split()[0] for line in shown.splitlines() if line
        }
    assert run("--help").status == 0


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("info", ["local path, s3://bucket/prefix, or any fsspec URL"]),
        ("status", ["Exits 1 while any shard is missing"]),
        ("verify", ["--crc", "Exits 0 only when it is"]),
        ("get", ["0-based bp", "chr1:1000000", "Bins of the window. [default: 251]", ".npz or .tsv"]),
        ("plan", ["Bases a bin (bp). [default: 4096]", "bins/s", "writes nothing", "[default: motif]"]),
        ("build", ["Bases a bin (bp). [default: 4096]", "bp. [default: 0]", "[default: 16384, or 67 Mbp"]),
    ],
)
def test_the_help_of_each_verb_gives_units_and_defaults(
    run: Run, monkeypatch: pytest.MonkeyPatch, verb: str, words: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ran = run(verb, "--help")
    assert ran.status == 0
    shown = " ".join(ran.out.split())
    assert [word for word in words if word not in shown] == []


def test_every_option_of_every_verb_says_what_it_is_for(run: Run) -> None:
    run("--help")  # adds the verbs of the other packages
    group = typer.main.get_command(cli.app)
    commands = group.commands  # type: ignore[attr-defined]  # a group, as it has verbs
    silent = [
        f"{verb} {option.name}"
        for verb, command in commands.items()
        for option in command.params
        if not (option.help or option.hidden)
    ]
    assert silent == []
    assert [verb for verb, command in commands.items() if not command.help] == []


def test_a_copied_store_is_the_same_store(built: tuple[Path, Ran], tmp_path: Path, run: Run) -> None:
    shutil.copytree(built[0], tmp_path / "copy")
    assert run("verify", tmp_path / "copy", "--crc").status == 0
    place = ("composition", "chr1:9000", "--n-bins", 9)
    assert run("get", tmp_path / "copy", *place).out == run("get", built[0], *place).out
