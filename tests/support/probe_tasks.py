"""Small tasks for probes: sequences whose target is known from what they hold."""

from pathlib import Path
from typing import Any

import numpy as np

from model.probes.request import ProbeRequest

Lines = dict[str, list[Any]]


def planted(*, rows: int = 120, length: int = 40, seed: int = 0) -> Lines:
    """Give sequences with the number of `TGA` in them as the target: composition says more of it than any place."""
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACGT"), length)) for _ in range(rows)]
    counts = [sequence.count("TGA") + 0.01 * number / rows for number, sequence in enumerate(sequences)]
    return {"sequence": sequences, "activity": counts}


def written(path: Path, lines: Lines) -> Path:
    """Write a task as text."""
    rows = zip(*lines.values(), strict=True)
    path.write_text("\n".join(["\t".join(lines), *("\t".join(map(str, row)) for row in rows)]) + "\n")
    return path


def request_of(folder: Path, lines: Lines, **more: Any) -> ProbeRequest:
    """Ask for a probe of some lines, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"features": ("kmer:3",), "fractions": (1.0,), "draws": 50, "device": "cpu"} | more
    return ProbeRequest(task=written(folder / "task.tsv", lines), out=folder / "probe", **given)
