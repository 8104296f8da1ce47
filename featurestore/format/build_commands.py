"""The commands that build what a reader did not find, for error messages.

Belongs here: which verb builds the features of which maker. Does not: the verbs (`builders.cli`).
"""

from collections.abc import Sequence

from catalog import Assembly, FeatureSet
from catalog.runtime.plugins import plugins

_EXTRACTORS, _SOURCES = "featurestore.extractors", "featurestore.sources"
_TABLE = "--table TABLE --feature-set {name}"
_TRACKS = "--track NAME=FILE --feature-set {name} --bin-size {bin_size}"
_GRID = {"bases": "build-sequence", "tracks": "build-tracks", "viewpoints": "build-viewpoints"}
_ANCHORED = {"tracks": "build-track-anchors", "viewpoints": "build-viewpoints"}
_WHAT = {"tracks": _TRACKS, "viewpoints": _TABLE}
"""Makers that have verbs of their own, and the options of these; others are named by `--extractor` or `--source`."""


def grid_command(
    url: str, assembly: Assembly, feature_set: FeatureSet, *, contigs: Sequence[str], offsets: Sequence[int] = ()
) -> str:
    """Write the command that builds contigs of a feature set."""
    maker = feature_set.extractor
    what = f"--fasta {assembly.name}.fa" if maker == "bases" else _what(assembly, feature_set)
    phases = f" --offsets {','.join(map(str, offsets))}" if offsets and maker != "bases" else ""
    return f"`featurestore {_GRID.get(maker, 'build')} {url} {what} --contigs {','.join(contigs)}{phases}`"


def anchored_command(
    url: str, assembly: Assembly, feature_set: FeatureSet, anchors: str, n_bins: int | None = None
) -> str:
    """Write the command that builds an anchored array."""
    maker = feature_set.extractor
    bins = f" --n-bins {n_bins}" if n_bins is not None and maker != "viewpoints" else ""
    named = f"--anchors TABLE --name {anchors}{bins}"
    return f"`featurestore {_ANCHORED.get(maker, 'build-anchors')} {url} {named} {_what(assembly, feature_set)}`"


def _what(assembly: Assembly, feature_set: FeatureSet) -> str:
    maker = feature_set.extractor
    if maker in _WHAT:
        return _WHAT[maker].format(name=feature_set.name, bin_size=feature_set.bin_size)
    if maker in plugins(_SOURCES) and maker not in plugins(_EXTRACTORS):
        return f"--source {maker}"
    return f"--fasta {assembly.name}.fa --extractor {maker}"
