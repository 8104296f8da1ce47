"""Models that turn sequence into features, one file a model; what they share is in `builders.extractors.base`.

Nothing is imported here: `sei_network` must load where there is numpy and torch and nothing else.
"""
