"""A run reads its prompts as they were written in training, whatever it is given later."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from catalog.ncbi.prompts import PromptSettings
from featurestore.cli.main import main
from loaders import GeneDataset
from model.explain.interpret import interpret
from model.registry import ModelSpec
from model.runs.folder import open_run
from model.runs.held_out import HeldOut
from model.runs.request import TrainRequest
from model.runs.scores import ComparedRun, evaluate
from model.runs.workflow import load_genes, load_genes_as_trained, predict, train

TINY = {"top_k": 3, "vocabulary_prototypes": 4, "name_prototypes": 4}
REQUEST = TrainRequest(model="gta-paper", epochs=1, settings=TINY, baselines=False, device="cpu")
K562 = PromptSettings(template="paper", cell_type="K562 cells")


def genes(genome: Path) -> GeneDataset:
    return load_genes(
        str(genome / "store"), "demo", genes=genome / "genes.tsv", targets=genome / "targets.tsv", n_bins=5
    )


@pytest.fixture(scope="module")
def run(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the paper's preset by the command, for another cell type."""
    out = tmp_path_factory.mktemp("prompts") / "run"
    tables = [f"--{name}={genome / name}.tsv" for name in ("genes", "targets")]
    settings = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    command = ["train", str(genome / "store"), *tables, "--model=gta-paper", "--n-bins=5", "--epochs=1", *settings]
    assert main([*command, "--no-baselines", "--cell-type=K562 cells", f"--out={out}"]) == 0
    return out


def test_the_paper_s_preset_reads_the_paper_s_prompts_and_the_run_says_so(run: Path) -> None:
    assert open_run(run).prompt_settings == K562
    document = json.loads((run / "run.json").read_text())
    assert document["prompts"] == document["asked"]["prompts"] == {"template": "paper", "cell_type": "K562 cells"}


def test_a_run_evaluates_and_predicts_on_its_own_prompts_whatever_the_genes_come_with(genome: Path, run: Path) -> None:
    opened = open_run(run, device="cpu")
    plain = genes(genome)
    tables = {"genes": genome / "genes.tsv", "targets": genome / "targets.tsv"}
    own = load_genes_as_trained(opened, str(genome / "store"), **tables)
    assert own.prompts[0].splitlines()[0].endswith("K562 cells.")
    assert predict(opened, plain).equals(predict(opened, own))
    assert evaluate(opened, plain, draws=20) == evaluate(opened, own, draws=20)
    assert not np.array_equal(opened.predictor.predict(plain), opened.predictor.predict(own)), "prompts are read"


@pytest.mark.slow
def test_a_run_is_explained_on_its_own_prompts(genome: Path, run: Path, tmp_path: Path) -> None:
    opened, plain = open_run(run, device="cpu"), genes(genome)
    for name, dataset in (("plain", plain), ("own", opened.reads(plain))):
        interpret(opened, dataset, tmp_path / name, draws=20)
    tables = sorted(path.name for path in (tmp_path / "own").glob("*.parquet"))
    assert len(tables) > 2
    for table in tables:
        one, other = (pl.read_parquet(tmp_path / name / table) for name in ("plain", "own"))
        assert one.equals(other, null_equal=True), table


def test_a_run_compared_with_another_reads_its_own_prompts(genome: Path, run: Path, tmp_path: Path) -> None:
    dataset = genes(genome)
    other = tmp_path / "plain"
    train(dataset, open_run(run).split, replace(REQUEST, prompt_template="plain"), out=other)
    assert open_run(other).prompt_settings == PromptSettings()
    (beside,) = evaluate(open_run(run), dataset, draws=20, beside=[ComparedRun("plain", open_run(other))])["beside"]
    assert beside["spearman"] == pytest.approx(evaluate(open_run(other), dataset, draws=20)["spearman"], rel=1e-9)


def test_other_prompts_are_another_training(genome: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = [f"--{name}={genome / name}.tsv" for name in ("genes", "targets")]
    command = ["train", str(genome / "store"), *tables, "--model=gta-paper", "--n-bins=5", f"--out={run}"]
    assert main(command) == 2
    assert '"cell_type": "K562 cells"} there, {"template": "paper"} now' in capsys.readouterr().err


def test_a_request_comes_before_the_genes_own_prompts_and_these_before_the_model_s() -> None:
    paper, own = PromptSettings(template="paper"), PromptSettings(cell_type="B cells")
    best = TrainRequest(model="gta-best")
    assert best.prompt_settings(None) == PromptSettings()
    assert TrainRequest(model="gta-paper-positions").prompt_settings(None) == paper
    assert best.prompt_settings(paper) == REQUEST.prompt_settings(None) == paper
    assert REQUEST.prompt_settings(own) == own
    assert TrainRequest(model="gta-paper", prompt_template="plain").prompt_settings(paper) == PromptSettings()
    assert TrainRequest(prompt_template="paper").prompt_settings(own) == replace(paper, cell_type="B cells")


def test_a_template_and_texts_of_ones_own_are_refused_together(genome: Path, tmp_path: Path) -> None:
    whole = genes(genome)
    own = GeneDataset(whole.windows, whole.genes, prompts=["x"] * len(whole), targets=whole.targets.tolist())
    split = HeldOut().of(own)
    with pytest.raises(ValueError, match="these genes have texts of their own; leave them out"):
        train(own, split, replace(REQUEST, prompt_template="paper"), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_templates_that_there_are_not_are_refused() -> None:
    with pytest.raises(ValueError, match="template is one of plain, paper; got 'figure'"):
        ModelSpec(name="x", description="", factory="m:f", prompt_template="figure")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`cell_type=` is a few words on one line"):
        TrainRequest(cell_type="two\nlines")
