"""What docstrings and comments refer to in backticks is there."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from checkout import ROOT

PACKAGES = ("catalog", "featurestore", "builders", "loaders", "model")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
DOTTED = re.compile(rf"(?:{'|'.join((*PACKAGES, 'benchmarks'))})(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(r"(?:tests|benchmarks|docs|web|" + "|".join(PACKAGES) + r")(?:/[\w.-]+)*/?")
OF_A_CLASS = re.compile(r"([A-Z]\w*[a-z]\w*)\.([a-z_]\w*)")
"""An attribute of a class, such as `Grid.place`."""
NOT_OURS = (
    *("catalog.json", "featurestore/catalog.json", "model.safetensors"),  # objects and files
    "featurestore.build",  # a logger
    *(
        f"featurestore.{kind}"
        for kind in ("checks", "commands", "extractors", "gene_formats", "model_routes", "models", "sources")
    ),
    "featurestore.models",  # an entry-point group
    *("model/sei.py", "model/seqclass.names"),  # in the repository of Sei
)
"""Looks like a reference, and is none."""


def backticked(text: str) -> Iterator[str]:
    yield from (match.rstrip("()") for match in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text))


@cache
def names_in(module: str) -> frozenset[str] | None:
    """Names that a module or package of this checkout has, submodules too; None if there is no such module."""
    place = ROOT.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.exists() and not place.is_dir():
        return None
    found = {path.stem for path in place.iterdir()} if place.is_dir() else set()
    if file.exists():
        found |= set(_assigned(ast.parse(file.read_text()).body))
    return frozenset(found)


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.If | ast.Try):  # TYPE_CHECKING, optional imports
            yield from _assigned(node.body)


@cache
def attributes() -> dict[str, set[str]]:
    """Attributes of every class of this checkout, by the class's name, with those of its bases here."""
    own: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                stored = {
                    name.attr
                    for name in ast.walk(node)
                    if isinstance(name, ast.Attribute) and isinstance(name.ctx, ast.Store)
                }
                own.setdefault(node.name, set()).update(_assigned(node.body), stored)
                bases.setdefault(node.name, []).extend(base.id for base in node.bases if isinstance(base, ast.Name))
    return {name: own[name].union(*(own.get(base, set()) for base in bases[name])) for name in own}


def is_there(dotted: str) -> bool:
    parts = dotted.split(".")
    for known in range(len(parts), 0, -1):
        names = names_in(".".join(parts[:known]))
        if names is not None:
            rest = parts[known:]
            if not rest:
                return True
            if rest[0] not in names and not _is_lazy(".".join(parts[:known]), rest[0]):
                return False
            return len(rest) == 1 or rest[0] not in attributes() or rest[1] in attributes()[rest[0]]
    return False


def _is_lazy(package: str, name: str) -> bool:
    """Whether a package gives the name on first use: it is written in the package's table of names."""
    file = ROOT.joinpath(*package.split(".")) / "__init__.py"
    return file.exists() and re.search(rf"[\"']{name}[\"']", file.read_text()) is not None


def _of_the_parameter_model(reference: str) -> bool:
    """Whether this is an attribute of what functions call `model`."""
    package, *rest = reference.split(".")
    return package == "model" and len(rest) == 1 and rest[0] in attributes()["ExpressionModel"]


def stale(text: str) -> list[str]:
    found = []
    for reference in backticked(text):
        if reference in NOT_OURS:
            continue
        of_class = OF_A_CLASS.fullmatch(reference)
        if DOTTED.fullmatch(reference):
            right = is_there(reference) or _of_the_parameter_model(reference)
        elif FILE.fullmatch(reference) and "/" in reference:
            right = (ROOT / reference).exists()
        elif of_class and of_class[1] in attributes():
            right = of_class[2] in attributes()[of_class[1]]
        else:
            continue
        if not right:
            found.append(reference)
    return found


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in FILES])
def test_what_a_module_refers_to_is_there(path: Path) -> None:
    assert stale(path.read_text()) == []


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("*.md")), ids=lambda path: path.name
)
def test_what_a_page_refers_to_is_there(path: Path) -> None:
    if path.name != "CHANGELOG.md":  # it speaks of what was, too
        assert stale(path.read_text()) == []


def test_a_stale_reference_would_be_found() -> None:
    assert stale("`catalog.no_such_module`, `catalog.grid.NoName`, `Grid.no_such_method`, `docs/none.md`") == [
        "catalog.no_such_module",
        "catalog.grid.NoName",
        "Grid.no_such_method",
        "docs/none.md",
    ]
    assert stale("`catalog.grid.Grid.place`, `Grid.place`, `docs/sei.md`, `catalog.Grid`, `loaders.prefetch`") == []


def test_extras_are_installed_from_the_checkout_and_exist() -> None:
    """No package index has this distribution: `pip install genomic-featurestore[x]` would find nothing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pages = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
    for path in (*FILES, *pages):
        text = path.read_text()
        assert "genomic-featurestore[" not in text, path
        named = re.findall(r"""how_to_install\(["'](\w+)["']\)|pip install [^\n`]*\.\[([\w,]+)\]""", text)
        assert {extra for pair in named for extra in "".join(pair).split(",")} <= set(extras), path
