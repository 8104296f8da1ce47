"""Attributes of annotations: whole values in order, whatever marks they hold."""

from pathlib import Path
from urllib.parse import quote

import pytest
from gene_files import read_text
from hypothesis import example, given
from hypothesis import strategies as st

from catalog.genes.attributes import gff3_attributes, gtf_attributes
from catalog.runtime.tables import TableError

names = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1)
values = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), min_size=1)
awkward = st.text("\"';\\ =,%a1", min_size=1)


def quoted(value: str, mark: str) -> str:
    return mark + value.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


@given(st.dictionaries(names, values | awkward), st.sampled_from("\"'"), st.sampled_from(["; ", ";", " ; "]))
@example({"note": 'a"; gene_id "b'}, '"', "; ")
def test_a_written_gtf_attribute_reads_back_as_it_was(wanted: dict[str, str], mark: str, between: str) -> None:
    text = between.join(f"{name} {quoted(value, mark)}" for name, value in wanted.items())
    assert gtf_attributes(text) == wanted
    assert gtf_attributes(text + ";") == wanted


@given(st.dictionaries(names, (values | awkward).map(str.strip).filter(bool)))
def test_a_written_gff3_attribute_reads_back_as_it_was(wanted: dict[str, str]) -> None:
    assert gff3_attributes(";".join(f"{name}={quote(value, safe=' ,')}" for name, value in wanted.items())) == wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('gene_name "CYCD1;1"; gene_id "AT1";', {"gene_name": "CYCD1;1", "gene_id": "AT1"}, id="semicolon"),
        pytest.param('note "see gene_id B; x"; gene_id "A"', {"note": "see gene_id B; x", "gene_id": "A"}, id="note"),
        pytest.param("gene_id A; level 2;", {"gene_id": "A", "level": "2"}, id="without quotes"),
        pytest.param("gene_name 5'ETS; b 1", {"gene_name": "5'ETS", "b": "1"}, id="an apostrophe"),
        pytest.param('note "the 5" end"; a "b"', {"note": 'the 5" end', "a": "b"}, id="a mark that is not escaped"),
        pytest.param('tag "a"; tag "b"; e ""; flag;', {"tag": "a"}, id="the first of several, and nothing"),
        pytest.param("", {}, id="no attribute"),
    ],
)
def test_gtf_attributes_are_read_as_programs_write_them(text: str, expected: dict[str, str]) -> None:
    assert gtf_attributes(text) == expected


def test_symbols_and_ids_with_semicolons_reach_the_gene_table(tmp_path: Path) -> None:
    row = "chr1\tx\tgene\t101\t200\t.\t-\t.\t"
    gtf = row + 'note "like gene_id \\"B\\"; c"; gene_id "A;1"; gene_name \'CYCD1;1\'; gene_type "x";\n'
    assert read_text(tmp_path, gtf).rows() == [("A;1", "CYCD1;1", "chr1", "-", 199, "x")]
    gff3 = row.replace("chr1", "chr%201") + "Note=gene_id%3DB;ID=gene:A%3B1;Name=CYCD1;gene_name=CYCD1%3B1,2\n"
    assert read_text(tmp_path, gff3).rows() == [("A;1", "CYCD1;1,2", "chr 1", "-", 199, None)]


def test_an_attribute_that_was_cut_is_named_by_its_line(tmp_path: Path) -> None:
    rows = ['#\nchr1\tx\tgene\t1\t9\t.\t+\t.\tgene_id "A";', 'chr1\tx\tgene\t5\t9\t.\t+\t.\tgene_id "B']
    with pytest.raises(TableError, match=r"line 3 .* quotation mark is not closed: gene_id \"B; close it, or fetch"):
        read_text(tmp_path, "\n".join(rows))


def test_the_sequence_at_the_end_of_a_gff3_is_not_read(tmp_path: Path) -> None:
    rows = ["##gff-version 3", "chr1\tx\tgene\t1\t9\t.\t+\t.\tID=A", "##FASTA", ">chr1", "ACGT" * 30]
    assert read_text(tmp_path, "\n".join(rows))["gene_id"].to_list() == ["A"]
