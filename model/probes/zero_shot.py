"""Zero-shot scores of variants against measured effects, by element.

    featurestore variants --vcf v.vcf --fasta hg38.fa --extractor hf --scores cosine,l1,l2,dot,llr --out scores.parquet
    featurestore zero-shot --scores scores.parquet --effects effects.tsv --out zero_shot.tsv

Belongs here: joining a table of scores with one of effects, and correlations. Does not: scores
(`builders.variants.run`).

A score says how much an allele changes what a model sees, not which way: its size is compared with the size of the
effect, as Tang et al. 2025 do.
"""

from pathlib import Path

import numpy as np
import polars as pl

from catalog.runtime.locations import required_path
from catalog.runtime.tables import TableError, find_column, listed, read_text_or_parquet, write_table
from model.evaluation.metrics import bootstrap
from model.probes.request import ZeroShotRequest

_ALLELE = {
    "contig": ("contig", "chrom", "chr", "chromosome"),
    "position": ("position", "pos"),
    "ref": ("ref",),
    "alt": ("alt",),
}
_LEAST = 5


def zero_shot(request: ZeroShotRequest) -> pl.DataFrame:
    """Correlate the sizes of scores and effects, and write the table.

    Returns
    -------
    A row an element and score: Pearson and Spearman with twice their standard deviation over bootstrap draws, NaN of a
    score that is constant; and an element `(mean)`.

    Raises
    ------
    TableError, ValueError
        If a table cannot be read or lacks a column, or no element has 5 variants in both.
    """
    scores = _alleles(request.scores, {})
    effects = _alleles(
        request.effects, {"effect": request.effect_column} | _element(request.effects, request.element_column)
    )
    columns = [name for name in scores.columns if ":" in name]
    if not columns:
        raise TableError(f"{request.scores} has no scores; name a table of `featurestore variants`")
    joined = effects.join(scores.select(*_ALLELE, *columns), on=list(_ALLELE), how="inner", maintain_order="left")
    size = [_number(joined, name, request.scores).abs().alias(name) for name in columns]
    table = joined.with_columns(*size, _number(joined, "effect", request.effects).abs())
    if "element" not in table.columns:
        table = table.with_columns(element=pl.lit("all"))
    rows = [
        row
        for (element,), part in table.group_by("element", maintain_order=True)
        for row in _of_element(str(element), part, columns, request.draws)
    ]
    if not rows:
        raise ValueError(
            f"{request.scores} and {request.effects} have {table.height} variants in common, and no element has "
            f"{_LEAST}; are both of one assembly, and contigs named alike?"
        )
    found = pl.DataFrame(rows)
    mean = found.group_by("score", maintain_order=True).agg(
        pl.lit("(mean)").alias("element"), pl.col("variants").sum(), pl.col("pearson", "spearman").mean()
    )
    if found["element"].n_unique() > 1:
        found = pl.concat([found, mean.with_columns(variants=pl.col("variants").cast(pl.Int64))], how="diagonal")
    write_table(found, required_path(request.out))
    return found


def _element(path: Path, column: str) -> dict[str, str]:
    there = find_column(read_text_or_parquet(required_path(path)).columns, (column,))
    return {} if there is None else {"element": there}


def _alleles(path: Path, more: dict[str, str]) -> pl.DataFrame:
    """Read a table as text, with the columns of an allele under our names, each once."""
    frame = read_text_or_parquet(required_path(path))
    wanted = {role: find_column(frame.columns, names) for role, names in _ALLELE.items()}
    wanted |= {role: name if name in frame.columns else None for role, name in more.items()}
    if lacking := [role for role, name in wanted.items() if name is None]:
        raise TableError(f"{path} has no column {lacking[0]}; it has {listed(frame.columns)}")
    named = frame.rename({str(name): role for role, name in wanted.items() if name != role})
    return named.unique(subset=list(_ALLELE) + (["element"] if "element" in more else []), maintain_order=True)


def _number(frame: pl.DataFrame, name: str, path: Path) -> pl.Series:
    found = frame[name].cast(pl.Float64, strict=False)
    if frame.height and found.is_null().all():
        raise TableError(f"column {name!r} of {path} holds no numbers for the variants that both tables have")
    return found


def _of_element(element: str, part: pl.DataFrame, columns: list[str], draws: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name in columns:
        both = part.select("effect", name).drop_nulls().drop_nans()
        if both.height < _LEAST:
            continue
        sampled = bootstrap(both[name].to_numpy()[None], both["effect"].to_numpy(), draws)
        row: dict[str, object] = {"element": element, "score": name, "variants": both.height}
        for metric in ("pearson", "spearman"):
            estimate = getattr(sampled, metric).estimate(0)
            row |= {metric: estimate.value, f"{metric}_two_sd": estimate.two_sd}
        found.append(row)
    return found


def best_first(found: pl.DataFrame) -> list[tuple[str, str, int, float, float]]:
    """Give element, score, variants, Pearson and Spearman, the largest Pearson of an element first."""
    rows = found.select("element", "score", "variants", "pearson", "spearman").rows()
    order = {element: place for place, element in enumerate(dict.fromkeys(row[0] for row in rows))}
    return sorted(rows, key=lambda row: (order[row[0]], -np.nan_to_num(row[3], nan=-2)))
