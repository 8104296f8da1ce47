"""Annotations and prompts: what NCBI knows of a gene reaches the language model, and nothing else does."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.genes.table import GENE_SCHEMA, read_genes
from catalog.ncbi.annotations import (
    ANNOTATION_SCHEMA,
    add_summaries,
    annotate,
    prompt,
    prompts_for,
    read_annotations,
    write_annotations,
)
from catalog.ncbi.prompts import PromptSettings
from catalog.runtime.tables import TableError, read_table

DATA = SHARED / "data"
NCBI = DATA / "ncbi_gene"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {DATA}; set FEATURESTORE_SHARED")

COLUMNS = (
    "tax_id GeneID Symbol LocusTag Synonyms dbXrefs chromosome map_location description type_of_gene "
    "Symbol_from_nomenclature_authority Full_name_from_nomenclature_authority Nomenclature_status Other_designations "
    "Modification_date"
)
ROWS = (
    "9606\t1\tA1BG\t-\tA1B|ABG\tMIM:138670|HGNC:HGNC:5|Ensembl:ENSG00000121410|Vega:X\t19\t19q\tshort words"
    '\tprotein-coding\tA1BG\talpha-1-B "glycoprotein"\tO\tHEL, 163|alpha-1B\t20150504',
    "9606\t2\tA2M\t-\t-\tEnsembl:ENSG00000175899.4|Ensembl:ENSG00000000001\t12\t12p\talpha-2\tother\t-\t-\t-\t-\t20150504",
    "63221\t3\tND2\t-\t-\t-\tMT\t-\tdehydrogenase\tprotein-coding\t-\t-\t-\t-\t20150504",
)
READ = [
    ("ENSG00000121410", 1, "A1BG", 'alpha-1-B "glycoprotein"', "A1B|ABG", "HEL, 163|alpha-1B", None),
    ("ENSG00000175899", 2, "A2M", "alpha-2", None, None, None),
    (None, 3, "ND2", "dehydrogenase", None, None, None),
]
OLD_HEADER = f"#Format: {COLUMNS} (tab is used as a separator, pound sign - start of a comment)"
NEW_HEADER = "#" + COLUMNS.replace(" ", "\t")


def annotations_of(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame([(*row, *[None] * (7 - len(row))) for row in rows], schema=ANNOTATION_SCHEMA, orient="row")


def genes_of(*names: tuple[str, str]) -> pl.DataFrame:
    rows = [(gene_id, symbol, "chr1", "+", 5, None) for gene_id, symbol in names]
    return pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")


@pytest.mark.parametrize("header", [pytest.param(OLD_HEADER, id="2016"), pytest.param(NEW_HEADER, id="today")])
@pytest.mark.parametrize("is_packed", [False, True])
def test_gene_info_is_read_under_its_old_header_and_its_new_one(tmp_path: Path, header: str, is_packed: bool) -> None:
    path = tmp_path / "gene_info"
    data = "\n".join([header, *ROWS, ""]).encode()
    path.write_bytes(gzip.compress(data) if is_packed else data)
    read = read_annotations(path)
    assert read.schema == ANNOTATION_SCHEMA
    assert read.rows() == READ
    assert read_annotations(path, tax_id=9606).rows() == READ[:2]


def test_an_organism_that_the_file_lacks_is_an_error_that_lists_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "gene_info"
    path.write_text("\n".join([NEW_HEADER, *ROWS, ""]))
    with pytest.raises(TableError, match="no gene of organism 10090; it has 9606, 63221: name one"):
        read_annotations(path, tax_id=10090)


def test_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    for name, header in (("old", OLD_HEADER), ("new", NEW_HEADER)):
        path = tmp_path / name
        path.write_bytes("\r\n".join([header, *ROWS, ""]).encode())
        assert read_annotations(path).rows() == READ


def test_a_truncated_gzip_file_is_to_be_fetched_again(tmp_path: Path) -> None:
    path = tmp_path / "gene_info.gz"
    path.write_bytes(gzip.compress("\n".join([NEW_HEADER, *ROWS * 100, ""]).encode())[:-20])
    with pytest.raises(TableError, match=r"gene_info.gz is a truncated .* gzip file .*fetch it again"):
        read_annotations(path)


def test_a_column_that_gene_info_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gene_info"
    path.write_text("\n".join([NEW_HEADER.replace("Other_designations", "Others"), *ROWS, ""]))
    with pytest.raises(TableError, match=r"expected NCBI's gene_info \(it lacks Other_designations\), or gene_id"):
        read_annotations(path)


words = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ncbi")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"ENSG[0-9]{11}", fullmatch=True) | st.none(),
            st.integers(1, 10**9) | st.none(),
            words,
            *[words | st.none() for _ in range(4)],
        ),
        min_size=1,
    ),
    st.sampled_from(["a.tsv", "a.tsv.gz"]),
)
def test_written_annotations_read_back_as_they_were(folder: Path, rows: list[tuple[object, ...]], name: str) -> None:
    annotations = annotations_of(*rows)
    write_annotations(annotations, folder / name)
    assert read_annotations(folder / name).equals(annotations)


def test_what_cannot_be_written_says_how_to_mend_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'summary' holds a tab or a line break.*replace_all"):
        write_annotations(annotations_of((None, 1, "A", None, None, None, "two\nlines")), tmp_path / "a.tsv")
    with pytest.raises(ValueError, match=r"columns .*cast\(ANNOTATION_SCHEMA\)"):
        write_annotations(pl.DataFrame({"symbol": ["A"]}), tmp_path / "a.tsv")
    assert not list(tmp_path.iterdir())


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("symbol\trpm\nA\t1\n")
    with pytest.raises(TableError, match="has symbol, rpm; expected NCBI's gene_info"):
        read_annotations(path)
    with pytest.raises(TableError, match=r"has symbol, rpm; expected GeneID \(or symbol\) and Summary"):
        add_summaries(annotations_of((None, 1, "A")), path)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(
            "#tax_id\tGeneID\tSource\tSummary\n9606\t1\tAlliance\tsecond best\n9606\t1\tRefSeq\tbest\n", id="NCBI"
        ),
        pytest.param(
            "#tax_id\tGeneID\tSource\tSummary\n9606\t1\tRefSeq\tbest\n9606\t1\tAlliance\tlater\n", id="RefSeq first"
        ),
        pytest.param(
            "#tax_id\tGeneID\tSource\tSummary\n9606\t1\tOther\tbest\n9606\t1\tAlliance\tlater\n", id="no RefSeq"
        ),
        pytest.param("GeneID\tSummary\n1\tbest\n7\tof no gene here\n", id="no source"),
        pytest.param("symbol\tsummary\nA1BG\tbest\n", id="by symbol"),
    ],
)
def test_summaries_come_from_refseq_first_and_others_keep_theirs(tmp_path: Path, table: str) -> None:
    path = tmp_path / "summaries"
    path.write_text(table)
    before = annotations_of((None, 2, "A2M", None, None, None, "kept"), (None, 1, "A1BG", None, None, None, "old"))
    after = add_summaries(before, path)
    assert after.schema == ANNOTATION_SCHEMA
    assert after.drop("summary").equals(before.drop("summary"))
    assert after["summary"].to_list() == ["kept", "best"]


FULL = {
    "gene_id": "ENSG00000121410",
    "symbol": "A1BG",
    "name": "alpha-1-B glycoprotein",
    "aliases": "A1B|ABG",
    "designations": "HEL, 163|alpha-1B",
    "summary": "Of  two\nlines.",
}


def test_a_full_prompt_has_the_seven_lines_of_the_paper_in_order() -> None:
    lines = prompt(FULL).split("\n")
    assert lines[0].startswith("# Task: ")
    assert lines[1:] == [
        "# Gene symbol: A1BG",
        "# Full name: alpha-1-B glycoprotein",
        "# Aliases: A1B, ABG",
        "# Other designations: HEL, 163; alpha-1B",
        "# Summary: Of two lines.",
        "# Data:",
    ]


PAPER = PromptSettings(template="paper")


def test_the_prompt_of_the_paper_has_the_lines_of_its_figure_4() -> None:
    lines = prompt(FULL, settings=PAPER).split("\n")
    assert lines[0].startswith("# Task: ")
    assert lines[0].endswith(" GM12878 lymphoblastoid cells.")
    assert lines[1:] == [
        "# Official Gene Symbol: A1BG",
        "# Official Gene Full Name: alpha-1-B glycoprotein",
        "# Other Gene Aliases: A1B|ABG",
        "# Other Gene Designations: HEL, 163|alpha-1B",
        "# Gene NCBI Summary Description: Of two lines.",
        "# Data:",
    ]
    unknown = prompt({"symbol": "A1BG"}, settings=PAPER).split("\n")
    assert unknown[1:3] == ["# Official Gene Symbol: A1BG", "# Official Gene Full Name:"]
    assert [line.partition(":")[0] for line in unknown] == [line.partition(":")[0] for line in lines]
    assert len(prompt({"symbol": "A1BG"}, settings=PAPER, missing="omit").split("\n")) == 3


def test_the_task_names_another_cell_type_if_asked() -> None:
    named = {
        template: prompt(FULL, settings=PromptSettings(template=template, cell_type="K562 cells")).split("\n")
        for template in ("plain", "paper")
    }
    assert [" in K562 cells" in lines[0] for lines in named.values()] == [True, True]
    assert "GM12878" not in named["paper"][0]
    assert named["plain"][1:] == prompt(FULL).split("\n")[1:]


@pytest.mark.parametrize("cells", ["", "  ", "two\nlines", "x" * 201])
def test_a_cell_type_is_a_few_words_on_one_line(cells: str) -> None:
    with pytest.raises(ValueError, match="`cell_type=` is a few words on one line"):
        PromptSettings(cell_type=cells)


def test_prompt_settings_round_trip_through_json_and_the_default_is_nothing() -> None:
    chosen = PromptSettings(template="paper", cell_type="K562 cells")
    assert PromptSettings(**json.loads(json.dumps(chosen.to_json()))) == chosen
    assert PromptSettings().to_json() == {}
    with pytest.raises(ValueError, match="template is one of plain, paper; got 'figure'"):
        PromptSettings(template="figure")  # type: ignore[arg-type]  # the mistake under test


def test_what_is_not_known_is_left_out_or_marked_as_asked() -> None:
    assert prompt({"symbol": "A1BG"}).split("\n")[1:] == ["# Gene symbol: A1BG", "# Data:"]
    assert prompt({"symbol": "A1BG"}, missing="mark").split("\n")[1:] == [
        "# Gene symbol: A1BG",
        "# Full name: not recorded",
        "# Aliases: not recorded",
        "# Other designations: not recorded",
        "# Summary: not recorded",
        "# Data:",
    ]
    with pytest.raises(ValueError, match=r"missing must be 'omit' .* or 'mark'"):
        prompt(FULL, missing="blank")  # type: ignore[arg-type]  # the mistake under test


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(ANNOTATION_SCHEMA.names()[2:], st.none() | st.text())))
def test_whatever_is_known_each_line_begins_with_a_hash_and_data_is_last(annotation: dict[str, str | None]) -> None:
    omitted, marked = (prompt(annotation, missing=missing).split("\n") for missing in ("omit", "mark"))
    assert len(marked) == 7
    assert all(line.startswith("# ") for line in marked)
    assert marked[-1] == "# Data:"
    assert [line for line in marked if not line.endswith(": not recorded")] == omitted


RECORDS = annotations_of(
    ("ENSG01", 10, "first", "one of two records of an id"),
    ("ENSG01", 11, "SAME", "the other, with the symbol"),
    ("ENSG02", 12, "OLD", "renamed since"),
    (None, 13, "c1orf112", "by symbol"),
    (None, 14, "C1ORF112", "by symbol, later"),
    ("ENSG09", 15, "FAR", "its symbol is not in the gene table"),
)


def test_a_gene_is_found_by_id_and_symbol_then_by_id_then_by_symbol_in_any_case() -> None:
    genes = genes_of(
        ("ENSG03", "C1orf112"), ("ENSG01", "same"), ("ENSG02", "NEW"), ("ENSG01_b", "nobody"), ("ENSG09", "ENSG09")
    )
    found = annotate(genes, RECORDS)
    assert found.schema == ANNOTATION_SCHEMA
    assert found.select("gene_id", "symbol", "ncbi_gene_id").rows() == [
        ("ENSG03", "C1orf112", 13),
        ("ENSG01", "same", 11),
        ("ENSG02", "NEW", 12),
        ("ENSG01_b", "nobody", None),
        ("ENSG09", "FAR", 15),
    ]


def found_slowly(gene_id: str, symbol: str, records: list[tuple[str | None, str | None, int]]) -> int | None:
    by_id = [record for record in records if record[0] == gene_id]
    by_symbol = [record for record in records if record[1] is not None and record[1].upper() == symbol.upper()]
    by_both = [record for record in by_id if record in by_symbol]
    return next((number for _, _, number in [*by_both, *by_id, *by_symbol]), None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("pqrst"), st.sampled_from(["a", "A", "b", "c"])), unique_by=lambda g: g[0]),
    st.lists(st.tuples(st.sampled_from([*"pqr", None]), st.sampled_from(["a", "A", "B", None])), max_size=8),
)
def test_the_join_gives_what_a_search_row_by_row_gives(
    genes: list[tuple[str, str]], records: list[tuple[str | None, str | None]]
) -> None:
    numbered = [(gene_id, symbol, number) for number, (gene_id, symbol) in enumerate(records)]
    found = annotate(genes_of(*genes), annotations_of(*[(i, n, s) for i, s, n in numbered]))
    assert found["gene_id"].to_list() == [gene_id for gene_id, _ in genes]
    assert found["ncbi_gene_id"].to_list() == [found_slowly(i, s, numbered) for i, s in genes]


def test_prompts_are_those_of_the_annotated_rows_and_unknown_genes_are_named_by_symbol() -> None:
    genes = genes_of(("ENSG02", "NEW"), ("ENSG77", "nobody"))
    known, unknown = prompts_for(genes, RECORDS, missing="omit")
    assert known == prompt({"symbol": "NEW", "name": "renamed since"})
    assert unknown == prompt({"symbol": "nobody"})
    assert prompts_for(genes, RECORDS, missing="mark")[1] == prompt({"symbol": "nobody"}, missing="mark")


@needs_data
def test_all_genes_of_2016_are_read_and_nearly_all_of_mane_get_a_prompt_of_theirs() -> None:
    annotations = read_annotations(NCBI / "Homo_sapiens.gene_info.2016.gz")
    assert annotations.height == 56_425
    assert annotations["ncbi_gene_id"].n_unique() == 56_425
    assert read_annotations(NCBI / "Homo_sapiens.gene_info.2016.gz", tax_id=9606).height == 56_352
    genes = read_genes(DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz")
    prompts = prompts_for(genes, annotations)
    assert len(prompts) == 19_338
    assert sum("# Full name: " in text for text in prompts) == 18_934
    a2m = prompts[genes["symbol"].to_list().index("A2M")]
    assert "# Full name: alpha-2-macroglobulin\n# Aliases: A2MD, CPAMD5, FWP007, S863-7\n" in a2m


@needs_data
def test_records_of_2026_take_their_summaries() -> None:
    records = read_annotations(NCBI / "ncbi_info_20260421.tsv")
    assert records.height == 24
    with_summary = add_summaries(records, NCBI / "ncbi_gene_summary_20260427.tsv")
    assert with_summary["summary"].count() == 16
    abl1 = prompt(with_summary.row(by_predicate=pl.col("symbol") == "ABL1", named=True))
    assert "# Summary: This gene is a protooncogene that encodes a protein tyrosine kinase" in abl1


@needs_data
@pytest.mark.slow
def test_summaries_by_symbol_reach_the_genes_that_still_have_that_symbol() -> None:
    path = NCBI / "refseq_summaries.talisman.tsv"
    records = add_summaries(read_annotations(NCBI / "Homo_sapiens.gene_info.2016.gz", tax_id=9606), path)
    texts = dict(read_table(path).select("symbol", "summary").iter_rows())
    known = records.drop_nulls("summary")
    assert dict(known.select("symbol", "summary").iter_rows()) == {
        symbol: text for symbol, text in texts.items() if symbol in set(records["symbol"])
    }
    assert (known.height, len(texts)) == (471, 482)  # the others were named so after 2016


def test_a_quotation_mark_that_begins_a_field_hides_no_header(tmp_path: Path) -> None:
    path = tmp_path / "gene_info"
    path.write_text('#GeneID\tSymbol\tSummary\n7\t"A\tx\n8\tB\ty\n')
    assert read_table(path)["Symbol"].to_list() == ['"A', "B"]
