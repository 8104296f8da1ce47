"""The page on what GTA learns says what was measured."""

import json
import sys

import numpy as np
from checkout import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks.gta_explain import auroc
from benchmarks.gta_learning import RESULTS
from benchmarks.gta_tables import show


def test_the_page_quotes_the_results() -> None:
    page = (ROOT / "docs" / "gta.md").read_text()
    for table in show(json.loads(RESULTS.read_text()), 5).split("\n\n"):
        assert table in page


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(0, 5, 40).astype(float), generator.random(40) < 0.3
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert abs(auroc(scores, positive) - sum(pairs) / len(pairs)) < 1e-12
