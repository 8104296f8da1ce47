"""Variants by networks that predict bases: the centre mask, conventions of indels, SpliceAI's published scores."""

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from checkout import SHARED
from numpy.typing import NDArray

from builders.extractors.networks.onehot import encode
from builders.extractors.splice.extractor import site_probabilities
from builders.extractors.splice.files import load_splice
from builders.extractors.splice.network import OPEN, SpliceNetwork, Unit
from builders.variants.request import VariantsRequest
from builders.variants.run import score_variants

GOLDEN = SHARED / "data" / "spliceai_golden"
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
GENOME = "".join(np.random.default_rng(5).choice(list("ACGT"), 2000))
REACH = 20


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpliceNetwork([Unit(5, 1)] * 4, OPEN)
        torch.save(network.state_dict(), tmp_path / "open.pt")
    return tmp_path / "open.pt"


def scored(folder: Path, weights: str, lines: str, genome: str = GENOME, **more: Any) -> pl.DataFrame:
    (folder / "g.fa").write_text(f">c\n{genome}\n")
    (folder / "v.vcf").write_text(HEADER + lines)
    number = len(list(folder.glob("*.parquet")))
    chosen: dict[str, Any] = {"scores": ("delta", "difference"), "distance": REACH}
    request = VariantsRequest(
        vcf=folder / "v.vcf",
        fasta=str(folder / "g.fa"),
        out=folder / f"{number}.parquet",
        extractor=("splice",),
        settings={"weights": weights},
        device="cpu",
        **(chosen | more),
    )
    score_variants(request)
    return pl.read_parquet(request.out)


def predicted(weights: Path, text: str, start: int, n_bins: int) -> NDArray[np.float32]:
    """Acceptors of the forward strand of neighbouring bases."""
    network = load_splice(weights)
    bases = text[start - network.flank_bp : start + n_bins + network.flank_bp]
    onehot = encode(torch.frombuffer(bytearray(bases.encode()), dtype=torch.uint8)[None])
    with torch.inference_mode():
        found: NDArray[np.float32] = site_probabilities([network], onehot)[0, 0].numpy()
    return found


@pytest.mark.parametrize(("position", "ref_length", "alt"), [(900, 1, "T"), (901, 4, None), (902, 1, "insert")])
def test_the_change_is_the_largest_of_any_base_with_indels_as_spliceai_has_them(
    position: int, ref_length: int, alt: str | None, weights: Path, tmp_path: Path
) -> None:
    ref = GENOME[position : position + ref_length]
    alt = ref[0] if alt is None else ref + "GATTAC" if alt == "insert" else "A" if ref == "T" else alt
    other = GENOME[:position] + alt + GENOME[position + ref_length :]
    size, start, whole = len(alt) - ref_length, position - REACH, 2 * REACH + 1
    a, b = predicted(weights, GENOME, start, whole), predicted(weights, other, start, whole + size)
    if size > 0:
        b = np.concatenate([b[:REACH], [b[REACH : REACH + len(alt)].max()], b[REACH + len(alt) :]])
    elif size < 0:
        b = np.concatenate([b[: REACH + 1], np.zeros(-size, np.float32), b[REACH + 1 :]])
    table = scored(tmp_path, str(weights), f"c\t{position + 1}\t.\t{ref}\t{alt}\t.\t.\t.\n")
    row = table.row(0, named=True)
    assert row["splice:delta_gain:acceptor_plus_max"] == pytest.approx((b - a).max(), abs=1e-5)
    assert row["splice:delta_loss:acceptor_plus_max"] == pytest.approx((a - b).max(), abs=1e-5)
    assert row["splice:delta_gain_at:acceptor_plus_max"] == (b - a).argmax() - REACH
    assert row["splice:difference:acceptor_plus_sum"] == pytest.approx((b - a).mean(), abs=1e-5)


def test_compensated_scores_are_the_mean_of_left_and_of_right_flanks_aligned(weights: Path, tmp_path: Path) -> None:
    position, alt = 1000, GENOME[1000] + "CCGTA"
    other = GENOME[:position] + alt + GENOME[position + 1 :]
    start, whole = position - REACH, 2 * REACH + 1
    a = predicted(weights, GENOME, start, whole)
    left, right = predicted(weights, other, start, whole), predicted(weights, other, start + 5, whole)
    line = f"c\t{position + 1}\t.\t{alt[0]}\t{alt}\t.\t.\t.\n"
    row = scored(tmp_path, str(weights), line, indels="compensate").row(0, named=True)
    expected = ((left - a).mean() + (right - a).mean()) / 2
    assert row["splice:difference:acceptor_plus_sum"] == pytest.approx(expected, abs=1e-6)


def test_an_indel_wider_than_the_mask_is_too_long(weights: Path, tmp_path: Path) -> None:
    lines = "".join(f"c\t901\t.\t{GENOME[900]}\t{GENOME[900] + 'A' * n}\t.\t.\t.\n" for n in (39, 40))
    assert scored(tmp_path, str(weights), lines)["status"].to_list() == ["scored", "too_long"]


def test_conventions_that_do_not_fit_the_model_are_refused(weights: Path, tmp_path: Path) -> None:
    for more in ({"bin_size": 4}, {"anchor": "centre"}):
        with pytest.raises(ValueError, match=r"`indels='spliceai'`"):
            scored(tmp_path, str(weights), "", indels="spliceai", **more)


@pytest.mark.slow
@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no published scores at {GOLDEN}; set FEATURESTORE_SHARED")
def test_the_verb_gives_the_published_scores_of_spliceai(tmp_path: Path) -> None:
    """GRCh37 chr10, gene TUBB8 on the minus strand: SpliceAI masks bases outside the transcript."""
    cache = Path.home() / ".cache" / "genomic-featurestore-tests" / "spliceai-1.3.1"
    if not list(cache.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        if subprocess.run([*command, "spliceai==1.3.1"], capture_output=True, timeout=300).returncode:
            pytest.skip("the wheel of spliceai 1.3.1 cannot be downloaded")
    with zipfile.ZipFile(next(cache.glob("*.whl"))) as wheel:
        files = [wheel.extract(f"spliceai/models/spliceai{number}.h5", tmp_path) for number in range(1, 6)]
    first, last = 92_892, 95_529
    text = gzip.decompress((GOLDEN / "test.fa.gz").read_bytes()).decode().split("\n", 1)[1].replace("\n", "").upper()
    masked = "N" * first + text[first:last] + "N" * (len(text) - last)
    lines = "c\t94077\t.\tA\tC\t.\t.\t.\nc\t94555\t.\tC\tT\t.\t.\t.\n"
    table = scored(tmp_path, ",".join(files), lines, masked, distance=500)
    published = [((0.15, 0.27, 0.00, 0.05), (89, -23, -267, 193)), ((0.01, 0.18, 0.15, 0.62), (-2, 110, -190, 0))]
    order = [(way, site) for site in ("acceptor", "donor") for way in ("gain", "loss")]
    for row, (scores, places) in zip(table.iter_rows(named=True), published, strict=True):
        found = [row[f"splice:delta_{way}:{site}_minus_max"] for way, site in order]
        assert tuple(round(one, 2) for one in found) == scores
        assert tuple(row[f"splice:delta_{way}_at:{site}_minus_max"] for way, site in order) == places
