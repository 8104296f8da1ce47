"""Predicted against measured on real human sequence: the files for it, and what is seen. `make real` runs both.

    python benchmarks/real_biology.py files DATA OUT       # FASTA, bigWig tracks and genes of 65 windows of hg38
    python benchmarks/real_biology.py look OUT             # figures and numbers, from the stores built in between

The windows are those of Baskerville's example set: real sequence with measured CAGE, DNase and RNA. They become an
assembly of their own, a contig a window, since a few of their bases differ from GRCh38. Puffin is the published network
of transcription initiation, and has seen much of the genome in its training: this shows what a prediction looks like
beside a measurement. It does not measure how well Puffin does on sequence that it has not seen.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
import pybigtools
from matplotlib.figure import Figure
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import featurestore  # noqa: E402
from catalog import read_gene_table  # noqa: E402
from featurestore import FeatureReader  # noqa: E402
from model.evaluation.figures import COLOURS, STYLE, save  # noqa: E402

BIN_BP = 32
FLANK_BP = 1024
"""Bases kept on each side of those with tracks: Puffin reads 325 (bp)."""
WINDOW_BINS = 12
"""Bins that are compared together: 384 bp."""
AROUND = 63
"""Bins on each side of a TSS in the mean profile: 2 kb."""
TRACKS = {"cage_plus": ("CAGE:", "+"), "cage_minus": ("CAGE:", "-"), "dnase": ("DNASE:", ""), "rna": ("RNA", "")}
"""Kind and strand of the measured tracks that each written one is the mean of."""
_ALPHABET = np.frombuffer(b"ACGTN", dtype=np.uint8)


def write_files(data: Path, out: Path) -> None:
    """Write the windows as a user's files: genome.fa, a bigWig a track, genes.tsv."""
    source = data / "baskerville_tiny_hg38"
    packed = np.load(source / "baskerville_tiny_hg38.npz")
    sequences, values = packed["seq"], packed["target"]
    places = [line.split()[:3] for line in (source / "sequences.bed").read_text().splitlines()]
    described = pl.read_csv(source / "targets.txt", separator="\t")
    crop = (sequences.shape[1] - values.shape[1] * BIN_BP) // 2
    names = [f"{contig}.{start}" for contig, start, _ in places]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "genome.fa").open("wb") as file:
        for name, codes in zip(names, sequences, strict=True):
            kept = codes[crop - FLANK_BP : len(codes) - crop + FLANK_BP]
            file.write(f">{name}\n".encode() + _ALPHABET[kept].tobytes() + b"\n")
    length = values.shape[1] * BIN_BP + 2 * FLANK_BP
    for track, (kind, strand) in TRACKS.items():
        is_of = described["description"].str.starts_with(kind) & described["identifier"].str.ends_with(strand)
        means = values[:, :, is_of.to_numpy()].astype(np.float32).mean(axis=2)
        _write_bigwig(out / f"{track}.bw", {name: (length, row) for name, row in zip(names, means, strict=True)})
    table = read_gene_table(data / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz").genes
    rows = [
        {"gene_id": gene["gene_id"], "symbol": gene["symbol"], "contig": name, "strand": gene["strand"]}
        | {"tss": gene["tss"] - int(start) + FLANK_BP, "biotype": "protein_coding"}
        for name, (contig, start, end) in zip(names, places, strict=True)
        for gene in table.filter(pl.col("contig") == contig).iter_rows(named=True)
        if int(start) <= gene["tss"] < int(end)
    ]
    pl.DataFrame(rows).unique("gene_id", maintain_order=True).write_csv(out / "genes.tsv", separator="\t")
    print(f"{out}: {len(names)} windows of {length:,} bp, {len(TRACKS)} tracks, {len(rows)} genes")


def _write_bigwig(path: Path, contigs: dict[str, tuple[int, NDArray[np.float32]]]) -> None:
    order = sorted(contigs)
    intervals = (
        (name, FLANK_BP + place * BIN_BP, FLANK_BP + (place + 1) * BIN_BP, value)
        for name in order
        for place, value in enumerate(contigs[name][1].tolist())
    )
    pybigtools.open(str(path), "w").write({name: contigs[name][0] for name in order}, intervals)


def look(out: Path) -> None:
    """Compare predicted initiation with what was measured, and draw it."""
    store = featurestore.open(str(out / "windows.store"))
    predicted, measured = store["puffin"], store["tracks"]
    genes = pl.read_csv(out / "windows" / "genes.tsv", separator="\t")
    tables = [_by_window(predicted, measured, contig) for contig in predicted.assembly.lengths]
    table = pl.concat(tables)
    found = {
        "windows of 384 bp": len(table),
        "Spearman of predicted CAGE with": {
            name: float(table.select(pl.corr("predicted", name, method="spearman")).item())
            for name in ("cage", "dnase", "rna")
        },
        "Pearson of log(1 + x) with CAGE": float(table.select(pl.corr("predicted", "cage")).item()),
        "share of the 100 windows with most measured CAGE that are among the 5 % predicted highest": _found(table),
    }
    profiles = {
        name: _profile(reader, genes, channels)
        for name, reader, channels in (
            ("CAGE, predicted", predicted, ("FANTOM_CAGE_plus", "FANTOM_CAGE_minus")),
            ("CAGE, measured", measured, ("cage_plus", "cage_minus")),
            ("DNase, measured", measured, ("dnase", "dnase")),
        )
    }
    on, off = profiles["CAGE, predicted"]
    near = slice(AROUND - 3, AROUND + 4)
    found |= {
        "genes": len(on),
        "genes whose TSS +- 100 bp is predicted higher than 95 % of the bins elsewhere": float(
            np.mean(on[:, near].max(axis=1) > np.quantile(off, 0.95))
        ),
        "the same of bins half a window away": float(np.mean(off[:, near].max(axis=1) > np.quantile(off, 0.95))),
    }
    best = table.filter(pl.col("cage") == pl.col("cage").max())["contig"][0]
    with mpl.rc_context(STYLE):
        save(_locus(predicted, measured, genes, best), out / "predicted_against_measured.png")
        save(_summary(table, profiles), out / "initiation.png")
    (out / "windows.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _columns(reader: FeatureReader, contig: str, channels: tuple[str, ...]) -> NDArray[np.float64]:
    """Read some channels of the bins that have tracks, log(1 + x), shape `(bins, channels)`."""
    length = reader.assembly.lengths[contig]
    table = reader.to_polars(contig, FLANK_BP, length - FLANK_BP).select(channels)
    return _logs(reader, table.to_numpy().astype(np.float64))


def _logs(reader: FeatureReader, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give log(1 + x): Puffin's features are that already. In repeats of two bases it can predict e^20, so that sums of
    x would be those of a few repeats.
    """
    return values if reader.name == "puffin" else np.log1p(values)


def _by_window(predicted: FeatureReader, measured: FeatureReader, contig: str) -> pl.DataFrame:
    columns = {
        "predicted": _columns(predicted, contig, ("FANTOM_CAGE_plus", "FANTOM_CAGE_minus")).sum(axis=1),
        "cage": _columns(measured, contig, ("cage_plus", "cage_minus")).sum(axis=1),
        "dnase": _columns(measured, contig, ("dnase",))[:, 0],
        "rna": _columns(measured, contig, ("rna",))[:, 0],
    }
    whole = len(columns["cage"]) // WINDOW_BINS * WINDOW_BINS
    means = {name: values[:whole].reshape(-1, WINDOW_BINS).mean(axis=1) for name, values in columns.items()}
    return pl.DataFrame({"contig": [contig] * (whole // WINDOW_BINS), **means})


def _found(table: pl.DataFrame) -> float:
    """Tell how many of the windows with most measured CAGE stand out in the prediction."""
    high = table.select(pl.col("predicted").quantile(0.95)).item()
    return float(table.top_k(100, by="cage").select((pl.col("predicted") > high).mean()).item())


def _profile(
    reader: FeatureReader, genes: pl.DataFrame, channels: tuple[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read along each gene around its TSS, on its strand, and the same half a window away: `(genes, bins)` each."""
    columns = [reader.channel_names.index(name) for name in channels]
    profiles: tuple[list[NDArray[np.float64]], ...] = ([], [])
    for gene in genes.iter_rows(named=True):
        length = reader.assembly.lengths[gene["contig"]]
        for rows, tss in zip(profiles, (gene["tss"], (gene["tss"] + length // 2) % length), strict=True):
            values = reader.window(gene["contig"], tss, n_bins=2 * AROUND + 1).values.astype(np.float64)
            values = _logs(reader, values)
            is_minus = gene["strand"] == "-"
            rows.append(values[::-1, columns[1]] if is_minus else values[:, columns[0]])
    return np.stack(profiles[0]), np.stack(profiles[1])


def _locus(predicted: FeatureReader, measured: FeatureReader, genes: pl.DataFrame, contig: str) -> Figure:
    """Draw one window: predicted and measured initiation on both strands, DNase, RNA, and the genes."""
    chrom, _, start = contig.partition(".")
    rows = (
        ("CAGE, predicted", predicted, ("FANTOM_CAGE_plus", "FANTOM_CAGE_minus"), COLOURS[1]),
        ("CAGE, measured", measured, ("cage_plus", "cage_minus"), COLOURS[0]),
        ("DNase", measured, ("dnase",), COLOURS[2]),
        ("RNA", measured, ("rna",), COLOURS[3]),
    )
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True)
    for axis, (label, reader, channels, colour) in zip(axes, rows, strict=True):
        values = _columns(reader, contig, channels)
        kilobases = (int(start) + (np.arange(len(values)) + 0.5) * BIN_BP) / 1000
        for column, sign in zip(values.T, (1, -1), strict=False):
            axis.fill_between(kilobases, sign * column, step="mid", color=colour, linewidth=0)
        for gene in genes.filter(pl.col("contig") == contig).iter_rows(named=True):
            tss = (int(start) + gene["tss"] - FLANK_BP) / 1000
            axis.axvline(tss, color="0.7", linewidth=0.8, zorder=0)
            if axis is axes[0]:
                is_minus = gene["strand"] == "-"
                axis.annotate(
                    f"← {gene['symbol']}" if is_minus else f"{gene['symbol']} →",
                    (tss, 1),
                    xycoords=("data", "axes fraction"),
                    ha="right" if is_minus else "left",
                    fontsize=8,
                )
        axis.set_ylabel(f"{label}\nlog(1 + x)", fontsize=8)
    axes[-1].set_xlabel(f"position on {chrom} (kb); the reverse strand below zero")
    return figure


def _summary(table: pl.DataFrame, profiles: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Figure:
    """Draw windows, predicted against measured, and the mean profile around the start sites."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    scatter, profile = figure.subplots(1, 2)
    scatter.scatter(table["cage"], table["predicted"], s=5, alpha=0.4, color=COLOURS[0], linewidth=0)
    scatter.set_ylim(0, table["predicted"].quantile(0.9995))
    scatter.set_xlabel("CAGE measured, mean log(1 + x) of 384 bp")
    scatter.set_ylabel("CAGE predicted, mean log(1 + x)")
    offsets = (np.arange(2 * AROUND + 1) - AROUND) * BIN_BP
    for (name, (on, off)), colour in zip(profiles.items(), (COLOURS[1], COLOURS[0], COLOURS[2]), strict=True):
        top = on.mean(axis=0).max()
        profile.plot(offsets, on.mean(axis=0) / top, color=colour, label=name)
        profile.plot(offsets, off.mean(axis=0) / top, color=colour, linestyle=":")
    profile.set_xlabel("bases from the TSS, along the gene")
    profile.set_ylabel("mean of genes, highest = 1\n(dotted: half a window away)")
    profile.legend(fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    files = verbs.add_parser("files")
    files.add_argument("data", type=Path)
    files.add_argument("out", type=Path)
    verbs.add_parser("look").add_argument("out", type=Path)
    given = parser.parse_args()
    if given.verb == "files":
        write_files(given.data, given.out)
    else:
        look(given.out)


if __name__ == "__main__":
    main()
