"""Variants of a VCF or BCF file, record by record, in the order of the file.

Belongs here: opening and checking the file, alleles and genotypes of a record. Does not: what becomes of an allele, the
haplotype of a sample.

cyvcf2 (htslib) parses. No index is needed and no order: the file is read once from its first record to its last. One
that breaks off is an error, never a shorter list.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.fasta import bgzf
from catalog.runtime.locations import required_path
from catalog.runtime.plugins import how_to_install

_HEADER = "##fileformat=VCFv4.2 and #CHROM POS ID REF ALT QUAL FILTER INFO, separated by tabs"


class VcfError(ValueError):
    """A file of variants that cannot be read."""


@dataclass(frozen=True, slots=True)
class Genotype:
    """Alleles that one sample carries at a record."""

    alleles: tuple[int | None, ...]
    """0 the reference, k the k-th ALT, None where it is not known; as many as copies of the contig."""
    is_phased: bool
    """Whether their order is that of the haplotypes (`0|1`); of one copy it always is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a file of variants."""

    contig: str
    """As the file names it."""
    position: int
    """First base of `ref`, 0-based."""
    id: str | None
    ref: str
    alts: tuple[str, ...]
    """As the file writes them; none for a record without variants (`.`)."""
    genotypes: tuple[Genotype, ...] = ()
    """Of the chosen samples, in their order."""


class VariantFile:
    """A VCF or BCF file, plain or packed by bgzip or gzip.

    Parameters
    ----------
    path
        On a disk of this machine.
    samples
        Whose genotypes records hold, in this order; by default none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    VcfError
        If it is no VCF or BCF, or truncated; or has no such sample.
    ModuleNotFoundError
        If cyvcf2 is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, samples: Sequence[str] = ()) -> None:
        self.path = required_path(path)
        _check_file(self.path)
        with closing(self.opened()) as reader:
            self.samples: tuple[str, ...] = tuple(reader.samples)
            """All of the file."""
        for sample in samples:
            if sample not in self.samples:
                shown = ", ".join(self.samples[:5]) + (", ..." if len(self.samples) > 5 else "")
                raise VcfError(f"{self.path} has no sample {sample!r}; it has {shown or 'none'}")
        self._columns = tuple(self.samples.index(sample) for sample in samples)

    def __iter__(self) -> Iterator[Record]:
        """Read the records, from the first one on each time.

        Raises
        ------
        VcfError
            At a line that cannot be parsed, where the file breaks off, or at a genotype of an allele that is not there.
        """
        for found in self.parsed():
            yield Record(
                contig=found.CHROM,
                position=found.start,
                id=found.ID,
                ref=found.REF,
                alts=tuple(found.ALT),
                genotypes=self._genotypes(found) if self._columns else (),
            )

    def parsed(self) -> Iterator[Any]:
        """Iterate over the records as cyvcf2 gives them."""
        last = "its header"
        with closing(self.opened()) as reader:
            records = iter(reader)
            while True:
                try:
                    found = next(records)
                except StopIteration:
                    return
                except Exception as error:  # cyvcf2 raises no class of its own
                    raise self._unreadable(last) from error
                if found.end <= found.start:  # an empty line, whose contig and REF are pointers to nothing
                    raise self._unreadable(last)
                yield found
                last = f"{found.CHROM}:{found.POS} {found.REF}>{','.join(found.ALT)}"

    def _unreadable(self, last: str) -> VcfError:
        return VcfError(
            f"{self.path} cannot be read after {last}: the next line is damaged or empty, or the file breaks off; "
            "look at that line, or fetch the file again"
        )

    def opened(self) -> Any:
        """Open it with cyvcf2, whose own messages are left out: ours say the same."""
        try:
            from cyvcf2 import VCF
            from cyvcf2.cyvcf2 import set_htslib_log_level
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"variants are read by cyvcf2: {how_to_install('variants')}", name=error.name
            ) from error
        set_htslib_log_level(0)
        try:
            return VCF(str(self.path))
        except Exception as error:  # of several kinds
            raise VcfError(
                f"{self.path} has no header of a VCF or BCF file that can be read ({error}); it begins with {_HEADER}, "
                "and names no sample twice"
            ) from error

    def _genotypes(self, found: Any) -> tuple[Genotype, ...]:
        where = f"{self.path}, {found.CHROM}:{found.POS}"
        try:
            all_samples = found.genotypes
        except Exception as error:  # a record without GT
            raise VcfError(f"{where} has no genotypes (GT) that can be read; mend the line or leave it out") from error
        made = []
        for column in self._columns:
            *alleles, phased = all_samples[column]
            # -1 is not known; -2 fills up where other samples have more copies.
            known = tuple(None if one == -1 else int(one) for one in alleles if one >= -1)
            if any(one is not None and one > len(found.ALT) for one in known):
                raise VcfError(
                    f"{where} has {len(found.ALT)} ALT alleles, and the genotype {known} of {self.samples[column]} "
                    "names others; mend the line"
                )
            made.append(Genotype(known, is_phased=bool(phased) or len(known) == 1))
        return tuple(made)


def _check_file(path: Path) -> None:
    """Refuse what htslib would take for a whole file: one of bgzip that ends between two blocks."""
    if not path.is_file():
        raise FileNotFoundError(f"no file of variants at {path}; give a VCF or BCF file on this machine")
    with path.open("rb") as file:
        if not bgzf.is_header(file.read(bgzf.HEADER_BYTES)):
            return
        file.seek(-min(len(bgzf.END), path.stat().st_size), os.SEEK_END)
        if file.read() != bgzf.END:
            raise VcfError(f"{path} lacks the end mark of bgzip, so it is truncated; fetch it again")
