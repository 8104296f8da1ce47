"""The base class of models that are trained by gradient.

Belongs here: the length of the windows, the scales of features and target, the state that a checkpoint holds, counting
parameters. Does not: any layer (`model.networks.gta`, `model.networks.bin_models`), the loop (`model.training.fit`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loaders import GeneBatch
from model.language.backbone import Backbone
from model.language.prefixes.cache import PrefixCache
from model.networks.losses import masked_mse

TargetScale = Literal["log1p", "raw"]
FeatureScale = Literal["standardised", "raw"]


class ExpressionModel(nn.Module):
    """Windows and prompts in, standardised expression out: the base of all models that are trained by gradient.

    A model implements `forward(features, prompts)`: from features as the store holds them, `(batch, bins, channels)`,
    and one text a gene, to `(batch,)`, or `(batch, tasks)` where it has named tasks.

    Parameters
    ----------
    config
        How it is set: a frozen dataclass of plain values, which is saved with the model.
    n_bins
        Bins a window in training.
    channel_names
        Names of the features.
    channel_texts
        What they mean, in words; their names if not given.
    tasks
        Names of what is predicted, several cell types for example; empty for one number a gene.
    target
        What is learned, standardised on the training genes either way.
    features
        Features as they come, or each channel standardised on the training genes.
    """

    PARTS: ClassVar[Mapping[str, str]] = {}
    """What its submodules are called in a table of parameters; their own names where not given."""

    def __init__(
        self,
        *,
        config: Any,
        n_bins: int,
        channel_names: Sequence[str],
        channel_texts: Sequence[str] | None = None,
        tasks: Sequence[str] = (),
        target: TargetScale = "log1p",
        features: FeatureScale = "standardised",
    ) -> None:
        super().__init__()
        self.config = config
        self.built_for = n_bins
        """Bins a window that tables by position were made for: those of training."""
        self._n_bins = n_bins
        self.channel_names = tuple(channel_names)
        self.channel_texts = tuple(channel_texts or channel_names)
        self.backbone: Backbone | None = None
        """The frozen language model, in models that read with one."""
        self.prefix_cache: PrefixCache | None = None
        """The KV cache of prompts, in models that read with a causal one."""
        self.tasks = tuple(tasks)
        self.target: TargetScale = target
        self.features: FeatureScale = features
        shape = (len(self.tasks),) if self.tasks else ()
        self.register_buffer("feature_mean", torch.zeros(len(self.channel_names)))
        self.register_buffer("feature_scale", torch.ones(len(self.channel_names)))
        self.register_buffer("target_mean", torch.zeros(shape))
        self.register_buffer("target_scale", torch.ones(shape))
        self.feature_mean: Tensor
        self.feature_scale: Tensor
        self.target_mean: Tensor
        self.target_scale: Tensor

    @property
    def n_bins(self) -> int:
        """Bins a window; may be set at any time, without training again.

        Places are counted from the TSS, so that a shorter window is the middle of a longer one; what lies beyond the
        windows of training is weighed as at their edge or less (`model.networks.positions`, `model.networks.readout`).
        """
        return self._n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self.check_window(n_bins)
        self._n_bins = n_bins

    def check_window(self, n_bins: int) -> None:
        """Refuse, with a ValueError, windows of a length that the model cannot read."""
        if n_bins < 1:
            raise ValueError(f"a window has at least 1 bin, got n_bins={n_bins}")

    def prompt_lengths(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens that the model reads of each prompt: none here."""
        return np.zeros(len(prompts), dtype=np.int64)

    def plan_prompts(self, prompts: Sequence[str]) -> str:
        """Get ready to train on these prompts, and say what is kept of them in one line; empty where nothing is."""
        return ""

    def announce(self, prompts: Sequence[str]) -> None:
        """Say that a call with these prompts comes soon, so that what is kept of them can be brought; nothing here."""

    def prepare(self, genes: Iterable[GeneBatch], *, seed: int) -> None:
        """Learn from all training genes what does not change while training; nothing here."""

    def loss(self, features: Tensor, prompts: Sequence[str], wanted: Tensor) -> Tensor:
        """Give what training makes small: the squared error of the standardised target, where that is known."""
        return masked_mse(self(features, prompts), wanted)

    def alternatives(self, features: Tensor, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give predictions of other kinds, by name, on the scale of `forward`; none here."""
        return {}

    def standardise_features(self, features: Tensor) -> Tensor:
        """Bring features `(batch, bins, channels)` to the scale of the training genes."""
        return (features - self.feature_mean) / self.feature_scale

    def standardise_target(self, expression: Tensor) -> Tensor:
        """Turn raw expression into what the model learns; NaN stays NaN."""
        return (self._wanted(expression) - self.target_mean) / self.target_scale

    def to_log1p(self, predicted: Tensor) -> Tensor:
        """Turn what the model predicts into log(1 + expression)."""
        value = predicted * self.target_scale + self.target_mean
        return value if self.target == "log1p" else value.clamp(min=0).log1p()

    @torch.no_grad()
    def set_target_scale(self, expression: Tensor) -> None:
        """Take mean and scale of each task from the training genes; NaN is left out, and what does not vary keeps 1.

        Raises
        ------
        ValueError
            If there is not one column a task.
        """
        if expression.shape[1:] != self.target_mean.shape:
            given = f"{expression.shape[1]} columns" if expression.dim() == 2 else "one number a gene"
            raise ValueError(
                f"the model predicts {', '.join(self.tasks) or 'one number a gene'}, but the targets have {given}; "
                "give one column a task, and name the tasks in its configuration (`tasks=`)"
            )
        wanted = self._wanted(expression.double())
        mean = wanted.nanmean(dim=0)
        scale = (wanted - mean).square().nanmean(dim=0).sqrt()
        self.target_mean.copy_(mean)
        self.target_scale.copy_(torch.where(scale > 1e-12, scale, torch.ones_like(scale)))

    def n_trainable(self) -> int:
        """Count the parameters that training changes."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def parameter_table(self) -> dict[str, int]:
        """Count the trainable parameters of each part, largest first, and last the `frozen` ones, if any."""
        counts: dict[str, int] = {}
        for name, parameter in self.named_parameters():
            part = self.part_of(name) if parameter.requires_grad else "frozen"
            counts[part] = counts.get(part, 0) + parameter.numel()
        return dict(sorted(counts.items(), key=lambda item: (item[0] == "frozen", -item[1])))

    def part_of(self, parameter: str) -> str:
        """Name the part that a parameter is of."""
        first = parameter.split(".")[0]
        return self.PARTS.get(first, first)

    def own_state(self) -> dict[str, Tensor]:
        """Give everything but what is frozen: what a checkpoint holds."""
        frozen = self._frozen_state()
        return {name: value for name, value in self.state_dict().items() if name not in frozen}

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `own_state` gave."""
        absent, unexpected = self.load_state_dict(dict(state), strict=False)
        missing = sorted(set(absent) - self._frozen_state())
        if missing or unexpected:
            raise ValueError(f"the state is of another model: missing {missing[:3]}, unexpected {unexpected[:3]}")

    def _frozen_state(self) -> set[str]:
        """Name what comes from elsewhere and is the same after training: nothing here."""
        return set()

    def _wanted(self, expression: Tensor) -> Tensor:
        return expression.log1p() if self.target == "log1p" else expression
