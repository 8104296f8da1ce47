"""How a model is trained.

Belongs here: the settings, checked. Does not: the loop that reads them (`model.training.fit`,
`model.training.lightning_module`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from model.saved_config import from_json

Log = Literal["csv", "tensorboard", "wandb", "mlflow"]
Schedule = Literal["one-cycle", "cosine", "constant"]
Optimiser = Literal["adam", "adamw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a model is trained. Plain JSON values."""

    epochs: int = 10
    """Passes over the training genes, at most."""
    steps: int | None = None
    """Optimiser steps, at most, in place of `epochs`: rounded up to whole passes over the training genes."""
    batch_size: int = 16
    """Genes a step, over all devices."""
    micro_batch_size: int | Literal["auto"] | None = None
    """Gradient accumulation: genes that each device computes at once, those of a step one part after the other. `auto`
    finds as many as fit in memory, `none` takes all. Batch norm then sees the genes of a part."""
    learning_rate: float = 3e-3
    """Of a `constant` schedule; the peak of the others."""
    schedule: Schedule = "one-cycle"
    """Learning-rate schedule: `one-cycle` (Smith and Topin 2018: warm-up, then cosine annealing to next to nothing, and
    momentum the other way), `cosine` (linear warm-up, then cosine annealing, between rates of one's own) or
    `constant`."""
    first_learning_rate: float = 1e-5
    """`cosine`: the rate of the first step."""
    last_learning_rate: float = 1e-4
    """`cosine`: the rate of the last step."""
    optimiser: Optimiser = "adamw"
    """`adam` (Kingma and Ba 2015, weight decay as an L2 penalty) or `adamw` (Loshchilov and Hutter 2019)."""
    beta1: float = 0.9
    """Decay of the mean of gradients; `one-cycle` varies it."""
    beta2: float = 0.999
    """Decay of the mean of squared gradients."""
    learning_rate_multipliers: Mapping[str, float] = field(default_factory=dict)
    """Learning-rate multipliers of parts of the model, such as `{"prototypes": 10.0}`; `parameter_table` names them."""
    warmup_fraction: float = 0.2
    """`one-cycle`, `cosine`: the fraction of the steps in which the learning rate rises (warm-up)."""
    weight_decay: float = 0.01
    gradient_clip_norm: float | None = 1.0
    """Gradient clipping: the norm that gradients are cut to; None for no clipping."""
    monitor: Literal["mse", "spearman"] = "mse"
    """What decides, on the validation genes, which epoch is kept. Ranks of a few hundred genes are the noisier."""
    early_stopping_patience: int = 10
    """Early stopping: end after this many epochs without a better one."""
    pretrain_steps: int = 0
    """Steps, of 2,048 bins each, in which the alignment of a GTA first learns from features alone, all over the contigs
    of the training genes (`model.training.pretraining`)."""
    bucket_prompts: bool = False
    """Length bucketing: batches of genes whose prompts are of like length, so that less of a batch is padding. Genes
    with longer annotation are expressed more, so such a batch is less mixed."""
    seed: int = 0
    """>= 0."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto` for the GPU if there is one."""
    devices: int = 1
    """Processes, each with its part of every batch; on GPUs one each."""
    autocast: bool = False
    """Compute in bfloat16 while training, where torch's autocast allows; what is learned stays float32."""
    log: Log = "csv"
    """`metrics.csv` alone (`csv`), or also TensorBoard's files (`tensorboard`), Weights & Biases (`wandb`) or MLflow
    (`mlflow`)."""

    RENAMED: ClassVar[Mapping[str, str]] = {
        "rates": "learning_rate_multipliers",
        "warm_up": "warmup_fraction",
        "clip": "gradient_clip_norm",
        "patience": "early_stopping_patience",
    }
    """What earlier versions called some of these, in saved runs."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} counts from {least}, got {getattr(self, name)}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}; got {getattr(self, name)!r}")
        for wrong, message in self._contradictions():
            if wrong:
                raise ValueError(message)

    def _contradictions(self) -> list[tuple[bool, str]]:
        """Give what cannot be, and what to say of it."""
        rates = {name: getattr(self, name) for name in _RATES}
        fractions = {name: getattr(self, name) for name in ("beta1", "beta2")}
        clip, parts = self.gradient_clip_norm, self.micro_batch_size
        return [
            (clip is not None and not clip > 0, f"gradient_clip_norm is above 0, or None for no clipping; got {clip}"),
            (
                not self.learning_rate > 0 or not 0 < self.warmup_fraction < 1,
                "learning_rate is above 0 and warmup_fraction a fraction between 0 and 1; got "
                f"{self.learning_rate} and {self.warmup_fraction}",
            ),
            (not all(rate > 0 for rate in rates.values()), f"learning rates are above 0, got {rates}"),
            (not all(0 <= part < 1 for part in fractions.values()), f"betas are fractions in [0, 1), got {fractions}"),
            (self.steps is not None and self.steps < 1, f"steps counts from 1, or is None; got {self.steps}"),
            (
                not all(factor > 0 for factor in self.learning_rate_multipliers.values()),
                f"learning_rate_multipliers are factors above 0, got {dict(self.learning_rate_multipliers)}",
            ),
            (
                isinstance(parts, int) and parts < 1,
                f"micro_batch_size counts from 1, or is 'auto' or None; got {parts}",
            ),
            (
                self.batch_size % self.devices != 0,
                f"each of {self.devices} devices takes an equal part of a batch, so batch_size is a multiple of "
                f"devices; got {self.batch_size}",
            ),
        ]

    def steps_of_pass(self, n_genes: int) -> int:
        """Count the steps of one pass over so many training genes."""
        return -(-n_genes // self.batch_size)

    def of_genes(self, n_genes: int) -> "TrainConfig":
        """Give the settings with `steps` turned into passes over so many training genes."""
        if self.steps is None:
            return self
        return replace(self, steps=None, epochs=-(-self.steps // self.steps_of_pass(n_genes)))

    @property
    def device_batch_size(self) -> int:
        """Genes of a batch that fall to each device."""
        return self.batch_size // self.devices

    @property
    def genes_at_once(self) -> int:
        """Genes that a device computes at once, of its part of a batch; all where what fits was not found yet."""
        given = self.micro_batch_size
        return min(self.device_batch_size, given) if isinstance(given, int) else self.device_batch_size

    @property
    def parts_of_batch(self) -> int:
        """Micro-batches whose gradients make a step."""
        return -(-self.device_batch_size // self.genes_at_once)

    def to_json(self) -> dict[str, Any]:
        """Give the values for a JSON document."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "TrainConfig":
        """Take back what `to_json` gave."""
        return from_json(cls, document)


_CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": get_args(Schedule),
    "optimiser": get_args(Optimiser),
    "monitor": ("mse", "spearman"),
    "device": ("auto", "cpu", "cuda"),
    "log": get_args(Log),
}
_RATES = ("first_learning_rate", "last_learning_rate")
_LEAST = {"epochs": 1, "batch_size": 1, "early_stopping_patience": 1, "devices": 1, "seed": 0, "pretrain_steps": 0}

WITHOUT_EFFECT = ("device", "devices", "log", "micro_batch_size")
"""Settings that do not decide what is learned, but for rounding: a training may be resumed with others. (A micro-batch
does decide where a model looks across genes: `model.training.micro_batch.looks_across_genes`.)"""

_PAPER = TrainConfig(epochs=15, learning_rate=1e-3, optimiser="adam", weight_decay=0.0)
RECIPES: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "paper": _PAPER,
        "paper-positions": _PAPER,
        "best": TrainConfig(epochs=5, learning_rate=2e-3),
        "no-llm": TrainConfig(epochs=5, learning_rate=2e-3),
        "sequence-only": TrainConfig(epochs=5, learning_rate=2e-3),
        "prompt-only": TrainConfig(epochs=5, learning_rate=2e-3),
    }
)
"""How the presets of `model.networks.gta_config.PRESETS` are trained."""

PRISM_RECIPES: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "paper": TrainConfig(
            steps=50_000,
            batch_size=8,
            learning_rate=5e-4,
            schedule="cosine",
            warmup_fraction=0.1,
            beta2=0.95,
            weight_decay=1e-6,
            early_stopping_patience=50_000,
        ),
        "best": TrainConfig(epochs=30, batch_size=16, learning_rate=2e-3, early_stopping_patience=30),
    }
)
"""How the presets of `model.networks.prism.config.PRESETS` are trained."""

BIN_RECIPE = TrainConfig(epochs=10, learning_rate=2e-3)
"""How networks on the bins are trained."""
