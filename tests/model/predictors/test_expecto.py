"""ExPecto's sums are those of its formula, on motif features in bins of 200 bp."""

import math

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from builders.extractors.motif import MotifExtractor
from model.networks.kernels import expecto_kernels
from model.predictors.closed_form import ExpectoRidge
from model.testing import TinyGenes, tiny_genes

BASES = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", dtype=np.uint8), 90_000)
TSS = np.array([21_000, 33_333, 45_678, 52_001, 60_000, 68_000])
STRANDS = ["+", "-", "+", "-", "-", "+"]


def motifs_around(tss: int, n_bins: int) -> NDArray[np.float64]:
    """Features of the bins around a TSS along the forward strand, shape `(n_bins, channels)`."""
    first = tss - n_bins * 200 // 2
    bins = BASES[first : first + n_bins * 200].reshape(n_bins, 200)
    return MotifExtractor(bin_size=200)(bins)["motif"].astype(np.float64)


def genes(n_bins: int) -> TinyGenes:
    features = torch.tensor(np.stack([motifs_around(tss, n_bins) for tss in TSS]), dtype=torch.float32)
    made = TinyGenes(features, torch.arange(6.0), bin_size=200)
    made.genes = made.genes.with_columns(strand=pl.Series(STRANDS))
    return made


@pytest.mark.parametrize("n_bins", [199, 200, 210])
def test_the_sums_are_those_of_the_published_formula(n_bins: int) -> None:
    found = ExpectoRidge(n_bins=n_bins)._statistics(genes(n_bins))
    for row, (tss, strand) in enumerate(zip(TSS, STRANDS, strict=True)):
        features = motifs_around(tss, n_bins)
        first = tss - n_bins * 200 // 2
        expected = []
        for rate in (0.01, 0.02, 0.05, 0.1, 0.2):
            upstream, downstream = np.zeros((2, features.shape[1]))
            for index, values in enumerate(features):
                start = first + 200 * index
                if start < tss - 20_000 or start + 200 > tss + 20_000:
                    continue
                distance = (start + 100 - tss) * (1 if strand == "+" else -1)
                weight = math.exp(-rate * (abs(distance) // 200))
                upstream += weight * values * (distance <= 0)
                downstream += weight * values * (distance >= 0)
            expected += [upstream, downstream]
        np.testing.assert_allclose(found[row], np.concatenate(expected), rtol=1e-6)


def test_two_hundred_bins_of_200_bp_have_the_hundred_steps_of_expecto_on_each_side() -> None:
    kernels = expecto_kernels(200, 200)
    steps = np.arange(100)
    np.testing.assert_allclose(kernels[1, 100:], np.exp(-0.01 * steps))
    np.testing.assert_allclose(kernels[8, :100], np.exp(-0.2 * steps[::-1]))
    assert not kernels[1, :100].any()
    assert not kernels[8, 100:].any()


def test_a_gene_has_the_same_sums_whichever_way_its_bins_run() -> None:
    forward = genes(199)
    features = forward[range(6)].features.clone()
    for place, strand in enumerate(STRANDS):
        if strand == "-":
            features[place] = features[place].flip(0)
    turned = TinyGenes(features, forward.targets, bin_size=200, orient="gene")
    turned.genes = forward.genes
    same = ExpectoRidge(n_bins=199)
    np.testing.assert_array_equal(same._statistics(turned), same._statistics(forward))


def test_shorter_bins_are_weighed_by_the_same_distances() -> None:
    fine = expecto_kernels(8, 50)
    np.testing.assert_allclose(fine[1, 4:], 1)
    assert expecto_kernels(2000, 50)[1].astype(bool).sum() == 400


def test_bins_of_more_than_200_bp_are_refused() -> None:
    made = tiny_genes(5)
    coarse = TinyGenes(made[range(5)].features, made.targets, bin_size=4096)
    with pytest.raises(ValueError, match=r"at most 200 bp, got 4,096 bp; take ridge-exponential, or build .* 200"):
        ExpectoRidge(n_bins=7).fit(coarse, coarse)
