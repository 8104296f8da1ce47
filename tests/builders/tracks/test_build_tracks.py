"""Tracks are built, resumed, verified and read as any feature set; the commands are thin."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bigwig_files import per_base, write_bigwig
from tiny_s3 import TinyS3

import featurestore
from builders import plan_build, run_build
from builders.anchored.run_anchors import run_anchor_build
from builders.execution.recompute import recompute
from builders.tracks import TrackAnchorRequest, TrackRequest
from featurestore import FingerprintMismatch, NotBuilt, verify
from featurestore.anchored.reader import open_anchored
from featurestore.cli.main import main
from featurestore.testing import random_sequences, write_fasta
from featurestore.testing.fault_proxy import ACCESS_DENIED, EXPIRED_TOKEN, FaultProxy, Refusal

LENGTHS = {"chr1": 200_003, "chr2": 1_000}
RNG = np.random.default_rng(1)
EDGES = np.sort(RNG.choice(200_003, 4_000, replace=False))
INTERVALS = {
    "acc": {
        "chr1": [
            (int(a), int(b), float(v))
            for a, b, v in zip(EDGES[::2], EDGES[1::2], RNG.integers(1, 90, 2_000), strict=True)
        ],
        "chr2": [(100, 200, 8.0)],
    },
    "minus": {"chr1": [(500, 90_000, -0.5), (190_000, 200_003, -3.25)]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tracks")
    write_fasta(made / "g.fa", random_sequences(LENGTHS))
    for name, intervals in INTERVALS.items():
        write_bigwig(made / f"{name}.bw", LENGTHS, intervals)
    return made


def tracks(folder: Path) -> list[str]:
    return [word for name in INTERVALS for word in ("--track", f"{name}={folder / f'{name}.bw'}")]


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    asked = ["build-tracks", str(folder / "s"), "--fasta", str(folder / "g.fa"), *tracks(folder), "--workers", "1"]
    assert main(asked) == 0
    coarse = ["--feature-set", "coarse", "--bin-size", "32", "--summary", "max", "--transform", "arcsinh"]
    assert main([*asked, *coarse, "--dtype", "float32", "--offsets", "0,16"]) == 0
    return folder / "s"


def request(folder: Path, **chosen: Any) -> TrackRequest:
    given = {name: str(folder / f"{name}.bw") for name in INTERVALS}
    return TrackRequest(**{"tracks": given, "workers": 1, **chosen})


def test_every_base_of_every_contig_is_read_back_as_the_files_have_it(store: Path) -> None:
    reader = featurestore.open(store)["tracks"]
    assert (reader.channel_names, reader.feature_set.dtype, reader.feature_set.bin_size) == (
        tuple(INTERVALS),
        "float16",
        1,
    )
    for contig, length in LENGTHS.items():
        window = reader.window(contig, length // 2, n_bins=length + 40)
        first = int(window.starts[0])
        for column, name in enumerate(INTERVALS):
            expected = np.zeros(length + 40)
            expected[-first : length - first] = np.nan_to_num(per_base(INTERVALS[name].get(contig, []), length))
            np.testing.assert_array_equal(window.values[:, column], expected.astype(np.float16))


def test_coarse_bins_lie_on_their_phases(store: Path) -> None:
    reader = featurestore.open(store)["coarse"]
    bases = np.nan_to_num(per_base(INTERVALS["acc"]["chr1"], 200_003))
    for centre in (40_000, 40_016, 123_456):
        window = reader.window("chr1", centre, n_bins=20)
        expected = [np.arcsinh(bases[start : start + 32].max()) for start in window.starts]
        np.testing.assert_allclose(window.values[:, 0], expected, rtol=1e-6)
        assert abs(window.residual) <= 8


def test_it_is_sound_recomputed_from_its_record_and_a_second_build_computes_nothing(store: Path, folder: Path) -> None:
    opened = featurestore.open(store)
    assert verify(opened, crc=True).is_sound
    assert recompute(opened, 2_000) == []
    again = run_build(str(store), request(folder))
    assert (again.built, again.is_complete) == (0, True)
    assert again.source_notes == ()


@pytest.mark.slow
def test_what_is_not_built_names_the_verb_that_builds_it(folder: Path, tmp_path: Path) -> None:
    one = request(folder, fasta=str(folder / "g.fa"), contigs=("chr2",), bin_size=32)
    assert run_build(str(tmp_path / "s"), one).is_complete
    command = r"`featurestore build-tracks .*/s --track NAME=FILE --feature-set tracks --bin-size 32 --contigs chr1"
    with pytest.raises(NotBuilt, match=command):
        featurestore.open(tmp_path / "s")["tracks"].window("chr1", 500, n_bins=3)


def test_other_options_or_another_file_are_another_set(store: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FingerprintMismatch):
        run_build(str(store), request(folder, transform="arcsinh"))
    changed = write_bigwig(tmp_path / "acc.bw", LENGTHS, {"chr1": [(0, 9, 1.0)]})
    given = {"acc": str(changed), "minus": str(folder / "minus.bw")}
    plan_build(str(tmp_path / "new"), request(folder, fasta=str(folder / "g.fa")))
    with pytest.raises(FingerprintMismatch):
        plan_build(str(store), request(folder, tracks=given))


def test_the_plan_compares_the_genome_with_windows_around_genes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["plan-tracks", str(tmp_path / "s"), "--fasta", str(folder / "g.fa"), *tracks(folder)]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "tracks (2 channels) in bins of 1 bp" in shown
    assert f"at most {201_003 * 4:,} bytes" in shown
    assert "18,377 genes are 147,016,000 bytes, at most: recommended are whole contigs" in shown
    assert not (tmp_path / "s").exists()
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["anchored_bytes"] == 18_377 * 2_000 * 4


@pytest.mark.slow
def test_windows_around_anchors_are_built_from_the_files(folder: Path, tmp_path: Path) -> None:
    anchors = tmp_path / "tss.tsv"
    anchors.write_text("name\tcontig\tposition\na\tchr1\t70000\nb\tchr1\t70003\nc\tchr2\t1\n")
    wanted = request(folder, fasta=str(folder / "g.fa"))
    asked = TrackAnchorRequest(
        tracks=wanted.tracks, fasta=wanted.fasta, workers=1, anchors=anchors, name="tss", n_bins=201
    )
    report = run_anchor_build(str(tmp_path / "s"), asked)
    assert report.is_complete
    assert report.shared == 201 - 3
    windows = open_anchored(featurestore.open(tmp_path / "s"), "tracks", "tss").windows(["a", "b", "c"])[:, :, 0]
    bases = np.nan_to_num(per_base(INTERVALS["acc"]["chr1"], 200_003)).astype(np.float16)
    np.testing.assert_array_equal(windows[:2], [bases[69_900:70_101], bases[69_903:70_104]])
    assert windows[2].tolist() == [0] * 199 + [8, 8]


@pytest.mark.slow
def test_a_value_that_float16_cannot_hold_is_refused_by_track_and_value(folder: Path, tmp_path: Path) -> None:
    big = write_bigwig(tmp_path / "big.bw", LENGTHS, {"chr1": [(5, 9, 1e6)]})
    asked = request(folder, tracks={"big": str(big)}, fasta=str(folder / "g.fa"), contigs=("chr1",))
    report = run_build(str(tmp_path / "s"), asked)
    (reason,) = report.failed.values()
    assert "channel 'big' of row 5 is 1000000.0" in reason
    assert 'dtype="float32"' in reason


@pytest.mark.slow
def test_uint8_takes_whole_numbers_alone(folder: Path, tmp_path: Path) -> None:
    whole = request(folder, tracks={"acc": str(folder / "acc.bw")}, dtype="uint8", fasta=str(folder / "g.fa"))
    assert run_build(str(tmp_path / "s"), whole).is_complete
    assert featurestore.open(tmp_path / "s")["tracks"].window("chr2", 150, n_bins=3).values.tolist() == [[8]] * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--track", "acc={folder}/minus.bw"], "`--track` names acc more than once", id="a channel twice"),
        pytest.param(["--track", "x={folder}/none.bw"], "no bigWig at", id="no such file"),
        pytest.param(["--track", "x={folder}/g.fa"], "is no bigWig: it begins with", id="a FASTA"),
        pytest.param(["--track", "x={folder}/acc.bw"], "are the same file", id="a file twice"),
        pytest.param(["--transform", "log1p"], "take `--transform arcsinh`", id="negatives with log1p"),
        pytest.param(["--transform", "sqrt"], "none|log1p|arcsinh", id="no such transform"),
        pytest.param(["--bin-size", "0"], "bin_size", id="bins of nothing"),
    ],
)
def test_what_cannot_be_meant_ends_with_one_line_and_nothing_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    asked = ["build-tracks", str(tmp_path / "s"), "--fasta", str(folder / "g.fa"), *tracks(folder), "--workers", "1"]
    code = main([*asked, "--contigs", "chr2", *(word.format(folder=folder) for word in words)])
    told = capsys.readouterr().err
    assert code == 2
    assert message in told
    assert "Traceback" not in told
    assert not (tmp_path / "s").exists()


# At a URL


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    server = TinyS3()
    for name in INTERVALS:
        server.objects[f"{name}.bw"] = (folder / f"{name}.bw").read_bytes()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "1")
    yield server
    server.shutdown()
    server.server_close()


def at_s3(endpoint: str, folder: Path, **chosen: Any) -> TrackRequest:
    options = {"key": "k", "secret": "s", "endpoint_url": endpoint}
    places = {name: f"s3://bucket/{name}.bw" for name in INTERVALS}
    return request(folder, tracks=places, track_options=options, fasta=str(folder / "g.fa"), **chosen)


@pytest.mark.slow
def test_tracks_at_s3_are_those_on_the_disk(bucket: TinyS3, store: Path, folder: Path, tmp_path: Path) -> None:
    assert run_build(str(tmp_path / "s"), at_s3(bucket.url, folder)).is_complete
    here, there = featurestore.open(tmp_path / "s"), featurestore.open(store)
    assert here.feature_set("tracks").fingerprint == there.feature_set("tracks").fingerprint
    for shard in (store / "features/tracks").rglob("c/*/*/0"):
        assert (tmp_path / "s" / shard.relative_to(store)).read_bytes() == shard.read_bytes()
    whole = [path for path in bucket.paths if path.startswith("GET") and ".bw" in path]
    assert len(whole) == len(INTERVALS), "each file is requested once, and read from the cache then"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(ACCESS_DENIED, "Forbidden", id="revoked"),
        pytest.param(EXPIRED_TOKEN, "S3 answers so for a session token that has expired", id="expired"),
    ],
)
def test_credentials_that_expired_are_told_before_anything_is_written(
    bucket: TinyS3, folder: Path, tmp_path: Path, fault: Refusal, told: str
) -> None:
    with (
        FaultProxy(bucket.url, rule=lambda asked: fault) as proxy,
        pytest.raises(OSError, match=rf"acc\.bw cannot be read .*{told}.*storage options: key, secret"),
    ):
        run_build(str(tmp_path / "s"), at_s3(proxy.url, folder))
    assert not (tmp_path / "s").exists()
