"""Variants: reading them, the sequence of either allele, scores, and writing them."""
