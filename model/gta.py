"""GTA: gene expression from a million bases of features, read by a frozen language model after the gene's annotation.

Belongs here: how GTA is set, and its forward pass. Does not: its parts (`model.alignment`, `model.backbone`,
`model.readout`), training it (`model.training`).

After Honig et al., "Long-range gene expression prediction with token alignment of large language model"
(arXiv 2410.01858). What the paper leaves open is a named option of `GtaConfig`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model.alignment import Scale, TextPrototypes, TokenAlignment
from model.backbone import Backbone
from model.prefix_cache import PrefixCache
from model.readout import PooledReadout, SelectorGradient, TopKReadout


@dataclass(frozen=True, slots=True, kw_only=True)
class GtaConfig:
    """How GTA is set. Plain JSON values; the defaults are the paper's, or ours where it is silent."""

    llm: bool = True
    """Read the bins with the language model. False is the control: the aligned tokens go straight to the readout,
    prototypes are free parameters, and prompts are not read."""
    layers: int = 8
    """Blocks of the language model to keep, at most."""
    positions: int = 2048
    """Positions to use (prompt + bins), at most."""
    precision: str = "float32"
    """Of the frozen model: `float32` or `bfloat16`."""
    prompt: bool = True
    """Read each gene's annotation before its bins."""
    prefix_cache: bool = True
    """Compute each prompt once, where the language model is causal: the same predictions, sooner."""
    vocabulary_prototypes: int = 50
    """Prototypes mixed from the whole vocabulary."""
    name_prototypes: int = 50
    """Prototypes mixed from the tokens of the channel names."""
    normalise_prototypes: bool = False
    attention_width: int = 32
    """Components of the alignment's queries, all heads together (d_k)."""
    attention_heads: int = 8
    attention_scale: Scale = "total"
    """Divide scores by the root of d_k, as eq. (1) prints (`total`), or of d_k / h (`head`)."""
    normalise_tokens: bool = False
    """Bring the aligned tokens to unit scale before the language model reads them."""
    free_width: int = 64
    """Components of prototypes and tokens where there is no language model to set it."""
    readout: Literal["topk", "pooled"] = "topk"
    top_k: int = 25
    """`topk`: bins kept."""
    selector_gradient: SelectorGradient = "sigmoid"
    """`topk`: how the choice of bins learns."""
    queries: int = 4
    """`pooled`: learned averages of the bins."""
    hidden: int = 32
    """`pooled`: hidden units of the network that reads them."""
    dropout: float = 0.0
    """`pooled`: of those hidden units."""
    target: Literal["log1p", "raw"] = "log1p"
    """What is learned, standardised on the training genes either way."""
    features: Literal["standardised", "raw"] = "standardised"
    """Features as they come, or each channel standardised on the training genes."""

    def __post_init__(self) -> None:
        if self.attention_width % self.attention_heads:
            raise ValueError(
                f"attention_width is shared by the heads, so it is a multiple of attention_heads; "
                f"got {self.attention_width} and {self.attention_heads}"
            )
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} counts from 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a fraction in [0, 1), got {self.dropout}")

    def to_json(self) -> dict[str, Any]:
        """Give the values for a JSON document."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "GtaConfig":
        """Take back what `to_json` gave."""
        return cls(**document)


_CHOICES: dict[str, tuple[str, ...]] = {
    "precision": ("float32", "bfloat16"),
    "attention_scale": ("total", "head"),
    "readout": ("topk", "pooled"),
    "selector_gradient": ("sigmoid", "straight-through"),
    "target": ("log1p", "raw"),
    "features": ("standardised", "raw"),
}
_COUNTS = (
    "layers",
    "positions",
    "vocabulary_prototypes",
    "name_prototypes",
    "attention_heads",
    "free_width",
    "top_k",
    "queries",
    "hidden",
)

_BEST = GtaConfig(
    normalise_prototypes=True, attention_scale="head", normalise_tokens=True, readout="pooled", dropout=0.1
)
PRESETS: Mapping[str, GtaConfig] = MappingProxyType(
    {"paper": GtaConfig(), "best": _BEST, "no-llm": replace(_BEST, llm=False)}
)
"""`paper`: as printed. `best`: what learned from 1,400 genes here. `no-llm`: its control."""


class GTA(nn.Module):
    """Features and prompts in, expression out.

    Parameters
    ----------
    config
        How it is set.
    n_bins
        Bins a window.
    channel_names
        Names of the features.
    channel_texts
        What they mean, in words: prototypes are mixed from these tokens. The names, if not given.
    backbone
        The frozen language model; None if `config.llm` is False. It has been cut to `config.layers` already.

    Raises
    ------
    ValueError
        If there is a backbone too many or too few, or the window is shorter than `top_k`.
    BackboneError
        If the window leaves no room for a prompt.
    """

    def __init__(
        self,
        config: GtaConfig,
        *,
        n_bins: int,
        channel_names: Sequence[str],
        channel_texts: Sequence[str] | None = None,
        backbone: Backbone | None = None,
    ) -> None:
        super().__init__()
        if config.llm and backbone is None:
            raise ValueError(
                "this GTA reads with a language model: give backbone=Backbone(directory), make one with "
                "make_untrained_backbone, or take the preset 'no-llm'"
            )
        self.config = config
        self.n_bins = n_bins
        self.channel_names = tuple(channel_names)
        self.channel_texts = tuple(channel_texts or channel_names)
        self.backbone = backbone if config.llm else None
        self._cache: PrefixCache | None = None
        count = config.vocabulary_prototypes + config.name_prototypes
        if self.backbone is None:
            prototype_width = token_width = width = config.free_width
            self.free_prototypes = nn.Parameter(torch.randn(count, config.free_width))
        else:
            self.backbone.prompt_room(n_bins)
            if config.prefix_cache and self.backbone.is_causal:
                self._cache = PrefixCache(self.backbone)
            prototype_width = token_width = self.backbone.embedding_width
            width = self.backbone.width
            self.text_prototypes = TextPrototypes(
                len(self.backbone.embeddings),
                [token for text in self.channel_texts for token in self.backbone.tokenize(text)],
                of_vocabulary=config.vocabulary_prototypes,
                of_names=config.name_prototypes,
                normalise=config.normalise_prototypes,
            )
        self.alignment = TokenAlignment(
            len(self.channel_names),
            prototype_width=prototype_width,
            token_width=token_width,
            width=config.attention_width,
            heads=config.attention_heads,
            scale=config.attention_scale,
            normalise=config.normalise_tokens,
        )
        self.readout: nn.Module
        if config.readout == "topk":
            self.readout = TopKReadout(width, n_bins=n_bins, k=config.top_k, gradient=config.selector_gradient)
        else:
            self.readout = PooledReadout(
                width, n_bins=n_bins, queries=config.queries, hidden=config.hidden, dropout=config.dropout
            )
        channels = len(self.channel_names)
        self.register_buffer("feature_mean", torch.zeros(channels))
        self.register_buffer("feature_scale", torch.ones(channels))
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_scale", torch.ones(()))
        self.feature_mean: Tensor
        self.feature_scale: Tensor
        self.target_mean: Tensor
        self.target_scale: Tensor

    def prototypes(self) -> Tensor:
        """Give the prototypes that bins attend to, shape `(prototypes, width)`."""
        if self.backbone is None:
            return self.free_prototypes
        mixed: Tensor = self.text_prototypes(self.backbone.embeddings)
        return mixed

    def forward(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """Predict the standardised target.

        Parameters
        ----------
        features
            Features as the store holds them, shape `(batch, bins, channels)`, float32.
        prompts
            One text a gene.

        Returns
        -------
        Shape `(batch,)`, float32; `to_log1p` turns it into expression.
        """
        standard = (features - self.feature_mean) / self.feature_scale
        tokens = self.alignment(standard, self.prototypes())
        if self.backbone is not None:
            read_all = self.backbone if self._cache is None else self._cache
            tokens = read_all(tokens, prompts if self.config.prompt else [""] * len(prompts))
        read: Tensor = self.readout(tokens)
        return read

    def standardise_target(self, expression: Tensor) -> Tensor:
        """Turn raw expression into what the model learns."""
        wanted = expression.log1p() if self.config.target == "log1p" else expression
        return (wanted - self.target_mean) / self.target_scale

    def to_log1p(self, predicted: Tensor) -> Tensor:
        """Turn what the model predicts into log(1 + expression)."""
        value = predicted * self.target_scale + self.target_mean
        return value if self.config.target == "log1p" else value.clamp(min=0).log1p()

    def n_trainable(self) -> int:
        """Count the parameters that training changes."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def own_state(self) -> dict[str, Tensor]:
        """Give everything but the frozen language model: what a checkpoint holds."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `own_state` gave."""
        missing, unexpected = self.load_state_dict(dict(state), strict=False)
        missing = [name for name in missing if not name.startswith("backbone.")]
        if missing or unexpected:
            raise ValueError(f"the state is of another model: missing {missing[:3]}, unexpected {unexpected[:3]}")
