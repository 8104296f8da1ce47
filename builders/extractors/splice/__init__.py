"""SpliceAI (Jaganathan et al., Cell 2019) and OpenSpliceAI as an extractor: splice sites in each bin."""
