"""What tests of models need, here and in other distributions.

`model.testing.conformance.PredictorTests` proves a predictor; the small genes and language models are imported from
here.
"""

from model.testing.genes import (
    CAUSAL,
    FAMILIES,
    PROMPTS,
    Family,
    TinyGenes,
    tiny_genes,
    write_tiny_backbone,
)

__all__ = ["CAUSAL", "FAMILIES", "PROMPTS", "Family", "TinyGenes", "tiny_genes", "write_tiny_backbone"]
