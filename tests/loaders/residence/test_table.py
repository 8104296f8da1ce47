"""A residence is one row of a table: settings, choices and help texts come from it."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from catalog import Grid
from catalog.runtime.settings import describe_settings
from featurestore.testing import built_store
from loaders import WindowDataset, WindowSettings
from loaders.residence import open as residences
from loaders.residence.memory import HeldRows
from loaders.residence.open import RESIDENCES, Residence, ResidenceKind


def test_choices_and_help_are_the_rows_of_the_table() -> None:
    assert get_args(Residence) == tuple(RESIDENCES)
    (setting,) = (item for item in describe_settings(WindowSettings) if item.name == "residence")
    assert setting.kind == "|".join(RESIDENCES)
    for name, kind in RESIDENCES.items():
        assert f"{name}: {kind.doc}" in setting.doc


def test_a_row_is_all_that_a_new_residence_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ResidenceKind(lambda reader, options, tally: HeldRows(reader, 1 << 20, tally), "rows are mine")
    monkeypatch.setattr(residences, "RESIDENCES", {**RESIDENCES, "mine": mine})
    built_store(tmp_path / "s", {"chr1": 100}, Grid(bin_size=16))
    windows = [
        WindowDataset(tmp_path / "s", "demo", contigs="chr1", centres=[20, 50], n_bins=3, residence=name)
        for name in ("mine", "stream")
    ]
    np.testing.assert_array_equal(windows[0][[0, 1]].numpy(), windows[1][[0, 1]].numpy())
    with pytest.raises(ValueError, match="memory, device, cache, stream, mine; got 'yours'"):
        WindowSettings(residence="yours")
