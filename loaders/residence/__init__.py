"""Where the rows of a training run live: in memory, in a mirror on the local disk, or in the store itself."""
