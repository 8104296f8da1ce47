"""Rows that are kept by no reader, because a table on the model's device has them.

Belongs here: reading each row as it is asked for, and counting that. Does not: the table (`loaders.windows.row_table`).
"""

from collections.abc import Sequence

from catalog.value_type import Values
from featurestore import RowRequest, RowSource
from loaders.residence.memory import ReadsRows
from loaders.stats import Tally


class PassedRows:
    """Passes rows on from the store, and keeps none.

    Parameters
    ----------
    reader
        Reader of the store that they come from.
    tally
        Counts what is read.
    """

    def __init__(self, reader: ReadsRows, tally: Tally) -> None:
        self._source: RowSource = reader.source
        self._tally = tally

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Fill the outputs from the store."""
        self._tally.add(misses=len(requests))
        self._source.read_into(requests, outputs)
