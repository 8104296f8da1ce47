"""Sei (Chen et al., Nature Genetics 2022) as an extractor, and its network arranged for speed.

Nothing is imported here: `network` must load where there is numpy and torch and nothing else.
"""
