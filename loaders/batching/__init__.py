"""Batches and their order: samplers, streams, loaders, prefetching."""
