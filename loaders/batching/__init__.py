"""Batches and their order: sampler, stream, loader, prefetch."""
