"""The page on Prism says what was measured."""

import json
import sys

from checkout import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks.prism_signals import RESULTS, show


def test_the_page_quotes_the_results() -> None:
    page = (ROOT / "docs" / "prism.md").read_text()
    tables = show(json.loads(RESULTS.read_text())).split("\n\n")
    assert tables
    for table in tables:
        assert table in page
