"""Probes: what a representation of sequence says of a measured task, beside one-hot sequence and composition."""
