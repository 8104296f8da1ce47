"""Explaining a probe: which rows, how far maps agree, what motifs add, and going on where it was stopped."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hf_models import WIDTH, write_causal, write_model
from probe_tasks import planted, request_of, written

from builders.attribution.shuffle import dinucleotide_shuffle
from builders.extractors.base import ExtractorOptions, load_extractor
from featurestore.cli.main import main
from model.probes.attribution import run as explaining
from model.probes.attribution.agreement import Map, agreement_table, of_rows
from model.probes.attribution.maps import by_base, feature_weight
from model.probes.attribution.sequence_model import SequenceModel
from model.probes.features import plan_features
from model.probes.kept import HeadShape, load_head, of_network, save_head
from model.probes.networks import NETWORKS
from model.probes.representations import Representation
from model.probes.run import run_probe
from model.probes.task import read_task

TIMELESS = pl.exclude("fit_seconds", "feature_seconds")


def arrays(folder: Path, pattern: str) -> Any:
    (path,) = (folder / "probe" / "attributions").glob(pattern)
    with np.load(path) as found:
        return dict(found)


def test_maps_agree_as_their_correlation_over_the_bases_that_both_know() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 4, 30, 1)).astype(np.float32)
    first[0, :5], second[0, 3:9] = np.nan, np.nan
    first[3] = 1
    found = of_rows(first[:, :, 0], second[:, :, 0])
    known = [*range(9, 30)]
    expected = [np.corrcoef(first[0, known, 0], second[0, known, 0])[0, 1]]
    expected += [np.corrcoef(first[row, :, 0], second[row, :, 0])[0, 1] for row in (1, 2)]
    assert np.allclose(found[:3], expected)
    assert np.isnan(found[3])
    maps = [Map("one", "ridge", "gradient", first), Map("other", "", "entropy", second)]
    (row,) = agreement_table(maps, ["y"]).to_dicts()
    assert (row["pearson"], row["rows"]) == (pytest.approx(np.mean(expected)), 3)
    assert row["sd"] == pytest.approx(np.std(expected, ddof=1))


def test_the_highest_test_rows_are_explained_and_a_page_shows_it(tmp_path: Path) -> None:
    request = request_of(tmp_path, planted(rows=200), explain=3, motifs=("tgatga", "CCC"), backgrounds=30)
    run_probe(request)
    task = read_task(request)
    kept = arrays(tmp_path, "kmer-3-ridge-*[!s]-????????.npz")
    test = task.rows(2)
    assert kept["rows"].tolist() == sorted(test, key=lambda row: -task.targets[row, 0])[:3]
    bases = ["".join("ACGT"[base] for base in row.argmax(1)).encode() for row in kept["onehot"]]
    assert bases == [task.sequences[row] for row in kept["rows"]]
    agreement = pl.read_csv(request.out / "agreement.tsv", separator="\t")
    assert agreement.height == 3
    pair = agreement.filter(first_representation="dinucleotide", second_representation="kmer:3").to_dicts()[0]
    standing = {
        name: (arrays(tmp_path, f"{name}-ridge-*[!s]-????????.npz")["values"][..., 0] * kept["onehot"]).sum(2)
        for name in ("dinucleotide", "kmer-3")
    }
    expected = [np.corrcoef(*rows)[0, 1] for rows in zip(*standing.values(), strict=True)]
    assert pair["pearson"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert (request.out / "report.html").read_text().count("data:image/png") == 4


def test_the_effect_of_a_motif_is_the_mean_difference_in_shuffled_test_rows(tmp_path: Path) -> None:
    lines = planted(rows=100)
    lines["sequence"] = [one + "NNN" for one in lines["sequence"]]
    request = request_of(tmp_path, lines, motifs=("TGATG",), backgrounds=40)
    run_probe(request)
    task = read_task(request)
    found = pl.read_csv(request.out / "importance.tsv", separator="\t").filter(representation="kmer:3").to_dicts()[0]
    head: Any = load_head(next((request.out / "heads").glob("kmer-3-*"))).inner
    extractor = load_extractor("kmer", ExtractorOptions(bin_size=43, device="cpu"), {"k": 3})
    rows = sorted(task.rows(2), key=lambda row: -task.targets[row, 0])
    rng, differences = np.random.default_rng(0), []
    for number in range(40):
        plain = np.frombuffer(task.sequences[rows[number % len(rows)]][:40], dtype=np.uint8)
        text = dinucleotide_shuffle(plain, rng).tobytes().decode()
        both = [text + "NNN", text[:18] + "TGATG" + text[23:] + "NNN"]
        counts = extractor(np.array([[*one.encode()] for one in both], dtype=np.uint8))["kmer"].astype(np.float64)
        without, with_it = (counts - head.centre.numpy()) @ head.weights.numpy()[:, 0]
        differences.append(with_it - without)
    assert found["effect"] == pytest.approx(np.mean(differences), abs=1e-6)
    half = 1.959964 * np.std(differences, ddof=1) / 40**0.5
    assert (found["low"], found["high"]) == (
        pytest.approx(found["effect"] - half, abs=1e-6),
        pytest.approx(found["effect"] + half, abs=1e-6),
    )
    assert found["effect"] > 0.3


def test_explaining_goes_on_where_it_was_stopped_and_more_rows_fit_no_head_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"features": ("onehot",), "explain": 2, "motifs": ("TGA",), "backgrounds": 30}
    whole = request_of(tmp_path / "whole", planted(rows=60), **asked)
    run_probe(whole)
    request = request_of(tmp_path / "stopped", planted(rows=60), **asked)
    made: list[str] = []
    stops_at = 3

    def counted(model: Any, sequence: Any) -> Any:
        if len(made) == stops_at:
            raise KeyboardInterrupt
        made.append(model.plan.representation.label)
        return by_base(model, sequence)

    monkeypatch.setattr(explaining, "by_base", counted)
    with pytest.raises(KeyboardInterrupt):
        run_probe(request)
    stops_at = 100
    assert run_probe(request).fitted == 0
    assert made == ["dinucleotide"] * 2 + ["onehot"] * 3  # a map is kept whole
    for name in ("agreement.tsv", "importance.tsv"):
        assert (request.out / name).read_text() == (whole.out / name).read_text()


def test_a_causal_model_has_a_map_of_entropy_and_its_product_with_the_weight_of_its_features(tmp_path: Path) -> None:
    folder, cache = write_causal(tmp_path / "model", "llama, letters"), tmp_path / "kept"
    request = request_of(tmp_path, planted(rows=30), explain=2)
    task = read_task(request)
    representation = Representation("hf", "hf", {"model": str(folder)})
    plan = plan_features(task, representation, "along", folder=cache, resolution=2, dtype="float32", device="cpu")
    shape = HeadShape(head="cnn", pieces=20, channels=WIDTH, targets=1, width=0.1)
    network = NETWORKS["cnn"](WIDTH, 20, 1, width=0.1, reduce=None).eval()
    head = of_network(shape, network, centre=np.zeros(1), deviation=np.ones(1))
    save_head(tmp_path / "cnn.safetensors", head, {})
    heads = [explaining.Explained(plan, "cnn", tmp_path / "cnn.safetensors")]
    found = explaining.explain(heads, task, request, tmp_path / "probe", progress=None, stage=lambda name: None)
    assert [one.method for one in found.maps] == ["mutagenesis", "product", "entropy"]
    assert found.agreement.height == 3
    extractor: Any = plan.extractor
    for number, row in enumerate(explaining.highest(task)[:2]):
        sequence = np.frombuffer(task.sequences[row], dtype=np.uint8)
        entropy = extractor.masked_entropy(sequence)
        assert np.allclose(found.maps[2].values[number, :, 0], entropy.max() - entropy, atol=1e-5)
        weight = feature_weight(SequenceModel(plan, head), sequence)
        assert np.allclose(found.maps[1].values[number], (entropy.max() - entropy)[:, None] * weight, rtol=1e-4)


def test_a_model_without_a_head_is_said_to_have_no_entropy(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "bert, letters")
    report = run_probe(request_of(tmp_path, planted(rows=30), features=(f"hf:{folder}",), explain=1))
    (note,) = [note for note in report.notes if "entropy" in note]
    assert note.startswith("hf:model has no map of entropy: `method=entropy` masks tokens")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param({"motifs": ("ACGN",)}, "letters A, C, G, T; got 'ACGN'", id="letters"),
        pytest.param({"motifs": ("TGA",), "backgrounds": 29}, "`backgrounds=` is at least 30", id="few"),
        pytest.param({"motifs": ("A" * 41,)}, "of 41 bases, and a test row has 40", id="no room"),
        pytest.param({"explain": 1 << 20}, "explain fewer rows", id="too many"),
        pytest.param({"explain": -1}, "`explain=` is at least 0", id="negative"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_anything_is_computed(
    more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        run_probe(request_of(tmp_path, planted(), **more))
    assert not (tmp_path / "probe").exists()


def test_the_command_takes_rows_and_motifs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = written(tmp_path / "task.tsv", planted(rows=60))
    words = ["probe", f"--task={task}", f"--out={tmp_path / 'out'}", "--features=onehot", "--draws=30"]
    more = ["--explain=2", "--motifs=TGA,CC", "--backgrounds=30", "--fractions=1", "--device=cpu"]
    assert main([*words, *more]) == 0
    assert pl.read_csv(tmp_path / "out" / "importance.tsv", separator="\t").height == 4
    assert main([*words, "--motifs=TGX"]) == 2
    assert "--motifs" in capsys.readouterr().err
