"""Which version this is: that of the installed distribution."""

from importlib.metadata import version

__version__ = version("genomic-featurestore")
