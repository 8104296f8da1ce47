"""Speed of scoring variants: sites with three alternatives, and loading SpliceAI.

    python benchmarks/variants.py sites [--weights puffin.pth]
    python benchmarks/variants.py load --weights spliceai1.h5,spliceai2.h5,spliceai3.h5,spliceai4.h5,spliceai5.h5

`sites`: all three single-base changes of each site, which share one pass over REF, against each scored alone, as two
passes a variant. 1.5 is the most that can be gained. Each is run three times, in turn; the medians are compared.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from machine import machine

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.variants.read import Record
from builders.variants.request import VariantsRequest
from builders.variants.run import scorer_spec

RESULTS = Path(__file__).parent / "results"


def record(site: int, ref: str, *alts: str) -> Record:
    """Make a record of single bases."""
    return Record(contig="c", position=site, id=None, ref=ref, alts=alts)


def sites(weights: str | None, n_sites: int) -> dict[str, object]:
    """Time sites with three alternatives, together and one by one."""
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ACGT"), 60_000))
    chosen = sorted(int(one) for one in rng.choice(np.arange(5000, 55_000), n_sites, replace=False))
    alts = {site: [base for base in "ACGT" if base != text[site]] for site in chosen}
    seconds: dict[str, list[float]] = {"together": [], "alone": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "g.fa").write_text(f">c\n{text}\n")
        request = VariantsRequest(
            vcf=folder / "not read",
            fasta=str(folder / "g.fa"),
            out=folder / "not written.parquet",
            extractor=("puffin",) if weights else ("motif",),
            settings={"weights": weights} if weights else {},
            device="cpu",
        )
        scorer = scorer_spec(request).make()
        files = {
            "together": [[record(site, text[site], *alts[site]) for site in chosen]],
            # One alternative a site each: REF is computed again.
            "alone": [[record(site, text[site], alts[site][n]) for site in chosen] for n in range(3)],
        }
        for turn in range(4):
            for kind, parts in files.items():
                began = time.perf_counter()
                for records in parts:
                    scorer.score(records)
                if turn:  # the first one warms up
                    seconds[kind].append(time.perf_counter() - began)
    ratio = median(seconds["alone"]) / median(seconds["together"])
    return {"sites": n_sites, "extractor": "puffin" if weights else "motif", "seconds": seconds, "ratio": ratio}


def load(weights: str) -> dict[str, object]:
    """Time making the extractor, its weights read."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        load_extractor("splice", ExtractorOptions(device="cpu"), {"weights": weights})
        seconds.append(time.perf_counter() - began)
    return {"networks": weights.count(",") + 1, "first_s": seconds[0], "median_s": median(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("sites", "load"))
    parser.add_argument("--weights")
    parser.add_argument("--n-sites", type=int, default=64)
    given = parser.parse_args()
    if given.part == "load" and not given.weights:
        parser.error("load needs --weights")
    found = sites(given.weights, given.n_sites) if given.part == "sites" else load(given.weights)
    found["machine"] = machine()
    (RESULTS / f"variants_{given.part}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
