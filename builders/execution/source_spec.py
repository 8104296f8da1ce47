"""A small, picklable description of a source, from which each worker makes its own.

Belongs here: from a request to the description, and from the description to a source. Does not: what a source does
(`builders.source`), finding factories (`builders.factories`).
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, cast

from pydantic import JsonValue

from builders.extractors import base
from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.extractors.sequence import GenomePlace
from builders.extractors.source import ExtractorSource, GenomeFile
from builders.factories import Factory, find_factory
from builders.request import FeaturesRequest, Options
from builders.source import GROUP, Source, SourceOptions
from catalog import Assembly, Fasta, FeatureSet
from catalog.assembly import read_genome
from catalog.runtime.locations import absolute
from catalog.runtime.plugins import plugins, require_members
from catalog.runtime.settings import settings_table
from featurestore import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """All that a worker needs to make a source: plain values, and paths of files."""

    kind: Literal["extractor", "source"]
    name: str
    """Of the factory: as it is registered, or `module:factory`."""
    options: ExtractorOptions
    settings: Mapping[str, JsonValue]
    """All of its own, as plain JSON; files by absolute path."""
    assembly: Assembly
    genome: GenomePlace | None
    """What an extractor reads; None for a source that is not sequence."""
    notes: tuple[str, ...] = ()
    """Sentences on letters of the genome that an extractor reads as others."""

    def make(
        self, *, device: str | None = None, extractor: Extractor | None = None, tile_bins: int | None = None
    ) -> Source:
        """Make the source.

        Parameters
        ----------
        device
            In place of that of the options: a worker's own GPU.
        extractor
            One that was made already, by `fingerprinting`.
        tile_bins
            Neighbouring bins that a network which predicts bases is given at a time; by default its own choice.

        Raises
        ------
        ValueError
            If there is no such factory, or the options do not suit it.
        UnfitPlugin
            If what it makes is no source or extractor; the message lists what it lacks.
        """
        options = self.options if device is None else replace(self.options, device=device)
        if self.kind == "extractor":
            assert self.genome is not None
            made = extractor or load_extractor(self.name, options, self.settings)
            tiled: Callable[..., Extractor] | None = getattr(made, "tiled", None)
            if tile_bins is not None and tiled is not None:
                made = tiled(bin_size=options.bin_size, n_bins=tile_bins)
            return ExtractorSource(made, self.genome, bin_size=options.bin_size)
        common = SourceOptions(
            bin_size=options.bin_size, outputs=options.outputs, device=options.device, assembly=self.assembly
        )
        source = find_factory(GROUP, self.name)(common, self.settings)
        require_members(source, Source, name=self.name)
        return cast("Source", source)


@contextmanager
def fingerprinting(request: FeaturesRequest) -> Iterator[Extractor | None]:
    """Make the extractor of a request, and have a thread compute its fingerprint while the block reads the genome.

    Weights may be gigabytes, whose digest takes seconds; it waits for no genome. None where a source is asked for.

    Raises
    ------
    ValueError
        If there is no such extractor, or its settings do not suit it.
    """
    if request.source is not None:
        yield None
        return
    plain = factory_of(source=None, extractor=request.extractor).plain(request.settings)
    extractor = load_extractor(request.extractor, request.common, plain)
    with ThreadPoolExecutor(1) as pool:
        # If it fails here, it does where it is asked for, too.
        pool.submit(getattr, extractor, "fingerprint")
        yield extractor


def describe_source(
    request: FeaturesRequest, *, assembly: Assembly | None = None, stage: Callable[[str], None] = lambda name: None
) -> SourceSpec:
    """Describe the source of a request, its genome and settings checked.

    Parameters
    ----------
    assembly
        Of the store, where a source that is not sequence is built into one that exists.
    stage
        Called with the name of each stage that begins.

    Raises
    ------
    FastaError, ValueError
        If the genome cannot be read, or a setting does not fit.
    """
    genome: GenomeFile | None = None
    notes: list[str] = []
    if request.fasta is not None:
        stage(f"indexing {request.fasta}")
        with Fasta(request.fasta, storage_options=request.fasta_options) as fasta:
            stage(f"digesting the contigs of {request.fasta}")
            assembly, letters = read_genome(fasta)
            notes = letters.notes()
            genome = GenomeFile(
                # A worker has another standard input: what lies behind /dev/stdin, not its name.
                url=fasta.url if request.fasta.startswith("/dev/") else absolute(request.fasta),
                storage_options=dict(request.fasta_options or {}),
                index=fasta.index,
                assembly_digest=assembly.digest,
            )
    if assembly is None:
        raise ValueError(
            "the store does not exist yet, and a source that is not sequence knows no assembly: give the genome that "
            "the store is for, `fasta=FILE`"
        )
    return SourceSpec(
        kind="extractor" if request.source is None else "source",
        name=request.source or request.extractor,
        options=request.common,
        settings=factory_of(source=request.source, extractor=request.extractor).plain(request.settings),
        assembly=assembly,
        genome=genome if request.source is None else None,
        notes=tuple(notes) if request.source is None else (),
    )


def factory_of(*, source: str | None, extractor: str) -> Factory:
    """Find the factory of a source, or of an extractor where no source is named."""
    return find_factory(base.GROUP, extractor) if source is None else find_factory(GROUP, source)


def settings_of(*, source: str | None, extractor: str) -> list[str]:
    """Give lines that tell what a source or an extractor can be set to: name, type, default and meaning."""
    factory = factory_of(source=source, extractor=extractor)
    if factory.settings is None:
        return [f"{factory.name} has no settings of its own"]
    return settings_table(factory.settings)


def assembly_of(store_url: str, request: FeaturesRequest) -> Assembly | None:
    """Give the assembly of the store, where a source that is not sequence needs it; None where there is no store."""
    if request.source is None:
        return None
    try:
        return open_store(store_url, storage_options=request.storage_options).assembly
    except FileNotFoundError:
        return None


def is_source(name: str) -> bool:
    """Tell whether a feature set's maker, by its registered name, is a source that is not sequence."""
    return name not in plugins(base.GROUP) and name in plugins(GROUP)


def recorded_request(
    feature_set: FeatureSet,
    *,
    fasta: str | None,
    extractor: str | None = None,
    source: str | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
    device: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    storage_options: Options | None = None,
    fasta_options: Options | None = None,
) -> FeaturesRequest:
    """Ask for a feature set as it was built: its maker, with the settings that it has on record.

    Parameters
    ----------
    extractor, source
        `module:factory` in place of a maker that is not installed under its name.
    settings
        In place of the recorded ones, for files that have moved.
    """
    named = is_source(feature_set.extractor) and extractor is None
    source = source or (feature_set.extractor if named else None)
    extractor = extractor or feature_set.extractor
    request = FeaturesRequest(
        fasta=fasta,
        extractor=extractor,
        source=source,
        outputs=(feature_set.name,),
        bin_size=feature_set.bin_size,
        device=device,
        workers=workers,
        scheduler=scheduler,
        storage_options=storage_options,
        fasta_options=fasta_options,
    )
    recorded = factory_of(source=source, extractor=extractor).recorded(feature_set.options)
    return replace(request, settings=recorded | dict(settings))
