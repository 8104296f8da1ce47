"""Shared infrastructure: atomic writes, text tables, user folders, retry policy, plug-ins, settings, lazy imports."""
