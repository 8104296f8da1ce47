"""A page that shows what a run found: a table, figures, and how to do it again.

Belongs here: one self-contained HTML file (no scripts, nothing fetched). Does not: numbers (`model.cli.demo`), figures
(`model.evaluation.figures`).
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from catalog.runtime.files import write_atomic
from model.evaluation.figures import STYLE, Paired

_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
tr.best td { font-weight: 600; background: #f2f7fb; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .9rem; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .85rem; }
pre.commands { white-space: pre-wrap; overflow-wrap: anywhere; }
.note { border-left: 4px solid #E69F00; padding: .4rem 1rem; background: #fdf8ec; }
"""


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    notes: Sequence[str],
    results: Sequence[Mapping[str, Any]],
    differences: Sequence[Paired],
    figures: Sequence[tuple[Path, str]],
    facts: Mapping[str, str],
    commands: Sequence[str],
) -> Path:
    """Write the page.

    Parameters
    ----------
    lead
        What was done, in a sentence or two.
    notes
        What a reader must know before quoting a number.
    results
        Each as `model.runs.scores.evaluate` gives it.
    differences
        Which model is ahead of which, and by how much.
    figures
        PNG files and their captions; the pictures are put into the page.
    facts
        Seconds, bytes, versions: name and value as text.
    commands
        The lines that make it all again.
    """
    best = max((result["spearman"] for result in results), default=None)
    rows = "\n".join(_row(result, is_best=result["spearman"] == best) for result in results)
    first, *others = [picture_html(picture, caption) for picture, caption in figures]
    pictures = "\n".join(others)
    took = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
    body = f"""<h2>Scores on held-out genes</h2>
{first}
<table><thead><tr><th>model</th><th>bins</th><th>test genes</th><th>Spearman</th><th>± 2 sd</th>
<th>drawn by</th><th>sd over seeds</th><th>share bases with training windows</th></tr></thead>
<tbody>{rows}</tbody></table>
{differences_html(differences)}
{pictures}
<h2>What it took</h2>
<table><tbody>{took}</tbody></table>
<h2>Do it again</h2>
{commands_html(commands)}"""
    return write_page(path, title=title, lead=lead, notes=notes, body=body)


def write_page(path: Path, *, title: str, lead: str, notes: Sequence[str], body: str) -> Path:
    """Write a page with any body, which is HTML already; all else is text."""
    document = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{_CSS}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(lead)}</p>
{"".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)}
{body}
</body></html>
"""
    write_atomic(path, document.encode())
    return path


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]], *, best: int | None = None) -> str:
    """Give a table of texts as HTML, with the row `best` set off."""
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = [
        f"<tr{' class=best' if number == best else ''}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        for number, row in enumerate(rows)
    ]
    return f"<table><thead><tr>{names}</tr></thead><tbody>" + "</tr>\n".join(lines) + "</tr></tbody></table>"


def results_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Give the scores as lines of text."""
    head = f"{'model':<20} {'bins':>5} {'test genes':>11} {'Spearman':>9} {'2 sd':>6}"
    lines = [
        f"{row['model']:<20} {row['n_bins']:>5} {row['n_test']:>11} {row['spearman']:>9.3f} {row['two_sd']:>6.3f}"
        for row in results
    ]
    return "\n".join([head, *lines])


def differences_html(differences: Sequence[Paired]) -> str:
    """Give paired differences as an HTML table."""
    head = ["paired difference, same genes and draws", "Spearman", "± 2 sd", "ahead in"]
    rows = [
        [one.label, f"{one.value:+.3f}", f"{one.two_sd:.3f}", f"{one.share_above:.0%} of draws"] for one in differences
    ]
    return table_html(head, rows) if rows else ""


def differences_table(differences: Sequence[Paired]) -> str:
    """Give paired differences as lines of text."""
    width = max((len(one.label) for one in differences), default=0)
    lines = [f"{one.label:<{width}} {one.value:>+7.3f} ± {one.two_sd:.3f}" for one in differences]
    return "\n".join(["paired differences in Spearman, same genes and draws (± 2 sd):", *lines])


def commands_html(commands: Sequence[str]) -> str:
    """Give command lines as HTML that wraps, and that can be pasted as it stands."""
    return f"<pre class=commands>{html.escape(chr(10).join(commands))}</pre>"


def _row(result: Mapping[str, Any], *, is_best: bool) -> str:
    cells = (
        html.escape(str(result["model"])),
        str(result["n_bins"]),
        str(result["n_test"]),
        f"{result['spearman']:.3f}",
        f"{result['two_sd']:.3f}",
        str(result["resample"]),
        "" if result["seeds"] is None or result["seeds"]["sd"] is None else f"{result['seeds']['sd']:.3f}",
        "" if result["n_sharing_bases"] is None else str(result["n_sharing_bases"]),
    )
    return f"<tr{' class=best' if is_best else ''}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def picture_html(picture: Path, caption: str) -> str:
    """Give a PNG with its caption as HTML, the picture in it."""
    return _embedded(picture.read_bytes(), caption)


def figure_html(figure: Figure, caption: str) -> str:
    """Give a figure with its caption as HTML, the picture in it as PNG."""
    png = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(png, format="png", dpi=150)
    return _embedded(png.getvalue(), caption)


def _embedded(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
