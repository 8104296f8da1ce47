"""What a store looks like on disk, and how one shard is written."""
