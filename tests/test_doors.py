"""What a package shows, and that looking at it costs next to nothing."""

import ast
import importlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT

PACKAGES = ("builders", "catalog", "featurestore", "loaders", "model")
HEAVY = ("torch", "transformers", "lightning", "dask", "distributed", "polars", "xarray", "zarr", "pydantic")


def exports(package: str) -> Iterator[tuple[str, str]]:
    """Give the names that type checkers see, with the modules that they see them in."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and "not" not in ast.unparse(node.test))
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for name in node.names:
            yield name.asname or name.name, f"{node.module}" + (f":{name.name}" if name.asname else "")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_door_shows_about_fifteen_public_names_and_nothing_else(package: str) -> None:
    shown = dir(importlib.import_module(package))
    assert 10 <= len(shown) <= 20
    assert set(shown) <= set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_names_where_they_are_found(package: str) -> None:
    module = importlib.import_module(package)
    assert dict(exports(package)) == {**module._DOOR, **module._MORE}
    assert set(module.__all__) == {*module._DOOR, *module._MORE}
    assert not {*module._DOOR} & {*module._MORE}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_submodule_which_would_take_its_place(package: str) -> None:
    submodules = {path.stem for path in (ROOT / package).iterdir()}
    assert not submodules & set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        importlib.import_module(package).nonsense  # noqa: B018


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(package: str, tmp_path: Path) -> None:
    done = python(f"import sys, {package}; print(*sorted(set(sys.modules) & set({HEAVY})))", tmp_path)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_reading_a_store_needs_no_torch(tmp_path: Path) -> None:
    done = python("import sys, featurestore; featurestore.open; print('torch' in sys.modules)", tmp_path)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("package", ["builders", "featurestore", "loaders", "model"])
@pytest.mark.parametrize("hiding", ["catalog.py", "catalog/__init__.py"])
def test_a_file_that_hides_a_package_is_named_with_the_mend_and_is_not_run(
    package: str, hiding: str, tmp_path: Path
) -> None:
    (tmp_path / hiding).parent.mkdir(exist_ok=True)
    (tmp_path / hiding).write_text("print('run')\n")
    done = python(f"import {package}", tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {tmp_path / hiding} hides the package 'catalog' of genomic-featurestore")
    assert "rename that file" in last


def test_models_refuse_other_loaders(tmp_path: Path) -> None:
    (tmp_path / "loaders.py").touch()
    assert f"{tmp_path / 'loaders.py'} hides the package 'loaders'" in python("import model", tmp_path).stderr


def test_a_file_that_hides_no_package_below_is_the_user_s_own(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("MINE = True\n")
    done = python("import featurestore, loaders, model; print(model.MINE, featurestore.open.__name__)", tmp_path)
    assert (done.stdout, done.stderr) == ("True open_store\n", "")


def test_the_version_is_that_of_the_installed_distribution() -> None:
    import featurestore

    assert featurestore.__version__ == importlib.metadata.version("genomic-featurestore")
