"""Scoring the variants of a file: every allele a row, each window computed once, and a run that goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.extractors.composition import DinucleotideExtractor
from builders.source import calls_made
from builders.variants.read import VariantFile, VcfError
from builders.variants.request import VariantsRequest
from builders.variants.run import RefMismatch, VariantsReport, score_variants
from builders.variants.scores import SCORES, on_ref
from featurestore.cli import main as cli

GENOME = "".join(np.random.default_rng(3).choice(list("ACGT"), 3000))
BIN = 64
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A genome and variants of every kind, unsorted."""
    fasta, vcf = tmp_path / "genome.fa", tmp_path / "calls.vcf"
    fasta.write_text(f">chr1\n{GENOME}\n>chr2\n{GENOME[:200]}\n")

    def line(position: int, ref_length: int, *alts: str, contig: str = "chr1", info: str = ".") -> str:
        ref = GENOME[position : position + ref_length]
        return f"{contig}\t{position + 1}\trs{position}\t{ref}\t{','.join(alts)}\t.\tPASS\t{info}\n"

    first = GENOME[1000]
    others = [base for base in "ACGT" if base != first]
    lines = [
        line(1000, 1, *others, info="X=1"),
        line(1500, 1, GENOME[1500] + "GATTACA"),
        line(700, 5, GENOME[700]),
        line(800, 3, "TTT" if GENOME[800:803] != "TTT" else "AAA"),
        line(900, 1, "<DEL>", "*", "R", others[0] + "]chr2:7]"),
        line(10, 1, "N"),
        line(1200, 1, "A" * 70),
        line(1000, 1, others[0], contig="1"),
        line(1000, 1, others[0], contig="chr9"),
        f"chr1\t1001\t.\t{others[0]}\t{first}\t.\t.\t.\n",
        f"chr1\t1101\t.\t{GENOME[1100]}\t.\t.\t.\t.\n",
    ]
    vcf.write_text(HEADER + "".join(lines))
    return fasta, vcf


STATUSES = ["scored"] * 6 + ["symbolic", "star", "not_acgtn", "symbolic", "near_end", "too_long"]
STATUSES += ["scored", "missing_contig", "ref_mismatch"]


def request(files: tuple[Path, Path], out: str = "scores.parquet", **more: Any) -> VariantsRequest:
    fasta, vcf = files
    chosen: dict[str, Any] = {
        "extractor": ("dinucleotide",),
        "bin_size": BIN,
        "scores": ("difference", "l1", "l2", "cosine", "dot"),
        "device": "cpu",
    }
    return VariantsRequest(vcf=vcf, fasta=str(fasta), out=vcf.parent / out, **(chosen | more))


def scored(wanted: VariantsRequest) -> tuple[VariantsReport, pl.DataFrame]:
    return score_variants(wanted), pl.read_parquet(wanted.out)


def test_each_alt_allele_is_a_row_with_a_status_in_the_order_of_the_file(files: tuple[Path, Path]) -> None:
    report, table = scored(request(files))
    rows = [(one.position + 1, one.ref, alt) for one in VariantFile(files[1]) for alt in one.alts]
    assert list(table.select("position", "ref", "alt").iter_rows()) == rows
    assert table["status"].to_list() == STATUSES
    assert report.alleles == len(STATUSES)
    assert sum(report.statuses.values()) == len(STATUSES)
    values = table.select(pl.col("^dinucleotide:.*$"))
    for status, row in zip(STATUSES, values.iter_rows(), strict=True):
        assert all((value is not None) == (status == "scored") for value in row)


def test_scores_are_those_of_both_windows(files: tuple[Path, Path]) -> None:
    _, table = scored(request(files))
    extractor = load_extractor("dinucleotide", ExtractorOptions(bin_size=BIN, device="cpu"))
    start = 1000 - (BIN // 2 - 1)
    ref = GENOME[start : start + BIN]
    for number, base in enumerate(table["alt"].to_list()[:3]):
        alt = ref[: BIN // 2 - 1] + base + ref[BIN // 2 :]
        pair = np.array([list(one.encode()) for one in (ref, alt)], dtype=np.uint8)
        a, b = extractor(pair)["dinucleotide"].astype(np.float64)
        row = table.row(number, named=True)
        names = [channel.name for channel in extractor.channels["dinucleotide"]]
        np.testing.assert_allclose([row[f"dinucleotide:difference:{one}"] for one in names], b - a, atol=1e-6)
        expected = {
            "l1": np.abs(b - a).sum(),
            "l2": np.sqrt(((b - a) ** 2).sum()),
            "cosine": (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()),
            "dot": (a * b).sum(),
        }
        for name, value in expected.items():
            assert row[f"dinucleotide:{name}"] == pytest.approx(value, rel=1e-5)


def test_the_reference_of_a_site_is_computed_once_for_its_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasta, vcf = tmp_path / "g.fa", tmp_path / "v.vcf"
    fasta.write_text(f">c\n{GENOME}\n")
    lines = []
    for position in range(1000, 1100):
        alts = ",".join(base for base in "ACGT" if base != GENOME[position])
        lines.append(f"c\t{position + 1}\t.\t{GENOME[position]}\t{alts}\t.\t.\t.\n" * 2)
    vcf.write_text(HEADER + "".join(lines))
    seen = []
    compute = DinucleotideExtractor.__call__
    monkeypatch.setattr(DinucleotideExtractor, "__call__", lambda one, x: (seen.append(len(x)), compute(one, x))[1])
    score_variants(request((fasta, vcf), chunk=60))
    assert sum(seen) == 400  # a site: one of REF and three of ALT, though each comes twice


def test_a_stopped_run_goes_on_and_gives_the_same_table(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = scored(request(files, "whole.parquet", chunk=4))
    wanted = request(files, chunk=4)

    def stop(done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_variants(wanted, progress=stop)
    assert not wanted.out.exists()
    with pytest.raises(ValueError, match="begun with another scores"):
        score_variants(request(files, chunk=4, scores=("l1",)))
    report, table = scored(wanted)
    assert report.was_there == 2
    assert report.computed > 0
    assert table.equals(whole)
    assert not list(wanted.out.parent.glob("*.parts"))
    assert score_variants(wanted).computed == 0
    with pytest.raises(ValueError, match=r"scores.parquet was begun with another anchor"):
        score_variants(request(files, chunk=4, anchor="left"))


def test_a_changed_file_of_variants_is_refused(files: tuple[Path, Path]) -> None:
    scored(request(files))
    files[1].write_text(files[1].read_text().replace("rs1000", "rs1"))
    with pytest.raises(ValueError, match="begun with another vcf"):
        score_variants(request(files))


def test_a_ref_that_differs_anywhere_is_an_error_before_anything_is_computed(files: tuple[Path, Path]) -> None:
    calls = calls_made()
    with pytest.raises(RefMismatch, match="chr1:1001 has REF"):
        score_variants(request(files, ref_mismatch="error", chunk=1))  # the last record but one
    assert calls_made() == calls
    assert not list(files[0].parent.glob("scores.parquet*"))
    scored(request(files))
    with pytest.raises(RefMismatch, match="chr1:1001 has REF"):
        score_variants(request(files, ref_mismatch="error"))


def test_the_variants_are_parsed_once_and_once_more_for_the_vcf_that_is_written(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    parses = []
    parsed = VariantFile.parsed
    monkeypatch.setattr(VariantFile, "parsed", lambda self: (parses.append(self.path), parsed(self))[1])
    wanted = request(files, chunk=4, vcf_out=files[1].parent / "out.vcf")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_variants(wanted, progress=stop)
    assert len(parses) == 1
    score_variants(wanted)
    assert len(parses) == 2


def test_a_truncated_file_is_refused_before_anything_is_computed(files: tuple[Path, Path]) -> None:
    files[1].write_text(files[1].read_text() + "chr1\t20")
    calls = calls_made()
    with pytest.raises(VcfError, match="breaks off"):
        score_variants(request(files))
    assert calls_made() == calls
    assert not (files[0].parent / "scores.parquet.parts").exists()


def test_several_extractors_score_the_same_alleles(files: tuple[Path, Path]) -> None:
    wanted = request(files, extractor=("dinucleotide", "kmer"), settings={"kmer.k": "3"}, scores=("l2",))
    _, table = scored(wanted)
    assert table.select(pl.col("dinucleotide:l2").is_null().eq(pl.col("kmer:l2").is_null()).all()).item()
    _, alone = scored(request(files, "alone.parquet", scores=("l2",)))
    assert table["dinucleotide:l2"].equals(alone["dinucleotide:l2"])
    with pytest.raises(ValueError, match=r"as in dinucleotide\.k"):
        score_variants(request(files, "b.parquet", extractor=("dinucleotide", "kmer"), settings={"k": "3"}))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_vcf_that_is_written_has_every_line_and_the_scores(files: tuple[Path, Path], ending: str) -> None:
    wanted = request(files, scores=("l2",), vcf_out=files[1].parent / f"out.vcf{ending}")
    _, table = scored(wanted)
    assert wanted.vcf_out is not None
    before, after = list(VariantFile(files[1]).parsed()), list(VariantFile(wanted.vcf_out).parsed())
    strip = [str(one).rstrip("\n").split("\t") for one in after]
    assert [line[:7] for line in strip] == [str(one).split("\t")[:7] for one in before]
    assert strip[0][7].startswith("X=1;FS_STATUS=scored,scored,scored;FS_dinucleotide_l2=")
    assert strip[-1][7] == "."
    values = [v for line in strip[:-1] for v in line[7].split("FS_dinucleotide_l2=")[1].split(",")]
    shown = ["." if one is None else f"{one:.6g}" for one in table["dinucleotide:l2"].to_list()]
    assert values == shown


def test_the_table_and_the_vcf_state_the_licence(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DinucleotideExtractor, "licence", "academic\nuse only")
    wanted = request(files, vcf_out=files[1].parent / "out.vcf")
    score_variants(wanted)
    assert wanted.vcf_out is not None
    assert "##FS_LICENCE=academic use only\n#CHROM" in wanted.vcf_out.read_text()
    assert pl.read_parquet_metadata(wanted.out)["licence"] == "academic\nuse only"


def test_a_vcf_that_could_not_be_written_is_refused_before_anything_is_computed(files: tuple[Path, Path]) -> None:
    before, calls = files[1].read_bytes(), calls_made()
    refused = {"is the file of variants itself": files[1], "there is no folder": files[1].parent / "none" / "o.vcf"}
    for message, place in refused.items():
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            score_variants(request(files, vcf_out=place))
    with pytest.raises(ValueError, match="a field a score into each line"):
        score_variants(request(files, extractor=("onehot",), scores=("delta",), vcf_out=files[1].parent / "o.vcf"))
    assert files[1].read_bytes() == before
    assert calls_made() == calls


def test_normalising_scores_an_indel_at_its_leftmost_place(tmp_path: Path) -> None:
    text = GENOME[:500] + "CAAAAAAG" + GENOME[500:]
    (tmp_path / "g.fa").write_text(f">c\n{text}\n")
    scores = []
    for name, position, ref, alt in (("a", 501, "CA", "C"), ("b", 506, "AA", "A")):
        (tmp_path / f"{name}.vcf").write_text(HEADER + f"c\t{position}\t.\t{ref}\t{alt}\t.\t.\t.\n")
        files = (tmp_path / "g.fa", tmp_path / f"{name}.vcf")
        _, table = scored(request(files, f"{name}.parquet", normalise=True))
        assert table["normalised"].to_list() == ["501:CA>C"]
        assert table["position"].to_list() == [position]
        scores.append(table.select(pl.col("^dinucleotide:.*$")))
    assert scores[0].equals(scores[1])


def test_the_largest_gain_and_loss_are_found_with_their_places() -> None:
    ref, alt = np.zeros((5, 2), np.float32), np.zeros((5, 2), np.float32)
    ref[1], alt[4] = (0.5, 0.25), (0.75, 0.125)
    found = SCORES["delta"].compute(ref, alt).reshape(4, 2).tolist()
    assert found == [[0.75, 0.125], [2, 2], [0.5, 0.25], [-1, -1]]
    assert SCORES["delta"].columns("delta", ["x"]) == [
        "delta_gain:x",
        "delta_gain_at:x",
        "delta_loss:x",
        "delta_loss_at:x",
    ]
    np.testing.assert_allclose(SCORES["log2fc"].compute(ref, alt), np.log2([1.75 / 1.5, 1.125 / 1.25]))


def test_predictions_of_an_indel_take_the_places_of_the_reference() -> None:
    def placed(values: list[int], ref: int, alt: int) -> list[float]:
        rows = np.array(values, np.float32)[:, None]
        return on_ref(rows, at=2, ref_length=ref, alt_length=alt, n_bins=5)[:, 0].tolist()

    assert placed([1, 2, 3, 4, 5], 1, 1) == [1, 2, 3, 4, 5]
    assert placed([1, 2, 3, 9, 5, 6, 7], 1, 3) == [1, 2, 9, 6, 7]
    assert placed([1, 2, 3, 4, 5], 3, 1) == [1, 2, 3, 0, 0]


def test_the_verb_prints_the_statuses_and_the_licence(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fasta, vcf = files
    words = ["variants", "--vcf", str(vcf), "--fasta", str(fasta), "--extractor", "kmer", "--set", "k=2"]
    words += ["--bin-size", "64", "--device", "cpu", "--out", str(vcf.parent / "s.parquet"), "--json"]
    assert cli.main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["statuses"]["scored"] == 7
    assert printed["alleles"] == len(STATUSES)
    assert cli.main([*words, "--scores", "l3"]) == 2
    assert "--scores" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_give_the_table_of_one_process(files: tuple[Path, Path]) -> None:
    _, alone = scored(request(files, "alone.parquet", chunk=4))
    report, table = scored(request(files, chunk=4, workers=2))
    assert report.computed == 4
    assert table.equals(alone)
