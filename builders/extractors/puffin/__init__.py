"""Puffin (Dudnyk et al., Science 2024) as an extractor: transcription initiation at each base."""
