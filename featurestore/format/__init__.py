"""The store's format on disk, and writing a shard."""
