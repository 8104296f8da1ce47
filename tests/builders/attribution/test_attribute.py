"""`featurestore attribute`: what it writes, and what it refuses before any work."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from builders.attribution.logo import draw_logos
from builders.attribution.request import AttributionRequest
from builders.attribution.run import attribute
from catalog import Interval
from featurestore.cli.main import main

GENOME = "".join(np.random.default_rng(6).choice(list("ACGT"), 400)) + "NNNN" + "ACGT" * 49


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(f">c\n{GENOME}\n>empty_of_use\nACGT\n")
    return tmp_path / "g.fa"


def asked(genome: Path, **more: Any) -> AttributionRequest:
    chosen: dict[str, Any] = {"region": "c:101-160", "bin_size": 64, "out": genome.with_name("out.parquet")}
    return AttributionRequest(fasta=str(genome), device="cpu", **(chosen | more))


def gc(text: str) -> float:
    return sum(letter in "GC" for letter in text) / len(text)


def test_a_row_tells_what_another_base_does_to_the_bins_around_the_region(genome: Path) -> None:
    report = attribute(asked(genome, channels=("GC", "CpG")))
    table = pl.read_parquet(report.out)
    assert table.columns == ["region", "contig", "position", "ref", "base", "motif:GC", "motif:CpG"]
    assert table.height == 4 * 60
    bin_start = 100 + (60 - 64) // 2
    for row in table.iter_rows(named=True):
        place = row["position"]
        assert row["ref"] == GENOME[place]
        whole = GENOME[:place] + row["base"] + GENOME[place + 1 :]
        expected = gc(whole[bin_start:][:64]) - gc(GENOME[bin_start:][:64])
        assert row["motif:GC"] == pytest.approx(expected, abs=1e-6)


def test_arrays_hold_what_the_table_does_for_every_region_of_a_bed_file(genome: Path) -> None:
    bed = genome.with_name("some.bed")
    bed.write_text("track name=x\nc\t100\t160\tfirst\r\n\n# note\nc\t300\t310\n")
    table = pl.read_parquet(attribute(asked(genome, region=None, bed=bed)).out)
    with np.load(attribute(asked(genome, region=None, bed=bed, out=genome.with_name("out.npz"))).out) as arrays:
        values, onehot = arrays["values"], arrays["onehot"]
        assert values.shape == (70, 4, len(arrays["columns"]))
        np.testing.assert_array_equal(values.reshape(280, -1), table.select(arrays["columns"].tolist()).to_numpy())
        assert arrays["position"].tolist() == [*range(100, 160), *range(300, 310)]
        assert sorted(set(arrays["region"].tolist())) == ["c:101-160", "c:301-310"]
    assert ["ACGT"[base] for base in onehot.argmax(1)] == [GENOME[p] for p in [*range(100, 160), *range(300, 310)]]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_logo_is_drawn_of_the_chosen_channels(ending: str, genome: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = genome.with_name(f"logo.{ending}")
    words = f"--fasta {genome} --region c:101-130 --bin-size 64 --channels GC,CpG --out {genome.parent}/o.parquet"
    assert main(["attribute", *words.split(), "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    assert "30 bases of 1 regions, 2 channels" in capsys.readouterr().out


def test_a_logo_has_a_letter_where_each_base_stands_as_high_as_its_score() -> None:
    heights = np.zeros((3, 4, 2), dtype=np.float32)
    heights[0, 2, 0], heights[1, 0, 0], heights[2, 3, 1] = 2.0, -1.0, 3.0
    first, second = draw_logos(Interval("c", 999, 1002), heights, ["one", "two"], title="t").axes
    for axes, expected in ((first, [(1000, 0, 2), (1001, -1, 0)]), (second, [(1002, 0, 3)])):
        boxes = [patch.get_path().get_extents() for patch in axes.patches]
        drawn = [(round((box.x0 + box.x1) / 2), round(box.y0, 3), round(box.y1, 3)) for box in boxes if box.height > 0]
        assert drawn == expected
        assert axes.get_xlim() == (999.5, 1002.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param("--region c:590-700", "reaches past c, which has 600 bases", id="past the contig"),
        pytest.param("--region d:1-10", "no contig 'd'.* it has c, empty_of_use", id="no such contig"),
        pytest.param("--region c:0-10", "1-based", id="before the contig"),
        pytest.param("--region c:390-410", "4 bases that are not A, C, G or T, the first at c:401", id="N"),
        pytest.param("--region c:1-10 --channels GC,XX", "no channel 'XX', of --channels; it has", id="channel"),
        pytest.param("--region c:1-10 --channels GC,GC", "each once", id="a channel twice"),
        pytest.param("--region 17", "contig:start-end", id="no region"),
        pytest.param("", "--region or --bed", id="neither"),
        pytest.param("--region c:1-10 --bed some.bed", "--region or --bed", id="both"),
        pytest.param("--region c:1-10 --method guess", "got .guess", id="method"),
        pytest.param("--region c:1-10 --bin-size 0", "at least 1", id="empty bins"),
        pytest.param("--region c:1-10 --figure logo.txt", "ends in .png", id="figure"),
        pytest.param("--region c:1-10 --figure logo.png", "12 channels, not 10 and 27", id="a figure of too many"),
        pytest.param("--region c:1-10 --extractor bases", "bin_size|bin-size", id="an extractor with other bins"),
        pytest.param("--region c:1-10 --extractor no", "no extractor is called 'no'", id="no such extractor"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(
    words: str, message: str, genome: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = genome.with_name("out.parquet")
    assert main(["attribute", "--fasta", str(genome), "--out", str(out), *words.split()]) in (1, 2)
    said = capsys.readouterr().err.replace("`", "")
    assert re.search(message, said), said
    assert "Traceback" not in said
    assert not out.exists()


def test_a_region_of_more_bases_than_can_be_held_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">c\n" + "ACGT" * 30_000 + "\n")
    with pytest.raises(ValueError, match="120,000 bases, and at most 100,000; split it"):
        attribute(asked(tmp_path / "g.fa", region="c:1-120,000"))


@pytest.mark.parametrize("line", [b"c\t5\n", b"c\tx\t9\n", b"c\t9\t9\n", b"\xff\xfe\t1\t2\n", b""])
def test_a_bed_file_that_holds_no_intervals_is_refused(line: bytes, genome: Path) -> None:
    bed = genome.with_name("bad.bed")
    bed.write_bytes(line)
    with pytest.raises(ValueError, match=r"bad\.bed"):
        attribute(asked(genome, region=None, bed=bed))


def test_a_folder_that_cannot_be_made_is_known_before_anything_is_scored(
    genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builders.attribution.run.mutagenesis", lambda *_, **__: pytest.fail("scored"))
    with pytest.raises(OSError, match=r"g\.fa"):
        attribute(asked(genome, out=genome / "below_a_file" / "out.parquet"))
