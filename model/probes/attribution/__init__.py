"""What the heads of a probe read: maps of bases, how far they agree, and what a motif adds."""
