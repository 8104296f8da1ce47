"""Small genes and small language models, for tests.

Belongs here: what several test files need, made in memory or in a folder of the test. Does not: fixtures, assertions.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import polars as pl
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

from catalog import FeatureIdentity
from catalog.genes.table import GENE_SCHEMA
from featurestore.display import Display
from loaders import GeneBatch, GeneDataset
from loaders.settings import Orientation
from model.language.directory import quiet_transformers
from model.language.untrained import train_tokenizer
from model.predictors.build import PREDICTORS
from model.registry import find_model

Family = Literal["llama", "mistral", "qwen2", "qwen3", "gpt2", "bert"]
CAUSAL: tuple[Family, ...] = ("llama", "mistral", "qwen2", "qwen3", "gpt2")
FAMILIES: tuple[Family, ...] = (*CAUSAL, "bert")
OF_BINS = tuple(name for name in PREDICTORS if find_model(name).reads != "signals")
"""Names of our models that read windows of bins."""
PROMPTS = (
    "# Symbol: ABC1",
    "# Symbol: MYH7, # Summary: myosin heavy chain of the heart, a slow and long story",
    "",
    "x",
)


class TinyGenes(GeneDataset):
    """Genes in memory: `GeneDataset` without a store.

    Parameters
    ----------
    features
        Windows, shape `(genes, bins, channels)`; a smaller `n_bins` is their middle.
    targets
        Expression, shape `(genes,)`.
    """

    def __init__(
        self,
        features: Tensor,
        targets: Tensor,
        *,
        prompts: Sequence[str] | None = None,
        channel_names: Sequence[str] | None = None,
        fingerprint: str = "tiny",
        bin_size: int = 128,
        orient: Orientation = "forward",
    ) -> None:
        genes, bins, channels = features.shape
        self._features = features
        self._n_bins = bins
        self._names = tuple(channel_names or (f"channel {index}" for index in range(channels)))
        self._fingerprint = fingerprint
        self._bin_size = bin_size
        self._orient = orient
        self.targets = targets
        self.annotations = None
        self.prompts = list(prompts or (PROMPTS[index % len(PROMPTS)] for index in range(genes)))
        # Three contigs and four families in turn, and a start site every 500 bp of a contig.
        rows = [
            (f"gene{index}", f"{'ABCD'[index % 4] * 3}{index}", f"chr{index % 3 + 1}", "+", 500 * (index // 3), None)
            for index in range(genes)
        ]
        self.genes = pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")

    @property
    def n_bins(self) -> int:
        """Bins a window; may be set at any time."""
        return self._n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self._n_bins = n_bins

    def with_n_bins(self, n_bins: int) -> "TinyGenes":
        """Give the same genes with the middle of their windows."""
        changed = copy.copy(self)
        changed.n_bins = n_bins
        return changed

    @property
    def jitter(self) -> tuple[int, int]:
        """How far a window may move either way: not at all."""
        return 0, 0

    def unjittered(self) -> "TinyGenes":
        """Give the same genes, which have no jitter."""
        return self

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the features' last axis."""
        return self._names

    @property
    def gene_ids(self) -> list[str]:
        """Identifier of each gene."""
        return self.genes["gene_id"].to_list()

    def subset(self, gene_ids: Sequence[str]) -> "TinyGenes":
        """Give some of the genes, by id, in the order of this one."""
        places = [place for place, gene in enumerate(self.gene_ids) if gene in set(gene_ids)]
        chosen = copy.copy(self)
        chosen._features, chosen.targets = self._features[places], self.targets[places]
        chosen.prompts, chosen.genes = [self.prompts[place] for place in places], self.genes[places]
        return chosen

    @property
    def fingerprint(self) -> str:
        """What the features were made with: nothing."""
        return self._fingerprint

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features."""
        return FeatureIdentity(
            assembly_digest="tiny",
            name="tiny",
            extractor="tiny",
            bin_size=self._bin_size,
            dtype="float32",
            channels=self._names,
            fingerprint=self._fingerprint,
        )

    @property
    def orient(self) -> Orientation:
        """Which way the bins run."""
        return self._orient

    def set_epoch(self, epoch: int) -> None:
        """Change nothing: there is no jitter."""

    def __len__(self) -> int:
        return len(self.prompts)

    def _display(self) -> Display:
        return Display(f"TinyGenes, {len(self):,} genes", ())

    @overload
    def __getitem__(self, index: int) -> GeneBatch: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> GeneBatch: ...
    def __getitem__(self, index: int | slice | Sequence[int]) -> GeneBatch:
        """Give some genes."""
        if isinstance(index, slice):
            index = range(len(self))[index]
        places = torch.tensor([index] if isinstance(index, int) else list(index), dtype=torch.int64)
        start = self._features.shape[1] // 2 - self._n_bins // 2
        features = self._features[places, start : start + self._n_bins]
        return GeneBatch(features, [self.prompts[place] for place in places], self.targets[places], places)


def tiny_genes(n_genes: int, *, n_bins: int = 7, channels: int = 4, seed: int = 0, noise: float = 0.1) -> TinyGenes:
    """Make genes whose log expression is a linear function of the centre bin and of its neighbours' mean."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n_genes, n_bins, channels, generator=generator)
    signal = features[:, n_bins // 2, 0] + features[..., 1].mean(dim=1) * n_bins**0.5
    signal = signal + noise * torch.randn(n_genes, generator=generator)
    # Scales and offsets as far from standard as those of a real extractor.
    return TinyGenes(features * 3 + 5, (signal + 4).clamp(min=0).expm1())


def write_tiny_backbone(directory: Path, family: Family, *, layers: int = 3, positions: int = 48) -> Path:
    """Write a random model of a family, with weights large enough for prompts and padding to matter."""
    tokenizer = train_tokenizer(PROMPTS, 300)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": positions,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        model: Any
        if family == "llama":
            model = LlamaModel(LlamaConfig(**shape, num_key_value_heads=2))
        elif family == "mistral":
            # A window shorter than the prompts: what a cache must not forget, nor remember too long.
            model = MistralModel(MistralConfig(**shape, num_key_value_heads=2, sliding_window=6))
        elif family == "qwen2":
            # The first block sees all, the others a window: each kind has a mask of its own.
            window: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
            model = Qwen2Model(Qwen2Config(**shape, num_key_value_heads=2, **window))
        elif family == "qwen3":
            model = Qwen3Model(Qwen3Config(**shape, num_key_value_heads=2, head_dim=8))
        elif family == "gpt2":
            model = GPT2Model(GPT2Config(**shape))
        else:
            model = BertModel(BertConfig(**shape))
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory
