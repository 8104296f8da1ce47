"""Anchored arrays: windows that are centred on chosen positions to the base."""
