"""Gene tables: reading them, fitting them to an assembly, and splitting them for training."""
