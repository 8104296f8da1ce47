"""A track hub of the UCSC genome browser around bigWig files.

Belongs here: the three text files of a hub (https://genome.ucsc.edu/goldenPath/help/hgTrackHubHelp.html). Does not: the
tracks (`featurestore.export.tracks`).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from catalog.runtime.files import write_atomic

_SHORT, _LONG = 17, 76
"""Characters that the browser shows of a label."""


def write_hub(folder: Path, *, genome: str, name: str, described: str, email: str, tracks: Mapping[str, Path]) -> None:
    """Write `hub.txt`, `genomes.txt` and `trackDb.txt`.

    Parameters
    ----------
    genome
        As UCSC calls the assembly, such as hg38.
    name, described
        Of the feature set.
    tracks
        File of each channel, in `folder/genome`.
    """
    hub = {
        "hub": _word(name),
        "shortLabel": _text(name)[:_SHORT],
        "longLabel": _text(described)[:_LONG],
        "genomesFile": "genomes.txt",
        "email": _text(email),
    }
    blocks = [
        {
            "track": f"{_word(name)}_{number}",
            "bigDataUrl": path.name,
            "shortLabel": _text(channel)[:_SHORT],
            "longLabel": _text(f"{name}: {channel}")[:_LONG],
            "type": "bigWig",
            "autoScale": "on",
            "visibility": "full" if number < 5 else "hide",
        }
        for number, (channel, path) in enumerate(tracks.items())
    ]
    write_atomic(folder / genome / "trackDb.txt", "\n".join(map(_block, blocks)).encode())
    write_atomic(folder / "genomes.txt", _block({"genome": genome, "trackDb": f"{genome}/trackDb.txt"}).encode())
    write_atomic(folder / "hub.txt", _block(hub).encode())


def _block(lines: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in lines.items())


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _text(text: str) -> str:
    return " ".join(text.split())
