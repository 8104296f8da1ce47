"""Builds of anchored arrays: windows that are centred exactly on chosen positions."""
