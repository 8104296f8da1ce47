"""A bigWig file, checked before it is read.

Belongs here: opening one, its contigs against an assembly, the value of each base. Does not: whether it is whole
(`builders.tracks.bigwig_layout`), bins of several files (`builders.tracks.source`).

Values come from pybigtools at 1 bp, which gives a base that is not covered, or is stored as NaN, the value that is
asked for.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builders.source import SourceChanged
from builders.tracks.bigwig_layout import BIGWIG, NotABigWig, check_layout
from builders.tracks.cached_file import CachedFile
from catalog import Assembly, AssemblyMismatch, UnknownContig
from catalog.fasta.source import Source, open_source
from catalog.runtime.locations import local_path
from catalog.runtime.plugins import how_to_install
from catalog.runtime.tables import listed
from catalog.runtime.weight_files import refuse_pointer, sha256_of_file


class BigWig:
    """One file, opened and checked; for one thread at a time.

    Parameters
    ----------
    place
        A path, or a URL that fsspec reads.
    storage_options
        For a URL, as fsspec names them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If its server cannot be reached, or refuses.
    NotABigWig
        If it is empty, cut short, a bigBed, or another kind of file.
    """

    def __init__(self, place: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._path = local_path(place)
        if self._path is not None and self._path.is_file():
            refuse_pointer(self._path)
        self._source: Source = open_source(place, storage_options, kind=BIGWIG)
        self.shown = self._source.shown
        """Its path, or its URL without user, password and query."""
        self._cached = CachedFile(self._source) if self._path is None else None
        try:
            read = self._source.read if self._cached is None else self._cached.range
            check_layout(read, self._source.size, shown=self.shown)
            with self._explained():
                self._reader = _pybigtools().open(self._cached or os.fspath(self._path or ""))
                chroms: dict[str, int] = self._reader.chroms()
                self._summary: dict[str, float] = self._reader.info()["summary"]
            self.lengths = chroms
            """Length of each contig in its header (bp)."""
        except BaseException:
            self._source.close()
            raise

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its content; a remote file is read through once for it, and kept in the cache."""
        if self._cached is not None:
            with self._explained():
                return self._cached.digest()
        return sha256_of_file(os.fspath(self._path or ""))

    @property
    def covered_bases(self) -> int:
        """Bases with a value, by its header."""
        return int(self._summary["basesCovered"])

    @property
    def smallest(self) -> float:
        """Smallest value, by its header."""
        return float(self._summary["min"])

    @property
    def holds_infinity(self) -> bool:
        """Whether a value is infinite, by its header."""
        return math.isinf(self._summary["sum"]) or math.isinf(self._summary["max"])

    def nan_bases(self, contigs: Mapping[str, str]) -> int:
        """Count the bases that are stored as NaN, which only a file whose header says so is read for."""
        if not math.isnan(self._summary["sum"]):
            return 0
        with self._explained():
            return sum(
                end - start
                for contig in contigs.values()
                for start, end, value in self._reader.records(contig)
                if math.isnan(value)
            )

    def contigs_on(self, assembly: Assembly) -> dict[str, str]:
        """Name the contigs of an assembly that the file has: the assembly's own name, and the file's.

        `1` is `chr1`, and the reverse, where one of the two has the one name and the other the other.

        Raises
        ------
        AssemblyMismatch
            If a contig has another length, or there is none.
        """
        found: dict[str, str] = {}
        for name in self.lengths:
            try:
                own = assembly.resolve(name)
            except UnknownContig:
                continue
            if own not in found or name == own:
                found[own] = name
        wrong = [own for own, name in found.items() if self.lengths[name] != assembly.lengths[own]]
        if wrong:
            own = wrong[0]
            more = f" (and {len(wrong) - 1:,} more contigs)" if len(wrong) > 1 else ""
            raise AssemblyMismatch(
                f"{self.shown} is on another assembly than {assembly.name}: {found[own]} has "
                f"{self.lengths[found[own]]:,} bp in it and {assembly.lengths[own]:,} in the store{more}; give the "
                "bigWig of the same assembly, or lift it over (CrossMap bigwig)"
            )
        if not found:
            raise AssemblyMismatch(
                f"{self.shown} shares no contig with {assembly.name}: it has {listed(list(islice(self.lengths, 8)))}, "
                f"and the assembly {listed(list(islice(assembly.lengths, 8)))}; give the bigWig of the same assembly, "
                "with its names of contigs"
            )
        return found

    def read_into(self, contig: str, start: int, values: NDArray[np.float64], *, uncovered: float) -> None:
        """Read the value of each base from `start` on.

        Parameters
        ----------
        contig
            By the file's own name.
        values
            Filled; shape `(bases,)`, contiguous, within the contig.
        uncovered
            Value of a base that is not covered, or is stored as NaN.
        """
        given = None if math.isnan(uncovered) else uncovered
        with self._explained():
            self._reader.values(contig, start, start + len(values), uncovered=given, fillna=None, arr=values)

    def check_unchanged(self) -> None:
        """Check that the file is still the one that was opened; SourceChanged if not."""
        try:
            now = self._source.current_version()
        except FileNotFoundError as error:
            raise SourceChanged(f"{self.shown} is gone; put it back, and start again") from error
        if now != self._source.version:
            raise SourceChanged(
                f"{self.shown} changed: it had {self._source.version}, now it has {now}; what is committed was "
                "computed from the former file: put that back and start again, or build another feature set from this "
                "one, `feature_set=NAME`"
            )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._source.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what pybigtools raises into one sentence, and what the server answered into its own error."""
        try:
            yield
        except BaseException as error:
            failure = self._cached.failure if self._cached is not None else None
            if failure is not None:
                raise failure from error
            # A library in Rust that breaks down raises what is no `Exception`.
            is_its_own = type(error).__module__.startswith("pybigtools") or type(error).__name__ == "PanicException"
            if not is_its_own and not isinstance(error, KeyError | ValueError | OSError):
                raise
            self.check_unchanged()
            raise NotABigWig(
                f"{self.shown} ({self._source.size:,} bytes) cannot be read as bigWig: it is cut short or damaged "
                f"({str(error) or type(error).__name__}); fetch it again"
            ) from error


def _pybigtools() -> Any:
    """Import the library on first use: a store is read without it."""
    try:
        import pybigtools
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading bigWig files needs pybigtools: {how_to_install('tracks')}", name="pybigtools"
        ) from error
    return pybigtools
