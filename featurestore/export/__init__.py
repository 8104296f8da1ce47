"""Feature sets as files that other tools read: bigWig, bedGraph, Parquet, AnnData, a UCSC track hub."""

from featurestore.export.request import FORMATS, ExportRequest
from featurestore.export.run import export

__all__ = ["FORMATS", "ExportRequest", "export"]
