"""Exported files hold what the store holds, and nothing where it holds nothing."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signal_stores import write_set

import featurestore
from catalog import Channel, FeatureSet, Grid
from featurestore.cli.main import main
from featurestore.export import ExportRequest, export
from featurestore.format import layout
from featurestore.format.commits import NotBuilt
from featurestore.store import Store, create
from featurestore.testing.fixtures import assembly_of, built_store, grids, random_sequences, values_of

LENGTHS = {"chr2": 1000, "chr1": 333, "HLA-A*01:01": 37, "empty": 5}


def by_base(store: Store, contig: str, channel: int, offset: int) -> np.ndarray:
    """Say what a track holds at each base, slowly: the value of the bin over it."""
    reader = store["demo"]
    made, length = reader.feature_set, reader.assembly.lengths[contig]
    rows = values_of(made, length, made.offsets.index(offset))[:, channel]
    return np.array([rows[(base + offset) // made.bin_size] for base in range(length)], dtype=np.float32)


@given(grid=grids(), data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tracks_hold_at_every_base_the_value_of_the_bin_over_it(
    grid: Grid, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("export")
    store = built_store(folder / "s", LENGTHS, grid)
    offset = data.draw(st.sampled_from(grid.offsets))
    for form, ending in (("bigwig", "bw"), ("bedgraph", "bedgraph")):
        done = export(store["demo"], ExportRequest(out=folder / form, format=form, offset=offset))
        assert [path.name for path in done.files] == [f"channel{number}.{ending}" for number in range(3)]
        assert done.n_bins == sum(grid.n_bins(length, grid.offsets.index(offset)) for length in LENGTHS.values())
    for number in range(3):
        track = pyBigWig.open(str(folder / "bigwig" / f"channel{number}.bw"))
        table = pl.read_csv(
            folder / "bedgraph" / f"channel{number}.bedgraph",
            separator="\t",
            has_header=False,
            new_columns=["contig", "start", "end", "value"],
            schema_overrides={"contig": pl.String, "value": pl.Float32},
        )
        assert track.chroms() == LENGTHS
        for contig, length in LENGTHS.items():
            wanted = by_base(store, contig, number, offset)
            np.testing.assert_array_equal(track.values(contig, 0, length, numpy=True), wanted)
            rows = table.filter(contig=contig)
            assert rows["start"].to_list() == [0, *rows["end"].to_list()[:-1]]
            np.testing.assert_array_equal(np.repeat(rows["value"], rows["end"] - rows["start"]), wanted)


@pytest.fixture
def partly(tmp_path: Path) -> Store:
    """A store whose demo set has one contig built, and whose odd set has channels of odd names."""
    store = built_store(tmp_path / "s", LENGTHS, Grid(bin_size=16), contigs=["chr1"])
    odd = FeatureSet(
        name="odd",
        extractor="odd",
        fingerprint="f-odd",
        channels=(Channel(name="a/b"), Channel(name="a b"), Channel(name="../up"), Channel(name="start")),
        bin_size=16,
        offsets=(0,),
        pad=(0.0, 0.0, 0.0, 0.0),
        chunk_bins=4,
        shard_bins=8,
        dtype="float32",
        licence="CC BY-NC 4.0",
    )

    def values(contig: str) -> np.ndarray:
        return np.arange(4 * odd.grid.n_bins(LENGTHS[contig]), dtype=np.float32).reshape(-1, 4) // 3

    write_set(store, odd, values)
    return featurestore.open(str(tmp_path / "s"))


def test_a_bin_that_was_never_built_is_a_gap(partly: Store, tmp_path: Path) -> None:
    done = export(partly["demo"], ExportRequest(out=tmp_path / "demo", format="bigwig"))
    track = pyBigWig.open(str(done.files[0]))
    assert track.chroms() == {"chr1": 333}
    assert done.n_missing == sum(-(-LENGTHS[contig] // 16) for contig in LENGTHS if contig != "chr1")
    with pytest.raises(NotBuilt, match="no bin of demo was built on chr2"):
        export(partly["demo"], ExportRequest(out=tmp_path / "none", format="bigwig", contigs=("chr2",)))
    assert not (tmp_path / "none").exists()


def test_parquet_holds_the_table_of_every_contig(partly: Store, tmp_path: Path) -> None:
    wanted = ("../up", "a b")
    done = export(partly["odd"], ExportRequest(out=tmp_path / "table", format="parquet", channels=wanted))
    assert all(path.parent == tmp_path / "table" for path in done.files)
    for contig, length in LENGTHS.items():
        found = pl.read_parquet(tmp_path / "table" / "*.parquet").filter(contig=contig)
        values = partly["odd"].to_xarray(contig, offset=0)["values"]
        assert found["start"].to_list() == values["start"].to_numpy().tolist()
        assert found["end"].to_list() == [*found["start"].to_list()[1:], length]
        np.testing.assert_array_equal(found.select(wanted).to_numpy(), values.sel(channel=list(wanted)))
    with pytest.raises(ValueError, match=r"called \['start'\]"):
        export(partly["odd"], ExportRequest(out=tmp_path / "other", format="parquet"))


def test_anndata_holds_bins_by_channels_and_says_where_they_are_from(partly: Store, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    out = tmp_path / "odd.h5ad"
    export(partly["odd"], ExportRequest(out=out, format="anndata", contigs=("chr1", "empty")))
    found = anndata.read_h5ad(out)
    assert list(found.var_names) == ["a/b", "a b", "../up", "start"]
    assert list(found.obs_names)[-2:] == ["chr1:320-333", "empty:0-5"]
    table = partly["odd"].to_xarray("chr1", offset=0)["values"].to_numpy()
    np.testing.assert_array_equal(found.X[:21], table)
    assert found.uns["featurestore"]["licence"] == "CC BY-NC 4.0"


def test_a_hub_names_files_that_are_there(partly: Store, tmp_path: Path) -> None:
    out = tmp_path / "hub"
    export(partly["odd"], ExportRequest(out=out, format="hub", email="a@example.org"))
    hub = dict(line.split(" ", 1) for line in (out / "hub.txt").read_text().splitlines())
    genomes = dict(line.split(" ", 1) for line in (out / hub["genomesFile"]).read_text().splitlines())
    tracks = (out / genomes["trackDb"]).read_text().strip().split("\n\n")
    assert (hub["email"], genomes["genome"], len(tracks)) == ("a@example.org", "tiny", 4)
    names = set()
    for track in tracks:
        lines = dict(line.split(" ", 1) for line in track.splitlines())
        assert lines["track"].replace("_", "").isalnum()
        names.add(lines["track"])
        assert pyBigWig.open(str(out / "tiny" / lines["bigDataUrl"])).isBigWig()
    assert len(names) == 4


def test_channels_of_one_file_name_are_told_apart_and_none_leaves_the_folder(partly: Store, tmp_path: Path) -> None:
    done = export(partly["odd"], ExportRequest(out=tmp_path / "t", format="bedgraph"))
    assert [path.name for path in done.files] == ["a_b-0.bedgraph", "a_b-1.bedgraph", "_up.bedgraph", "start.bedgraph"]
    assert {path.name for path in (tmp_path / "t").iterdir()} == {"export.json", *(path.name for path in done.files)}


def test_what_is_finished_is_not_written_again_and_another_export_is_refused(partly: Store, tmp_path: Path) -> None:
    request = ExportRequest(out=tmp_path / "t", format="bedgraph")
    done = export(partly["odd"], request)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in done.files}
    lost = done.files[1]
    lost.unlink()
    export(partly["odd"], request)
    assert lost.read_bytes() == before[lost][0]
    assert all(path.stat().st_mtime_ns == before[path][1] for path in done.files if path != lost)
    with pytest.raises(ValueError, match=r"holds another export: channels, format differ"):
        export(partly["odd"], ExportRequest(out=tmp_path / "t", format="bigwig", channels=("a/b",)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(ValueError, match="is not empty, and no export"):
        export(partly["odd"], ExportRequest(out=tmp_path / "mine", format="bedgraph"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "bed"], "`--format` is one of bigwig, bedgraph, parquet, anndata, hub"),
        (["--format", "bigwig", "--channels", "c"], "no channel c; `--channels` are of a/b, a b, ../up, start"),
        (["--format", "bigwig", "--contigs", "chr9"], "chr9"),
        (["--format", "bigwig", "--offset", "8"], "no phase with offset 8; it has 0"),
        (["--format", "anndata"], "a file that ends in .h5ad"),
        (["--format", "hub"], "give `--email`"),
        (["--format", "bigwig", "--email", "a@example.org"], "`--email` goes with"),
        (["--format", "bigwig", "--overlay", "NA12878/1"], "NA12878/1"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    words: list[str], said: str, partly: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", partly.url, "--feature-set", "odd", *words, f"--out={out}"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_the_command_says_what_it_wrote_what_is_missing_and_the_licence(
    partly: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", partly.url, "--set", "odd", "--format", "bedgraph", f"--out={tmp_path / 't'}"]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 't'}: 4 files, 88 bins of odd" in printed
    assert "licence: CC BY-NC 4.0" in printed
    assert main(["export", partly.url, "--set", "demo", "--format", "bedgraph", f"--out={tmp_path / 'd'}"]) == 0
    assert "bins were never built, and are left out" in capsys.readouterr().out
    assert json.loads((tmp_path / "d" / "export.json").read_text())["bins never built"] > 0


def test_a_store_of_several_phases_says_which_one_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = built_store(tmp_path / "s", {"chr1": 100}, Grid(bin_size=16, offsets=(0, 8)))
    assert main(["export", store.url, "--format", "bedgraph", "--offset", "8", f"--out={tmp_path / 't'}"]) == 0
    assert "the phase with offset 8 bp (others: 0)" in capsys.readouterr().out


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    store = create(tmp_path / "s", assembly_of(random_sequences({"chr1": 100})))
    with pytest.raises(NotBuilt):
        export(store["demo"], ExportRequest(out=tmp_path / "t", format="bedgraph"))


def read_back(form: str, out: Path, contig: str, channel: int) -> list[tuple[int, int, float]]:
    """Read the intervals of one channel on a contig as another tool does: start, end (bp), value."""
    if form in ("bigwig", "hub"):
        (file,) = out.glob(f"{'tiny/' if form == 'hub' else ''}channel{channel}.bw")
        track = pyBigWig.open(str(file))
        return list(track.intervals(contig)) if contig in track.chroms() else []
    if form == "bedgraph":
        lines = (out / f"channel{channel}.bedgraph").read_text().splitlines()
        rows = [line.split("\t") for line in lines if line.startswith(f"{contig}\t")]
        return [(int(start), int(end), float(np.float32(value))) for _, start, end, value in rows]
    if form == "parquet":
        table = pl.read_parquet(out / "*.parquet").filter(contig=contig)
        return list(table.select("start", "end", f"channel{channel}").iter_rows())
    found = pytest.importorskip("anndata").read_h5ad(out)
    there = (found.obs["contig"] == contig).to_numpy()
    places = found.obs[there][["start", "end"]].to_numpy()
    return [
        (int(start), int(end), float(value))
        for (start, end), value in zip(places, found.X[there, channel], strict=True)
    ]


@pytest.mark.parametrize("form", ["bigwig", "bedgraph", "parquet", "anndata", "hub"])
@pytest.mark.parametrize("offset", [0, 8])
def test_every_format_gives_each_base_of_a_half_built_store_its_value_and_no_other_base_one(
    form: str, offset: int, tmp_path: Path
) -> None:
    grid = Grid(bin_size=16, offsets=(0, 8))
    store = built_store(tmp_path / "s", LENGTHS, grid)
    phase, chosen = grid.offsets.index(offset), store["demo"].feature_set
    gone = [("chr2", 0), ("chr2", 7), ("chr2", 8), ("chr1", 5), ("empty", 0)]
    for contig, shard in gone:
        Path(store.url, layout.commit_key("demo", contig, phase, shard)).unlink()
    out = tmp_path / ("out.h5ad" if form == "anndata" else "out")
    email = "a@example.org" if form == "hub" else None
    done = export(store["demo"], ExportRequest(out=out, format=form, offset=offset, email=email))
    n_missing = 0
    for contig, length in LENGTHS.items():
        array = layout.ContigLayout(chosen, length)
        wanted = np.stack([by_base(store, contig, channel, offset) for channel in range(3)])
        for _, shard in [one for one in gone if one[0] == contig]:
            first, end = array.shard_span(phase, shard)
            wanted[:, max(0, first * 16 - offset) : max(0, end * 16 - offset)] = np.nan
            n_missing += end - first
        for channel in range(3):
            bases = np.full(length, np.nan, dtype=np.float32)
            for start, end, value in read_back(form, out, contig, channel):
                assert np.isnan(bases[start:end]).all(), "no base has two values"
                bases[start:end] = value
            np.testing.assert_array_equal(bases, wanted[channel])
    assert done.n_missing == n_missing
