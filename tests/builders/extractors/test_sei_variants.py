"""Sei's score of a variant: the golden arrays, and which profiles are histone marks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import SHARED
from sei_files import hollow_state, projector, published, saved

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.extractors.sei.variant_score import class_scores, histone_profiles

NAMES = SHARED / "data" / "sei_names" / "target.names"


def by_hand(ref: np.ndarray, alt: np.ndarray, projection: np.ndarray, histones: list[int]) -> np.ndarray:
    ref, alt = ref.astype(np.float64), alt.astype(np.float64)
    mean = (sum(ref[one] for one in histones) + sum(alt[one] for one in histones)) / 2
    scaled = []
    for profile in (ref, alt):
        whole = sum(profile[one] for one in histones)
        scaled.append(np.array([v * mean / whole if n in histones else v for n, v in enumerate(profile)]))
    return np.array([(scaled[1] - scaled[0]) @ row / np.linalg.norm(row) for row in projection])


def test_class_scores_are_those_of_the_formula_row_by_row() -> None:
    rng = np.random.default_rng(0)
    ref, alt = rng.uniform(size=(2, 3, 12)).astype(np.float32)
    projection = rng.normal(size=(5, 12))
    directions = (projection / np.linalg.norm(projection, axis=1, keepdims=True)).astype(np.float32)
    found = class_scores(ref, alt, directions, np.array([1, 4, 7]))
    for row in range(3):
        np.testing.assert_allclose(found[row], by_hand(ref[row], alt[row], projection, [1, 4, 7]), atol=1e-6)


def test_the_score_is_one_of_the_extractor_with_its_files(tmp_path: Path) -> None:
    names = tmp_path / "target.names"
    names.write_text("".join(f"cell | {target} | {target}\n" for target in ("H3K4me3", "CTCF", "H2AZ", "DNase")))
    vectors = np.random.default_rng(1).normal(size=(61, 4)).astype(np.float32)
    settings = {
        "weights": str(saved(published(hollow_state(4, 0.01)), tmp_path)),
        "projector": str(projector(tmp_path, vectors)),
        "names": str(names),
    }
    profiles = ExtractorOptions(outputs=("profiles",), device="cpu")
    extractor: Any = load_extractor("sei", profiles, settings)
    assert extractor.variant_channels("sei_class")[:2] == ("PC1", "L1")
    windows = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(2).integers(0, 4, (2, 4096))]
    found = extractor.variant_scores("sei_class", windows, [(0, 1)])
    ref, alt = extractor(windows)["profiles"]
    np.testing.assert_allclose(found[0], by_hand(ref, alt, vectors[:40], [0, 2]), atol=1e-5)
    for options, more in ((ExtractorOptions(device="cpu"), {}), (profiles, {"results": "float16"})):
        with pytest.raises(ValueError, match="sei_class"):
            load_extractor("sei", options, settings | more).variant_channels("sei_class")  # type: ignore[attr-defined]


@pytest.mark.skipif(not NAMES.is_file(), reason=f"no names of profiles at {NAMES}; set FEATURESTORE_SHARED")
def test_the_published_names_have_as_many_histone_marks_as_the_release() -> None:
    found = histone_profiles(NAMES.read_text().splitlines())
    assert (len(found), found[0], found[-1]) == (10_064, 7, 21_895)
