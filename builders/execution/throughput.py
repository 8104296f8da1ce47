"""Throughput of a source on this machine, measured.

Belongs here: a measurement for `plan`. Does not: the speed that earlier builds reached (`featurestore.upkeep.status`).
"""

import time
from contextlib import closing

import numpy as np

from builders.execution.source_spec import assembly_of, describe_source
from builders.request import FeaturesRequest
from builders.source import Source, Span, pad_rows, read
from catalog import Assembly


def measure(source: Source, assembly: Assembly, *, seconds: float = 10.0, seed: int = 0) -> float:
    """Measure bins/s of a source at random positions, in batches.

    The first batch, which loads weights and warms the device up, is not counted.

    Parameters
    ----------
    seconds
        For how long (s); at least one batch is measured.
    """
    rng = np.random.default_rng(seed)
    contigs, lengths = list(assembly.lengths), np.array(list(assembly.lengths.values()))
    pad = pad_rows(source)

    def batch() -> Span:
        number = rng.choice(len(contigs), p=lengths / lengths.sum())
        n_bins = min(source.batch_bins, -(-int(lengths[number]) // source.bin_size))
        last = max(int(lengths[number]) - n_bins * source.bin_size, 0)
        return Span(contigs[number], int(rng.integers(last + 1)), n_bins)

    read(source, [batch()], pad)
    started = time.perf_counter()
    bins = 0
    while not bins or time.perf_counter() - started < seconds:
        span = batch()
        read(source, [span], pad)
        bins += span.n_bins
    return bins / (time.perf_counter() - started)


def measure_request(store_url: str, request: FeaturesRequest) -> float:
    """Measure the source of a request: bins/s of one worker."""
    spec = describe_source(request, assembly=assembly_of(store_url, request))
    with closing(spec.make()) as source:
        return measure(source, spec.assembly)
