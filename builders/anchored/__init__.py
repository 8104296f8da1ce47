"""Builds of anchored arrays: windows that are centred on chosen positions to the base."""
