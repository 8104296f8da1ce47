"""Tiny stores and hypothesis strategies, for tests here and in other distributions.

Needs hypothesis. The fault-injecting proxy is `featurestore.testing.fault_proxy`.
"""

from featurestore.testing.fixtures import (
    ORIGIN,
    assembly_of,
    build_anchored,
    build_set,
    built_store,
    feature_set_of,
    grids,
    random_sequences,
    values_of,
    write_fasta,
)

__all__ = [
    "ORIGIN",
    "assembly_of",
    "build_anchored",
    "build_set",
    "built_store",
    "feature_set_of",
    "grids",
    "random_sequences",
    "values_of",
    "write_fasta",
]
