"""Models that turn sequence into features, one file a model."""

from builders.extractors.base import Extractor, ExtractorOptions, extractor_names, load_extractor

__all__ = ["Extractor", "ExtractorOptions", "extractor_names", "load_extractor"]
