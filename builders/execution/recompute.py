"""Recompute random bins of a store and compare: the strongest check, and the most expensive.

Belongs here: drawing bins, computing and comparing them. Does not: reading whole stores (`featurestore.upkeep.verify`).
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from types import MappingProxyType

import numpy as np

from builders.execution.source_spec import describe_source, recorded_request
from builders.request import FeaturesRequest
from builders.source import Source, Span, read
from catalog import FeatureSet
from featurestore import Fault, FingerprintMismatch, Store
from featurestore.format import layout
from featurestore.rows.row_requests import RowRequest

_FLOOR = 1e-4
"""Difference that never matters, for channels that are all but zero in the bins drawn."""


def recompute(
    store: Store,
    k: int,
    *,
    fasta: str | None = None,
    extractor: str | None = None,
    source: str | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
    device: str = "auto",
    seed: int | None = None,
    feature_sets: Sequence[str] | None = None,
) -> list[Fault]:
    """Recompute `k` random committed bins of each feature set of a store.

    Parameters
    ----------
    k
        Bins a feature set, drawn without repetition from all that are committed; fewer if there are fewer.
    fasta
        The genome that the store was built from; another is refused. A source that is not sequence needs none.
    extractor, source
        `module:factory` where the store was built with one that is not installed under its name.
    settings
        In place of the recorded ones, for files that have moved.
    seed
        Same seed, same bins.

    Returns
    -------
    A fault for each shard in which a bin differs by more than another device explains: by more than the source's
    `tolerance`.

    Raises
    ------
    AssemblyMismatch, FingerprintMismatch
        If the genome or the source is not that of the store.
    """
    if k < 1:
        raise ValueError(f"at least 1 bin is recomputed, got {k}")
    rng = np.random.default_rng(seed)
    faults = []
    for name in dict.fromkeys(feature_sets or store.feature_sets()):
        feature_set = store.feature_set(name)
        if not store.commits(name).shards():
            continue  # nothing on the grid: anchored arrays alone, which a table of genes may have given
        request = recorded_request(
            feature_set, fasta=fasta, extractor=extractor, source=source, settings=settings, device=device
        )
        with closing(_make(store, feature_set, request)) as made:
            faults += _recompute_set(store, feature_set, k, made=made, rng=rng)
    return faults


def _make(store: Store, feature_set: FeatureSet, request: FeaturesRequest) -> Source:
    """Make the source as it was set when the feature set was built."""
    spec = describe_source(request, assembly=store.assembly)
    store.require_assembly(spec.assembly)
    made = spec.make()
    if made.fingerprint != feature_set.fingerprint:
        raise FingerprintMismatch(
            f"{feature_set.name!r} of {store.url} was made by {feature_set.extractor} with fingerprint "
            f"{feature_set.fingerprint}, and this one has {made.fingerprint}: give the same files, settings and "
            "version"
        )
    return made


def _recompute_set(
    store: Store, feature_set: FeatureSet, k: int, *, made: Source, rng: np.random.Generator
) -> list[Fault]:
    name = feature_set.name
    commits = list(store.commits(name).records())
    if not commits:
        return []
    ends = np.cumsum([commit.n_bins for commit in commits])
    drawn = np.sort(rng.choice(ends[-1], size=min(k, int(ends[-1])), replace=False))
    shards = np.searchsorted(ends, drawn, side="right")
    bins = [
        (commits[shard], commits[shard].first_bin + int(number - (ends[shard] - commits[shard].n_bins)))
        for number, shard in zip(drawn, shards, strict=True)
    ]
    spans = [Span(commit.contig, feature_set.grid.span(commit.phase, row)[0], 1) for commit, row in bins]
    computed = read(made, spans, {name: np.array(feature_set.pad, dtype=feature_set.dtype)})[name]
    # As the store keeps it, so that what is compared is the computing and not the rounding.
    expected = feature_set.value_type.cast(computed).astype(np.float32)
    requests = [RowRequest(commit.contig, commit.phase, row, row + 1) for commit, row in bins]
    stored = np.concatenate(store[name].rows(requests)).astype(np.float32)
    difference = np.abs(stored - expected)
    allowed = _FLOOR + made.tolerance * np.maximum(np.abs(stored), np.abs(expected)).max(axis=0)
    faults: dict[str, Fault] = {}
    for (commit, row), off in zip(bins, difference > allowed, strict=True):
        if off.any():
            channel = feature_set.channel_names[int(off.argmax())]
            key = layout.shard_key(name, commit.contig, commit.phase, commit.shard)
            what = f"bin {row} has another {channel!r} than its source gives"
            faults[key] = Fault(
                key, what, "remove it and its record (`repair` does), then build again", (commit.key, key)
            )
    return list(faults.values())
