"""Compute some bins of a store again and compare: the strongest check that there is, and the dearest.

Belongs here: drawing bins, computing and comparing them. Does not: reading whole stores (`featurestore.upkeep.verify`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.sequence import bin_sequences
from builders.shard import features_of
from catalog import Assembly, Fasta, FeatureSet
from featurestore import Fault, FingerprintMismatch, Store
from featurestore.format import layout
from featurestore.rows.row_requests import RowRequest
from featurestore.rows.source import read_rows

_TOLERANCE = {"fp32": 2e-3, "tf32": 1e-2, "bf16": 5e-2}
"""Largest difference that another device may make, as a share of the channel's largest value among the bins compared;
float16 has 5e-4 in itself."""
_FLOOR = 1e-4
"""Difference that never matters, for channels that are all but zero in the bins drawn."""


def recompute(
    store: Store,
    k: int,
    *,
    fasta: str,
    extractor: str | None = None,
    weights: Path | None = None,
    projector: Path | None = None,
    names: Path | None = None,
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
        The genome that the store was built from; another is refused.
    extractor
        `module:factory` where the store was built with one that is not installed under its name.
    seed
        Same seed, same bins.

    Returns
    -------
    A fault for each shard in which a bin differs by more than another device explains.

    Raises
    ------
    AssemblyMismatch, FingerprintMismatch
        If the genome or the extractor is not that of the store.
    """
    if k < 1:
        raise ValueError(f"at least 1 bin is recomputed, got {k}")
    rng = np.random.default_rng(seed)
    with Fasta(fasta) as genome:
        store.require_assembly(Assembly.from_fasta(genome))
        return [
            fault
            for name in feature_sets or store.feature_sets()
            for fault in _recompute_set(
                store,
                store.feature_set(name),
                k,
                genome=genome,
                extractor=extractor,
                files={"weights": weights, "projector": projector, "names": names},
                device=device,
                rng=rng,
            )
        ]


def _recompute_set(
    store: Store,
    feature_set: FeatureSet,
    k: int,
    *,
    genome: Fasta,
    extractor: str | None,
    files: dict[str, Path | None],
    device: str,
    rng: np.random.Generator,
) -> list[Fault]:
    name = feature_set.name
    precision = str(feature_set.options.get("precision", "fp32"))
    made = load_extractor(
        extractor or feature_set.extractor,
        ExtractorOptions(bin_size=feature_set.bin_size, outputs=(name,), precision=precision, device=device, **files),
    )
    if made.fingerprint != feature_set.fingerprint:
        raise FingerprintMismatch(
            f"{name!r} of {store.url} was made by {feature_set.extractor} with fingerprint {feature_set.fingerprint}, "
            f"and this one has {made.fingerprint}: give the same files (--weights, --projector) and version"
        )
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
    sequences = np.concatenate(
        [
            bin_sequences(genome, commit.contig, feature_set.grid, commit.phase, row, row + 1, made.input_length)
            for commit, row in bins
        ]
    )
    expected = features_of(made, sequences, (feature_set,)).values[name].astype(np.float32)
    requests = [RowRequest(commit.contig, commit.phase, row, row + 1) for commit, row in bins]
    found = read_rows(store.rows(name), requests, expected.shape[1], feature_set.dtype)
    stored = np.concatenate(found).astype(np.float32)
    difference = np.abs(stored - expected)
    allowed = _FLOOR + _TOLERANCE[precision] * np.maximum(np.abs(stored), np.abs(expected)).max(axis=0)
    faults: dict[str, Fault] = {}
    for (commit, row), off in zip(bins, difference > allowed, strict=True):
        if off.any():
            channel = feature_set.channel_names[int(off.argmax())]
            key = layout.shard_key(name, commit.contig, commit.phase, commit.shard)
            what = f"bin {row} has another {channel!r} than the extractor gives"
            faults[key] = Fault(
                key, what, "remove it and its record (`repair` does), then build again", (commit.key, key)
            )
    return list(faults.values())
