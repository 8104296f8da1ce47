"""Simulated genomes with a known regulatory grammar, for demonstrations and tests."""
