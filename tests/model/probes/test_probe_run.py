"""Probes from the table to the page: what is computed once, what goes on, and what the scores are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from probe_tasks import planted, request_of, written

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.source import calls_made
from featurestore.cli.main import main
from model.probes import heads
from model.probes.features import plan_features
from model.probes.representations import Form, Representation, representations
from model.probes.run import run_probe
from model.probes.task import read_task


def test_words_beat_one_hot_where_a_word_is_what_counts(tmp_path: Path) -> None:
    report = run_probe(request_of(tmp_path, planted(rows=300)))
    scores = {row["representation"]: row for row in report.table.iter_rows(named=True)}
    assert set(scores) == {"constant", "onehot", "dinucleotide", "kmer:3"}
    assert np.isnan(scores["constant"]["pearson"])
    assert scores["kmer:3"]["pearson"] > scores["onehot"]["pearson"] + 0.2
    assert scores["kmer:3"]["difference"] == pytest.approx(scores["kmer:3"]["pearson"] - scores["onehot"]["pearson"])
    assert scores["kmer:3"]["share_better"] > 0.9
    assert (tmp_path / "probe" / "report.html").read_text().count("data:image/png") == 1


@pytest.mark.parametrize(
    ("name", "form", "resolution"),
    [("kmer", "pooled", 1), ("onehot", "along", 1), ("onehot", "along", 3), ("dinucleotide", "along", 1)],
)
def test_features_of_a_row_are_those_of_the_extractor_on_its_bins(
    name: str, form: Form, resolution: int, tmp_path: Path
) -> None:
    lines = planted(rows=40, length=43)
    task = read_task(request_of(tmp_path, lines))
    plan = plan_features(task, Representation(name, name, {}), form, folder=tmp_path / "kept", resolution=resolution)
    found = plan.compute().values
    size = 43 if form == "pooled" else max(resolution, 2 if name == "dinucleotide" else 1)
    extractor = load_extractor(name, ExtractorOptions(bin_size=size, device="cpu"))
    for row, sequence in enumerate(lines["sequence"]):
        padded = sequence + "N" * (-len(sequence) % size)
        bins = np.frombuffer(padded.encode(), dtype=np.uint8).reshape(-1, size)
        assert np.array_equal(found[row], extractor(bins)[name].astype(np.float16))


def test_features_are_computed_once_for_all_heads_and_runs(tmp_path: Path) -> None:
    request = request_of(tmp_path, planted(), cache=tmp_path / "kept")
    run_probe(request)
    before = calls_made()
    again = run_probe(request_of(tmp_path / "other", planted(), cache=tmp_path / "kept", fractions=(0.5, 1.0)))
    assert calls_made() == before
    assert (again.fitted, again.was_there) == (6, 0)


def test_a_stopped_run_goes_on_and_gives_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_probe(request_of(tmp_path / "whole", planted()))
    request = request_of(tmp_path / "stopped", planted())
    fit: Callable[..., heads.Fitted] = heads.HeadSpec.fit
    done = 0

    def stops(self: heads.HeadSpec, *given: object) -> heads.Fitted:
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        return fit(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(heads.HeadSpec, "fit", stops)
        with pytest.raises(KeyboardInterrupt):
            run_probe(request)
    went_on = run_probe(request)
    assert (went_on.fitted, went_on.was_there) == (1, 2)
    timeless = pl.exclude("fit_seconds", "feature_seconds")
    assert went_on.table.select(timeless).equals(whole.table.select(timeless), null_equal=True)


def test_a_folder_of_another_task_is_refused(tmp_path: Path) -> None:
    run_probe(request_of(tmp_path, planted()))
    with pytest.raises(ValueError, match="begun with another task"):
        run_probe(request_of(tmp_path, planted(seed=1)))


def test_classes_and_several_targets_with_gaps_are_scored(tmp_path: Path) -> None:
    lines = planted(rows=200)
    has_word = [int("TGA" in sequence) for sequence in lines["sequence"]]
    gaps = ["" if number % 3 == 0 else 1 - one for number, one in enumerate(has_word)]
    task = {"sequence": lines["sequence"], "has": has_word, "lacks": gaps}
    report = run_probe(request_of(tmp_path, task))
    of_target = pl.read_csv(tmp_path / "probe" / "targets.tsv", separator="\t").filter(representation="kmer:3")
    assert of_target["target"].to_list() == ["has", "lacks"]
    assert report.table.filter(representation="kmer:3")["head"].to_list() == ["logistic"]
    assert report.table.filter(representation="kmer:3")["auroc"].item() == pytest.approx(
        of_target["auroc"].mean(), abs=1e-6
    )
    assert of_target["auroc"].min() > 0.8


def test_the_command_prints_each_score_and_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = written(tmp_path / "task.tsv", planted())
    words = ["probe", f"--task={task}", f"--out={tmp_path / 'out'}", "--features=kmer:3", "--draws=30"]
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["representation"] for row in printed["scores"]] == ["constant", "onehot", "dinucleotide", "kmer:3"]
    assert main(words) == 0
    assert f"{tmp_path / 'out'}/report.html: 0 fits, 9 were there" in capsys.readouterr().out
    assert main([*words[:3], "--features=none"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_controls_stand_beside_every_representation_and_a_language_model_has_random_weights() -> None:
    made = representations(("kmer:5", "hf:some/model"), {"hf.layer": "2"})
    assert [one.label for one in made if one.is_control] == ["onehot", "dinucleotide", "hf:model (random weights)"]
    (trained,), (random,) = ([one for one in made if one.label == name] for name in ("hf:model", made[-1].label))
    assert trained.settings | {"random_seed": 0} == random.settings
    assert (trained.settings["model"], trained.settings["layer"]) == ("some/model", 2)
    assert made[2].settings["k"] == 5


def test_seeds_of_a_network_give_a_mean_and_a_spread(tmp_path: Path) -> None:
    report = run_probe(request_of(tmp_path, planted(rows=40), heads=("mlp",), seeds=2, features=("onehot",)))
    row = report.table.row(by_predicate=pl.col("representation") == "onehot", named=True)
    assert row["seeds"] == 2
    assert row["sd_seeds"] > 0
    one = run_probe(request_of(tmp_path, planted(rows=40), heads=("mlp",), seeds=1, features=("onehot",)))
    assert (one.fitted, one.was_there) == (0, 2)
    assert one.table.row(by_predicate=pl.col("representation") == "onehot", named=True)["sd_seeds"] is None
