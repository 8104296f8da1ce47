"""Personal genomes: the bins of a haplotype that differ from the reference, as overlays of a feature set."""
