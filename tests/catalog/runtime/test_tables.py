"""Tables as programs write them: any separator, quotes, row names and line ends, within bounds."""

import csv
import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.runtime import headers, lines, tables
from catalog.runtime.lines import TableError, read_lines
from catalog.runtime.tables import read_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


fields = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=6)
rows = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(fields, min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(rows, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_a_csv_writer_quotes_is_read_back(folder: Path, rows: list[list[str]], separator: str, end: str) -> None:
    text = io.StringIO(newline="")
    header = [f"a{number}" for number in range(len(rows[0]))]
    csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator=end).writerows([header, *rows])
    assert read_table(write(folder / "t", text.getvalue())).rows() == [tuple(row) for row in rows]


@given(st.lists(st.binary().map(lambda text: text.translate(None, b"\r\n\0")), min_size=1), st.integers(1, 7))
def test_lines_are_cut_alike_however_they_end_and_wherever_a_chunk_does(
    folder: Path, texts: list[bytes], chunk: int
) -> None:
    kept = [(number, text) for number, text in enumerate(texts, start=1) if text.strip()]
    if not kept or texts[0].startswith((b"\x1f\x8b", b"BZh", b"PK", b"\xfd7z", b"\x28\xb5", b"\xef\xbb\xbf")):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_CHUNK", chunk)
        for end in (b"\n", b"\r\n", b"\r"):
            (folder / "lines").write_bytes(end.join(texts))
            assert [(line.number, line) for line in read_lines(folder / "lines")] == kept


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("gene;tpm\nA;1,5\n", {"gene": "A", "tpm": "1,5"}, id="semicolons"),
        pytest.param("gene;a,b\nA;1\n", {"gene": "A", "a,b": "1"}, id="semicolons, and a comma in a name"),
        pytest.param("gene  tpm note\nA 1   x\n", {"gene": "A", "tpm": "1", "note": "x"}, id="blanks"),
        pytest.param('"gene" "tpm"\n"1" "A b" 2\n', {"column 1": "1", "gene": "A b", "tpm": "2"}, id="R, with blanks"),
        pytest.param("S1\tS2\nA\t1\t2\n", {"column 1": "A", "S1": "1", "S2": "2"}, id="R, names of rows"),
        pytest.param('"","S1"\n"A",1\n', {"column 1": "A", "S1": "1"}, id="an empty first name"),
        pytest.param("gene\ttpm\nA\t1\t\n", {"gene": "A", "tpm": "1", "column 3": None}, id="a tab at the end of rows"),
        pytest.param(
            "#1.2\n1\t1\nName\tDescription\tS\nA\tx\t1\n", {"Name": "A", "Description": "x", "S": "1"}, id="GCT"
        ),
        pytest.param("#1.3\n1\t1\t0\t1\nid\tS\ntissue\tliver\nA\t1\n", {"id": "A", "S": "1"}, id="GCT 1.3"),
        pytest.param("Gene name\nTP53\n", {"Gene name": "TP53"}, id="one column with a blank in its name"),
        pytest.param("a,a\n1,2\n", {"a": "1", "a 2": "2"}, id="a name twice"),
    ],
)
def test_the_forms_of_headers_are_known(tmp_path: Path, text: str, expected: dict[str, str | None]) -> None:
    assert read_table(write(tmp_path / "t", text)).row(0, named=True) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("gene_id,tpm\nA,1,5\n", "line 2 .* has 3 fields.*write decimals with a point", id="decimal comma"),
        pytest.param("a,b\n1,2\n3\n", "line 3 of .* has 1 fields, expected 2", id="a cut row between commas"),
        pytest.param('a,b\n1,2\n"3,4\n5,6\n', "line 3 of .* opens a quotation mark that nothing closes", id="quote"),
        pytest.param("a\tb\n1\t2\n\n3\n", "line 4 of .* has 1 fields", id="blank lines are counted"),
        pytest.param('a,b\n"' + "x" * 200_000 + '",2\n', "line 2 of .* cannot be split .*mend it", id="a huge field"),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message) as raised:
        read_table(write(tmp_path / "t", text))
    assert len(str(raised.value)) < 500


def test_a_line_of_bytes_that_are_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"a\tb\n1\t2\n3\t\xe9\n5\t6\n7\t8\n")
    with pytest.raises(TableError, match=r"line 3 of .* is not UTF-8 text .*; export it again in UTF-8"):
        read_table(tmp_path / "t")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is no file but a folder or a pipe.*save it as a file"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"x" * (8 << 20), r"more than 100 times its size.*gunzip", id="one line"),
        pytest.param(b"\t" * (8 << 20), r"more than 100 times its size", id="nothing but tabs"),
        pytest.param(b"a\tb\n" + b"%050d\t2\n" % 1 * (1 << 18), r"more than 100 times its size", id="rows"),
        pytest.param(b"#\n" * (2 << 20), r"more than 1 MiB of comments", id="comments"),
        pytest.param(b"\t".join([b"a"] * 60_000), r"60,000 columns, and 50,000 are the most.*cut -f", id="columns"),
    ],
)
def test_a_small_gzip_cannot_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    """The bounds are those of 16 MiB in small, since counting every allocation is slow."""
    for module in (lines, headers):
        monkeypatch.setattr(module, "LONGEST_LINE", 1 << 20)
    (tmp_path / "t.gz").write_bytes(gzip.compress(data))
    del data
    tracemalloc.start()
    try:
        with pytest.raises(TableError, match=message):
            read_table(tmp_path / "t.gz")
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()


def test_a_line_has_a_longest_length_also_in_a_file_that_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"a\tb\n" + b"x" * (20 << 20))
    with pytest.raises(TableError, match=r"a line of more than 16 MiB; .*export it again"):
        read_table(tmp_path / "t")


def test_a_table_has_a_largest_size_and_number_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t", "a\tb\n" + "1\t2\n" * 100)
    monkeypatch.setattr(tables, "MOST_VALUES", 150)
    with pytest.raises(
        TableError, match=r"150 values, the most that are read; keep the rows and columns that you need"
    ):
        read_table(path)
    monkeypatch.undo()
    monkeypatch.setattr(tables, "LARGEST_TABLE", 300)
    with pytest.raises(TableError, match="the most that are read"):
        read_table(path)


def test_text_that_packs_a_hundredfold_is_read_where_it_is_small(tmp_path: Path) -> None:
    (tmp_path / "t.gz").write_bytes(gzip.compress(b"a\tb\n" + b"1\t2\n" * 100_000))
    assert read_table(tmp_path / "t.gz").height == 100_000
