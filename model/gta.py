"""GTA: gene expression from a million bases of features, read by a frozen language model after the gene's annotation.

Belongs here: how GTA is set, and its forward pass. Does not: its parts (`model.alignment`, `model.backbone`,
`model.readout`), training it (`model.training`).

After Honig et al., "Long-range gene expression prediction with token alignment of large language model"
(arXiv 2410.01858). What the paper leaves open is a named option of `GtaConfig`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypedDict, get_args

import torch
from torch import Tensor, nn

from model.alignment import MixedText, Scale, TextPrototypes, TokenAlignment
from model.backbone import Backbone, DataAttention
from model.expression_model import ExpressionModel, FeatureScale, TargetScale
from model.lora import add_lora
from model.positions import PositionKind, make_positions
from model.prefix_cache import PrefixCache
from model.readout import CentreReadout, PooledReadout, Readout, SelectorGradient, SummedReadout, TopKReadout


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
    data_attention: DataAttention = "causal"
    """How bins see each other in a causal language model: those to their left, or all (the paper names the first as a
    limitation). An encoder always sees all."""
    lora_rank: int = 0
    """Rank of trainable low-rank adapters in the language model, to show what freezing it costs; 0 for none. They
    switch the prefix cache off: what the model makes of a prompt then changes in every step."""
    lora_alpha: float | None = None
    """Scale of the adapters; None for that of `model.lora.add_lora`."""
    prompt: bool = True
    """Read each gene's annotation before its bins."""
    sequence: bool = True
    """Read the bins. False is the other control: one trainable token stands in for them all, and its final state, which
    has seen the prompt (cut to what one token leaves), is read out by the network of `hidden` units."""
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
    distance_position: PositionKind = "none"
    """What is added to the token of a bin for its distance from the TSS: nothing, a trainable vector for each distance,
    or sines and cosines times a trainable gain. Both start at 0."""
    tokens_beside: bool = False
    """Read out the aligned token of each bin beside what the language model makes of it, so that a model that mixes the
    bins of a window up does not hide what each of them holds."""
    readout: Literal["topk", "pooled", "summed"] = "topk"
    top_k: int = 25
    """`topk`: bins kept."""
    selector_gradient: SelectorGradient = "sigmoid"
    """`topk`: how the choice of bins learns."""
    queries: int = 4
    """`pooled`: learned averages of the bins."""
    sums: int = 8
    """`summed`: weighted sums over the bins."""
    hidden: int = 32
    """`pooled`, `summed`: hidden units of the network that reads them."""
    dropout: float = 0.0
    """`pooled`, `summed`: of those hidden units."""
    tasks: tuple[str, ...] = ()
    """Names of what is predicted, cell types for example, each with its own output; empty for one number a gene."""
    task_line: str = ""
    """Line put before the prompt for each task, such as `# Cell type: {task}`; a gene is then read once a task.
    Empty: one reading serves all tasks."""
    target: TargetScale = "log1p"
    """What is learned, standardised on the training genes either way."""
    features: FeatureScale = "standardised"
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
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank is 0 for no adapters, or their rank; got {self.lora_rank}")
        if self.tokens_beside and not (self.llm and self.sequence):
            raise ValueError(
                "tokens_beside=True puts the tokens of bins beside what the language model makes of them, so it goes "
                "with llm=True and sequence=True; set it to False"
            )
        if not self.sequence and not (self.llm and self.prompt):
            raise ValueError(
                "sequence=False leaves the prompt alone to read, so it goes with llm=True and prompt=True; for "
                "neither, take the predictor 'mean'"
            )
        self._check_tasks()

    def _check_tasks(self) -> None:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"each task has a name of its own, got {', '.join(self.tasks)}")
        if self.task_line and not (self.tasks and "{task}" in self.task_line):
            raise ValueError(
                f"task_line tells the tasks apart, so it holds {{task}} and goes with tasks=(...); got "
                f"{self.task_line!r} with {len(self.tasks)} tasks"
            )

    def to_json(self) -> dict[str, Any]:
        """Give the values for a JSON document."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "GtaConfig":
        """Take back what `to_json` gave."""
        # JSON has no tuples.
        return cls(**{**document, "tasks": tuple(document.get("tasks", ()))})


_CHOICES: dict[str, tuple[str, ...]] = {
    "precision": ("float32", "bfloat16"),
    "data_attention": get_args(DataAttention),
    "attention_scale": get_args(Scale),
    "distance_position": get_args(PositionKind),
    "readout": ("topk", "pooled", "summed"),
    "selector_gradient": get_args(SelectorGradient),
    "target": get_args(TargetScale),
    "features": get_args(FeatureScale),
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
    "sums",
    "hidden",
)

_BEST = GtaConfig(
    normalise_prototypes=True,
    attention_scale="head",
    normalise_tokens=True,
    tokens_beside=True,
    readout="summed",
    hidden=64,
    dropout=0.1,
)
PRESETS: Mapping[str, GtaConfig] = MappingProxyType(
    {
        "paper": GtaConfig(),
        "best": _BEST,
        "no-llm": replace(_BEST, llm=False, tokens_beside=False),
        "sequence-only": replace(_BEST, prompt=False),
        "prompt-only": replace(_BEST, sequence=False, tokens_beside=False),
    }
)
"""`paper`: as printed. `best`: what learned from 1,400 genes here. The others are its controls: one part taken away."""


class GTA(ExpressionModel):
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
        The frozen language model; None if `config.llm` is False. It was cut to `config.layers` when it was loaded.
        Adapters (`config.lora_rank`) are put into it, so that no other model can share it then.
    prefix_cache
        Where what the language model makes of prompts is kept; None makes one in memory, where the configuration wants
        one and the language model is causal.

    Raises
    ------
    ValueError
        If the backbone is missing or was loaded otherwise than the configuration says, the prefix cache is another's,
        or the window is shorter than `top_k`.
    BackboneError
        If the window leaves no room for a prompt.
    """

    PARTS: ClassVar[Mapping[str, str]] = {
        "text_prototypes": "prototypes",
        "free_prototypes": "prototypes",
        "position": "positions",
        "token": "sequence token",
        "backbone": "LoRA",
    }

    def __init__(
        self,
        config: GtaConfig,
        *,
        n_bins: int,
        channel_names: Sequence[str],
        channel_texts: Sequence[str] | None = None,
        backbone: Backbone | None = None,
        prefix_cache: PrefixCache | None = None,
    ) -> None:
        super().__init__(
            n_bins=n_bins,
            channel_names=channel_names,
            tasks=config.tasks,
            target=config.target,
            features=config.features,
        )
        if config.llm:
            _check_backbone(config, backbone, prefix_cache)
        self.config = config
        self.channel_texts = tuple(channel_texts or channel_names)
        self.backbone = backbone if config.llm else None
        if self.backbone is None:
            token_width = width = config.free_width
        else:
            token_width, width = self.backbone.embedding_width, self.backbone.width
        if config.sequence:
            self._make_tokens(token_width)
        else:
            self.token = nn.Parameter(torch.randn(token_width))
        self.readout = _make_readout(config, width + token_width * config.tokens_beside, n_bins)
        self.check_window(n_bins)
        self.prefix_cache: PrefixCache | None = None
        if self.backbone is not None and config.lora_rank:
            add_lora(self.backbone, rank=config.lora_rank, alpha=config.lora_alpha)
        elif self.backbone is not None and config.prefix_cache and self.backbone.is_causal:
            self.prefix_cache = PrefixCache(self.backbone) if prefix_cache is None else prefix_cache

    def _make_tokens(self, token_width: int) -> None:
        config = self.config
        if self.backbone is None:
            count = config.vocabulary_prototypes + config.name_prototypes
            self.free_prototypes = nn.Parameter(torch.randn(count, token_width))
        else:
            self.text_prototypes = TextPrototypes(
                len(self.backbone.embeddings),
                [token for text in self.channel_texts for token in self.backbone.tokenize(text)],
                of_vocabulary=config.vocabulary_prototypes,
                of_names=config.name_prototypes,
                normalise=config.normalise_prototypes,
            )
        self.alignment = TokenAlignment(
            len(self.channel_names),
            prototype_width=token_width,
            token_width=token_width,
            width=config.attention_width,
            heads=config.attention_heads,
            scale=config.attention_scale,
            normalise=config.normalise_tokens,
        )
        self.position = make_positions(config.distance_position, width=token_width, n_bins=self.built_for)

    def check_window(self, n_bins: int) -> None:
        """Refuse windows that leave no room for a prompt, or have fewer bins than the readout keeps."""
        super().check_window(n_bins)
        if self.backbone is not None:
            self.backbone.prompt_room(n_bins if self.config.sequence else 1)
        self.readout.check_window(n_bins)

    def prototypes(self) -> Tensor:
        """Give the prototypes that bins attend to, shape `(prototypes, width)`."""
        if self.backbone is None:
            return self.free_prototypes
        mixed: Tensor = self.text_prototypes(self.backbone.embeddings)
        return mixed

    def prototype_names(self) -> list[str]:
        """Name each prototype by its kind and its place: `vocabulary 0`, ..., `class name 50`, ..."""
        if not self.config.sequence:
            return []
        of_vocabulary, of_names = self.config.vocabulary_prototypes, self.config.name_prototypes
        kinds = ["vocabulary"] * of_vocabulary + ["class name"] * of_names
        return [f"{kind if self.backbone else 'free'} {index}" for index, kind in enumerate(kinds)]

    def prototype_tokens(self, top: int = 5) -> list[list[MixedText]]:
        """Give the `top` tokens of each prototype whose weights in the mix are largest by size."""
        if self.backbone is None or not self.config.sequence:
            return [[] for _ in self.prototype_names()]
        decode = self.backbone.tokenizer.decode
        return [
            [MixedText(decode([token]), weight) for token, weight in mix] for mix in self.text_prototypes.strongest(top)
        ]

    def prototype_channels(self, top: int = 5) -> list[list[MixedText]]:
        """Give the `top` channels of each class-name prototype by the mean weight of their tokens; of others none."""
        none: list[list[MixedText]] = [[] for _ in self.prototype_names()]
        if self.backbone is None or not self.config.sequence:
            return none
        tokens = [self.backbone.tokenize(text) for text in self.channel_texts]
        mixes = self.text_prototypes.strongest_names(tokens, top)
        named = [[MixedText(self.channel_names[index], weight) for index, weight in mix] for mix in mixes]
        return none[: self.config.vocabulary_prototypes] + named

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
        Shape `(batch,)`, or `(batch, tasks)` where tasks are named, float32; `to_log1p` turns it into expression.
        """
        if self.config.sequence:
            tokens = self.position(self.alignment(self.standardise_features(features), self.prototypes()))
        else:
            tokens = self.token.expand(len(features), 1, -1)
        lines = self._task_lines()
        if self.backbone is not None:
            texts = prompts if self.config.prompt else [""] * len(prompts)
            if lines:
                texts = [f"{line}\n{text}" for text in texts for line in lines]
                tokens = tokens.repeat_interleave(len(lines), dim=0)
            read_all = self.backbone if self.prefix_cache is None else self.prefix_cache
            hidden = read_all(tokens, texts)
            tokens = torch.cat([tokens, hidden], dim=-1) if self.config.tokens_beside else hidden
        read: Tensor = self.readout(tokens)
        if lines:
            read = read.reshape(-1, len(lines), len(lines)).diagonal(dim1=1, dim2=2)
        return read if self.tasks else read.squeeze(-1)

    def _task_lines(self) -> list[str]:
        if self.backbone is None or not self.config.task_line:
            return []
        return [self.config.task_line.replace("{task}", task) for task in self.tasks]

    def _frozen_state(self) -> set[str]:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name for name in self.state_dict() if name.startswith("backbone.")} - trained


def _check_backbone(config: GtaConfig, backbone: Backbone | None, prefix_cache: PrefixCache | None) -> None:
    if backbone is None:
        raise ValueError(
            "this GTA reads with a language model: give backbone=Backbone(directory), make one with "
            "make_untrained_backbone, or take the preset 'no-llm'"
        )
    if backbone.data_attention != config.data_attention:
        raise ValueError(
            f"the configuration asks for data_attention={config.data_attention!r}, but the language model was loaded "
            f"with {backbone.data_attention!r}; load it with Backbone(..., data_attention={config.data_attention!r})"
        )
    if prefix_cache is not None and prefix_cache.backbone is not backbone:
        raise ValueError("the prefix cache is of another language model; give the two together: cache, cache.backbone")


class _Network(TypedDict):
    """The small network at the end of a readout."""

    hidden: int
    dropout: float
    outputs: int


def _make_readout(config: GtaConfig, width: int, n_bins: int) -> Readout:
    outputs = len(config.tasks) or 1
    network = _Network(hidden=config.hidden, dropout=config.dropout, outputs=outputs)
    if not config.sequence:
        return CentreReadout(width, **network)
    if config.readout == "topk":
        return TopKReadout(width, n_bins=n_bins, k=config.top_k, gradient=config.selector_gradient, outputs=outputs)
    if config.readout == "summed":
        return SummedReadout(width, sums=config.sums, **network)
    return PooledReadout(width, n_bins=n_bins, queries=config.queries, **network)
