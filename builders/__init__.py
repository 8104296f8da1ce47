"""Compute each feature once: sequence in, committed shards out."""
