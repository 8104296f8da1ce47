"""The site builds without a warning, and asks nothing of another machine."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from checkout import ROOT

pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
_LINK = re.compile(r"""<(?:a|img)[^>]+(?:href|src)=["']?([^"'\s>#]+)""")
_LOADED = re.compile(
    r"""<(?:script|img|iframe)[^>]+src=["']?(https?:)?//|<link[^>]+rel=["']?(?:stylesheet|preconnect)[^>]+https?://"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return out


@pytest.mark.slow
def test_every_page_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    assert [page for page in pages if _LOADED.search(page.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_every_link_leads_to_a_file(site: Path) -> None:
    dead = []
    for page in sorted(site.rglob("*.html")):
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|//", target) and page.name != "404.html":
                dead += [] if (page.parent / unquote(target)).exists() else [f"{page.name}: {target}"]
    assert dead == []


@pytest.mark.slow
def test_the_pages_of_the_api_show_the_public_names(site: Path) -> None:
    for package, name in (("catalog", "catalog.grid.Grid"), ("loaders", "loaders.windows.grid.WindowDataset")):
        assert f'id="{name}"' in (site / "api" / f"{package}.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_readers_of_the_format_are_shown_whole(site: Path) -> None:
    page = re.sub("<[^>]+>", "", (site / "format.html").read_text(encoding="utf-8"))
    assert "def read_window(" in page
    assert "function readWindow(" in page


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"([\w/]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= named


def test_the_page_on_performance_has_the_measured_figures() -> None:
    spec = importlib.util.spec_from_file_location("draw_performance", ROOT / "docs" / "draw_performance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert module.with_tables(page) == page
    assert page.count("\n|---") == 6
