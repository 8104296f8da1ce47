"""The Sei network against arrays computed by the published code.

The golden arrays come from the official network with parameters filled by a rule, so no published weight is needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkout import SHARED
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sei_files import hollow_state, published, rule_state, rule_value, saved

from builders.extractors.sei.classes import class_channels
from builders.extractors.sei.extractor import SeiExtractor
from builders.extractors.sei.network import (
    SeiNetwork,
    encode,
    load_sei,
    reverse_complement,
    spline_basis,
)
from builders.extractors.sei.variant_score import class_scores

SMALL = SHARED / "golden" / "sei_small_forward.npz"
FULL = SHARED / "golden" / "sei_forward.npz"
NAMES = SHARED / "data" / "sei_names"
needs_golden = pytest.mark.skipif(not SMALL.is_file(), reason=f"no golden arrays at {SMALL}")
needs_names = pytest.mark.skipif(not NAMES.is_dir(), reason=f"no names of Sei's outputs at {NAMES}")

TOLERANCE = 2e-5
"""Absolute, float32 against float64: five times what the official network itself differs by."""


def other_strand(sequences: NDArray[np.uint8]) -> NDArray[np.uint8]:
    table = bytes.maketrans(b"ACGTacgt", b"TGCAtgca")
    flipped = [np.frombuffer(row.tobytes().translate(table)[::-1], dtype=np.uint8) for row in sequences]
    return np.stack(flipped)


@dataclass(frozen=True)
class Small:
    """The small network, its files, and its golden arrays; loaded once."""

    golden: Mapping[str, NDArray[Any]]
    weights: Path
    projector: Path
    splines: NDArray[np.float32]
    """Output of `embed` for the six sequences, then for their other strands, `(12, 960, 16)`."""
    profiles: NDArray[np.float32]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    folder = tmp_path_factory.mktemp("sei")
    with np.load(SMALL) as archive:
        golden = dict(archive)
    torch.save(published(rule_state(64)), folder / "sei.pth")
    np.save(folder / "projvec_targets.npy", rule_value("projvec", (61, 64)).numpy())
    network = load_sei(folder / "sei.pth")
    forward = encode(torch.from_numpy(golden["sequences"]))
    with torch.inference_mode():
        splines = network.embed(torch.cat([forward, reverse_complement(forward)]))
        profiles = network.head(splines)
    yield Small(golden, folder / "sei.pth", folder / "projvec_targets.npy", splines.numpy(), profiles.numpy())
    (folder / "sei.pth").unlink()  # 0.3 GB, and pytest keeps the folders of three runs


def test_the_parameter_rule_gives_its_published_check_values() -> None:
    checks = {
        ("lconv1.0.weight", (480, 4, 9)): (-0.18562713, -0.26417592, 0.064322785, 0.12322476, -0.017957637),
        ("lconv1.0.bias", (480,)): (0.098935828, -0.094459899, 0.030311836, 0.09779574, 0.057307232),
        ("conv1.0.bias", (480,)): (-0.38116211, -0.35859728, -0.20062336, -0.39998248, -0.20630237),
        ("dconv5.1.weight", (960, 960, 5)): (0.022596199, -0.022481345, 0.012599834, 0.018453866, 0.023088872),
        ("classifier.0.bias", (21907,)): (-1.9173205, -1.9741293, -2.0786326, -2.0971472, -1.9288839),
        ("projvec", (61, 21907)): (0.98357689, -0.94917804, 0.36340126, 0.94796491, -0.87855411),
    }
    for (key, shape), expected in checks.items():
        value = rule_value(key, shape).flatten()
        np.testing.assert_allclose([*value[:4], value[-1]], expected, rtol=1e-6, err_msg=key)


def test_the_network_has_the_38_published_parameters_and_nothing_else_to_save() -> None:
    with torch.device("meta"):
        network = SeiNetwork()
    state = network.state_dict()
    assert len(state) == 38
    assert sum(value.numel() for value in state.values()) == 889_979_983
    assert tuple(state["lconv2.2.weight"].shape) == (640, 480, 9)
    assert tuple(state["classifier.0.weight"].shape) == (21907, 15360)


@needs_golden
def test_the_spline_basis_is_the_published_one(small: Small) -> None:
    np.testing.assert_allclose(spline_basis(), small.golden["spline_basis"], rtol=0, atol=1e-7)


def test_the_splines_sum_to_one_everywhere_and_mirror_each_other() -> None:
    basis = spline_basis()
    np.testing.assert_allclose(basis.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(basis, basis[::-1, ::-1], atol=1e-6)


@needs_golden
@pytest.mark.parametrize("strand", ["fwd", "rc"])
def test_profiles_of_one_strand_are_those_of_the_published_code(small: Small, strand: str) -> None:
    profiles = small.profiles[:6] if strand == "fwd" else small.profiles[6:]
    np.testing.assert_allclose(profiles, small.golden[f"{strand}64"], rtol=0, atol=TOLERANCE)


@needs_golden
def test_the_mean_of_both_strands_is_that_of_the_published_code(small: Small) -> None:
    average = (small.profiles[:6] + small.profiles[6:]) / 2
    np.testing.assert_allclose(average, small.golden["avg64"], rtol=0, atol=TOLERANCE)


@needs_golden
def test_the_embedding_is_flattened_channel_by_channel_as_published(small: Small) -> None:
    flat = small.splines[:6].reshape(6, -1)
    stored = small.golden["spline_flat64"]
    np.testing.assert_allclose(flat[:, small.golden["spline_flat_index"]], stored, rtol=TOLERANCE, atol=2e-3)
    means = small.golden["spline_flat_stats64"][:, 0]
    np.testing.assert_allclose(flat.mean(axis=1, dtype=np.float64), means, rtol=TOLERANCE)


@needs_golden
def test_bases_are_encoded_as_published(small: Small) -> None:
    encoded = encode(torch.from_numpy(small.golden["encode_bytes"])[None])
    np.testing.assert_array_equal(encoded[0].T.numpy(), small.golden["encode_onehot"])


def test_every_byte_but_the_four_bases_is_a_quarter_of_each() -> None:
    encoded = encode(torch.arange(256, dtype=torch.uint8)[None])[0].T.tolist()
    for byte, row in enumerate(encoded):
        base = chr(byte).upper() if byte < 128 else "?"
        expected = [float(base == letter) for letter in "ACGT"] if base in "ACGT" else [0.25] * 4
        assert row == expected, chr(byte)


@given(arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=st.sampled_from(list(b"ACGTacgtN"))))
def test_the_reverse_complement_of_the_code_is_the_code_of_the_reverse_complement(sequences: NDArray[np.uint8]) -> None:
    encoded = encode(torch.from_numpy(sequences))
    assert torch.equal(reverse_complement(encoded), encode(torch.from_numpy(other_strand(sequences))))
    assert torch.equal(reverse_complement(reverse_complement(encoded)), encoded)


@needs_golden
def test_the_extractor_projects_the_mean_of_both_strands_whichever_it_is_given(small: Small) -> None:
    extractor = SeiExtractor(small.weights, small.projector, ("embedding", "classes", "profiles"), device="cpu")
    given_strand = small.golden["sequences"][3:4]  # the one with a stretch of N
    features = extractor(np.concatenate([given_strand, other_strand(given_strand)]))

    vectors = rule_value("projvec", (61, 64)).numpy().astype(np.float64)
    scores = [small.golden["avg64"][3] @ vector / np.sqrt((vector**2).sum()) for vector in vectors]
    expected = {
        "profiles": small.golden["avg64"][3],
        "classes": np.array(scores),
        "embedding": (small.splines[3].astype(np.float64) + small.splines[9]).ravel() / 2,
    }
    assert set(features) == set(expected)
    for name, values in features.items():
        atol = 2e-3 if name == "embedding" else TOLERANCE
        assert values.dtype == np.float32
        assert values.shape == (2, len(extractor.channels[name]))
        for row in values:
            np.testing.assert_allclose(row, expected[name], rtol=TOLERANCE if name == "embedding" else 0, atol=atol)


@needs_golden
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_published_profiles_though_tf32_is_allowed_outside(small: Small) -> None:
    torch.backends.cudnn.allow_tf32 = True
    extractor = SeiExtractor(small.weights, outputs=("profiles",), device="cuda", results="float32")
    features = extractor(small.golden["sequences"])
    np.testing.assert_allclose(features["profiles"], small.golden["avg64"], rtol=0, atol=TOLERANCE)
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.slow
@pytest.mark.skipif(not FULL.is_file(), reason=f"no golden arrays at {FULL}")
def test_the_full_network_gives_the_published_profiles_and_class_scores(tmp_path: Path) -> None:
    with np.load(FULL) as archive:
        golden = dict(archive)
    torch.save(published(rule_state(21907)), tmp_path / "sei.pth")
    np.save(tmp_path / "projvec_targets.npy", rule_value("projvec", (61, 21907)).numpy())
    extractor = SeiExtractor(
        tmp_path / "sei.pth", tmp_path / "projvec_targets.npy", ("classes", "profiles"), device="cpu"
    )
    features = extractor(golden["sequences"])
    (tmp_path / "sei.pth").unlink()  # 3.6 GB, and pytest keeps the folders of three runs
    profiles = features["profiles"]
    np.testing.assert_allclose(profiles[:, golden["profile_index"]], golden["avg64"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(profiles.mean(axis=1, dtype=np.float64), golden["avg_stats64"][:, 0], atol=TOLERANCE)
    np.testing.assert_allclose(features["classes"], golden["sc_avg64"], rtol=0, atol=TOLERANCE)
    directions = rule_value("projvec", (61, 21907)).numpy()[:40].astype(np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ref, alt = golden["vep_pairs"].T
    scores = class_scores(profiles[ref], profiles[alt], directions, golden["histone_inds"])
    np.testing.assert_allclose(scores, golden["vep_diff64"], rtol=0, atol=TOLERANCE)


@needs_names
def test_the_class_table_is_the_published_one() -> None:
    lines = (NAMES / "seqclass.names").read_text().splitlines()
    channels = class_channels()
    assert [f"{channel.name} {channel.description}" for channel in channels[:40]] == lines


def test_dropping_low_signal_leaves_the_33_classes_that_gta_reads() -> None:
    channels = class_channels()
    kept = " ".join(channel.name for channel in channels if not channel.low_signal)
    assert len(channels) == 61
    assert kept == (
        "PC1 TN1 TN2 E1 E2 E3 E4 TF1 HET1 E5 E6 TF2 PC2 E7 E8 TF3 PC3 TN3 HET2 P E9 CTCF TN4 HET3 E10 TF4 HET4 PC4 "
        "HET5 E11 TF5 E12 HET6"
    )
    groups = [channel.group for channel in channels[:40]]
    counts = {group: groups.count(group) for group in groups}
    assert counts == {"E": 12, "L": 7, "HET": 6, "TF": 5, "PC": 4, "TN": 4, "P": 1, "CTCF": 1}
    assert [channel.name for channel in channels[40:]] == [f"cluster{rank}" for rank in range(40, 61)]


@needs_names
def test_profiles_are_called_as_in_target_names(tmp_path: Path) -> None:
    weights = saved(hollow_state(21907), tmp_path)
    names = NAMES / "target.names"
    channels = SeiExtractor(weights, outputs=("profiles",), names=names).channels["profiles"]
    assert [channel.name for channel in channels] == names.read_text().splitlines()
    assert sum(channel.group == "H3K27ac" for channel in channels) == 2458


def test_profiles_without_names_are_numbered_and_embeddings_run_channel_by_channel(tmp_path: Path) -> None:
    channels = SeiExtractor(saved(hollow_state(), tmp_path), outputs=("embedding", "profiles")).channels
    assert list(channels) == ["profiles", "embedding"]
    assert [channel.name for channel in channels["profiles"]][-1] == "profile00007"
    embedding = [channel.name for channel in channels["embedding"]]
    assert (len(embedding), embedding[17], embedding[-1]) == (15360, "c001b01", "c959b15")
