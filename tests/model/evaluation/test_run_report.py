"""Scores by contig, against a loop that scores each contig by itself."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from model.evaluation.metrics import bootstrap_spearman
from model.evaluation.run_report import scores_by_contig

ROWS = st.lists(
    st.tuples(st.sampled_from(["chr10", "chr2", "chrX", "chr1"]), st.integers(0, 9), st.integers(0, 9)), max_size=60
)


@settings(max_examples=20)
@given(ROWS)
def test_every_contig_that_has_ranks_is_scored_on_its_own_genes(rows: list[tuple[str, int, int]]) -> None:
    schema = {"contig": pl.String, "prediction": pl.Float64, "observed": pl.Float64}
    found = scores_by_contig(pl.DataFrame(rows, schema=schema, orient="row"), draws=10)
    expected = {}
    for contig in ("chr1", "chr2", "chr10", "chrX"):
        x = [float(prediction) for name, prediction, _ in rows if name == contig]
        y = [float(observed) for name, _, observed in rows if name == contig]
        if len(x) > 2 and len(set(x)) > 1 and len(set(y)) > 1:
            expected[contig] = (len(x), bootstrap_spearman(x, y, draws=10))
    assert list(found) == list(expected)
    for contig, (n, estimate) in expected.items():
        assert found[contig][0] == n
        assert found[contig][1].value == estimate.value
