"""Cost of a touched bin of an overlay, beside that of a bin in a full build.

    python benchmarks/variants_overlay.py

A random chromosome of 240 Mbp, single-base changes of one haplotype scattered over it so that about a tenth of the bins
are touched, extractor `motif`, one worker process each. The ratio sets the seconds spent computing an overlay beside
the touched share of those of the full build; `whole` compares whole runs, with the start of the workers. Medians of
three.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from machine import machine

from builders.overlays.request import OverlayRequest
from builders.overlays.run import OverlayReport, build_overlay
from builders.request import BuildRequest
from builders.run import run_build

RESULT = Path(__file__).parent / "results" / "variants_overlay.json"
LENGTH = 240_000_000
N_VARIANTS = 6000


def write_inputs(folder: Path) -> None:
    """Write a genome and the phased changes of one sample."""
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, LENGTH, dtype=np.uint8)]
    (folder / "g.fa").write_bytes(b">c\n" + bases.tobytes() + b"\n")
    lines = [
        "##fileformat=VCFv4.2",
        f"##contig=<ID=c,length={LENGTH}>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS",
    ]
    for place in np.sort(rng.choice(LENGTH, N_VARIANTS, replace=False)).tolist():
        ref = chr(bases[place])
        alt = "ACGT"[("ACGT".index(ref) + 1) % 4]
        lines.append(f"c\t{place + 1}\t.\t{ref}\t{alt}\t.\t.\t.\tGT\t1|0")
    (folder / "s.vcf").write_text("\n".join(lines) + "\n")


def turn(folder: Path, store: str) -> tuple[float, float, OverlayReport]:
    """Build a set, then an overlay of it: busy and whole seconds of the build, and the overlay's report."""
    full = run_build(store, BuildRequest(fasta=str(folder / "g.fa"), extractor="motif", workers=1))
    request = OverlayRequest(feature_set="motif", vcf=folder / "s.vcf", fasta=str(folder / "g.fa"), workers=1)
    return full.busy_seconds, full.seconds, build_overlay(store, request)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        found = [turn(folder, str(folder / f"{number}.store")) for number in range(3)]
    share = found[0][2].touched / found[0][2].total
    seconds = {
        "full_busy": [busy for busy, _, _ in found],
        "full_whole": [whole for _, whole, _ in found],
        "overlay_busy": [report.busy_seconds for *_, report in found],
        "overlay_whole": [report.seconds for *_, report in found],
    }
    middle = {part: median(values) for part, values in seconds.items()}
    result = {
        "touched": found[0][2].touched,
        "total": found[0][2].total,
        "seconds": seconds,
        "ratio": middle["overlay_busy"] / (share * middle["full_busy"]),
        "whole": middle["overlay_whole"] / (share * middle["full_whole"]),
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
