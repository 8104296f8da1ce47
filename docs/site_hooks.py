"""Hooks of the site (`mkdocs.yml`): the same files read well on a plain git host and here.

Belongs here: the front page out of the README, pages of the API out of `__all__`, links that leave this folder, and
code that a page names. Does not: any text (the pages).
"""

import ast
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGES = ("catalog", "featurestore", "builders", "loaders", "model")
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_INCLUDED = re.compile(r"^\[[^\]\n]+\]\((?P<target>examples/[^)\s]+\.(?P<language>py|cjs))\)$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the front page and the pages of the API."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=_LINK.sub(_from_root, readme)))
    for package in PACKAGES:
        files.append(File.generated(config, f"api/{package}.md", content=api_page(package)))
    for path in sorted((DOCS / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Show code that a page links to in a line of its own; write links to files outside this folder as text."""
    markdown = _INCLUDED.sub(_shown, markdown).replace(".ipynb)", ".md)")
    folder = posixpath.dirname(page.file.src_uri)
    return _LINK.sub(lambda link: _outside_as_text(link, folder), markdown)


def api_page(package: str) -> str:
    """Write the page of a package: its docstring, then everything in its `__all__`."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    homes = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    named = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    )
    parts = [f"# `{package}`", (ast.get_docstring(tree) or "").split("\n>>>")[0]]
    parts += [f"::: {homes[name]}" for name in named if name in homes and not name.startswith("__")]
    return "\n\n".join(parts) + "\n"


def notebook_page(path: Path) -> str:
    """Write a notebook as a page: text, code, and what it printed or drew when it was run."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        language, code = ("bash", source.partition("\n")[2]) if source.startswith("%%bash") else ("python", source)
        parts.append(f"```{language}\n{code}\n```")
        parts += _outputs(cell["outputs"])
    return "\n\n".join(parts) + "\n"


def _outputs(outputs: list[dict[str, Any]]) -> list[str]:
    """Write what a cell printed, in one block, then what it drew."""
    shown = [output.get("data", {}) for output in outputs]
    texts = [
        "".join(output.get("text", data.get("text/plain", "")))
        for output, data in zip(outputs, shown, strict=True)
        if "image/png" not in data
    ]
    printed = [f"```text\n{''.join(texts).rstrip()}\n```"] if texts else []
    pictures = ["".join(data["image/png"]).strip() for data in shown if "image/png" in data]
    return printed + [f"![What the code above draws](data:image/png;base64,{picture})" for picture in pictures]


def _from_root(link: re.Match[str]) -> str:
    """Rewrite a link of the README, which lies one folder up."""
    target = link["target"]
    if target.startswith("docs/"):
        return f"[{link['text']}]({target.removeprefix('docs/')}{link['anchor'] or ''})"
    return link[0] if "://" in target else f"[{link['text']}](../{target})"


def _outside_as_text(link: re.Match[str], folder: str) -> str:
    target = link["target"]
    if "://" in target or not posixpath.normpath(posixpath.join(folder, target)).startswith(".."):
        return link[0]
    path = posixpath.normpath(posixpath.join("docs", folder, target))
    return f"`{path}`" if link["text"].strip("`") == path else f"{link['text']} (`{path}`)"


def _shown(found: re.Match[str]) -> str:
    code = (DOCS / found["target"]).read_text(encoding="utf-8").rstrip()
    return f"```{'python' if found['language'] == 'py' else 'javascript'}\n{code}\n```"
