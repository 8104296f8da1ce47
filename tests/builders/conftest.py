"""The genome and the undisturbed build that tests of killed and competing builds compare with."""

from pathlib import Path

import pytest
from crash_builds import PLAIN, run_build, write_genome


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_genome(tmp_path_factory.mktemp("genome"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, genome: Path) -> Path:
    """Build undisturbed, by an extractor that no test has a hand in."""
    folder = tmp_path_factory.mktemp("reference")
    assert run_build(folder, folder / "store", genome, "--workers", 1, extractor=PLAIN).status == 0
    return folder / "store"
