"""How fast an extractor is on this machine, tried out.

Belongs here: a measurement for `plan`. Does not: the speed that earlier builds reached (`featurestore.upkeep.status`).
"""

import time

import numpy as np

from builders.extractors.base import Extractor
from builders.shard import compute


def measure(extractor: Extractor, *, seconds: float = 10.0, seed: int = 0) -> float:
    """Let an extractor compute random sequence for some time, in batches, and give bins/s.

    The first batch, which loads weights and warms the device up, is not counted.

    Parameters
    ----------
    seconds
        For how long (s); at least one batch is measured.
    """
    rng = np.random.default_rng(seed)
    batch = rng.choice(np.frombuffer(b"ACGT", dtype=np.uint8), size=(extractor.batch_size, extractor.input_length))
    compute(extractor, batch)
    started = time.perf_counter()
    bins = 0
    while not bins or time.perf_counter() - started < seconds:
        compute(extractor, batch)
        bins += len(batch)
    return bins / (time.perf_counter() - started)
