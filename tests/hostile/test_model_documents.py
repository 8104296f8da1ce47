"""Damaged and odd files of a saved run: it predicts as it did, or says in one sentence what is wrong."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import assert_one_sentence, bounded, mutated, odd_document, repeated

from catalog import Split
from model.predictors.build import build_predictor
from model.predictors.ensemble import seed_ensemble
from model.predictors.predictor import Predictor
from model.runs.folder import Run, begin_run, finish_run, open_run
from model.runs.genes import WindowRecord
from model.testing import tiny_genes
from model.training.config import TrainConfig
from model.training.resume import read_progress

GENES = tiny_genes(12)
SPLIT = Split(train=("gene0", "gene1"), validation=("gene2",), test=("gene3", "gene4"))
QUICK = TrainConfig(epochs=1, batch_size=8)
DOCUMENTS = ("run.json", "checkpoint.json", "member-0/checkpoint.json", "baselines/ridge-centre/checkpoint.json")
TENSORS = ("member-0/model.safetensors", "baselines/ridge-centre/model.safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a run with two members and a baseline."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    shape: dict[str, Any] = {"n_bins": GENES.n_bins, "channel_names": GENES.channel_names}
    made: list[Predictor] = [
        seed_ensemble("gta-no-llm", seeds=(0, 1), training=QUICK, **shape),
        build_predictor("ridge-centre", **shape),
    ]
    begin_run(folder, {"model": "gta-no-llm"}, feature_set="tiny", windows=WindowRecord(), split=SPLIT)
    for predictor in made:
        predictor.fit(GENES, tiny_genes(8, seed=1))
    finish_run(folder, made[0], made[1:], {"model": "gta-no-llm", "seconds": 1.5})
    return folder


def predictions(run: Run) -> list[np.ndarray[Any, Any]]:
    return [one.predict(GENES.with_n_bins(one.n_bins)) for one in (run.predictor, *run.baselines)]


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def opened(folder: Path) -> Iterator[tuple[Run, list[np.ndarray[Any, Any]]]]:
    """Open a run and predict with it, or hold its refusal to the law; nothing is written either way."""
    before = files_of(folder)
    with bounded(seconds=10, mebibytes=256):
        try:
            found = open_run(folder, device="cpu")
            predicted = predictions(found)
        except ValueError as error:
            assert_one_sentence(error, about="")
        else:
            yield found, predicted
    assert files_of(folder) == before


@repeated(25, 500)
def test_a_file_that_was_changed_is_noticed_or_says_the_same(
    run: Path, tmp_path_factory: pytest.TempPathFactory, n_examples: int
) -> None:
    expected = predictions(open_run(run, device="cpu"))
    folder = shutil.copytree(run, tmp_path_factory.mktemp("changed") / "run")
    tokens = [b"{", b"[" * 500, b"}", b",", b"null", b"\0", b"\xff", b'"', b"9" * 30, b"NaN"]
    whole = {name: (run / name).read_bytes() for name in (*DOCUMENTS, *TENSORS)}
    names = st.sampled_from(sorted(whole))

    @settings(max_examples=n_examples, deadline=None, database=None)
    @given(names.flatmap(lambda name: st.tuples(st.just(name), mutated([whole[name]], tokens=tokens))))
    def check(change: tuple[str, bytes]) -> None:
        name, data = change
        (folder / name).write_bytes(data)
        for found, predicted in opened(folder):
            assert found.split == SPLIT
            assert (found.feature_set, found.windows, found.tasks) == ("tiny", WindowRecord(), ())
            for now, then in zip(predicted, expected, strict=True):
                np.testing.assert_array_equal(now, then)
        (folder / name).write_bytes(whole[name])

    check()


@repeated(40, 500)
def test_a_document_of_other_types_and_sizes_is_refused_or_predicts_numbers(
    run: Path, tmp_path_factory: pytest.TempPathFactory, n_examples: int
) -> None:
    whole = {name: (run / name).read_text() for name in DOCUMENTS}
    folder = shutil.copytree(run, tmp_path_factory.mktemp("odd") / "run")

    def odd(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
        document = json.loads(whole[name])
        del document["digest"]  # as an earlier version wrote it, or a person changed it
        return st.tuples(st.just(name), odd_document(document))

    @settings(max_examples=n_examples, deadline=None, database=None)
    @given(st.sampled_from(DOCUMENTS).flatmap(odd))
    def check(change: tuple[str, dict[str, Any]]) -> None:
        name, document = change
        (folder / name).write_text(json.dumps(document))
        for _, predicted in opened(folder):
            assert all(np.isfinite(one).all() for one in predicted)
        (folder / name).write_text(whole[name])

    check()


@repeated(60, 3000)
def test_the_state_of_a_training_that_was_changed_is_not_resumed(tmp_path: Path, n_examples: int) -> None:
    model = build_predictor("gta-no-llm", n_bins=7, channel_names=GENES.channel_names, training=QUICK)
    model.fit(GENES, tiny_genes(8, seed=1), out=tmp_path)
    state = {path: path.read_bytes() for path in tmp_path.glob("resume*")}
    identity = json.loads(state[tmp_path / "resume.json"])["identity"]
    whole = read_progress(tmp_path, identity)
    assert whole is not None

    @settings(max_examples=n_examples, deadline=None, database=None)
    @given(st.sampled_from(sorted(state)).flatmap(lambda path: st.tuples(st.just(path), mutated([state[path]]))))
    def check(change: tuple[Path, bytes]) -> None:
        path, data = change
        path.write_bytes(data)
        with bounded(seconds=10, mebibytes=256):
            found = read_progress(tmp_path, identity)
        path.write_bytes(state[path])
        assert found is None or (found.epochs == whole.epochs and found.groups == whole.groups)
        if found is not None:
            assert all(found.model[name].equal(value) for name, value in whole.model.items())

    check()
