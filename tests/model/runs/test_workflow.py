"""The commands that train and use models: going on after a kill, what is refused, what stands beside a score."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from checkout import ROOT
from safetensors.torch import load_file

from catalog import Grid
from featurestore.cli.main import main
from featurestore.testing import built_store
from model.language.untrained import train_tokenizer
from model.networks.gta_config import PRESETS
from model.predictors.ensemble import Ensemble
from model.predictors.saved import load_predictor
from model.registry import models_of
from model.testing import write_tiny_backbone

CONTIGS = ("chr1", "chr2", "chr3", "chr4")
GENES = [(f"G{contig[-1]}{tss:03}", contig, tss) for contig in CONTIGS for tss in range(20, 600, 29)]
TINY = ("--n-bins", "5", "--epochs", "2", "--batch-size", "8", "--test-contigs", "chr4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("workflow")
    for name, settings in (("genome", {}), ("other", {"fingerprint": "f1"})):
        built_store(place / f"{name}.store", dict.fromkeys(CONTIGS, 620), Grid(bin_size=16), **settings)
    # TSS are 1-based in a table's own terms only if its name says so.
    rows = "".join(f"{gene}\t{gene}\t{contig}\t+\t{tss}\n" for gene, contig, tss in GENES)
    (place / "genes.tsv").write_text(f"gene_id\tsymbol\tcontig\tstrand\ttss\n{rows}")
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=(len(GENES), 2))
    lines = [f"{gene}\t{a:.4f}\t{b:.4f}\n" for (gene, _, _), (a, b) in zip(GENES, values, strict=True)]
    (place / "targets.tsv").write_text("gene_id\tliver\tbrain\n" + "".join(lines))
    return place


def _tables(place: Path, *, store: str = "genome", column: str | None = "liver") -> list[str]:
    named = [] if column is None else ["--target-column", column]
    tables = ["--genes", str(place / "genes.tsv"), "--targets", str(place / "targets.tsv")]
    return ["--store", str(place / f"{store}.store"), *tables, *named]


def _train(place: Path, out: Path, *options: str, column: str | None = "liver") -> int:
    return main(["train", *_tables(place, column=column), "--out", str(out), *TINY, *options])


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    assert _train(place, place / "run", "--preset", "no-llm") == 0
    return place / "run"


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(place: Path, tmp_path: Path) -> None:
    # Prompts that were kept before the kill are read again in other batches, which may round otherwise.
    settings = ["--set", "dropout=0.3", "--set", "prefix_cache=false"]
    options = ["--model", "gta-best", *settings, "--epochs", "8", "--no-baselines"]

    def started(name: str) -> "subprocess.Popen[bytes]":
        # Processes of their own, all alike: another number of threads sums in another order.
        arguments = ["train", *_tables(place), "--out", str(tmp_path / name), *TINY, *options]
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys; from featurestore.cli.main import main; sys.exit(main({arguments!r}))",
            ],
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    assert started("whole").wait() == 0
    process = started("killed")
    resumable = tmp_path / "killed" / "resume.json"
    while not resumable.exists():
        assert process.poll() is None, "the training ended by itself"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    epochs = len(json.loads(resumable.read_text())["epochs"])
    assert 1 <= epochs < 8
    assert not (tmp_path / "killed" / "checkpoint.json").exists()
    assert started("killed").wait() == 0
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        assert value.equal(killed[name]), name
    lines = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "killed")]
    assert [line.rsplit(",", 1)[0] for line in lines[0]] == [line.rsplit(",", 1)[0] for line in lines[1]]
    assert not resumable.exists()
    assert not list((tmp_path / "killed").glob("*.pt")) + list((tmp_path / "killed").glob("**/*.ckpt"))


def test_a_finished_run_is_not_trained_again_and_another_one_is_refused(
    place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "model.safetensors").stat().st_mtime_ns
    assert _train(place, run, "--preset", "no-llm") == 0
    assert "finished; a restart trains it again" in capsys.readouterr().out
    assert (run / "model.safetensors").stat().st_mtime_ns == before
    assert _train(place, run, "--preset", "no-llm", "--set", "hidden=8") == 2
    message = capsys.readouterr().err
    assert f"hidden: {PRESETS['no-llm'].hidden} there, 8 now" in message
    assert "--restart" in message


def test_a_run_that_read_features_on_another_scale_is_another_one(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The setting has the name under which a run records what its features are.
    raw = ["--model", "mlp", "--no-baselines", "--set", "features=raw"]
    assert _train(place, tmp_path, *raw) == 0
    assert _train(place, tmp_path, *raw[:-2]) == 2
    assert 'setting features: "raw" there, "standardised" now' in capsys.readouterr().err
    document = json.loads((tmp_path / "run.json").read_text())
    del document["digest"], document["asked"]["setting features"]  # an earlier version did not record it
    (tmp_path / "run.json").write_text(json.dumps(document))
    assert _train(place, tmp_path, *raw) == 0
    assert "finished; a restart trains it again" in capsys.readouterr().out


def test_restart_trains_anew(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(place, tmp_path, "--model", "mlp") == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("loading torch")
    assert [line.partition(":")[0] for line in said if line.startswith("epoch")] == ["epoch 1 of 2", "epoch 2 of 2"]
    (tmp_path / "mine.txt").write_text("kept")
    assert _train(place, tmp_path, "--model", "mlp", "--set", "hidden=8", "--restart") == 0
    assert json.loads((tmp_path / "checkpoint.json").read_text())["settings"]["config"]["hidden"] == 8
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_a_request_that_cannot_be_trained_leaves_the_folder_free(place: Path, tmp_path: Path) -> None:
    assert _train(place, tmp_path / "run", "--preset", "no-llm", "--set", 'learning_rate_multipliers={"heads":2}') == 2
    assert (
        _train(place, tmp_path / "run", "--preset", "no-llm", "--set", 'learning_rate_multipliers={"alignment":2}') == 0
    )


def test_parameters_and_baselines_are_printed_beside_a_model(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(place, tmp_path / "run", "--preset", "no-llm") == 0
    printed = capsys.readouterr().out
    assert "parameters:" in printed
    assert "alignment" in printed
    assert "test genes have a window of 80 bp" in printed
    assert "beside it, on the same genes: mean undefined, ridge-centre " in printed
    assert main(["evaluate", str(run), *_tables(place), "--draws", "50"]) == 0
    printed = capsys.readouterr().out
    assert "beside it, mean: Spearman undefined" in printed
    assert printed.count("beside it") == 4


def test_a_baseline_scores_in_a_run_as_it_does_alone(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(place, tmp_path / "ridge", "--model", "ridge-exponential") == 0
    capsys.readouterr()
    scores = []
    for folder in (run, tmp_path / "ridge"):
        assert main(["evaluate", str(folder), *_tables(place), "--draws", "50", "--json"]) == 0
        scores.append(_json(capsys))
    beside = {score["model"]: score for score in scores[0]["beside"]}
    for name in ("spearman", "two_sd", "pearson", "mse", "n_bins"):
        assert beside["ridge-exponential"][name] == pytest.approx(scores[1][name], rel=1e-12)
    assert scores[1]["beside"] == []


def test_runs_are_compared_at_their_own_context_lengths_on_the_same_draws(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(place, tmp_path / "long", "--preset", "no-llm", "--n-bins", "9", "--no-baselines") == 0
    tables = []
    for number, folder in enumerate((run, tmp_path / "long")):
        tables.append(str(tmp_path / f"{number}.parquet"))
        assert main(["predict", str(folder), *_tables(place), "--out", tables[-1]]) == 0
        test = (
            pl.read_parquet(tables[-1])
            .filter(subset="test")
            .select("gene_id", pl.col("prediction").alias(f"m{number}"))
        )
        test.write_parquet(tables[-1])
    capsys.readouterr()
    beside = ["--beside", str(tmp_path / "long"), "--no-baselines", "--draws", "200", "--json"]
    assert main(["evaluate", str(run), *_tables(place), *beside]) == 0
    (other,) = _json(capsys)["beside"]
    assert (other["model"], other["n_bins"]) == (str(tmp_path / "long"), 9)
    # The same from tables of predictions.
    targets = ["--targets", str(place / "targets.tsv"), "--target-column", "liver"]
    predictions = [word for table in tables for word in ("--predictions", table)]
    assert main(["evaluate", *predictions, *targets, "--paired", "m0", "m1", "--draws", "200", "--json"]) == 0
    (paired,) = _json(capsys)["paired"]
    assert other["lead"] == pytest.approx(paired["spearman"], abs=1e-12)
    assert main(["evaluate", str(run), *_tables(place), *beside[:-1]]) == 0
    assert f"gta-no-llm is ahead by {other['lead']['value']:+.3f}" in capsys.readouterr().out


def test_a_run_that_was_trained_on_the_scored_genes_is_not_compared(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["train", *_tables(place), "--out", str(tmp_path), "--model", "mlp", "--n-bins", "5", "--epochs", "1"]
    assert main([*other, "--test-contigs", "chr1"]) == 0
    assert main(["evaluate", str(run), *_tables(place), "--beside", str(tmp_path), "--draws", "50"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"was trained on \d+ of the 20 test genes: G4\d+, .*; train it with the same held-out genes", error
    )


def test_the_same_training_from_another_seed_beside_it_gives_the_spread_over_seeds(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in "01":
        assert _train(place, tmp_path / seed, "--model", "mlp", "--seed", seed) == 0
    assert _train(place, tmp_path / "other", "--model", "mlp", "--seed", "2", "--set", "hidden=8") == 0
    argv = ["evaluate", str(tmp_path / "0"), *_tables(place), "--draws", "50", "--no-baselines"]
    capsys.readouterr()
    assert main([*argv, "--beside", str(tmp_path / "1"), "--beside", str(tmp_path / "other")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"over 2 training seeds: mean Spearman -?0\.\d+, sd 0\.\d+ \(-?0\.\d+, -?0\.\d+\)", printed)
    assert "0 of 20 genes have windows that share bases with those of training genes" in printed
    assert main([*argv, "--resample", "contig"]) == 2
    assert "are of one contig, chr4, so that every draw is the same" in capsys.readouterr().err


def test_controls_are_trained_on_the_same_split_and_printed_beside_the_model(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert _train(place, out, "--preset", "best", "--no-baselines") == 0
    assert main(["evaluate", str(out), *_tables(place), "--draws", "50"]) == 0
    assert "not beside it: gta-prompt-only, gta-sequence-only; `featurestore train` with --controls" in (
        capsys.readouterr().out
    )
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert _train(place, out, "--preset", "best", "--no-baselines", "--controls") == 0
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    split = json.loads((out / "run.json").read_text())["split"]
    for name in models_of("control"):
        assert json.loads((out / "controls" / name / "run.json").read_text())["split"] == split
    last = capsys.readouterr().out.splitlines()[-1]
    assert all(f"{name} " in last for name in models_of("control"))
    assert main(["evaluate", str(out), *_tables(place), "--draws", "50", "--json"]) == 0
    assert {score["model"] for score in _json(capsys)["beside"]} == set(models_of("control"))
    assert main(["evaluate", str(out), *_tables(place), "--draws", "50"]) == 0
    assert "not beside it" not in capsys.readouterr().out


def test_another_context_length_is_evaluated_and_predicted_without_training(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), *_tables(place), "--n-bins", "9", "--draws", "50", "--json"]) == 0
    assert _json(capsys)["n_bins"] == 9
    for n_bins in ("5", "9"):
        out = tmp_path / f"{n_bins}.parquet"
        assert main(["predict", str(run), *_tables(place), "--n-bins", n_bins, "--out", str(out)]) == 0
    five, nine = (pl.read_parquet(tmp_path / f"{n}.parquet")["prediction"] for n in (5, 9))
    assert not five.equals(nine)


def test_seeds_train_an_ensemble(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(place, tmp_path / "run", "--preset", "no-llm", "--seeds", "0,1") == 0
    assert "in each member" in capsys.readouterr().out
    predictor = load_predictor(tmp_path / "run")
    assert isinstance(predictor, Ensemble)
    assert not list((tmp_path / "run").rglob("resume*"))
    assert main(["evaluate", str(tmp_path / "run"), *_tables(place), "--draws", "50"]) == 0


def test_several_cell_types_are_predicted_together(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--preset", "no-llm", "--targets-columns", "liver,brain")
    assert _train(place, tmp_path / "run", *options, column=None) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), *_tables(place, column=None), "--draws", "50", "--json"]) == 0
    scores = _json(capsys)
    assert scores["spearman"] == pytest.approx(np.mean([scores["tasks"][name]["spearman"] for name in scores["tasks"]]))
    out = tmp_path / "predictions.parquet"
    assert main(["predict", str(tmp_path / "run"), *_tables(place, column=None), "--out", str(out)]) == 0
    frame = pl.read_parquet(out)
    measured = pl.read_csv(place / "targets.tsv", separator="\t")
    joined = frame.join(measured, on="gene_id")
    for name in ("liver", "brain"):
        np.testing.assert_allclose(joined[f"target {name}"], joined[name], rtol=1e-6)
        assert joined[f"prediction {name}"].is_finite().all()


def test_a_gene_measured_in_one_cell_type_alone_is_kept(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.read_csv(place / "targets.tsv", separator="\t")
    known = pl.when(pl.int_range(pl.len()) % 3 != 0).then(pl.col("brain"))
    frame.with_columns(brain=known).write_csv(tmp_path / "some.tsv", separator="\t")
    tables = _tables(place, column=None)
    tables[tables.index("--targets") + 1] = str(tmp_path / "some.tsv")
    columns = ["--targets-columns", "liver,brain", "--model", "mlp", "--json"]
    assert main(["train", *tables, "--out", str(tmp_path / "run"), *TINY, *columns]) == 0
    summary = _json(capsys)
    assert summary["n_train"] + summary["n_validation"] + summary["n_test"] == len(GENES)


def test_prompts_are_kept_between_runs_and_change_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = write_tiny_backbone(tmp_path / "llama", "llama", positions=128)
    options = ["--backbone", str(backbone), "--no-baselines"]
    assert _train(place, tmp_path / "plain", *options) == 0
    folder = tmp_path / "prompts"
    # 20 kB in memory hold few of the prompts: the others come from the folder.
    tiers = ["--prefix-cache", str(folder), "--prefix-cache-gb", "0.01", "--prefix-device-gb", "2e-5"]
    for out in ("kept", "again"):
        assert _train(place, tmp_path / out, *options, *tiers, "--prefix-host-gb", "2e-5") == 0
        assert list(folder.glob("*.block"))
        printed = capsys.readouterr()
        assert f"KV cache of {len(GENES)} prompts: " in printed.out
        assert re.search(r"prompts read: device .*%, host .*%, disk .*%.* of 10.0 MB", printed.err)
    plain, again = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "again"))
    for name, value in plain.items():
        np.testing.assert_allclose(value, again[name], rtol=1e-4, atol=1e-5)


def test_bf16_in_batches_as_large_as_fit_trains_and_keeps_float32_weights(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--precision", "bf16", "--no-baselines", "--batch-size", "auto"]
    assert _train(place, tmp_path / "run", *options) == 0
    assert "batches of 16: 16 genes fit at once, 1 parts a step and device" in capsys.readouterr().err
    document = json.loads((tmp_path / "run" / "checkpoint.json").read_text())
    assert document["settings"]["config"]["precision"] == "bf16"
    learned = load_file(tmp_path / "run" / "model.safetensors").values()
    assert {value.dtype for value in learned if value.is_floating_point()} == {torch.float32}


def test_test_genes_folds_and_split_files_hold_out_what_they_say(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [gene for gene, _, _ in GENES[::4]]
    (tmp_path / "genes.txt").write_text("\n".join(listed))
    (tmp_path / "table.csv").write_text("gene_id,why\n" + "".join(f"{gene},paper\n" for gene in listed))
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": listed}
    others = [gene for gene, _, _ in GENES if gene not in listed]
    parts |= {"validation": others[:10], "train": others[10:]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    for number, ways in enumerate(
        (
            ["--test-genes", str(tmp_path / "genes.txt")],
            ["--test-genes", str(tmp_path / "table.csv")],
            ["--split", str(tmp_path / "split.json")],
            ["--folds", "4", "--fold", "1"],
        )
    ):
        out = tmp_path / str(number)
        arguments = ["train", *_tables(place), "--out", str(out), "--model", "ridge-centre", "--n-bins", "5"]
        assert main([*arguments, *ways]) == 0
        test = json.loads((out / "run.json").read_text())["split"]["test"]
        if number < 3:
            assert sorted(test) == sorted(listed)
        else:
            assert len({gene[:2] for gene in test}) == 1
            assert len(test) == len(GENES) / 4
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--set", "hiden=8"], "no setting is called 'hiden'; of the model there are llm,", id="name"),
        pytest.param(["--set", "layers"], "a setting is NAME=VALUE", id="no value"),
        pytest.param(["--set", "layers=two"], "layers is int; got 'two'", id="not a number"),
        pytest.param(["--set", "prompt=maybe"], r"prompt is true\|false", id="not a truth value"),
        pytest.param(["--set", "seed=1"], "seed is set by an option of its own: `--seed`", id="an option of its own"),
        pytest.param(["--set", "distance_position=far"], r"none\|learned\|sinusoidal", id="not a choice"),
        pytest.param(
            ["--prefix-host-gb", "1e7"], "`--prefix-host-gb 10000000.0` is more than", id="memory that is not free"
        ),
        pytest.param(["--batch-size", "many"], r"`--batch-size` is int\|auto\|none; got 'many'", id="a batch of many"),
        pytest.param(
            ["--log", "tensorboard"],
            "`--log tensorboard` needs .*pip install tensorboard, or take `--log csv`",
            id="no tensorboard",
        ),
        pytest.param(["--devices", "3"], "batch_size is a multiple of devices", id="a batch that does not divide"),
        pytest.param(["--preset", "paper"], "fewer than top_k=25|top_k|use n_bins", id="fewer bins than k"),
        pytest.param(["--model", "gpt"], "no model is called 'gpt'; there are gta-best", id="no such model"),
        pytest.param(["--backbone", "nobody/nothing"], "Hugging Face Hub", id="a hub id off line"),
        pytest.param(["--model", "mlp", "--preset", "best"], "--model and --preset each name", id="two models"),
        pytest.param(["--n-bins", "3000"], "leave no room for a prompt.*use fewer bins", id="no room for a prompt"),
        pytest.param(["--split", "{split}"], "train and test share 1 genes: G1020; remove", id="shared genes"),
        pytest.param(["--folds", "4"], "give one of them", id="two ways to split"),
        pytest.param(["--by-family"], "go with `--folds`", id="families without folds"),
        pytest.param(["--seeds", "0,x"], r"`--seeds` is \[int, ...\]; got '0,x'", id="seeds that are none"),
        pytest.param(["--model", "mean", "--seeds", "0,1"], "choose a trained model", id="seeds of a closed form"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_mend(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    (tmp_path / "split.json").write_text('{"train": ["G1020"], "validation": [], "test": ["G1020"]}')
    options = [option.format(split=tmp_path / "split.json") if "{split}" in option else option for option in options]
    arguments = ["train", *_tables(place), "--out", str(tmp_path / "run"), "--epochs", "1", "--n-bins", "5"]
    held_out = [] if "--split" in options or "--by-family" in options else ["--test-contigs", "chr4"]
    assert main([*arguments, *held_out, *options]) == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert re.search(message, error), error
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_tokenizer_that_does_not_fit_its_model_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = write_tiny_backbone(tmp_path / "llama", "llama", positions=256)
    train_tokenizer([f"# Symbol: {gene}" for gene, _, _ in GENES], 2000).save_pretrained(backbone)
    assert _train(place, tmp_path / "run", "--backbone", str(backbone)) == 2
    assert "use the tokenizer that the model was trained with" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.json").exists()


def test_a_prompt_that_does_not_fit_beside_the_bins_is_refused_before_the_first_step(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = write_tiny_backbone(tmp_path / "llama", "llama", positions=40)
    assert _train(place, tmp_path / "run", "--backbone", str(backbone)) == 2
    said = capsys.readouterr()
    assert re.search(
        r"the first and the last line of a prompt take \d+ tokens: '# Task: .*'# Data:'; 5 bins leave 35 of 40",
        said.err,
    )
    assert "use fewer bins" in said.err
    assert "epoch" not in said.out + said.err
    assert not (tmp_path / "run" / "checkpoint.json").exists()


def test_shared_bases_are_refused_if_asked_and_listed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "genes.txt").write_text("G1049\n")
    arguments = ["train", *_tables(place), "--out", str(tmp_path / "run"), "--model", "ridge-centre", "--n-bins", "5"]
    assert main([*arguments, "--test-genes", str(tmp_path / "genes.txt"), "--refuse-overlap"]) == 2
    assert "of 1 test genes share bases with those of training genes: G1049; hold out whole" in capsys.readouterr().err
    assert main([*arguments, "--test-contigs", "chr4", "--refuse-overlap"]) == 0
    assert "0 of 20 test genes" in capsys.readouterr().out


def test_targets_that_are_no_numbers_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nan.tsv").write_text("gene_id\tvalue\n" + "".join(f"{gene}\tNaN\n" for gene, _, _ in GENES[:9]))
    tables = _tables(place, column=None)
    tables[tables.index("--targets") + 1] = str(tmp_path / "nan.tsv")
    assert main(["train", *tables, "--target-column", "value", "--out", str(tmp_path / "run")]) == 2
    assert "leave these genes out" in capsys.readouterr().err


def test_features_of_another_fingerprint_are_refused_unless_forced(
    place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(run), *_tables(place, store="other"), "--draws", "50"]
    assert main(arguments) == 2
    assert "force it with `--allow-other-store`" in capsys.readouterr().err
    assert main([*arguments, "--allow-other-store"]) == 0


def test_a_run_that_is_not_finished_says_how_to_go_on(
    place: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    assert main(["evaluate", str(tmp_path), *_tables(place)]) == 2
    assert "not finished; the same `featurestore train` goes on" in capsys.readouterr().err
