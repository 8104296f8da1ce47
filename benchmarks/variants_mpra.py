"""Measured effects of variants (saturation mutagenesis MPRA, Kircher et al. 2019) beside predicted ones.

    python benchmarks/variants_mpra.py --data shared/data --elements LDLR,SORT1,F9,PKLR-24h --models motif,puffin,splice
    python benchmarks/variants_mpra.py --data shared/data

The sequence of an element is that of the table's Ref column; what lies around it is not at hand, and N. Pearson by
element of the size of the measured effect with the size of the change (L2), beside two baselines: how near the variant
lies to the middle of its element, and the mean effect of its trinucleotide and change in all other elements.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from machine import machine

from builders.variants.request import VariantsRequest
from builders.variants.run import score_variants

FLANK = 6000
LEAST_BARCODES = 10
MODELS = {
    "motif": ("motif", {}, {"bin_size": 128}),
    "puffin": ("puffin", {"weights": "puffin.pth"}, {"distance": 50}),
    "mpra-dragonn": (
        "mpra-dragonn",
        {"weights": "mpra_dragonn_conv.hdf5", "architecture": "mpra_dragonn_conv.model.json"},
        {},
    ),
    "splice": ("splice", {"weights": "openspliceai_mane_400nt_rs10.pt"}, {"distance": 50}),
}


def read(data: Path) -> pl.DataFrame:
    """Read the variants of GRCh38 with enough barcodes."""
    table = pl.read_csv(
        data / "satmut_mpra" / "elements.tsv.gz", separator="\t", null_values="NA", infer_schema_length=None
    )
    kept = table.filter((pl.col("Release") == "GRCh38") & pl.col("Pos").is_not_null() & (pl.col("Ref") != "-"))
    return kept.with_columns(pl.col("Pos").cast(pl.Int64))


def sequences(table: pl.DataFrame) -> dict[str, tuple[int, str]]:
    """Give the first position and the sequence of each element, N where no variant tells the base."""
    found = {}
    for (name,), rows in table.group_by("Element"):
        first, last = rows["Pos"].min(), rows["Pos"].max()
        bases = ["N"] * (last - first + 1)
        for position, ref in rows.select("Pos", "Ref").iter_rows():
            bases[position - first] = ref
        found[str(name)] = first, "".join(bases)
    return dict(sorted(found.items()))


def write_genome(path: Path, texts: dict[str, tuple[int, str]]) -> None:
    """Write each element as a contig, between stretches of N."""
    path.write_text("".join(f">{one}\n{'N' * FLANK}{text}{'N' * FLANK}\n" for one, (_, text) in texts.items()))


def alleles(table: pl.DataFrame, texts: dict[str, tuple[int, str]]) -> pl.DataFrame:
    """Give each variant as VCF writes it: contig, position (1-based), ref, alt; with its effect."""
    rows = []
    for element, position, ref, alt, effect in table.select("Element", "Pos", "Ref", "Alt", "Coefficient").iter_rows():
        first, text = texts[element]
        at = position - first
        if alt == "-":  # VCF writes the base before a deletion
            before = text[at - 1] if at else "N"
            rows.append((element, FLANK + at, before + ref, before, effect))
        else:
            rows.append((element, FLANK + at + 1, ref, alt, effect))
    return pl.DataFrame(rows, ["contig", "position", "ref", "alt", "effect"], orient="row")


def write_vcf(path: Path, variants: pl.DataFrame) -> None:
    """Write variants of `alleles`."""
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    rows = variants.select("contig", "position", "ref", "alt").iter_rows()
    path.write_text(header + "".join(f"{contig}\t{at}\t.\t{ref}\t{alt}\t.\t.\t.\n" for contig, at, ref, alt in rows))


def predicted(table: pl.DataFrame, texts: dict[str, tuple[int, str]], model: str, weights: Path) -> np.ndarray:
    """Score the variants, in the order of the table; NaN where one could not be scored."""
    extractor, settings, more = MODELS[model]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_genome(folder / "mpra.fa", texts)
        write_vcf(folder / "mpra.vcf", alleles(table, texts))
        request = VariantsRequest(
            vcf=folder / "mpra.vcf",
            fasta=str(folder / "mpra.fa"),
            out=folder / "o.parquet",
            extractor=(extractor,),
            settings={key: str(weights / file) for key, file in settings.items()},
            scores=("l2",),
            device="cpu",
            **more,
        )
        score_variants(request)
        return pl.read_parquet(request.out).get_column(f"{extractor}:l2").to_numpy()


def baselines(table: pl.DataFrame, texts: dict[str, tuple[int, str]]) -> dict[str, np.ndarray]:
    """Give the two baselines, from all elements of the table."""
    keys, near = [], []
    for element, position, alt in table.select("Element", "Pos", "Alt").iter_rows():
        first, text = texts[element]
        at = position - first
        keys.append(f"N{text}N"[at : at + 3] + alt)
        near.append(-abs(at - len(text) / 2))
    sizes = table.select("Element", size=pl.col("Coefficient").abs()).with_columns(key=pl.Series(keys))
    # An element and its repeats share their first four letters.
    family = sizes.with_columns(family=pl.col("Element").str.slice(0, 4))
    whole = family.group_by("key").agg(total=pl.col("size").sum(), count=pl.len())
    own = family.group_by("family", "key").agg(own=pl.col("size").sum(), own_count=pl.len())
    joined = family.join(whole, on="key", maintain_order="left").join(own, on=["family", "key"], maintain_order="left")
    others = joined.select((pl.col("total") - pl.col("own")) / (pl.col("count") - pl.col("own_count")))
    return {"distance": np.array(near), "trinucleotide": others.to_series().to_numpy()}


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlate where both are known."""
    known = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[known], b[known])[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--elements", help="comma-separated; by default all")
    parser.add_argument("--models", default=",".join(MODELS))
    given = parser.parse_args()
    table = read(given.data)
    texts = sequences(table)
    columns = baselines(table, texts)
    chosen = given.elements.split(",") if given.elements else list(texts)
    is_wanted = (table["Element"].is_in(chosen) & (table["Barcodes"] >= LEAST_BARCODES)).to_numpy()
    table, columns = table.filter(is_wanted), {name: values[is_wanted] for name, values in columns.items()}
    seconds = {}
    for model in given.models.split(","):
        began = time.perf_counter()
        columns[model] = predicted(table, texts, model, given.data / "real_weights").astype(np.float64)
        seconds[model] = time.perf_counter() - began
    measured, names = table["Coefficient"].abs().to_numpy(), table["Element"].to_numpy()
    rows = {
        element: {"variants": int((names == element).sum())}
        | {name: pearson(values[names == element], measured[names == element]) for name, values in columns.items()}
        for element in chosen
    }
    found = {"elements_of_the_table": len(texts), "elements": rows, "seconds": seconds, "machine": machine()}
    (Path(__file__).parent / "results" / "variants_mpra.json").write_text(json.dumps(found, indent=1) + "\n")
    print("element   variants  " + "  ".join(columns))
    for element, row in rows.items():
        print(element, row["variants"], *(f"{row[name]:.3f}" for name in columns))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
