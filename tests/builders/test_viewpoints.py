"""A table of viewpoints becomes windows around genes, gene by gene; what is missing is masked or refused."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from mutations import mutated

import featurestore
from builders.anchored.viewpoint_request import ViewpointRequest
from builders.anchored.viewpoint_table import read_viewpoints
from builders.anchored.viewpoints import build_viewpoints
from builders.execution.recompute import recompute
from catalog.runtime.tables import TableError
from featurestore import FingerprintMismatch, verify
from featurestore.anchored.reader import open_anchored
from featurestore.cli.main import main
from featurestore.testing import random_sequences, write_fasta

GENES = ["ENSG00000000003", "ENSG00000000005", "ENSG00000000419"]
VALUES = np.array([[0.0, 9.0, 99.0, 1.0, 0.5], [3.0, 0.0, 0.0, 0.0, 7.0], [1.0, 2.0, 3.0, 4.0, 5.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("viewpoints")
    write_fasta(made / "g.fa", random_sequences({"chr1": 4_000, "chr2": 500}))
    # Two genes share a start site: what they see differs.
    rows = zip(GENES, ("chr2", "chr1", "chr1"), (100, 1_000, 1_000), strict=True)
    (made / "tss.tsv").write_text("name\tcontig\tposition\n" + "".join(f"{g}\t{c}\t{p}\n" for g, c, p in rows))
    return made


def text(genes: list[str], values: np.ndarray) -> str:
    lines = ["\t".join(["gene_id", *(f"b{number}" for number in range(values.shape[1]))])]
    for gene, row in zip(genes, values, strict=True):
        lines.append("\t".join([gene, *("NA" if value != value else repr(float(value)) for value in row)]))
    return "\n".join(lines) + "\n"


def request(folder: Path, table: Path, **chosen: Any) -> ViewpointRequest:
    given = {"anchors": folder / "tss.tsv", "name": "tss", "fasta": str(folder / "g.fa"), "dtype": "float32"}
    return ViewpointRequest(table=table, **{**given, **chosen})


@pytest.mark.parametrize("form", ["tsv", "parquet", "npz"])
def test_each_gene_has_its_own_row_however_the_table_is_written(folder: Path, tmp_path: Path, form: str) -> None:
    versioned, order = [f"{gene}.4" for gene in GENES], [2, 0, 1]
    genes, values = [versioned[number] for number in order], VALUES[order]
    table = tmp_path / f"hic.{form}"
    if form == "npz":
        np.savez(table, genes=np.array(genes), values=values.astype(np.float32))
    elif form == "parquet":
        pl.DataFrame({"gene_id": genes, **{f"b{n}": values[:, n] for n in range(5)}}).write_parquet(table)
    else:
        table.write_text(text(genes, values))
    report = build_viewpoints(str(tmp_path / "s"), request(folder, table, bin_size=40))
    assert (report.genes, report.masked_genes, report.built, report.shards) == (3, 0, 1, 1)
    store = featurestore.open(tmp_path / "s")
    reader = open_anchored(store, "viewpoints", "tss")
    assert reader.channel_names == ("contact",)
    np.testing.assert_allclose(reader.windows(GENES)[:, :, 0], np.log10(VALUES + 1), rtol=1e-6)
    assert verify(store, crc=True).is_sound
    assert recompute(store, 3) == []
    again = build_viewpoints(str(tmp_path / "s"), request(folder, table, bin_size=40))
    assert (again.built, again.bytes) == (0, 0)


def test_what_is_missing_is_refused_by_name_or_masked(folder: Path, tmp_path: Path) -> None:
    gap = VALUES[:2].copy()
    gap[1, 2] = np.nan
    table = tmp_path / "hic.tsv"
    table.write_text(text([*GENES[:2], "ENSG00000009999"], np.vstack([gap, VALUES[2:]])))
    store = tmp_path / "s"
    with pytest.raises(TableError, match=rf"lacks numbers for 1 of 3 genes: {GENES[2]}; .*`missing=\"mask\"`"):
        build_viewpoints(str(store), request(folder, table))
    assert not store.exists()
    report = build_viewpoints(str(store), request(folder, table, missing="mask", transform="none"))
    assert (report.masked_genes, report.masked_bins, report.left_out) == (1, 6, 1)
    reader = open_anchored(featurestore.open(store), "viewpoints", "tss")
    assert reader.channel_names == ("contact", "contact.measured")
    windows = reader.windows(GENES)
    np.testing.assert_array_equal(windows[:2, :, 1], ~np.isnan(gap))
    np.testing.assert_array_equal(windows[:2, :, 0], np.nan_to_num(gap))
    assert not windows[2].any()


def test_an_even_number_of_bins_gets_a_masked_one_at_its_end(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "hic.tsv"
    table.write_text(text(GENES, VALUES[:, :4]))
    with pytest.raises(TableError, match="an even number, so that none is centred"):
        build_viewpoints(str(tmp_path / "s"), request(folder, table))
    build_viewpoints(str(tmp_path / "s"), request(folder, table, missing="mask", transform="none"))
    windows = open_anchored(featurestore.open(tmp_path / "s"), "viewpoints", "tss").windows(GENES)
    np.testing.assert_array_equal(windows[:, :4, 0], VALUES[:, :4])
    assert windows[:, :, 1].tolist() == [[1, 1, 1, 1, 0]] * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            text([*GENES, GENES[0] + ".7"], VALUES[[0, 1, 2, 0]]), f"1 genes more than once: {GENES[0]}", id="doubled"
        ),
        pytest.param(text(GENES, -VALUES), "which are not negative", id="negative contacts"),
        pytest.param(text(GENES, np.where(VALUES > 50, np.inf, VALUES)), "has infinite values", id="infinite"),
        pytest.param(text(["A", "B", "C"], VALUES), "give both the same kind of ids", id="other ids"),
        pytest.param(text(GENES, VALUES).replace("99.0", "many"), "holds many, which are no numbers", id="a word"),
        pytest.param("gene_id\n" + "\n".join(GENES) + "\n", "holds no values", id="ids alone"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_with_nothing_written(
    folder: Path, tmp_path: Path, content: str, message: str
) -> None:
    table = tmp_path / "hic.tsv"
    table.write_text(content)
    with pytest.raises(ValueError, match=message):
        build_viewpoints(str(tmp_path / "s"), request(folder, table))
    assert not (tmp_path / "s").exists()


def test_another_table_under_the_same_name_is_refused(folder: Path, tmp_path: Path) -> None:
    for number, values in enumerate((VALUES, VALUES + 1)):
        (tmp_path / f"{number}.tsv").write_text(text(GENES, values))
    build_viewpoints(str(tmp_path / "s"), request(folder, tmp_path / "0.tsv"))
    with pytest.raises(FingerprintMismatch):
        build_viewpoints(str(tmp_path / "s"), request(folder, tmp_path / "1.tsv"))
    assert build_viewpoints(str(tmp_path / "s"), request(folder, tmp_path / "1.tsv", feature_set="other")).built == 1


def test_the_command_is_thin(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "hic.tsv"
    table.write_text(text(GENES[:2], VALUES[:2]))
    asked = ["build-viewpoints", str(tmp_path / "s"), "--table", str(table), "--anchors", str(folder / "tss.tsv")]
    given = [*asked, "--name", "tss", "--fasta", str(folder / "g.fa")]
    assert main(given) == 2
    assert "give `--missing mask`" in capsys.readouterr().err
    assert main([*given, "--missing", "mask", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["masked_genes"] == 1


def archive(**arrays: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def test_an_npz_whose_header_claims_more_than_it_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 30, 1 << 10)})
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("genes", "values"):
            made.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(TableError, match="expected text or Parquet"):
        read_viewpoints(path)
    np.savez(path, genes=np.array([{"a": 1}], dtype=object), values=np.ones((1, 3)))
    with pytest.raises(TableError, match="'genes' is object"):
        read_viewpoints(path)


@given(mutated([archive(genes=np.array(GENES), values=VALUES)]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_npz_is_read_right_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    try:
        found = read_viewpoints(path)
    except TableError:
        return
    assert found.values.shape == (len(found.genes), found.values.shape[1])
