"""What a verification is made of: checks of shards, reading in order, and its findings."""
