"""A build writes what the extractor says of each bin's own sequence, once, and goes on where it stopped."""

import contextlib
import shutil
import socket
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import featurestore
from builders.execution.source_spec import describe_source
from builders.extractors.base import ExtractorOptions, load_extractor
from builders.extractors.sequence import bases, is_unknown, span_sequences
from builders.extractors.source import ExtractorSource
from builders.plan import describe, make_plan, plan_build
from builders.request import BuildRequest
from builders.run import build, run_build
from builders.source import Span, pad_rows
from builders.testing import CompositionExtractor
from catalog import Assembly, AssemblyMismatch, Channel, Fasta, FastaError, Grid, UnknownContig
from catalog.runtime.plugins import UnfitPlugin
from featurestore import FingerprintMismatch, NotBuilt, verify
from featurestore.testing import grids, random_sequences, write_fasta

COMPOSITION = "builders.testing:CompositionExtractor.from_options"
LENGTHS = {"chr1": 5003, "chr2": 640, "short": 5}
OPTIONS = ExtractorOptions(bin_size=16, device="cpu")


@pytest.fixture(scope="module")
def sequences() -> dict[str, str]:
    made = random_sequences(LENGTHS, seed=3)
    made["chr2"] = "n" * 200 + made["chr2"][200:].lower()
    return made


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory, sequences: dict[str, str]) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "tiny.fa", sequences)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, fasta: Path) -> Path:
    path = tmp_path_factory.mktemp("build") / "tiny.store"
    report = build(
        str(path), fasta=fasta, extractor=COMPOSITION, options=OPTIONS, offsets=(0, 5), workers=2, shard_bins=256
    )
    assert report.is_complete
    assert report.built == report.planned == 2 * 2 + 2 + 2
    return path


def by_hand(sequences: dict[str, str], contig: str, start: int) -> list[int]:
    held = [sequences[contig][p].upper() if 0 <= p < LENGTHS[contig] else "N" for p in range(start, start + 16)]
    return [held.count(base) for base in "ACGTN"]


@given(st.sampled_from(sorted(LENGTHS)), st.floats(0, 0.999), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_a_window_of_the_store_is_the_extractor_on_that_sequence(
    built: Path, sequences: dict[str, str], contig: str, share: float, n_bins: int
) -> None:
    store = featurestore.open(built)
    window = store["composition"].window(contig, int(share * LENGTHS[contig]), n_bins=n_bins)
    assert window.values.tolist() == [by_hand(sequences, contig, int(start)) for start in window.starts]
    length = store["length"].window(contig, int(share * LENGTHS[contig]), n_bins=n_bins)
    np.testing.assert_array_equal(length.values[:, 0], window.values[:, :4].sum(axis=1))


def test_running_a_build_again_computes_nothing_and_a_lost_record_only_its_shard(
    built: Path, fasta: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.store"
    shutil.copytree(built, copy)
    settings = {"fasta": fasta, "extractor": COMPOSITION, "options": OPTIONS, "offsets": (0, 5), "shard_bins": 256}
    again = build(str(copy), **settings)
    assert (again.built, again.extractor_calls, again.is_complete) == (0, 0, True)
    for record in copy.glob("commits/*/chr1/1-0.json"):
        record.unlink()
    with pytest.raises(NotBuilt):
        featurestore.open(copy)["composition"].window("chr1", 3, n_bins=1)
    mended = build(str(copy), **settings)
    assert (mended.built, mended.bins, mended.is_complete) == (1, 256, True)
    for path in built.rglob("c/*/*/0"):
        assert (copy / path.relative_to(built)).read_bytes() == path.read_bytes()


def test_contigs_and_phases_can_be_added_and_what_is_there_stays(fasta: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "s")
    first = build(url, fasta=fasta, extractor=COMPOSITION, options=OPTIONS, contigs=["2"], workers=1)
    assert (first.planned, first.is_complete) == (1, True)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("c/*/*/0")}
    more = build(url, fasta=fasta, extractor=COMPOSITION, options=OPTIONS, offsets=(7,), workers=1)
    assert more.is_complete
    store = featurestore.open(url)
    assert store.feature_set("composition").offsets == (0, 7)
    assert {path: path.read_bytes() for path in kept} == kept
    with pytest.raises(NotBuilt, match="--contigs chr1"):
        store["composition"].window("chr1", 8, n_bins=1)
    assert store["composition"].window("chr1", 1, n_bins=1).residual == 0
    assert verify(store, crc=True).is_sound


def test_letters_read_as_others_are_said_by_the_plan_and_the_report(tmp_path: Path) -> None:
    dna = random_sequences({"chr1": 300})["chr1"]
    path = write_fasta(tmp_path / "rna.fa", {"chr1": dna.replace("T", "U") + "RY"})
    notes = (f"U is read as T ({dna.count('T')} bases)", "2 IUPAC codes count as N (R 1, Y 1)")
    request = BuildRequest(fasta=str(path), extractor=COMPOSITION, bin_size=16, device="cpu", workers=1)
    assert plan_build(str(tmp_path / "s"), request).notes == notes
    report = run_build(str(tmp_path / "s"), request)
    assert (report.is_complete, report.notes, report.to_json()["notes"]) == (True, notes, list(notes))
    first = featurestore.open(tmp_path / "s")["composition"].window("chr1", 8, n_bins=1)
    assert first.values.tolist() == [[dna[:16].count(base) for base in "ACGTN"]]


def test_a_contig_named_twice_is_planned_and_counted_once(fasta: Path, tmp_path: Path) -> None:
    request = BuildRequest(fasta=str(fasta), extractor=COMPOSITION, bin_size=16, contigs=("chr1", "1", "chr1"))
    once = replace(request, contigs=("chr1",))
    assert plan_build(str(tmp_path / "s"), request).to_json() == plan_build(str(tmp_path / "s"), once).to_json()


def test_a_poisoned_shard_is_reported_and_the_rest_is_built(tmp_path: Path) -> None:
    sequences = random_sequences({"good": 600, "bad": 9000}, seed=1)
    sequences["bad"] = sequences["bad"][:5000] + "X" + sequences["bad"][5001:]
    path = write_fasta(tmp_path / "x.fa", sequences)
    report = build(str(tmp_path / "s"), fasta=path, extractor=COMPOSITION, options=OPTIONS, workers=1, shard_bins=256)
    assert not report.is_complete
    assert list(report.failed) == ["bad phase 0 shard 1 (bins 256-511)"]
    assert "holds an X" in report.failed["bad phase 0 shard 1 (bins 256-511)"]
    assert report.built == report.planned - 1
    store = featurestore.open(tmp_path / "s")
    assert np.isfinite(store["composition"].window("bad", 16 * 530, n_bins=3).values).all()
    with pytest.raises(NotBuilt):
        store["composition"].window("bad", 5000, n_bins=3)


def test_a_shard_that_failed_once_is_built_at_the_end(
    tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flaky_composition.py").write_text(
        "from pathlib import Path\n"
        "from builders.testing import CompositionExtractor\n"
        f"MARK = Path({str(tmp_path / 'failed')!r})\n"
        "class Flaky(CompositionExtractor):\n"
        "    def __call__(self, sequence):\n"
        "        if len(sequence) == 7 and not MARK.exists():\n"
        "            MARK.touch()\n"
        "            raise OSError('the disk was full')\n"
        "        return super().__call__(sequence)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = build(
        str(tmp_path / "s"),
        fasta=fasta,
        extractor="flaky_composition:Flaky.from_options",
        options=OPTIONS,
        workers=1,
        shard_bins=256,
    )
    assert (tmp_path / "failed").exists()
    assert report.is_complete
    assert report.failed == {}


def test_a_second_build_on_the_machine_is_not_in_the_way(fasta: Path, tmp_path: Path) -> None:
    settings = {"fasta": fasta, "extractor": COMPOSITION, "options": OPTIONS, "workers": 1, "contigs": ["chr2"]}
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # taken already, which serves as well
            stack.enter_context(socket.create_server(("", 8787)))
        assert build(str(tmp_path / "s"), **settings).is_complete


def test_refining_adds_the_phases_between_and_keeps_what_is_there(fasta: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "s")
    settings = {"fasta": fasta, "extractor": COMPOSITION, "options": OPTIONS, "workers": 1, "contigs": ["chr2"]}
    with pytest.raises(ValueError, match="without `refine=True` first"):
        build(url, refine=True, **settings)
    build(url, **settings)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("c/*/*/0")}
    assert build(url, refine=True, **settings).built == 1
    assert build(url, refine=True, **settings).built == 2
    store = featurestore.open(url)
    assert store.feature_set("composition").offsets == (0, 8, 4, 12)
    assert max(abs(store["composition"].window("chr2", c, n_bins=3).residual) for c in range(100, 140)) == 2
    assert {path: path.read_bytes() for path in kept} == kept


def test_input_that_does_not_fit_the_store_is_refused(built: Path, fasta: Path, tmp_path: Path) -> None:
    other = write_fasta(tmp_path / "other.fa", random_sequences(LENGTHS, seed=9))
    with pytest.raises(AssemblyMismatch, match="store of its own"):
        build(str(built), fasta=other, extractor=COMPOSITION, options=OPTIONS)
    with pytest.raises(FingerprintMismatch, match="another store"):
        build(str(built), fasta=fasta, extractor=COMPOSITION, options=OPTIONS, settings={"precision": "bf16"})
    with pytest.raises(UnknownContig, match="it has chr1, chr2, short"):
        build(str(built), fasta=fasta, extractor=COMPOSITION, options=OPTIONS, contigs=["chr7"])
    with pytest.raises(ValueError, match=r"installed are .*motif.*module:factory"):
        build(str(built), fasta=fasta, extractor="enformer", options=OPTIONS)
    with pytest.raises(ValueError, match=r"same tiling has offset 4"):
        build(str(built), fasta=fasta, extractor=COMPOSITION, options=OPTIONS, offsets=(20,))
    (tmp_path / "empty.fa").touch()
    with pytest.raises(FastaError, match="is empty"):
        build(str(tmp_path / "none"), fasta=tmp_path / "empty.fa", extractor=COMPOSITION, options=OPTIONS)
    assert not (tmp_path / "none").exists()


def test_the_plan_counts_what_the_build_then_writes(built: Path, fasta: Path) -> None:
    assembly = Assembly.from_fasta(fasta)
    sets = describe(CompositionExtractor(16), Grid(bin_size=16, offsets=(0, 5)), shard_bins=256)
    plan = make_plan(sets, assembly, assembly.lengths, offsets=(0, 5))
    assert plan.n_bins == plan.bins_todo == sum(-(-(n + o) // 16) for n in LENGTHS.values() for o in (0, 5))
    files = [path for path in built.rglob("*") if path.is_file()]
    assert plan.objects == len(files)
    assert plan.bytes == plan.n_bins * 6 * 2
    assert plan.hours(10.0) == pytest.approx(plan.n_bins / 36000)
    resumed = make_plan(sets, assembly, assembly.lengths, offsets=(0, 5), store=featurestore.open(built))
    assert (resumed.todo, resumed.tasks) == ((), plan.tasks)


def test_sets_of_one_pass_share_their_shards_whatever_their_width() -> None:
    class Wide(CompositionExtractor):
        @property
        def channels(self):  # type: ignore[no-untyped-def]
            return {"narrow": super().channels["length"], "wide": super().channels["composition"] * 1}

    sets = describe(Wide(16), Grid(bin_size=16), shard_bins=1000)
    assert len({item.shard_bins for item in sets}) == 1
    assert all(item.shard_bins % item.chunk_bins == 0 for item in sets)
    with pytest.raises(ValueError, match="at least 1 bin"):
        describe(Wide(16), Grid(bin_size=16), shard_bins=0)


@given(grids(max_bin_size=12), st.integers(1, 60), st.integers(1, 30), st.data())
@settings(max_examples=60, deadline=None)
def test_bin_sequences_are_the_bases_around_each_bin_centre(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, length: int, input_length: int, data: st.DataObject
) -> None:
    sequence = random_sequences({"c": length}, seed=length)
    path = write_fasta(tmp_path_factory.mktemp("s") / "s.fa", sequence, width=7)
    phase = data.draw(st.integers(0, len(grid.offsets) - 1))
    n_bins = grid.n_bins(length, phase)
    first = data.draw(st.integers(0, n_bins - 1))
    with Fasta(path) as fasta:
        span = Span("c", grid.span(phase, first)[0], n_bins - first)
        found = span_sequences(fasta, [span], grid.bin_size, input_length)
    for row, index in zip(found, range(first, n_bins), strict=True):
        start = grid.span(phase, index)[0] + grid.bin_size // 2 - input_length // 2
        expected = "".join(sequence["c"][p] if 0 <= p < length else "N" for p in range(start, start + input_length))
        assert row.tobytes().decode() == expected


def test_sequence_wholly_outside_is_all_n(fasta: Path) -> None:
    with Fasta(fasta) as opened:
        assert bases(opened, "short", -20, -4).tobytes() == b"N" * 16
        assert bases(opened, "short", 5, 9).tobytes() == b"NNNN"
    assert is_unknown(np.frombuffer(b"NnNNACGNNNNN", dtype=np.uint8).reshape(3, 4)).tolist() == [True, False, True]


def test_an_extractor_that_breaks_its_promise_is_named(fasta: Path) -> None:
    class Broken(CompositionExtractor):
        result: np.ndarray

        def __call__(self, sequence: np.ndarray) -> dict[str, np.ndarray]:
            return {**super().__call__(sequence), "length": self.result}

    extractor = Broken(16)
    with Fasta(fasta) as genome:
        source = ExtractorSource(extractor, genome, bin_size=16)
        extractor.result = np.full((1, 1), np.nan)
        with pytest.raises(ValueError, match=r"NaN or infinity in 'length'.*check its weights"):
            pad_rows(source)
        extractor.result = np.zeros((1, 2))
        with pytest.raises(ValueError, match=r"gave \(1, 2\) for 'length', expected shape \(1, 1\)"):
            source.pad()


class AlmostAnExtractor:
    """All but two of the members; `fingerprint` would raise if it were asked."""

    name, input_length, batch_size, flops_per_bin, citation = "almost", 16, 8, 0.0, ""
    channels: ClassVar[dict[str, tuple[Channel, ...]]] = {}
    options: ClassVar[dict[str, object]] = {}

    def __init__(self, options: ExtractorOptions) -> None:
        pass

    @property
    def fingerprint(self) -> str:
        raise FileNotFoundError("no weights")


def test_what_is_almost_an_extractor_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("almost")
    module.almost, module.number = AlmostAnExtractor, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "almost", module)
    with pytest.raises(UnfitPlugin, match=r"almost makes a AlmostAnExtractor, .* it lacks __call__, licence; add what"):
        load_extractor("almost:almost", OPTIONS)
    with pytest.raises(UnfitPlugin, match=r"number cannot be called .*name a function or class"):
        load_extractor("almost:number", OPTIONS)
    with pytest.raises(UnfitPlugin, match=r"getcwd cannot be called with the options .*takes no arguments|too many"):
        load_extractor("os:getcwd", OPTIONS)


def test_a_contig_whose_folder_would_have_too_long_a_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    names = ["c" * 255, "d" * 256, "\N{GREEK SMALL LETTER BETA}" * 43]
    path = write_fasta(tmp_path / "long.fa", random_sequences(dict.fromkeys(names, 64)))
    request = {"fasta": str(path), "extractor": COMPOSITION, "bin_size": 16}
    for name in names[1:]:
        for run in (plan_build, run_build):
            with pytest.raises(
                ValueError, match=rf"the contig '{name[:40]}'\.\.\. has .* \d+ bytes, and 255 is the most"
            ):
                run(str(tmp_path / "s"), BuildRequest(contigs=(names[0], name), **request))  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == [path]
    plan = plan_build(str(tmp_path / "s"), BuildRequest(contigs=(names[0],), **request))  # type: ignore[arg-type]
    assert len(plan.todo) == 1


def test_a_genome_on_standard_input_is_named_by_its_file(fasta: Path, tmp_path: Path) -> None:
    # A worker's standard input is another; a shell's `< genome.fa` is a file that all can read.
    with fasta.open("rb") as file:
        place = f"/dev/fd/{file.fileno()}"
        spec = describe_source(BuildRequest(fasta=place, extractor=COMPOSITION, bin_size=16))
    assert spec.genome is not None
    assert spec.genome.url == str(fasta)
