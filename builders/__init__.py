"""Compute each feature once: from a source, such as an extractor over a genome, to committed shards.

Names are found on first use, so that looking at a store needs no Dask.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builders.anchored.run_anchors import AnchorReport, build_anchors, run_anchor_build
    from builders.execution.cluster import SchedulerLost
    from builders.execution.report import BuildReport
    from builders.execution.scheduling import BuildStopped
    from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
    from builders.plan import BuildPlan, plan_build
    from builders.request import AnchorRequest, BuildRequest
    from builders.run import build, run_build
    from builders.source import Source, SourceChanged, SourceOptions, Span, StagedSource

__all__ = [
    "AnchorReport",
    "AnchorRequest",
    "BuildPlan",
    "BuildReport",
    "BuildRequest",
    "BuildStopped",
    "Extractor",
    "ExtractorOptions",
    "SchedulerLost",
    "Source",
    "SourceChanged",
    "SourceOptions",
    "Span",
    "StagedSource",
    "build",
    "build_anchors",
    "load_extractor",
    "plan_build",
    "run_anchor_build",
    "run_build",
]

_DOOR = {
    "AnchorReport": "builders.anchored.run_anchors",
    "AnchorRequest": "builders.request",
    "BuildPlan": "builders.plan",
    "BuildReport": "builders.execution.report",
    "BuildRequest": "builders.request",
    "Extractor": "builders.extractors.base",
    "ExtractorOptions": "builders.extractors.base",
    "Source": "builders.source",
    "SourceOptions": "builders.source",
    "build": "builders.run",
    "build_anchors": "builders.anchored.run_anchors",
    "load_extractor": "builders.extractors.base",
    "plan_build": "builders.plan",
    "run_anchor_build": "builders.anchored.run_anchors",
    "run_build": "builders.run",
}
"""Shown by `dir()` and tab completion."""
_MORE = {
    "BuildStopped": "builders.execution.scheduling",
    "SchedulerLost": "builders.execution.cluster",
    "SourceChanged": "builders.source",
    "Span": "builders.source",
    "StagedSource": "builders.source",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    import featurestore  # noqa: F401  # refuses another `catalog` in the place of ours
    from catalog.runtime.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, door=_DOOR, more=_MORE)
