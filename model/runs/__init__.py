"""A training run as a folder: request, split, checkpoints, scores.

Modules are imported by their own names.
"""
