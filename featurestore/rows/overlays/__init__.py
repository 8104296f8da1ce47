"""Overlays: bins of a personal genome, in place of those of the reference."""
