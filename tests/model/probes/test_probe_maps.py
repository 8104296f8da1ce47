"""What a head reads, base by base: held to one change at a time, and to finite differences."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_models import write_causal
from numpy.typing import NDArray
from probe_tasks import planted, request_of

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.extractors.splice.network import OPEN, SpliceNetwork, Unit
from model.probes.attribution.maps import by_base, feature_weight, method_of
from model.probes.attribution.sequence_model import SequenceModel
from model.probes.features import plan_features
from model.probes.kept import HeadShape, ProbeHead, of_linear, of_network
from model.probes.linear import Linear
from model.probes.networks import NETWORKS
from model.probes.representations import Form, Representation
from model.probes.task import Task, read_task

RNG = np.random.default_rng(2)
LENGTH = 46


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "open.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(SpliceNetwork([Unit(5, 1)] * 4, OPEN).state_dict(), path)
    return path


def sequences(folder: Path) -> Task:
    lines = planted(rows=20, length=LENGTH)
    lines["sequence"][3] = "N" + lines["sequence"][3][1:30] + "N" * (LENGTH - 30)
    return read_task(request_of(folder, lines))


def places(folder: Path) -> Task:
    folder.mkdir(parents=True, exist_ok=True)
    genome = "".join(RNG.choice(list("ACGT"), 2000))
    (folder / "g.fa").write_text(f">c\n{genome}\n")
    starts = [60 * number for number in range(30)]  # the first reaches past the contig
    lines = {"contig": ["c"] * 30, "start": starts, "end": [one + LENGTH for one in starts], "y": starts}
    lines["strand"] = ["+", "-"] * 15
    return read_task(request_of(folder, lines, fasta=str(folder / "g.fa")))


def linear(pieces: int, channels: int) -> ProbeHead:
    columns = pieces * channels
    weights = RNG.normal(size=(columns, 2))
    fitted = Linear(RNG.normal(size=columns), np.full(columns, 2.0), weights, RNG.normal(size=2), (1.0, 1.0))
    return of_linear("ridge", fitted, pieces=pieces)


def network(pieces: int, channels: int) -> ProbeHead:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = NETWORKS["cnn"](channels, pieces, 2, width=0.1, reduce=None).eval()
    shape = HeadShape(head="cnn", pieces=pieces, channels=channels, targets=2, width=0.1)
    return of_network(shape, made, centre=np.zeros(2), deviation=np.ones(2))


def model_of(task: Task, name: str, form: Form, resolution: int, folder: Path, **settings: Any) -> SequenceModel:
    representation = Representation(name, name, settings)
    plan = plan_features(
        task, representation, form, folder=folder, resolution=resolution, dtype="float32", device="cpu"
    )
    bins, numbers = plan.bins, sum(map(len, plan.extractor.channels.values()))
    channels = numbers // bins.pieces if bins.n_bins == 1 else numbers
    made = (linear if form == "pooled" else network)(bins.pieces, channels)
    return SequenceModel(plan, made)


def read(task: Task, context_bp: int, row: int) -> NDArray[np.uint8]:
    text = list(task.with_context(context_bp))[row].ljust(task.length + 2 * context_bp, b"N")
    return np.frombuffer(text, dtype=np.uint8)


KINDS: dict[str, tuple[str, Form, int]] = {
    "one-hot, pooled": ("onehot", "pooled", 1),
    "one-hot, along": ("onehot", "along", 1),
    "one-hot, by two": ("onehot", "along", 2),
    "words, pooled": ("kmer", "pooled", 1),
    "dinucleotides, along": ("dinucleotide", "along", 1),
    "a network of bases, pooled": ("splice", "pooled", 1),
    "a network of bases, along": ("splice", "along", 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_features_as_they_are_asked_for_are_those_that_are_kept(kind: str, weights: Path, tmp_path: Path) -> None:
    name, form, resolution = KINDS[kind]
    settings = {"weights": (weights,)} if name == "splice" else {}
    for make in (sequences, places):
        task = make(tmp_path / make.__name__)
        model = model_of(task, name, form, resolution, tmp_path / make.__name__ / "kept", **settings)
        kept = model.plan.compute().values
        found = model.features(np.stack([read(task, model.context_bp, row) for row in range(len(kept))]))
        assert np.allclose(found, kept, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_is_what_one_change_adds_away_from_the_mean_of_the_four(kind: str, weights: Path, tmp_path: Path) -> None:
    name, form, resolution = KINDS[kind]
    is_network = name == "splice" or form == "along"
    task = places(tmp_path)
    settings = {"weights": (weights,)} if name == "splice" else {}
    model = model_of(task, name, form, resolution, tmp_path / "kept", **settings)
    sequence = read(task, model.context_bp, 1)
    found = by_base(model, sequence)
    assert found.shape == (LENGTH, 4, 2)
    if method_of(model.plan) == "gradient" and is_network:
        expected = finite_differences(model, sequence)
    else:
        expected = np.zeros(found.shape)
        for place in range(LENGTH):
            for base, letter in enumerate(b"ACGT"):
                changed = sequence.copy()
                changed[model.context_bp + place] = letter
                expected[place, base] = model.predict(changed[None])[0]
    expected -= expected.mean(1, keepdims=True)
    assert np.abs(expected).max() > 0
    assert np.allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def finite_differences(model: SequenceModel, sequence: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Move one number of the one-hot sequence at a time, in double precision."""
    inner: Any = model.network
    windows = model.windows(sequence[None]).windows[0]
    head = model.head.inner.double()
    rows = np.zeros((len(windows), windows.shape[1], 4))
    bases = np.pad(sequence, windows.shape[1], constant_values=ord("N"))
    if model.plan.representation.extractor == "onehot":
        own = (sequence[model.context_bp :][:LENGTH, None] == np.frombuffer(b"ACGT", dtype=np.uint8)).astype(float)

        def output(moved: NDArray[np.float64]) -> NDArray[np.float64]:
            pieces = torch.from_numpy((own + moved).reshape(1, model.plan.bins.pieces, -1))
            return in_double(head, pieces)
    else:
        for one in inner._loaded[0]:
            one.double()
        encoded = inner.encoded(windows).double()
        first = model.windows(sequence[None]).first

        def output(moved: NDArray[np.float64]) -> NDArray[np.float64]:
            whole = np.zeros((len(bases), 4))
            at = windows.shape[1] + model.context_bp
            whole[at : at + LENGTH] = moved
            rows[0] = whole[windows.shape[1] + first :][: windows.shape[1]]
            features = inner.predicted(encoded + torch.from_numpy(rows).transpose(1, 2))["splice"]
            return in_double(head, features.detach()[None])

    found, step = np.zeros((LENGTH, 4, 2)), 1e-5
    for place in range(LENGTH):
        for base in range(4):
            moved = np.zeros((LENGTH, 4))
            moved[place, base] = step
            found[place, base] = (output(moved) - output(-moved)) / (2 * step)
    if model.plan.representation.extractor == "splice":
        for one in inner._loaded[0]:
            one.float()
    return found


def in_double(head: Any, features: torch.Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        read = head.network(features.transpose(1, 2)) if hasattr(head, "network") else head(features)
    values: NDArray[np.float64] = read[0].numpy()
    return values


def test_bases_that_are_not_known_have_no_score(tmp_path: Path) -> None:
    task = sequences(tmp_path)
    for name in ("onehot", "kmer"):
        found = by_base(model_of(task, name, "pooled", 1, tmp_path / "kept"), read(task, 0, 3))
        unknown = np.array([letter == ord("N") for letter in read(task, 0, 3)])
        assert np.array_equal(np.isnan(found).all((1, 2)), unknown)
        assert np.array_equal(np.isnan(found).any((1, 2)), unknown)


def test_the_weight_of_the_features_at_a_base_is_the_length_of_their_gradient(tmp_path: Path) -> None:
    folder = write_causal(tmp_path / "model", "llama, letters")
    task = sequences(tmp_path)
    model = model_of(task, "hf", "along", 2, tmp_path / "kept", model=str(folder))
    found = feature_weight(model, read(task, 0, 1))
    features = model.features(read(task, 0, 1)[None]).astype(np.float64)
    head = model.head.inner.double()
    for base in (0, 7, LENGTH - 1):
        slopes = np.zeros((features.shape[2], 2))
        for channel in range(features.shape[2]):
            moved = np.zeros_like(features)
            moved[0, base // 2, channel] = 1e-5
            up, down = (in_double(head, torch.from_numpy(features + sign * moved)) for sign in (1, -1))
            slopes[channel] = (up - down) / 2e-5
        assert np.allclose(found[base], np.linalg.norm(slopes, axis=0), rtol=1e-3)


def test_words_are_changed_as_the_extractor_counts_them(tmp_path: Path) -> None:
    task = sequences(tmp_path)
    model = model_of(task, "kmer", "pooled", 1, tmp_path / "kept")
    extractor = load_extractor("kmer", ExtractorOptions(bin_size=LENGTH, device="cpu"))
    inner: Any = model.head.inner

    def by_hand(text: str) -> NDArray[np.float64]:
        counts = extractor(np.frombuffer(text.encode(), dtype=np.uint8)[None])["kmer"][0].astype(np.float64)
        values: NDArray[np.float64] = (counts - inner.centre.numpy()) @ inner.weights.numpy() + inner.intercept.numpy()
        return values

    text = task.sequences[0].decode()
    found = by_base(model, read(task, 0, 0))
    four = np.array([by_hand(text[:20] + letter + text[21:]) for letter in "ACGT"])
    assert np.allclose(found[20], four - four.mean(0), atol=1e-5)
