"""A sealed store as a Croissant dataset: JSON-LD that catalogs of machine-learning data read.

Belongs here: the document of Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html), and its
validation. Does not: the summary of a store (`featurestore.upkeep.registry_file`), writing it
(`featurestore.upkeep.seal`).

Its size does not grow with the shards: they are file sets, and their hashes are in the manifest, whose hash is here.
"""

import json
from collections.abc import Mapping
from typing import Any

from catalog.registry import StoreSummary
from catalog.runtime.documents import DamagedDocument, parse_object
from featurestore.display import percent
from featurestore.format import layout
from featurestore.format.manifest import CROISSANT, MANIFEST, README, SealedObject
from featurestore.format.metadata import is_whole, signed

_ZARR = "application/vnd.zarr"
_VERSION = "http://mlcommons.org/croissant/1.0"
# From the specification, appendix 1; spelled out, since readers accept no other, and need no network for it.
_OF_CROISSANT = (
    "citeAs column conformsTo data dataType examples equivalentProperty extract field fileProperty fileObject fileSet "
    "format includes isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    **{name: f"cr:{name}" for name in _OF_CROISSANT.split()},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}


def croissant(summary: StoreSummary, files: Mapping[str, SealedObject]) -> bytes:
    """Encode the document.

    Parameters
    ----------
    summary
        Summary of the sealed store.
    files
        Objects to list one by one, with size and sha256: the manifest is one of them.
    """
    sets = summary.feature_sets
    names = ", ".join(item.name for item in sets)
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _VERSION,
        "name": f"Features of {summary.assembly}: {names}",
        "description": (
            f"Features of the genome assembly {summary.assembly} ({summary.assembly_digest}) in bins along its "
            f"sequence: {names}. A Zarr v3 store that holds {percent(summary.share)} of its shards; {MANIFEST} has "
            "the size and sha256 of every object."
        ),
        "url": "./",
        "version": f"1.0.0+{summary.top_hash}",
        "identifier": _identifier(summary.top_hash),
        "datePublished": summary.as_of.isoformat(),
        "license": [f"{item.name}: {item.licence}" for item in sets],
        "citeAs": "\n".join(f"{item.name}: {item.citation}" for item in sets),
        "distribution": [*(_file(key, sealed) for key, sealed in sorted(files.items())), *_file_sets(summary)],
    }
    # Web pages embed such documents in a script element: nothing in it may look like a tag.
    text = json.dumps(signed(document), indent=1, ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def is_croissant_of(data: bytes, top_hash: str) -> bool:
    """Tell whether a document is intact, and describes the contents of that hash."""
    try:
        document = parse_object(data, where=CROISSANT, mend="")
    except DamagedDocument:
        return False
    return is_whole(document) and document.get("identifier") == _identifier(top_hash)


def _identifier(top_hash: str | None) -> str:
    return f"sha256:{top_hash}"


def _file(key: str, sealed: SealedObject) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": key,
        "name": key,
        "contentUrl": key,
        "contentSize": f"{sealed.size} B",
        "encodingFormat": "text/markdown" if key == README else "application/json",
        "sha256": sealed.sha256,
    }


def _file_sets(summary: StoreSummary) -> list[dict[str, Any]]:
    found = []
    for item in summary.feature_sets:
        made = (
            f"{len(item.channels)} channels of {item.dtype} by the extractor {item.extractor} "
            f"(fingerprint {item.fingerprint}); licence: {item.licence}; cite: {item.citation}"
        )
        path = layout.set_path(item.name)
        grid = f"bins of {item.bin_size} bp, offsets {', '.join(map(str, item.offsets))} bp"
        found.append(_file_set(path, f"Arrays (phase, bin, channel), one a contig: {grid}; {made}"))
        for anchors in item.anchors:
            about = f"Array (anchor, bin, channel) around {anchors}: bins of {item.bin_size} bp; {made}"
            found.append(_file_set(layout.anchored_path(item.name, anchors), about))
        for overlay in item.overlays:
            about = f"Overlay {overlay}: bins of {item.bin_size} bp that differ from the reference's; {made}"
            found.append(_file_set(layout.overlay_path(item.name, layout.overlay_folder(overlay)), about))
    return found


def _file_set(path: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": path,
        "name": path,
        "description": description,
        "encodingFormat": _ZARR,
        "includes": [f"{path}/**"],
    }
