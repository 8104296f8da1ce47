"""Tables of pandas and of whatever narwhals knows work where those of polars do."""

from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from gene_files import Gene, assembly_of, frame_of
from hypothesis import given
from hypothesis import strategies as st

from catalog import annotate, place_genes, prompts_for, write_genes
from catalog.genes import splits
from catalog.genes.frames import as_polars
from catalog.genes.table import GENE_SCHEMA
from catalog.ncbi.annotations import ANNOTATION_SCHEMA

GENES = frame_of([Gene(f"G{n}", f"S{n}", f"chr{n % 3}", 10 * n, 10 * n + 5, "+-"[n % 2], "") for n in range(1, 9)])
ROWS = {name: GENES[name].to_list() for name in GENES.columns}
PANDAS = pd.DataFrame(ROWS)

columns = st.lists(
    st.tuples(st.text(max_size=3) | st.none(), st.integers(-(2**53), 2**53) | st.none()), min_size=1, max_size=5
)


@given(columns)
def test_a_frame_of_pandas_is_that_of_polars_gaps_and_all(rows: list[tuple[str | None, int | None]]) -> None:
    schema = pl.Schema({"text": pl.String(), "number": pl.Int64()})
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    assert as_polars(pd.DataFrame(rows, columns=["text", "number"]), schema).equals(frame)
    assert as_polars(frame) is frame
    assert as_polars(frame.lazy()).equals(frame)


def test_every_door_that_takes_genes_takes_those_of_pandas(tmp_path: Path) -> None:
    assembly = assembly_of(chr0=100, chr1=100)
    assert place_genes(PANDAS, assembly).genes.equals(place_genes(GENES, assembly).genes)
    for name, genes in (("pandas", PANDAS), ("polars", GENES)):
        write_genes(genes, tmp_path / name)
    assert (tmp_path / "pandas").read_bytes() == (tmp_path / "polars").read_bytes()
    known = pl.DataFrame([("G1", 1, "S1", "one", None, None, None)], schema=ANNOTATION_SCHEMA, orient="row")
    of_pandas = pd.DataFrame({name: known[name].to_list() for name in known.columns})
    assert annotate(PANDAS, of_pandas).equals(annotate(GENES, known))
    assert prompts_for(PANDAS, of_pandas) == prompts_for(GENES, known)
    split = splits.random(GENES)
    assert splits.random(PANDAS) == split
    assert splits.by_contig_group(PANDAS, n_folds=3) == splits.by_contig_group(GENES, n_folds=3)
    assert splits.by_family(PANDAS, n_folds=3) == splits.by_family(GENES, n_folds=3)
    assert splits.by_contig(PANDAS, test=["chr0"], validation=["chr1"]) == splits.by_contig(
        GENES, test=["chr0"], validation=["chr1"]
    )
    assert splits.by_gene_list(PANDAS, ["G1"]) == splits.by_gene_list(GENES, ["G1"])
    assert splits.overlaps(split, PANDAS, window_bp=50).equals(splits.overlaps(split, GENES, window_bp=50))


def test_a_column_that_is_missing_is_named_with_those_that_are_there() -> None:
    with pytest.raises(ValueError, match=r"lacks the columns gene_id: it has symbol, .*`reset_index\(\)` makes it one"):
        place_genes(PANDAS.set_index("gene_id"), assembly_of(chr0=100))
    with pytest.raises(ValueError, match=r"lacks the columns contig: it has .*chrom"):
        place_genes(GENES.rename({"contig": "chrom"}), assembly_of(chr0=100))


def test_positions_that_are_no_whole_numbers_and_things_that_are_no_tables_are_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'tss' must hold Int64, and holds 1\.5; mend or convert it"):
        as_polars(PANDAS.assign(tss=[1.5] * 8), GENE_SCHEMA)
    with pytest.raises(TypeError, match=r"must be a data frame of polars, pandas or another library .*, got a dict"):
        as_polars(ROWS)  # type: ignore[type-var]
