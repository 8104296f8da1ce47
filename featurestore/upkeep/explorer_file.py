"""What a web page must know of a sealed store before it reads values: `explorer.json`.

Belongs here: that document. Does not: the page (`web/`, in TypeScript), putting it beside a store (`featurestore.web`).

HTTP cannot list, and a page has no Python: it finds here the sets, channels and contigs, where each array lies, and
which rows are built. docs/explorer.md describes the fields.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from catalog import FeatureSet
from featurestore.distribution.version import __version__
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.layout import ContigLayout
from featurestore.format.metadata import signed
from featurestore.rows.overlays.describe import read_whole
from featurestore.store import Store

FORMAT = 1
"""Of the document; a page refuses a number that it does not know."""


def explorer_file(store: Store, described: Sequence[FeatureSet], *, top_hash: str, is_complete: bool) -> bytes:
    """Encode `explorer.json`: proportional to the channels, and to the contigs and gaps of each set; one listing a set.

    Parameters
    ----------
    described
        Its feature sets.
    top_hash
        Of the contents, as in the manifest; a link to a view names it.
    is_complete
        Whether every shard of the declared contigs and phases is built.
    """
    document = {
        "explorer": FORMAT,
        "version": __version__,
        "top_hash": top_hash,
        "complete": is_complete,
        "assembly": {"name": store.assembly.name, "digest": store.assembly.digest},
        "sets": [_set_of(store, item) for item in described],
    }
    return json.dumps(signed(document), separators=(",", ":"), ensure_ascii=False).encode()


def lists_overlays(document: bytes) -> bool:
    """Tell whether a document is of a version that lists overlays; one that does not hides them from the page."""
    return all("overlays" in item for item in json.loads(document)["sets"])


def _set_of(store: Store, described: FeatureSet) -> dict[str, Any]:
    committed = store.commits(described.name).shards()
    lengths = store.assembly.lengths
    arrays = {contig: ContigLayout(described, lengths[contig]) for contig in store.contigs(described.name)}
    return {
        "name": described.name,
        "extractor": described.extractor,
        "fingerprint": described.fingerprint,
        "licence": described.licence,
        "citation": described.citation,
        "bin_size": described.bin_size,
        "offsets": list(described.offsets),
        "dtype": described.dtype,
        "channels": list(described.channel_names),
        "pad": list(described.pad),
        "contigs": [
            {
                "name": contig,
                "length": array.length,
                "path": layout.values_path(described.name, contig),
                "built": _built(array, committed.get(layout.contig_key(contig), set())),
            }
            for contig, array in arrays.items()
        ],
        "overlays": [_overlay_of(store, described, name) for name in store.overlays(described.name)],
    }


def _overlay_of(store: Store, described: FeatureSet, name: str) -> dict[str, Any]:
    """Describe an overlay; as for `featurestore.reader`, it is built where all of its shards and phases are."""
    folder = layout.overlay_folder(name)
    whole = read_whole(store.objects, store.assembly, described, folder)
    committed = store.commits(ArrayKey(described.name, overlay=folder)).shards()
    arrays = whole.arrays if whole is not None and whole.overlay.offsets == described.offsets else {}
    return {
        "name": name,
        "contigs": [
            {
                "name": contig,
                "path": f"{layout.overlay_path(described.name, folder)}/{layout.contig_key(contig)}",
                "rows": list(array.rows),
                "complete": array.shards() <= committed.get(layout.contig_key(contig), set()),
            }
            for contig, array in arrays.items()
        ],
    }


def _built(array: ContigLayout, committed: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Merge the rows of committed shards to runs `[first, end)`, one list a phase."""
    runs: list[list[tuple[int, int]]] = [[] for _ in array.feature_set.offsets]
    # A concurrent build may have added phases since the set was read; `seal` then refuses the store.
    for phase, shard in sorted(one for one in committed if one[0] < len(runs)):
        first, end = array.shard_span(phase, shard)
        of_phase = runs[phase]
        if of_phase and of_phase[-1][1] == first:
            of_phase[-1] = (of_phase[-1][0], end)
        else:
            of_phase.append((first, end))
    return runs
