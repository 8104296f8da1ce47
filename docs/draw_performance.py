"""Write the figure and the tables of docs/performance.md from benchmarks/results/*.json.

    python docs/draw_performance.py

Belongs here: choosing and showing what was measured. Does not: measuring (`benchmarks/`).
"""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from model.evaluation.figures import COLOURS, STYLE, save

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PAGE = DOCS / "performance.md"
FIGURE = DOCS / "figures" / "performance.png"


def load(name: str) -> dict[str, Any]:
    """Read the results of one benchmark."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def machine(results: dict[str, Any]) -> str:
    """Say on which machine it was measured, with which versions."""
    where = results["machine"]
    gpu = f", {where['gpu']}" if where.get("gpu") else ""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"{where['processor']}, {where['cores']} cores{gpu}; {versions}."


def ratios() -> list[tuple[str, float]]:
    """Ratios of reading windows: ours over the other, measured in one run."""
    rows = load("read_windows")["rows"]
    return [(row["what"].strip(), float(row["figure"])) for row in rows if row["unit"] == "x" and not row["at_most"]]


def tables() -> dict[str, str]:
    """Write the tables, by the name of their mark."""
    reading, cpu, gpu, building = (load(name) for name in ("read_windows", "sei_forward", "sei_forward_cuda", "build"))
    windows = [f"| {what} | {value:.2f} |" for what, value in ratios()]
    sei = [
        f"| {'H100' if results is gpu else '2 cores'} | {row['name']} | {row['precision']} | {row['bins_per_s']:,.1f} |"
        for results in (cpu, gpu)
        for row in results["rows"]
        if "bins_per_s" in row
    ]
    store, dask, workers = (building["rows"][name] for name in ("store", "dask", "workers"))
    builds = [
        f"| {store['what']} | {store['bins_per_second']:,.0f} bins/s |",
        f"| {dask['what']} | {dask['ms']:.1f} ms |",
        f"| {workers['what']} | {workers['ratio']:.2f}x (bare processes {workers['ratio_of_bare_processes']:.2f}x) |",
    ]
    web, server, gta_cpu, gta_gpu, tiers = (
        load(name) for name in ("web", "server", "gta_step", "gta_step_cuda", "gta_prefix_tiers")
    )
    return {
        "windows": _table("| ours / other | ratio |", windows, machine(reading)),
        "sei": _table("| device | how | precision | bins/s |", sei, f"{machine(cpu)} {machine(gpu)}"),
        "build": _table("| what | measured |", builds, machine(building)),
        "web": _table(
            "| in Chromium | channels | first picture (ms), slowest | a step of 10 bins (ms), slowest |",
            _web_rows(web),
            f"{machine(web)} Chromium {web['chromium']}; the page has {web['page_bytes']['gzipped']:,} bytes gzipped.",
        ),
        "server": _table(
            "| what | measured |",
            [f"| {row['what'].strip()} | {row['figure']:,.3g} {row['unit']}".rstrip() + " |" for row in server["rows"]],
            f"{machine(server)} Load {server['machine']['load'][0]:.1f}, niceness {server['niceness']}.",
        ),
        "gta": _table(
            "| device | what | N = 251 | N = 51 |",
            [*_gta_rows("2 cores", gta_cpu), *_gta_rows("H100", gta_gpu), *_tier_rows(tiers)],
            f"{machine(gta_cpu)} {machine(gta_gpu)}",
        ),
    }


def _web_rows(web: dict[str, Any]) -> list[str]:
    rows = []
    for channels in ("512 channels", "21,907 channels"):
        for who, found in web[channels].items():
            if "first_requests" in found:
                times = [found[name] for name in ("first picture (ms)", "step of 10 bins (ms)")]
                cells = [f"{time['median']:,.0f}, {time['slowest']:,.0f}" for time in times]
                shown = who if who == "explorer" else f"{who}, 40 bigWigs"
                rows.append(f"| {shown} | {channels.split()[0]} | {' | '.join(cells)} |")
    return rows


def _gta_rows(device: str, results: dict[str, Any]) -> list[str]:
    steps = results["steps"]
    lines = {
        f"genes/s with the cache of prompts, {results['sizes']['precision']}": [
            f"{s['genes_per_s']:,.1f}" for s in steps
        ],
        "a step without it / with it": [f"{step['ratio']:.2f}x" for step in steps],
        "alignment, selector and head, share of a step of `best`": [f"{s['own_share']['best']:.1%}" for s in steps],
    }
    return [f"| {device} | {what} | {' | '.join(cells)} |" for what, cells in lines.items()]


def _tier_rows(tiers: dict[str, Any]) -> list[str]:
    """Compare prompts on the device, the host and the disk, a third each, with all on the device."""
    found = {epoch["n_bins"]: f"{epoch['ratio']:.2f}x" for epoch in tiers["epochs"]}
    return [f"| 2 cores | prompts in three tiers / all on the device | {found.get(251, '')} | {found.get(51, '')} |"]


def _table(header: str, rows: list[str], note: str) -> str:
    return "\n".join((header, "|" + "---|" * (header.count("|") - 1), *rows, "", f"Measured on {note}"))


def with_tables(page: str) -> str:
    """Put the tables into the page, between their marks."""
    for name, table in tables().items():
        mark = rf"(<!-- table {name} -->\n).*?(<!-- end {name} -->)"
        page = re.sub(mark, lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", page, flags=re.DOTALL)
    return page


def draw(path: Path = FIGURE) -> None:
    """Draw the ratios of reading windows, on a logarithmic axis: right of 1 ours is faster."""
    found = sorted(ratios(), key=lambda ratio: ratio[1])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.28 * len(found) + 1), layout="constrained")
        axes = figure.subplots()
        colours = [COLOURS[0] if value >= 1 else COLOURS[1] for _, value in found]
        axes.barh([what for what, _ in found], [value for _, value in found], color=colours)
        axes.set_xscale("log")
        axes.axvline(1, color="0.3", linewidth=1)
        axes.set_xlabel("ours / other (above 1: ours is faster)")
        save(figure, path)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    draw()
