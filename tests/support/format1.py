"""A sealed store of format 1, with gene tables, runs trained on it, and what they predicted."""

import tarfile
from pathlib import Path

from checkout import ROOT


def unpack_format1(folder: Path) -> Path:
    """Unpack `genome.store`, `genes.tsv`, `targets.tsv`, `annotations.tsv`, `runs` and `expected.npz`."""
    with tarfile.open(ROOT / "tests" / "data" / "format1.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder
