"""A training as a folder: what is asked, held out, learned, scored.

Modules are imported by their own names.
"""
