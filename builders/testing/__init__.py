"""For tests here and in other distributions: a tiny extractor, and conformance kits for extractors and sources.

The kits need pytest, and are imported on first use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builders.testing.composition import CompositionExtractor, CompositionSettings
    from builders.testing.conformance import ExtractorTests, SourceTests

__all__ = ["CompositionExtractor", "CompositionSettings", "ExtractorTests", "SourceTests"]

if not TYPE_CHECKING:  # type checkers read the imports above
    from catalog.runtime.lazy import lazy_names

    _DOOR = {
        "CompositionExtractor": "builders.testing.composition",
        "CompositionSettings": "builders.testing.composition",
        "ExtractorTests": "builders.testing.conformance",
        "SourceTests": "builders.testing.conformance",
    }
    __getattr__, __dir__ = lazy_names(__name__, door=_DOOR, more={})
