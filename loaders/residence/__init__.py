"""Where the rows of a training run are cached: in memory, in a mirror on the local disk, or hardly at all."""
