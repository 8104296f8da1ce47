"""The packages are those of this checkout, hide no library, and say what they are for."""

import ast
import importlib.util
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from checkout import ROOT

PACKAGES = ("catalog", "featurestore", "builders", "loaders", "model")


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_comes_from_this_checkout(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin == str(ROOT / package / "__init__.py"), (
        f"{package} is imported from {spec.origin}: a folder or file of that name hides ours"
    )


def test_no_module_and_no_room_is_named_like_a_library_that_it_would_hide() -> None:
    # A script that lies in a package's folder is run with that folder first on the path.
    libraries = (set(packages_distributions()) | set(sys.stdlib_module_names)) - set(PACKAGES)
    named = {path.relative_to(ROOT) for path in modules()} | {path.parent.relative_to(ROOT) for path in modules()}
    hidden = {path: importlib.util.find_spec(path.stem) for path in named if path.stem in libraries - {"__init__"}}
    # A folder without code of its own, such as the `testing` that anndata leaves, is nobody's import.
    assert [str(path) for path, spec in hidden.items() if spec is None or spec.origin is not None] == []


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in modules()])
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_exports_is_there(package: str) -> None:
    module = importlib.import_module(package)
    exported = getattr(module, "__all__", [])
    assert sorted(set(exported)) == sorted(exported)
    assert [name for name in exported if not hasattr(module, name)] == []


def test_the_page_on_architecture_shows_the_tree_as_it_is() -> None:
    tree = runpy.run_path(str(ROOT / "docs/draw_tree.py"))["tree"](ROOT)
    assert f"```text\n{tree}```" in (ROOT / "docs/architecture.md").read_text(), "run python docs/draw_tree.py"


def test_no_folder_holds_more_than_14_modules_and_rooms() -> None:
    folders = {path.parent for path in modules()}
    held = {
        str(folder.relative_to(ROOT)): len([path for path in folder.iterdir() if _is_module(path)])
        for folder in folders
    }
    assert {folder: count for folder, count in held.items() if count > 14} == {}


def _is_module(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
