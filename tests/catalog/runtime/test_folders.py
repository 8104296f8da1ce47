"""Where caches and data of a user lie: as the environment says, else as the operating system does."""

import sys
from pathlib import Path

import pytest

from catalog.runtime.folders import cache_directory, data_directory

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the rules of Linux")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("FEATURESTORE_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@linux
def test_the_cache_lies_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert cache_directory() == home / ".cache" / "genomic-featurestore"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache_directory() == home / "xdg" / "genomic-featurestore"
    monkeypatch.setenv("FEATURESTORE_CACHE", str(home / "mine"))
    assert cache_directory() == home / "mine"
    monkeypatch.setenv("FEATURESTORE_CACHE", "~/mine")
    assert cache_directory() == home / "mine"


@linux
def test_data_lie_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert data_directory() == home / ".local" / "share" / "featurestore"
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "xdg"))
    assert data_directory() == home / "xdg" / "featurestore"


def test_data_of_an_earlier_version_are_still_found_where_another_folder_is_usual(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    usual = home / "Library" / "featurestore"
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: usual)
    assert data_directory() == usual
    (home / ".local" / "share" / "featurestore").mkdir(parents=True)
    assert data_directory() == home / ".local" / "share" / "featurestore"
    usual.mkdir(parents=True)
    assert data_directory() == usual
