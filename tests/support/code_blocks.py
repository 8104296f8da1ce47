"""Code blocks of the pages: which are run, and why the others are not.

A block after `<!-- run -->` is run by the tests. The others of a page are not, for the reason that the page states
once, `<!-- not run: it needs a GPU -->`; they are compiled, and the options of their commands must exist.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkout import ROOT

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
RUN = "<!-- run -->"
_REASON = re.compile(r"<!-- not run: (.+?) -->")
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^(?:    .*)?\n)+", re.MULTILINE)
SHELL = ("bash", "sh")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of code of a page."""

    page: Path
    line: int
    language: str
    code: str
    is_run: bool

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Find the blocks in Python or for a shell; indented ones count if they call `featurestore`."""
    text = page.read_text(encoding="utf-8")
    found = [_block(page, text, match, match[1], match[2]) for match in _FENCED.finditer(text)]
    outside = _FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in _INDENTED.finditer(outside):
        code = "\n".join(line[4:] for line in match[0].splitlines())
        if re.search(r"^featurestore [a-z]", code, re.MULTILINE):
            found.append(_block(page, outside, match, "bash", code))
    return [block for block in found if block.language in ("python", *SHELL)]


def _block(page: Path, text: str, match: re.Match[str], language: str, code: str) -> Block:
    before = text[: match.start()]
    return Block(
        page=page,
        line=before.count("\n") + 1,
        language=language,
        code=code,
        is_run=before.rstrip().endswith(RUN),
    )


def reason(page: Path) -> str | None:
    """Say why the blocks of a page that are not run are not; None if it does not say."""
    found = _REASON.search(page.read_text(encoding="utf-8"))
    return found[1] if found else None


def commands(code: str) -> Iterator[list[str]]:
    """Give the words of each `featurestore` command of a shell block."""
    for line in code.replace("\\\n", "").splitlines():
        if line.strip().startswith("featurestore "):
            for part in line.split(" && "):
                words = shlex.split(part, comments=True)
                if words and words[0] == "featurestore":
                    yield words[1:]
