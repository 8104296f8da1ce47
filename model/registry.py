"""The registry of models, by name: ours, and those that other distributions register.

    from model.registry import find_model, model_names

Belongs here: what each is, in a word, and where its factory lies. Does not: factories (`model.predictors.factory`),
models. Nothing here imports torch, so that the command line can list models at once.

Another distribution adds a model through the entry-point group `featurestore.models`: under the model's name, an entry
names a `ModelSpec`. Help, `--set`, `sweep`, baselines, controls, `evaluate` and saved checkpoints know it from then on.
"""

import warnings
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Literal

from catalog.ncbi.prompts import PromptSettings, Template
from catalog.runtime.plugins import UnfitPlugin, load_plugin, load_plugins, plugins

GROUP = "featurestore.models"
Role = Literal["model", "control", "baseline"]
Reads = Literal["bins", "signals", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that can be trained, predicted with, saved and loaded by its name."""

    name: str
    description: str
    """What it is, in a line."""
    factory: Any
    """A `model.predictors.factory.ModelFactory`, or where one lies, as `module:attribute`: it is then imported when it
    is first needed."""
    reads: Reads = "bins"
    """What it reads of genes: windows of `bins`, sequence with measured `signals`, or `any` of them, since it looks at
    none."""
    role: Role = "model"
    """`baseline`: a closed form, fitted on the split of every trained model. `control`: trained on it where controls
    are requested."""
    ablations: tuple[str, ...] = ()
    """Controls that are this model with a part left out: they show what each part contributes to its score."""
    max_bin_size: int | None = None
    """Longest bins (bp) that it reads: as a baseline it is fitted where the features have no longer ones."""
    prompt_template: Template = "plain"
    """Template of the prompts that it reads, where nobody chooses (`catalog.ncbi.prompts`)."""

    def __post_init__(self) -> None:
        PromptSettings(template=self.prompt_template)  # refuses what is no template

    def load(self) -> Any:
        """Give the factory; PluginError if it cannot be imported."""
        if not isinstance(self.factory, str):
            return self.factory
        return load_plugin(EntryPoint(self.name, self.factory, GROUP))


_GTA, _PARTS = "model.predictors.gta", ("gta-prompt-only", "gta-sequence-only")
_NETWORKS, _FORMS = "model.predictors.bin_predictors", "model.predictors.closed_form"
_PRISM = "model.predictors.prism"
SHIPPED = (
    ModelSpec(name="gta-best", description="GTA with what it needs to learn", factory=f"{_GTA}:BEST", ablations=_PARTS),
    ModelSpec(
        name="gta-paper",
        description="GTA as printed",
        factory=f"{_GTA}:PAPER",
        ablations=_PARTS,
        prompt_template="paper",
    ),
    ModelSpec(
        name="gta-paper-positions",
        description="GTA as printed, with the positions and unit scale that it needs to learn",
        factory=f"{_GTA}:PAPER_POSITIONS",
        ablations=_PARTS,
        prompt_template="paper",
    ),
    ModelSpec(
        name="gta-prompt-only", description="gta-best without the bins", factory=f"{_GTA}:PROMPT_ONLY", role="control"
    ),
    ModelSpec(
        name="gta-sequence-only",
        description="gta-best without the prompt",
        factory=f"{_GTA}:SEQUENCE_ONLY",
        role="control",
    ),
    ModelSpec(
        name="gta-no-llm",
        description="gta-best without the language model",
        factory=f"{_GTA}:NO_LLM",
        role="control",
    ),
    ModelSpec(name="mlp", description="decaying sums, then an MLP", factory=f"{_NETWORKS}:MLP", role="control"),
    ModelSpec(name="cnn", description="dilated convolutions", factory=f"{_NETWORKS}:CNN", role="control"),
    ModelSpec(
        name="transformer", description="attention among bins", factory=f"{_NETWORKS}:TRANSFORMER", role="control"
    ),
    ModelSpec(
        name="prism-best",
        description="Prism on sequence and measured signals, with what it needs to learn",
        factory=f"{_PRISM}:BEST",
        reads="signals",
    ),
    ModelSpec(name="prism-paper", description="Prism as released", factory=f"{_PRISM}:PAPER", reads="signals"),
    ModelSpec(name="mean", description="the mean of the genes", factory=f"{_FORMS}:MEAN", role="baseline", reads="any"),
    ModelSpec(
        name="ridge-centre", description="ridge on the TSS's bin", factory=f"{_FORMS}:RIDGE_CENTRE", role="baseline"
    ),
    ModelSpec(
        name="ridge-exponential",
        description="ridge on decaying sums",
        factory=f"{_FORMS}:RIDGE_EXPONENTIAL",
        role="baseline",
    ),
    ModelSpec(
        name="ridge-expecto",
        description="ridge on ExPecto's own decaying sums, of bins of at most 200 bp within 20 kb",
        factory=f"{_FORMS}:RIDGE_EXPECTO",
        role="baseline",
        max_bin_size=200,
    ),
    ModelSpec(
        name="prism-ridge",
        description="ridge on mean signals, base composition and covariates",
        factory=f"{_PRISM}:RIDGE",
        role="baseline",
        reads="signals",
    ),
)
"""Our own."""
_OURS = {spec.name: spec for spec in SHIPPED}


def model_names() -> list[str]:
    """List the names of all models, ours first; nothing is imported."""
    return [*_OURS, *(name for name in plugins(GROUP) if name not in _OURS)]


def find_model(name: str) -> ModelSpec:
    """Give a model by name.

    Raises
    ------
    ValueError
        If there is none of that name (those that there are are listed).
    PluginError
        If it is another distribution's and cannot be loaded, or is no `ModelSpec` of that name.
    """
    if name in _OURS:
        return _OURS[name]
    if name not in plugins(GROUP):
        raise ValueError(f"no model is called {name!r}; there are {', '.join(model_names())}")
    return _checked(name, load_plugin(plugins(GROUP)[name]))


def models_of(role: Role, *, reads: Reads | None = None) -> list[str]:
    """List the names of the models of a role; a plug-in that cannot be loaded is warned about and left out.

    `reads` keeps those that read such genes.
    """
    others = []
    for name, found in load_plugins(GROUP).items():
        try:
            others.append(_checked(name, found))
        except UnfitPlugin as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    kept = None if reads is None else {reads, "any"}
    return [spec.name for spec in (*SHIPPED, *others) if spec.role == role and (kept is None or spec.reads in kept)]


def reads_bins_of(name: str, bin_size: int) -> bool:
    """Tell whether a model reads bins of that length (bp)."""
    longest = find_model(name).max_bin_size
    return longest is None or bin_size <= longest


def _checked(name: str, found: Any) -> ModelSpec:
    if not isinstance(found, ModelSpec) or found.name != name:
        raise UnfitPlugin(
            f"the entry {name!r} of {GROUP} names {found!r}; it has to name a model.registry.ModelSpec(name={name!r})"
        )
    return found
