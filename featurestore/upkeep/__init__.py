"""Looking after whole stores: verify, repair, seal, copy, compare, list."""
