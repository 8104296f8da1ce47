"""The test part is read once, after all choices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from probe_tasks import planted, request_of

from model.probes.heads import HeadSpec
from model.probes.neural import Recipe
from model.probes.request import HEADS
from model.probes.run import run_probe
from model.probes.task import read_task


class Recorded:
    """Features that note which rows are read, in turn."""

    def __init__(self, values: NDArray[np.floating]) -> None:
        self.values, self.shape = values, values.shape
        self.read: list[list[int]] = []

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        self.read.append(rows.tolist())
        return self.values[rows]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs, and a width to choose."""
    recipe = Recipe(learning_rate=1e-3, batch_size=8, epochs=2, widths=(0.1, 0.2))
    monkeypatch.setattr("model.probes.heads.recipe_of", lambda *named: recipe)


@pytest.mark.parametrize("head", [head for head in HEADS if head != "logistic"])
def test_features_of_test_rows_are_read_once_and_last(head: str, tmp_path: Path) -> None:
    task = read_task(request_of(tmp_path, planted(rows=30)))
    pieces = 1 if head in ("ridge", "mlp") else 20
    values: Any = Recorded(np.random.default_rng(0).normal(size=(30, pieces, 4)).astype(np.float16))
    spec = HeadSpec(head=head, representation="kmer", preset="default", seed=0, share=1.0, device="cpu")
    spec.fit(task, values)
    test = set(task.rows(2).tolist())
    *before, last = values.read
    assert sorted(last) == sorted(test)
    assert before
    assert not any(test & set(rows) for rows in before)


def test_what_was_measured_of_test_rows_changes_no_head_choice_or_prediction(tmp_path: Path) -> None:
    lines = planted(rows=60)
    test = read_task(request_of(tmp_path / "split", lines)).rows(2)
    other = {**lines, "activity": [7 - one if row in test else one for row, one in enumerate(lines["activity"])]}
    found = []
    for name, measured in (("one", lines), ("other", other)):
        request = request_of(tmp_path / name, measured, heads=("ridge", "mlp"), features=("onehot",))
        report = run_probe(request)
        heads = {path.name: path.read_bytes() for path in (request.out / "heads").iterdir()}
        fits = {}
        for path in (request.out / "fits").iterdir():
            with np.load(path) as kept:
                fits[path.name] = kept["predictions"].tobytes(), json.loads(str(kept["told"]))["chosen"]
        found.append((heads, fits, report.table["pearson"].to_list()))
    assert (len(found[0][0]), len(found[0][1])) == (4, 4)
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]
