"""GTA: gene expression from a million bases of features, read by a frozen language model after the gene's annotation.

Belongs here: its forward pass. Does not: how it is set (`model.networks.gta_config`), its parts
(`model.networks.alignment`, `model.language.backbone`, `model.networks.readout`), training it (`model.training.fit`).

After Honig et al., "Long-range gene expression prediction with token alignment of large language model"
(arXiv 2410.01858).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.language.backbone import Backbone
from model.language.lora import add_lora, current_adapters
from model.language.prefixes.cache import PrefixCache
from model.language.prompt_lengths import prompt_lengths
from model.networks.alignment import MixedText, TextPrototypes, TokenAlignment
from model.networks.base import ExpressionModel
from model.networks.gta_config import GtaConfig
from model.networks.positions import make_positions
from model.networks.readout import CentreReadout, PooledReadout, Readout, SummedReadout, TopKReadout


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
        KV cache of prompts; None makes one in memory, where the configuration has `prefix_cache=True` and the language
        model is causal.

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
            config=config,
            n_bins=n_bins,
            channel_names=channel_names,
            channel_texts=channel_texts,
            tasks=config.tasks,
            target=config.target,
            features=config.features,
        )
        if config.llm:
            _check_backbone(config, backbone, prefix_cache)
        self.config: GtaConfig
        self.backbone = backbone if config.llm else None
        if self.backbone is None:
            self.token_width = width = config.free_width
        else:
            self.token_width, width = self.backbone.embedding_width, self.backbone.width
        if config.sequence:
            self._make_tokens(self.token_width)
        else:
            self.token = nn.Parameter(torch.randn(self.token_width))
        self.readout = _make_readout(config, width + self.token_width * config.skip_connection, n_bins)
        self.check_window(n_bins)
        if self.backbone is not None and config.lora_rank:
            add_lora(self.backbone, rank=config.lora_rank, alpha=config.lora_alpha)
        elif self.backbone is not None and config.prefix_cache and self.backbone.is_causal:
            self.prefix_cache = prefix_cache or PrefixCache(self.backbone, dtype=config.prefix_cache_dtype)

    def _make_tokens(self, token_width: int) -> None:
        config = self.config
        if self.backbone is None:
            count = config.vocabulary_prototypes + config.name_prototypes
            self.free_prototypes = nn.Parameter(torch.randn(count, token_width))
        else:
            self.text_prototypes = TextPrototypes(
                len(self.backbone.embeddings),
                [token for text in self._class_texts() for token in self.backbone.tokenize(text)],
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
        mixed: Tensor = self.text_prototypes(self.backbone.embeddings, scale=self.backbone.embedding_scale)
        return mixed

    def align(self, features: Tensor) -> Tensor:
        """Turn standardised features `(batch, bins, channels)` into tokens `(batch, bins, token_width)`."""
        tokens: Tensor = self.alignment(features, self.prototypes())
        return tokens

    def attention(self, features: Tensor) -> Tensor:
        """Give the attention of bins to prototypes, shape `(batch, bins, heads, prototypes)`; see `TokenAlignment`."""
        return self.alignment.attention(features, self.prototypes())

    def prompt_lengths(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens that the language model reads of each prompt, of several tasks for the longest."""
        if self.backbone is None or not self.config.prompt:
            return super().prompt_lengths(prompts)
        n_data = self.n_bins if self.config.sequence else 1
        # Of several tasks, each has a line of its own before the prompt.
        starts = [f"{line}\n" for line in self._task_lines()] or [""]
        lengths = [prompt_lengths(self.backbone, [start + text for text in prompts], n_data=n_data) for start in starts]
        longest: NDArray[np.int64] = np.max(lengths, axis=0)
        return longest

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
        tokens = [self.backbone.tokenize(text) for text in self._class_texts()]
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
            tokens = self.position(self.align(self.standardise_features(features)))
        else:
            tokens = self.token.expand(len(features), 1, -1)
        lines = self._task_lines()
        if self.backbone is not None:
            if lines:
                tokens = tokens.repeat_interleave(len(lines), dim=0)
            read_all = self.backbone if self.prefix_cache is None else self.prefix_cache
            hidden = read_all(tokens, self.texts(prompts))
            tokens = torch.cat([tokens, hidden], dim=-1) if self.config.skip_connection else hidden
        read: Tensor = self.readout(tokens)
        if lines:
            read = read.reshape(-1, len(lines), len(lines)).diagonal(dim1=1, dim2=2)
        return read if self.tasks else read.squeeze(-1)

    def texts(self, prompts: Sequence[str]) -> list[str]:
        """Give what the language model reads before the bins: of each gene, one text, or one a task."""
        texts = list(prompts) if self.config.prompt else [""] * len(prompts)
        lines = self._task_lines()
        return [f"{line}\n{text}" for text in texts for line in lines] if lines else texts

    def plan_prompts(self, prompts: Sequence[str]) -> str:
        """Look at what the KV cache has of these prompts, and at what they share; see `PrefixCache.plan`."""
        return "" if self.prefix_cache is None else self.prefix_cache.plan(self.texts(prompts), self._n_tokens)

    def announce(self, prompts: Sequence[str]) -> None:
        """Bring the KV cache of these prompts to the device while another step runs."""
        if self.prefix_cache is not None:
            self.prefix_cache.announce(self.texts(prompts), self._n_tokens)

    @property
    def _n_tokens(self) -> int:
        return self.n_bins if self.config.sequence else 1

    def _class_texts(self) -> list[str]:
        """Give the words of each channel that class-name prototypes are mixed from."""
        if self.config.class_text == "label-name":
            return list(self.channel_texts)
        # A text begins with the channel's label; one without a name is that label.
        pairs = zip(self.channel_names, self.channel_texts, strict=True)
        return [text.removeprefix(label).strip() or label for label, text in pairs]

    def _task_lines(self) -> list[str]:
        if self.backbone is None or not self.config.task_line:
            return []
        return [self.config.task_line.replace("{task}", task) for task in self.tasks]

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `own_state` gave, in an earlier version too."""
        super().load_own_state(current_adapters(state))

    def _frozen_state(self) -> set[str]:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name for name in self.state_dict() if name.startswith("backbone.")} - trained


def _check_backbone(config: GtaConfig, backbone: Backbone | None, prefix_cache: PrefixCache | None) -> None:
    if backbone is None:
        raise ValueError(
            "this GTA reads with a language model: give `backbone=Backbone(directory)`, make one with "
            "make_untrained_backbone, or take the preset 'no-llm'"
        )
    for name in ("data_attention", "data_position_ids"):
        wanted, there = getattr(config, name), getattr(backbone, name)
        if wanted != there:
            raise ValueError(
                f"the configuration asks for `{name}={wanted!r}`, but the language model was loaded with {there!r}; "
                f"load it with Backbone(..., {name}={wanted!r})"
            )
    if prefix_cache is not None and prefix_cache.backbone is not backbone:
        raise ValueError("the prefix cache is of another language model; give `backbone=cache.backbone`")
    if prefix_cache is not None and prefix_cache.dtype != config.prefix_cache_dtype:
        raise ValueError(
            f"the configuration asks for `prefix_cache_dtype={config.prefix_cache_dtype!r}`, but the prefix cache has "
            f"{prefix_cache.dtype!r}; make it with PrefixCache(..., dtype={config.prefix_cache_dtype!r})"
        )


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
        return TopKReadout(
            width,
            n_bins=n_bins,
            k=config.top_k,
            gradient=config.selector_gradient,
            slot_order=config.slot_order,
            position_bias=config.selector_position_bias,
            outputs=outputs,
        )
    if config.readout == "summed":
        return SummedReadout(width, n_kernels=config.n_kernels, **network)
    return PooledReadout(width, n_bins=n_bins, queries=config.queries, **network)
