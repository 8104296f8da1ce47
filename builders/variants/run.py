"""Score the variants of a file: a table with a row for each ALT allele, resumable.

    from builders.variants.run import score_variants
    score_variants(VariantsRequest(vcf=Path("calls.vcf.gz"), fasta="hg38.fa", extractor=("puffin",), ...))

Belongs here: workers, what is done already, the table. Does not: which records make a chunk
(`builders.variants.chunks`), its scores (`builders.variants.scorer`), the VCF that is written
(`builders.variants.vcf`).

Chunks are written beside the table, in `NAME.parquet.parts`, as they are done. The same command goes on from there;
with another file or other options it is refused. Only receipts come back from workers.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from builders.execution.cluster import outcomes, running_cluster
from builders.execution.local_workers import local_cluster
from builders.execution.worker import device_of
from builders.extractors.base import GROUP
from builders.extractors.source import GenomeFile
from builders.factories import find_factory
from builders.variants.chunks import Chunk, read_chunks, write_chunks
from builders.variants.read import VariantFile
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


def score_variants(
    request: VariantsRequest, *, progress: Progress | None = None, stage: Callable[[str], None] = lambda name: None
) -> VariantsReport:
    """Score all variants of a file and write the table, and the VCF if one is asked for.

    Raises
    ------
    VcfError, FastaError, ValueError
        If the input does not fit; nothing is computed then.
    RefMismatch
        If a REF differs from the genome and that was to be an error; nothing is computed then, either.
    """
    variants = VariantFile(request.vcf)
    spec = scorer_spec(request, stage=stage)
    scorer = scorer_of(spec)
    if request.vcf_out is not None:
        require_writable(variants, scorer.columns(), required_path(request.vcf_out))
    stage("digesting what decides the scores")
    key = _key(request, spec, scorer)
    out = required_path(request.out)
    parts = out.with_name(f"{out.name}.parts")
    licences = tuple(model.extractor.licence for model in scorer.models if model.extractor.licence.strip())
    if out.exists():
        _require_same(_key_of(out), key, where=out)
        _require_no_mismatch(request, out)
        computed = was_there = 0
    else:
        chunks = _begun(request, scorer, parts, key, variants, stage=stage)
        todo = [chunk for chunk in chunks if not _part(parts, chunk.number).exists()]
        computed, was_there = len(todo), len(chunks) - len(todo)
        _compute(request, spec, parts, chunks, todo, progress=progress, stage=stage)
        stage(f"writing {out}")
        _join(parts, out, {_KEY: json.dumps(key), "licence": "; ".join(licences)}, empty=scorer.score([]))
    if request.vcf_out is not None:
        stage(f"writing {request.vcf_out}")
        write_vcf(variants, pl.read_parquet(out, glob=False), required_path(request.vcf_out), licences=licences)
    counts = pl.scan_parquet(out, glob=False).select(pl.col("status").value_counts()).unnest("status").collect()
    statuses: dict[str, int] = dict(sorted(counts.iter_rows()))
    return VariantsReport(
        out=str(out),
        alleles=sum(statuses.values()),
        statuses=statuses,
        computed=computed,
        was_there=was_there,
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


def _begun(
    request: VariantsRequest,
    scorer: Scorer,
    parts: Path,
    key: Mapping[str, Any],
    variants: VariantFile,
    *,
    stage: Callable[[str], None],
) -> list[Chunk]:
    """Read the variants into chunks, or those that a stopped run has read, and check them: before long work."""
    plan, lines = parts / "plan.json", parts / "records.jsonl"
    is_begun = plan.exists()
    if is_begun:
        _require_same(read_object(plan, mend=f"remove {parts}"), key, where=parts)
    try:
        if not is_begun or not lines.exists():
            stage(f"reading {request.vcf}")
            parts.mkdir(parents=True, exist_ok=True)
            write_chunks(variants, request.chunk, lines)
        chunks = read_chunks(lines)
        if request.ref_mismatch == "error":
            stage("comparing each REF with the genome")
            for record in scorer.mismatches(record for chunk in chunks for record in chunk.records()):
                raise _mismatch(record.contig, record.position + 1, record.ref)
        write_atomic(plan, json.dumps(key).encode())
    except BaseException:
        if not is_begun:  # the same command with other files may follow
            lines.unlink(missing_ok=True)
            with suppress(OSError):
                parts.rmdir()
        raise
    return chunks


def _mismatch(contig: str, position: int, ref: str) -> RefMismatch:
    return RefMismatch(
        f"{contig}:{position} has REF {ref}, and the genome has other bases there; is it of another assembly? "
        "`ref_mismatch='count'` gives such rows a status"
    )


def _require_no_mismatch(request: VariantsRequest, out: Path) -> None:
    """Refuse a table that an earlier run counted mismatches in, where they are now an error."""
    wrong = pl.scan_parquet(out, glob=False).filter(pl.col("status") == "ref_mismatch").head(1).collect()
    if request.ref_mismatch == "error" and not wrong.is_empty():
        raise _mismatch(*wrong.select("contig", "position", "ref").row(0))


def _compute(
    request: VariantsRequest,
    spec: ScorerSpec,
    parts: Path,
    chunks: Sequence[Chunk],
    todo: Sequence[Chunk],
    *,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> None:
    """Compute the chunks that are not there yet."""
    total = sum(chunk.n_alleles for chunk in chunks)
    done = total - sum(chunk.n_alleles for chunk in todo)
    stage(f"scoring {total - done:,} alleles")
    for chunk in _carried_out(request, partial(_score_chunk, spec=spec, parts=parts), todo):
        done += chunk.n_alleles
        if progress is not None:
            progress(done, total)


def _carried_out(request: VariantsRequest, function: Callable[[Chunk], None], todo: Sequence[Chunk]) -> Iterator[Chunk]:
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


def _score_chunk(chunk: Chunk, *, spec: ScorerSpec, parts: Path, device: str | None = None) -> None:
    """Score a chunk and write its part."""
    table = scorer_of(spec, device=device).score(chunk.records())
    with replacing(_part(parts, chunk.number)) as partial_file:
        table.write_parquet(partial_file)


def _part(parts: Path, number: int) -> Path:
    return parts / f"{number:08d}.parquet"


def _join(parts: Path, out: Path, metadata: dict[str, str], *, empty: pl.DataFrame) -> None:
    """Put the parts together, in their order, and remove them."""
    files = sorted(parts.glob("*.parquet"))
    table = pl.scan_parquet(files, glob=False) if files else empty.lazy()
    with replacing(out) as partial_file:
        table.sink_parquet(partial_file, metadata=metadata)
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
