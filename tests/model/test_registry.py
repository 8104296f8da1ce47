"""Models that other distributions register are trained, scored and swept like ours."""

import json
from pathlib import Path

import pytest
from distributions import install
from format1 import unpack_format1

from catalog.runtime.plugins import PluginError, UnfitPlugin
from featurestore.cli.main import main
from model import registry
from model.predictors.build import PREDICTORS, build_predictor
from model.predictors.checkpoint import CheckpointError
from model.predictors.factory import factory_of
from model.predictors.saved import load_predictor
from model.registry import GROUP, SHIPPED, ModelSpec, find_model, model_names, models_of, reads_bins_of
from model.runs.workflow import open_run

SPEC = """
from model.registry import ModelSpec
spec = ModelSpec(name="linear", description="one layer on the mean bin", factory="linear_factory:FACTORY")
nameless = ModelSpec(name="other", description="under another name", factory="linear_factory:FACTORY")
"""
FACTORY = '''
from dataclasses import dataclass
from torch import nn
from model import ExpressionModel, NetworkFactory, TrainConfig

@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """How it is set."""

    gain: float = 1.0
    """Factor on the mean bin."""
    bins: tuple[int, ...] = ()
    """Bins that are read; all of them if none is named."""

    RENAMED = {"factor": "gain"}

    def __post_init__(self):
        if not self.gain > 0:
            raise ValueError(f"gain is above 0, got {self.gain}")

class Linear(ExpressionModel):
    def __init__(self, inputs):
        super().__init__(config=inputs.config, n_bins=inputs.n_bins, channel_names=inputs.channel_names)
        self.layer = nn.Linear(len(self.channel_names), 1)

    def forward(self, features, prompts):
        seen = self.standardise_features(features)
        if self.config.bins:
            seen = seen[:, list(self.config.bins)]
        return self.layer(self.config.gain * seen.mean(dim=1)).squeeze(-1)

FACTORY = NetworkFactory(config=LinearConfig(), recipe=TrainConfig(epochs=2, learning_rate=0.01), network=Linear)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_format1(tmp_path_factory.mktemp("format1"))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    modules = {"linear_spec": SPEC, "linear_factory": FACTORY}
    specs = {"linear": "linear_spec:spec", "nameless": "linear_spec:nameless", "broken": "no_such_module:spec"}
    install(folder, "linear-model", modules=modules, plugins={GROUP: specs})
    monkeypatch.syspath_prepend(str(folder))


def command(place: Path, verb: str, *words: object) -> list[str]:
    tables = [f"--{name}={place / name}.tsv" for name in ("genes", "targets")]
    return [verb, *map(str, words), *tables, "--store", str(place / "genome.store")]


def test_ours_are_known_without_loading_them() -> None:
    assert [spec.name for spec in SHIPPED] == list(PREDICTORS)
    assert all(isinstance(spec.factory, str) for spec in SHIPPED)
    assert models_of("baseline", reads="bins") == ["mean", "ridge-centre", "ridge-exponential", "ridge-expecto"]
    assert models_of("baseline", reads="signals") == ["mean", "prism-ridge"]
    assert [reads_bins_of("ridge-expecto", bin_size) for bin_size in (128, 200, 201)] == [True, True, False]
    assert reads_bins_of("gta-best", 4096)
    assert {name for spec in SHIPPED for name in spec.ablations} <= set(models_of("control"))


@pytest.mark.usefixtures("plugin")
def test_a_plug_ins_model_goes_the_whole_way(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = ["--model=linear", "--n-bins=5", "--set", "factor=2", "--set", "bins=1,2,3", "--device=cpu"]
    assert main(command(place, "train", *options, "--no-baselines", f"--out={run}")) == 0
    saved = json.loads((run / "checkpoint.json").read_text())
    assert (saved["kind"], saved["settings"]["config"]) == ("linear", {"gain": 2.0, "bins": [1, 2, 3]})
    assert open_run(run).predictor.model.config.bins == (1, 2, 3)
    capsys.readouterr()
    assert main(command(place, "evaluate", run, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "linear"
    assert main(command(place, "predict", run, f"--out={tmp_path / 'p.parquet'}")) == 0
    swept = ["--models=linear,ridge-centre", "--n-bins=3", "--device=cpu", f"--out={tmp_path / 'sweep'}"]
    assert main(command(place, "sweep", *swept)) == 0
    assert "| linear |" in (tmp_path / "sweep" / "tables.md").read_text()


def test_what_is_almost_a_factory_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Almost:
        config, recipe = None, None

    monkeypatch.setitem(registry._OURS, "almost", ModelSpec(name="almost", description="", factory=Almost()))
    with pytest.raises(UnfitPlugin, match=r"the model 'almost' makes a Almost, .* lacks build, language, restore; add"):
        factory_of("almost")
    lost = ModelSpec(name="lost", description="", factory="model.predictors.gta:GONE")
    monkeypatch.setitem(registry._OURS, "lost", lost)
    with pytest.raises(
        PluginError, match=r"'lost' \(featurestore.models: model.predictors.gta:GONE\) cannot be loaded"
    ):
        factory_of("lost")


@pytest.mark.usefixtures("plugin")
def test_its_settings_are_listed_and_checked(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help-options", "--model", "linear"], ["--model", "linear", "--help-options"]):
        assert main(["train", *words]) == 0
        shown = capsys.readouterr().out
        assert "gain  float  [default 1.0]\n    Factor on the mean bin." in shown
        assert "early_stopping_patience  int  [default 10]" in shown
    wrong = [
        ("gain=x", "gain is float"),
        ("gain=-1", "gain is above 0"),
        ("depth=2", "of the model there are gain, bins"),
    ]
    for setting, message in wrong:
        words = ["--model=linear", "--set", setting, f"--out={tmp_path / 'run'}"]
        assert main(command(place, "train", *words)) == 2
        assert message in capsys.readouterr().err
    assert main(command(place, "train", "--model=linear", "--targets-columns=a,b", f"--out={tmp_path / 'run'}")) == 2


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_that_cannot_be_loaded_is_named_and_the_others_are_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert model_names()[-3:] == ["broken", "linear", "nameless"]
    with pytest.raises(PluginError, match=r"the plug-in 'broken' of linear-model .* cannot be loaded"):
        find_model("broken")
    with pytest.raises(TypeError, match=r"it has to name a model.registry.ModelSpec\(name='nameless'\)"):
        find_model("nameless")
    with pytest.warns(RuntimeWarning) as warned:
        assert "linear" in models_of("model")
    assert {"broken", "nameless"} == {
        name for name in model_names() if any(f"'{name}'" in str(w.message) for w in warned)
    }
    with pytest.raises(ValueError, match=r"no model is called 'gta'; there are gta-best, .*linear"):
        build_predictor("gta", n_bins=3, channel_names=["a"])


def test_a_run_of_a_model_that_is_not_installed_names_it(place: Path, tmp_path: Path) -> None:
    document = json.loads((place / "runs" / "mlp" / "checkpoint.json").read_text()) | {"kind": "linear"}
    (tmp_path / "checkpoint.json").write_text(json.dumps(document))
    (tmp_path / "model.safetensors").write_bytes((place / "runs" / "mlp" / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"'linear', which .* install the distribution"):
        load_predictor(tmp_path)
