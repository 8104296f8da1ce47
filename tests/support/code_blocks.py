"""Code blocks of the pages: which are run, and why the others are not.

Above each block stands one of

- `<!-- run -->`: the tests run it,
- `<!-- run: until stopped -->`: it serves while the blocks after it run,
- `<!-- run: with pytest -->`: it is a file of tests,
- `<!-- run by tests/test_plugin.py -->`: a test of its own runs it, and says what must come of it,
- `<!-- not run: it needs a GPU -->`: the reason of this block.

All are compiled, and the options of their commands must exist. Data (JSON, YAML, TOML) needs no mark: it is parsed.
"""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkout import ROOT

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "examples").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
SHELL = ("bash", "sh")
DATA = ("json", "yaml", "toml")
TEXT = ("text",)
"""Pictures of folders and formulas: nothing that anyone would run."""
_MARK = re.compile(
    r"<!-- (?:(?P<run>run)|run: (?P<how>until stopped|with pytest)|run by (?P<by>[\w./]+)|not run: (?P<why>[^>]+))"
    r" -->\s*\Z"
)
_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n)\n((?: {4}[^ \n].*\n)+)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of code of a page."""

    page: Path
    line: int
    language: str
    code: str
    is_run: bool = False
    is_served: bool = False
    """It runs until it is stopped."""
    is_tests: bool = False
    """It is a file for pytest."""
    run_by: Path | None = None
    """The test that runs it."""
    reason: str | None = None
    """Why it is not run."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Find the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, match) for match in _FENCED.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    before = text[: match.start()]
    found = _MARK.search(before)
    mark: dict[str, str | None] = found.groupdict() if found else {}
    by = mark.get("by")
    return Block(
        page=page,
        line=before.count("\n") + 1,
        language=match["language"],
        code=textwrap.dedent(match["code"]),
        is_run=bool(mark.get("run") or mark.get("how")),
        is_served=mark.get("how") == "until stopped",
        is_tests=mark.get("how") == "with pytest",
        run_by=ROOT / by if by else None,
        reason=mark.get("why"),
    )


def unfenced(page: Path) -> list[str]:
    """Find code that is shown by indenting it, which has no language and so could not be checked.

    What continues an item of a list is indented too: there a line that begins it stands before.
    """
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [
        match[1]
        for match in _INDENTED.finditer(text)
        if not re.search(r"^(?:\d+\.|[-*]) .*(?:\n(?: .*)?)*\Z", text[: match.start()], re.MULTILINE)
    ]


def commands(code: str) -> Iterator[list[str]]:
    """Give the words of each `featurestore` command of a shell block."""
    for line in code.replace("\\\n", "").splitlines():
        for part in line.strip().split(" && "):
            if part.startswith("featurestore "):
                yield shlex.split(part, comments=True)[1:]
