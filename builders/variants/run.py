"""Score the variants of a file: a table with a row for each ALT allele, resumable.

    from builders.variants.run import score_variants
    score_variants(VariantsRequest(vcf=Path("calls.vcf.gz"), fasta="hg38.fa", extractor=("puffin",), ...))

Belongs here: chunks, workers, what is done already, the table. Does not: the scores of a chunk
(`builders.variants.scorer`), the VCF that is written (`builders.variants.vcf`).

Chunks are written beside the table, in `NAME.parquet.parts`, as they are done. The same command goes on from there;
with another file or other options it is refused. Only receipts come back from workers.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from builders.execution.cluster import outcomes, running_cluster
from builders.execution.local_workers import local_cluster
from builders.execution.worker import device_of
from builders.extractors.base import GROUP
from builders.extractors.source import GenomeFile
from builders.factories import find_factory
from builders.variants.read import Record, VariantFile
from builders.variants.request import VariantsRequest
from builders.variants.scorer import CODE_VERSION, Scorer, ScorerSpec, scorer_of
from builders.variants.vcf import require_writable, write_vcf
from catalog import Fasta
from catalog.assembly import read_genome
from catalog.runtime.documents import parse_object, read_object
from catalog.runtime.files import replacing, write_atomic
from catalog.runtime.locations import absolute, required_path
from catalog.runtime.weight_files import sha256_of_file

Progress = Callable[[int, int], None]
"""Called with the alleles that are done and all there are."""
_KEY = "featurestore_variants"


class RefMismatch(ValueError):
    """A REF that differs from the genome, where that was to be an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsReport:
    """What became of the alleles of a file."""

    out: str
    """Path of the table."""
    alleles: int
    statuses: Mapping[str, int]
    """How many have each status."""
    computed: int
    """Chunks that this run computed."""
    was_there: int
    """Chunks that an earlier run had written."""
    licences: tuple[str, ...]


class Chunk(NamedTuple):
    """Neighbouring records; alleles of one site are never split."""

    number: int
    records: tuple[Record, ...]

    @property
    def n_alleles(self) -> int:
        """Rows of the table."""
        return sum(len(record.alts) for record in self.records)


def score_variants(
    request: VariantsRequest, *, progress: Progress | None = None, stage: Callable[[str], None] = lambda name: None
) -> VariantsReport:
    """Score all variants of a file and write the table, and the VCF if one is asked for.

    Raises
    ------
    VcfError, FastaError, ValueError
        If the input does not fit; nothing is computed then.
    RefMismatch
        If a REF differs from the genome and that was to be an error; chunks that were done stay.
    """
    stage(f"reading {request.vcf}")
    variants = VariantFile(request.vcf)
    total = sum(len(record.alts) for record in variants)  # also finds a file that breaks off, before long work
    spec = scorer_spec(request, stage=stage)
    scorer = scorer_of(spec)
    if request.vcf_out is not None:
        require_writable(variants, scorer.columns(), required_path(request.vcf_out))
    stage("digesting what decides the scores")
    key = _key(request, spec, scorer)
    out = required_path(request.out)
    parts = out.with_name(f"{out.name}.parts")
    licences = tuple(model.extractor.licence for model in scorer.models)
    if out.exists():
        _require_same(_key_of(out), key, where=out)
        found = [0, 0]
    else:
        found = _compute(request, spec, parts, key, variants, total=total, progress=progress, stage=stage)
        stage(f"writing {out}")
        _join(parts, out, key, empty=scorer.score([]))
    if request.vcf_out is not None:
        stage(f"writing {request.vcf_out}")
        write_vcf(variants, pl.read_parquet(out, glob=False), required_path(request.vcf_out))
    counts = pl.scan_parquet(out, glob=False).select(pl.col("status").value_counts()).unnest("status").collect()
    return VariantsReport(
        out=str(out),
        alleles=total,
        statuses=dict(sorted(counts.iter_rows())),
        computed=found[0],
        was_there=found[1],
        licences=licences,
    )


def scorer_spec(request: VariantsRequest, *, stage: Callable[[str], None] = lambda name: None) -> ScorerSpec:
    """Describe the scorer of a request, for workers; its genome and settings are checked."""
    stage(f"indexing {request.fasta}")
    with Fasta(request.fasta, storage_options=request.fasta_options) as fasta:
        stage(f"digesting the contigs of {request.fasta}")
        assembly = read_genome(fasta).assembly
        genome = GenomeFile(
            url=absolute(request.fasta),
            storage_options=dict(request.fasta_options or {}),
            index=fasta.index,
            assembly_digest=assembly.digest,
        )
    stage(f"making {', '.join(request.extractor)}")
    return ScorerSpec(
        run=uuid.uuid4().hex[:12],
        genome=genome,
        assembly=assembly,
        extractors=tuple(
            (name, find_factory(GROUP, name).plain(request.settings_of(name))) for name in request.extractor
        ),
        options=request.common,
        bin_size=request.bin_size,
        scores=request.scores,
        anchor=request.anchor,
        indels=request.indels,
        distance=request.distance,
        normalise=request.normalise,
    )


def _key(request: VariantsRequest, spec: ScorerSpec, scorer: Scorer) -> dict[str, Any]:
    """Give all that decides the table."""
    return {
        "version": CODE_VERSION,
        "vcf": sha256_of_file(required_path(request.vcf)),
        "genome": spec.assembly.digest,
        "extractor": [model.extractor.fingerprint for model in scorer.models],
        "outputs": [list(model.extractor.channels) for model in scorer.models],
        "scores": list(spec.scores),
        "anchor": [model.anchor for model in scorer.models],
        "indels": [model.indels for model in scorer.models],
        "distance": spec.distance,
        "bin_size": spec.bin_size,
        "normalise": spec.normalise,
        "chunk": request.chunk,
    }


def _compute(
    request: VariantsRequest,
    spec: ScorerSpec,
    parts: Path,
    key: Mapping[str, Any],
    variants: VariantFile,
    *,
    total: int,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> list[int]:
    """Compute the chunks that are not there yet; give how many were computed, and how many were there."""
    plan = parts / "plan.json"
    if plan.exists():
        _require_same(read_object(plan, mend=f"remove {parts}"), key, where=parts)
    else:
        parts.mkdir(parents=True, exist_ok=True)
        write_atomic(plan, json.dumps(key).encode())
    chunks = list(_chunks(variants, request.chunk))
    todo = [chunk for chunk in chunks if not _part(parts, chunk.number).exists()]
    done = total - sum(chunk.n_alleles for chunk in todo)
    stage(f"scoring {total - done:,} alleles")
    strict = request.ref_mismatch == "error"
    for chunk in _carried_out(request, partial(_score_chunk, spec=spec, parts=parts, strict=strict), todo):
        done += chunk.n_alleles
        if progress is not None:
            progress(done, total)
    return [len(todo), len(chunks) - len(todo)]


def _carried_out(request: VariantsRequest, function: Callable[[Chunk], None], todo: list[Chunk]) -> Iterator[Chunk]:
    """Run chunks in this process, or on workers, as builds do; give each when it is done."""
    if request.workers is None and request.scheduler is None:
        for chunk in todo:
            function(chunk)
            yield chunk
        return
    with ExitStack() as stack:
        client = stack.enter_context(
            running_cluster(request.scheduler)
            if request.scheduler is not None
            else local_cluster(request.workers, one_core_each=False, device=request.device)
        )
        spread = request.scheduler is None
        on_worker = partial(_on_worker, function=function, device=request.device, spread=spread)
        for chunk, outcome in outcomes(client, on_worker, todo, on_gpu=request.device != "cpu"):
            if isinstance(outcome, BaseException):
                raise outcome
            yield chunk


def _on_worker(chunk: Chunk, *, function: Callable[..., None], device: str, spread: bool) -> None:
    function(chunk, device=device_of(device, spread=spread))


def _score_chunk(chunk: Chunk, *, spec: ScorerSpec, parts: Path, strict: bool, device: str | None = None) -> None:
    """Score a chunk and write its part."""
    table = scorer_of(spec, device=device).score(chunk.records)
    if strict and not (wrong := table.filter(pl.col("status") == "ref_mismatch")).is_empty():
        first = wrong.row(0, named=True)
        raise RefMismatch(
            f"{first['contig']}:{first['position']} has REF {first['ref']}, and the genome has other bases there; is "
            "it of another assembly? `ref_mismatch='count'` gives such rows a status"
        )
    with replacing(_part(parts, chunk.number)) as partial_file:
        table.write_parquet(partial_file)


def _chunks(variants: VariantFile, size: int) -> Iterator[Chunk]:
    """Cut the records into chunks of about `size` alleles; neighbours of one position stay together."""
    held: list[Record] = []
    n_alleles = number = 0
    for record in variants:
        is_new = not held or (held[-1].contig, held[-1].position) != (record.contig, record.position)
        if n_alleles >= size and is_new:
            yield Chunk(number, tuple(held))
            held, n_alleles, number = [], 0, number + 1
        held.append(record)
        n_alleles += len(record.alts)
    if n_alleles:
        yield Chunk(number, tuple(held))


def _part(parts: Path, number: int) -> Path:
    return parts / f"{number:08d}.parquet"


def _join(parts: Path, out: Path, key: Mapping[str, Any], *, empty: pl.DataFrame) -> None:
    """Put the parts together, in their order, and remove them."""
    files = sorted(parts.glob("*.parquet"))
    table = pl.scan_parquet(files, glob=False) if files else empty.lazy()
    with replacing(out) as partial_file:
        table.sink_parquet(partial_file, metadata={_KEY: json.dumps(key)})
    shutil.rmtree(parts)


def _key_of(out: Path) -> dict[str, Any]:
    mend = "name another file"
    try:
        text = pl.read_parquet_metadata(out).get(_KEY, "")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{out} is there, and is no table of scores ({error}); {mend}") from error
    return parse_object(text or "{}", where=str(out), mend=mend)


def _require_same(found: Mapping[str, Any], key: Mapping[str, Any], *, where: Path) -> None:
    changed = [name for name in key if found.get(name) != key[name]]
    if changed:
        raise ValueError(
            f"{where} was begun with another {', '.join(changed)}: give those again to go on, remove it, or name "
            "another file with `out=`"
        )
