"""The page on scale holds what its script works out, and the script counts as a store does."""

import numpy as np
import pytest
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scale
from featurestore.format.layout import ContigLayout


def test_the_page_has_the_tables_of_the_script() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert scale.with_tables(page) == page
    assert page.count("\n|---") == 4


def test_reads_of_an_epoch_are_the_chunks_that_its_bins_lie_in(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = (900_000_000, 5_000_000)
    monkeypatch.setattr(scale, "HG38", lengths)
    features = scale.features(21907)
    reads = scale.epoch_reads(features, windows=40, n_bins=31, seed=3)
    rng = np.random.default_rng(3)
    contigs = rng.choice(2, size=40, p=np.asarray(lengths) / sum(lengths))
    centres = rng.integers(0, np.asarray(lengths)[contigs])
    touched = []
    for contig, centre in zip(contigs, centres, strict=True):
        placed = features.grid.nearest(int(centre), 31)
        inside = range(ContigLayout(features, lengths[contig]).n_bins(placed.phase))
        rows = [row for row in range(placed.first_bin, placed.first_bin + 31) if row in inside]
        touched += [(contig, placed.phase, chunk) for chunk in {row // features.chunk_bins for row in rows}]
    shards = {(contig, phase, chunk * features.chunk_bins // features.shard_bins) for contig, phase, chunk in touched}
    assert reads.requests == len(touched) + len(shards)
    assert reads.distinct_chunks == len(set(touched))
    assert reads.bytes == len(touched) * features.chunk_bins * 21907 * 2


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.integers(1, 20), st.floats(0, 0.5))
def test_a_simulated_build_takes_no_less_than_the_ideal_and_one_worker_takes_the_sum(
    bins: list[int], workers: int, scheduler_s: float
) -> None:
    run = scale.simulate_build(bins, workers=workers, bins_per_second=10, scheduler_s=scheduler_s)
    alone = scale.simulate_build(bins, workers=1, bins_per_second=10, scheduler_s=scheduler_s)
    assert run.executions == run.tasks == len(bins)
    assert run.ideal_hours <= run.hours * (1 + 1e-9)
    assert alone.hours * 3600 == pytest.approx(sum(bins) / 10 + len(bins) * scheduler_s)


def test_a_shard_whose_worker_died_is_done_again() -> None:
    run = scale.simulate_build([100] * 200, workers=5, bins_per_second=1, scheduler_s=0, deaths_per_hour=20)
    calm = scale.simulate_build([100] * 200, workers=5, bins_per_second=1, scheduler_s=0)
    assert run.executions > run.tasks == 200
    assert run.hours > calm.hours
