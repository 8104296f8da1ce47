"""The Sei network against arrays computed by the published code, and every way that its files can be wrong.

The golden arrays come from the official network with parameters filled by a rule, so no published weight is needed.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkout import ROOT, SHARED
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from builders.extractors.base import Extractor, ExtractorOptions
from builders.extractors.sei.classes import class_channels
from builders.extractors.sei.extractor import SeiExtractor
from builders.extractors.sei.network import (
    SeiCheckpointError,
    SeiNetwork,
    encode,
    load_sei,
    read_checkpoint,
    reverse_complement,
    spline_basis,
)
from builders.extractors.sei.precision import ERROR_SOURCE, MEASURED_ERRORS, PRECISIONS, arithmetic

SMALL = SHARED / "golden" / "sei_small_forward.npz"
FULL = SHARED / "golden" / "sei_forward.npz"
NAMES = SHARED / "data" / "sei_names"
needs_golden = pytest.mark.skipif(not SMALL.is_file(), reason=f"no golden arrays at {SMALL}")
needs_names = pytest.mark.skipif(not NAMES.is_dir(), reason=f"no names of Sei's outputs at {NAMES}")

TOLERANCE = 2e-5
"""Absolute, float32 against float64: five times what the official network itself differs by."""
MODULUS = 1_000_003


def rule_value(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Fill one parameter by the rule of the golden data: s * sin(0.37 * (i * i + p * i mod M) + p) + o."""
    offset, scale = offset_and_scale(key, shape)
    p = zlib.crc32(key.encode("ascii")) % 1000
    i = np.arange(MODULUS, dtype=np.int64)
    period = (scale * np.sin(0.37 * ((i * i + p * i) % MODULUS) + p) + offset).astype(np.float32)
    return torch.from_numpy(np.resize(period, shape))


def offset_and_scale(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    root = float(np.sqrt(np.prod(shape[1:])))
    if key == "projvec":
        return 0.0, 1.0
    if key.endswith(".weight"):
        return 0.0, {"classifier.0.weight": 0.03, "classifier.2.weight": 4.0}.get(key, 1.6) / root
    if key == "classifier.0.bias":
        return -2.0, 0.1
    return (0.0 if key.startswith(("lconv", "classifier.2")) else -0.3), 0.1


def shapes_of(n_profiles: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in SeiNetwork(n_profiles).state_dict().items()}


def rule_state(n_profiles: int) -> dict[str, torch.Tensor]:
    return {key: rule_value(key, shape) for key, shape in shapes_of(n_profiles).items()}


def published(state: Mapping[str, Any]) -> dict[str, Any]:
    return {f"module.model.{key}": value for key, value in state.items()}


def hollow_state(n_profiles: int = 8, value: float = 0.5) -> dict[str, Any]:
    """Give parameters of the right shapes that take no room on disk: one number each, spread out."""
    return {key: torch.full((1,), value).expand(shape) for key, shape in shapes_of(n_profiles).items()}


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


def saved(content: object, folder: Path, name: str = "sei.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def projector(folder: Path, vectors: NDArray[Any]) -> Path:
    np.save(folder / "projvec_targets.npy", vectors)
    return folder / "projvec_targets.npy"


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "module.module.model."])
def test_prefixes_of_wrappers_come_off_the_names(tmp_path: Path, prefix: str) -> None:
    state = {prefix + key: value for key, value in hollow_state().items()}
    assert list(read_checkpoint(saved(state, tmp_path))) == list(shapes_of(8))


def test_each_kind_of_file_gives_the_same_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    shapes = shapes_of(3)
    shapes = {key: shapes[key] for key in ("classifier.2.weight", "lconv1.0.bias")}
    state = hollow_state(3) | {key: rule_value(key, shape) for key, shape in shapes.items()}
    save_file({key: value.clone() for key, value in published(state).items()}, tmp_path / "sei.safetensors")
    files = [
        saved(published(state), tmp_path),
        saved(published(state), tmp_path, "old.pth", _use_new_zipfile_serialization=False),
        saved({"step": 12, "state_dict": state}, tmp_path, "selene.pth"),
        tmp_path / "sei.safetensors",
    ]
    for file in files:
        loaded = load_sei(file)
        assert loaded.n_profiles == 3
        assert not loaded.training
        for key in shapes:
            assert torch.equal(loaded.state_dict()[key], state[key])


def test_weights_stored_in_half_are_computed_in_single_precision(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in hollow_state().items()}
    assert {value.dtype for value in load_sei(saved(state, tmp_path)).state_dict().values()} == {torch.float32}


def test_one_error_lists_all_that_is_wrong_with_a_checkpoint(tmp_path: Path) -> None:
    state = hollow_state()
    del state["dconv3.1.bias"]
    state["conv1.0.weight"] = torch.zeros(1).expand(480, 480, 7)
    state["head.bias"] = torch.zeros(2)
    state["lconv1.0.bias"] = torch.zeros(480, dtype=torch.int64)
    state["epoch"] = 3
    with pytest.raises(SeiCheckpointError) as caught:
        load_sei(saved(published(state), tmp_path))
    for part in (
        r"missing dconv3.1.bias (960,)",
        r"conv1.0.weight has shape (480, 480, 7), expected (480, 480, 9)",
        r"unexpected head.bias (2,)",
        r"lconv1.0.bias is torch.int64",
        r"epoch is int",
        r"Zenodo record 4906997",
    ):
        assert part in str(caught.value)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    state = hollow_state()
    state["module.conv1.0.bias"] = state["conv1.0.bias"]
    with pytest.raises(SeiCheckpointError, match="1 names are the same without"):
        read_checkpoint(saved(state, tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    state = hollow_state()
    weight = torch.zeros(960, 960, 5)
    weight[5, 7, 3] = value
    state["dconv2.1.weight"] = weight
    with pytest.raises(SeiCheckpointError, match=r"NaN or infinite weights in dconv2\.1\.weight; .*fetch it again"):
        load_sei(saved(state, tmp_path))


@pytest.mark.parametrize("zipped", [True, False], ids=["as torch saves now", "as torch before 1.6"])
def test_a_truncated_checkpoint_is_told_from_a_whole_one(tmp_path: Path, zipped: bool) -> None:
    path = saved(hollow_state(), tmp_path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(SeiCheckpointError, match=r"truncated or damaged .*fetch it again"):
        read_checkpoint(path)


def test_a_truncated_safetensors_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "sei.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SeiCheckpointError, match="truncated, or no safetensors file"):
        read_checkpoint(path)


class Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("zipped", [True, False], ids=["as torch saves now", "as torch before 1.6"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved({"a": Payload()}, tmp_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(SeiCheckpointError, match=r"holds pickled code \(posix\.system\).*save weights alone"):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "no checkpoint of torch", id="an empty file"),
        pytest.param(b"<!DOCTYPE html>", "it begins with b'<!DOCTYP'", id="an error page"),
        pytest.param(b"\x1f\x8b\x08\x00", "unpack it", id="the archive itself"),
    ],
)
def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sei.pth"
    path.write_bytes(content)
    with pytest.raises(SeiCheckpointError, match=message):
        load_sei(path)


def test_a_file_that_holds_one_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeiCheckpointError, match="holds a Tensor, not parameters by name"):
        read_checkpoint(saved(torch.zeros(3), tmp_path))


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*sei\.pth; expected sei\.pth of sei_model\.tar\.gz"):
        load_sei(tmp_path / "sei.pth")


@pytest.mark.parametrize("length", [4095, 4097, 2048])
def test_a_sequence_of_another_length_is_refused_by_network_and_extractor(tmp_path: Path, length: int) -> None:
    extractor = SeiExtractor(saved(hollow_state(), tmp_path), outputs=("profiles",), device="cpu")
    with pytest.raises(ValueError, match=r"\(batch, 4096\), uint8; got .*fill up with N"):
        extractor(np.full((1, length), ord("N"), dtype=np.uint8))
    with torch.device("meta"), pytest.raises(ValueError, match=r"\(batch, 4, 4096\), got .*fill up with N"):
        SeiNetwork(8)(torch.zeros(1, 4, length))


def test_an_extractor_is_made_from_options_without_reading_the_weights(tmp_path: Path) -> None:
    vectors = projector(tmp_path, np.ones((61, 8)))
    weights = saved(hollow_state(value=float("nan")), tmp_path)  # only the first call looks at values
    extractor = SeiExtractor.from_options(ExtractorOptions(weights=weights, projector=vectors, device="cpu"))
    assert isinstance(extractor, Extractor)
    assert list(extractor.channels) == ["classes"]
    assert (extractor.input_length, extractor.batch_size) == (4096, 8)
    with pytest.raises(SeiCheckpointError, match="NaN"):
        extractor(np.full((1, 4096), ord("N"), dtype=np.uint8))


def test_the_fingerprint_follows_the_files_and_not_what_is_asked_of_them(tmp_path: Path) -> None:
    weights, vectors = saved(hollow_state(), tmp_path), projector(tmp_path, np.ones((61, 8)))
    one = SeiExtractor(weights, vectors)
    names = tmp_path / "target.names"
    names.write_text("".join(f"cell | mark{index} | lab\n" for index in range(8)))
    assert SeiExtractor(weights, vectors, ("profiles", "embedding"), names=names).fingerprint == one.fingerprint
    other = tmp_path / "other"
    other.mkdir()
    other_vectors = SeiExtractor(weights, projector(other, np.full((61, 8), 2.0)))
    other_weights = SeiExtractor(saved(hollow_state(value=0.25), other), vectors)
    assert len({one.fingerprint, other_vectors.fingerprint, other_weights.fingerprint}) == 3
    assert one.options["weights"] == "sei.pth"


def test_precision_is_part_of_the_fingerprint_and_its_error_is_on_record(tmp_path: Path) -> None:
    weights = saved(hollow_state(), tmp_path)
    made = {name: SeiExtractor(weights, outputs=("profiles",), precision=name) for name in PRECISIONS}
    assert len({extractor.fingerprint for extractor in made.values()}) == 3
    for name, extractor in made.items():
        assert extractor.options["precision"] == name
        assert extractor.options["precision_error"] == {**MEASURED_ERRORS[name], "source": ERROR_SOURCE}


def test_the_errors_on_record_are_those_that_the_benchmark_measured() -> None:
    rows = json.loads((ROOT / ERROR_SOURCE).read_text())["rows"]
    measured = {row["precision"]: row["error"] for row in rows if row["name"] != "plain" and row["device"] == "cpu"}
    assert set(measured) == set(PRECISIONS)
    for precision, stated in MEASURED_ERRORS.items():
        for name, value in stated.items():
            assert value == pytest.approx(measured[precision][name], rel=0.5), (precision, name)


def test_tf32_is_refused_once_the_device_turns_out_to_be_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    extractor = SeiExtractor(saved(hollow_state(), tmp_path), outputs=("profiles",), precision="tf32")
    with pytest.raises(ValueError, match="the device is a CPU; use precision='fp32'"):
        extractor(np.full((1, 4096), ord("N"), dtype=np.uint8))


def test_what_float32_means_is_set_only_for_the_length_of_a_block() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with arithmetic("fp32"):
            assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, "highest")
        with arithmetic("tf32"):
            assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({}, "give projector=projvec_targets.npy", id="classes without a projector"),
        pytest.param({"outputs": ("logits",)}, "outputs classes, profiles, embedding; got logits", id="unknown output"),
        pytest.param({"outputs": ()}, "got none", id="no output"),
        pytest.param({"precision": "fp8"}, "fp32, tf32, bf16, not 'fp8'; use precision='fp32'", id="fp8"),
        pytest.param(
            {"outputs": ("profiles",), "precision": "tf32", "device": "cpu"},
            "the device is a CPU; use precision='fp32', or 'bf16'",
            id="tf32 on a CPU",
        ),
        pytest.param(
            {"outputs": ("profiles",), "results": "float64"}, "returns float16 or float32, not 'float64'", id="results"
        ),
        pytest.param(
            {"outputs": ("profiles",), "device": "gpu"}, "cpu, cuda, cuda:0, .*got 'gpu'", id="no such kind of device"
        ),
    ],
)
def test_an_option_without_such_a_value_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeiExtractor(saved(hollow_state(), tmp_path), **options)


def test_options_without_weights_say_where_the_weights_are() -> None:
    with pytest.raises(ValueError, match=r"give weights=sei\.pth.*Zenodo record 4906997"):
        SeiExtractor.from_options(ExtractorOptions())


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    extractor = SeiExtractor(saved(hollow_state(), tmp_path), outputs=("profiles",), device="cuda:99")
    with pytest.raises(ValueError, match="use device='cpu'"):
        extractor(np.full((1, 4096), ord("N"), dtype=np.uint8))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        pytest.param(np.ones((40, 8)), r"shape \(61, 8\).*got \(40, 8\)", id="only the named classes"),
        pytest.param(np.ones((8, 61)), r"got \(8, 61\)", id="transposed"),
        pytest.param(np.full((61, 8), "a"), "must hold numbers", id="text"),
        pytest.param(np.zeros((61, 8)), "no direction", id="zeros"),
        pytest.param(np.full((61, 8), np.nan), "no direction", id="NaN"),
    ],
)
def test_a_projector_that_does_not_fit_is_refused(tmp_path: Path, vectors: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeiExtractor(saved(hollow_state(), tmp_path), projector(tmp_path, vectors))


def test_a_projector_that_is_missing_or_no_array_is_refused(tmp_path: Path) -> None:
    weights = saved(hollow_state(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected projvec_targets\.npy"):
        SeiExtractor(weights, tmp_path / "none.npy")
    page = tmp_path / "page.npy"
    page.write_text("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"no array that numpy can read .*expected projvec_targets\.npy"):
        SeiExtractor(weights, page)
    np.savez(tmp_path / "many.npz", vectors=np.ones((61, 8)))
    with pytest.raises(ValueError, match="got an archive of arrays"):
        SeiExtractor(weights, tmp_path / "many.npz")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(7, "has 7 lines, 7 of them distinct, but the weights predict 8", id="one too few"),
        pytest.param([0, 1, 2, 3, 4, 5, 6, 6], "has 8 lines, 7 of them distinct", id="one twice"),
    ],
)
def test_names_that_do_not_fit_the_profiles_are_refused(tmp_path: Path, lines: int | list[int], message: str) -> None:
    names = tmp_path / "target.names"
    names.write_text("".join(f"cell | mark{n} | lab\n" for n in (range(lines) if isinstance(lines, int) else lines)))
    weights = saved(hollow_state(), tmp_path)
    with pytest.raises(ValueError, match=f"{message}.*or leave names out"):
        SeiExtractor(weights, outputs=("profiles",), names=names)
    with pytest.raises(FileNotFoundError, match=r"expected target\.names"):
        SeiExtractor(weights, outputs=("profiles",), names=tmp_path / "none")
