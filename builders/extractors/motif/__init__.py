"""Known motifs counted in each bin: the embedded default extractor."""

from builders.extractors.motif.extractor import MotifExtractor

__all__ = ["MotifExtractor"]
