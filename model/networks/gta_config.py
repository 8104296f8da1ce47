"""How a GTA is set: what the paper leaves open is a named option.

Belongs here: the options, the presets. Does not: the model (`model.networks.gta`), how it is trained
(`model.training.config`).

The paper is Honig et al., "Long-range gene expression prediction with token alignment of large language model"
(arXiv 2410.01858).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from model.device import PRECISIONS, precision_name
from model.language.backbone import DataAttention, DataPositions
from model.language.prefixes.records import CacheDtype
from model.networks.alignment import ClassText, Scale
from model.networks.base import FeatureScale, TargetScale
from model.networks.positions import PositionKind
from model.networks.readout import SelectorGradient, SlotOrder
from model.saved_config import check_counts, from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class GtaConfig:
    """How GTA is set. Plain JSON values; the defaults are the paper's, or ours where it is silent."""

    llm: bool = True
    """Read the bins with the language model. False is an ablation: the aligned tokens go straight to the readout,
    prototypes are free parameters, and prompts are not read."""
    layers: int = 8
    """Blocks of the language model to keep, at most."""
    positions: int = 2048
    """Positions to use (prompt + bins), at most."""
    precision: str = "fp32"
    """Of the products in the frozen model: `fp32`, `bf16` or `fp16`."""
    data_attention: DataAttention = "causal"
    """How bins see each other in a causal language model: those to their left, or all (the paper names the first as a
    limitation). An encoder always sees all."""
    data_position_ids: DataPositions = "prompt"
    """Position ids of the bins in the language model: counted on from the end of the prompt, so that they vary with its
    length (`prompt`), or the last ones of `positions` in every gene (`end`)."""
    lora_rank: int = 0
    """Rank of trainable low-rank adapters in the language model, to show what freezing it costs; 0 for none. They
    switch the KV cache of prompts off, since it would change in every step."""
    lora_alpha: float | None = None
    """Scale of the adapters; None for that of `model.language.lora.add_lora`."""
    prompt: bool = True
    """Read each gene's annotation before its bins."""
    sequence: bool = True
    """Read the bins. False is another ablation: one trainable token stands in for them all, and its final state, which
    has seen the prompt (cut to what one token leaves), is read out by the network of `hidden` units."""
    prefix_cache: bool = True
    """Keep the KV cache of each prompt, where the language model is causal: the same predictions, sooner."""
    prefix_cache_dtype: CacheDtype = "model"
    """Keep it as the model computes it (`model`), or in `int8` with a scale for each head of a token: in a half (bf16)
    or a quarter (fp32) of the memory. The error stands in docs/gta.md."""
    vocabulary_prototypes: int = 50
    """Prototypes mixed from the whole vocabulary."""
    name_prototypes: int = 50
    """Prototypes mixed from the tokens of the channels' names."""
    class_text: ClassText = "label-name"
    """Words of a channel that these are mixed from: its label and its name, as in `PC1 Polycomb / Heterochromatin`, or
    the name alone."""
    normalise_prototypes: bool = False
    attention_width: int = 32
    """Components of the alignment's queries, over all heads (d_k)."""
    attention_heads: int = 8
    attention_scale: Scale = "total"
    """Divide scores by the root of d_k, as eq. (1) prints (`total`), or of d_k / h (`head`)."""
    normalise_tokens: bool = False
    """Bring the aligned tokens to unit scale before the language model reads them."""
    free_width: int = 64
    """Components of prototypes and tokens where there is no language model to set it."""
    distance_position: PositionKind = "none"
    """Positional encoding of a bin's distance from the TSS: none, a trainable vector for each distance, or
    sines and cosines times a trainable gain. Both start at 0."""
    skip_connection: bool = False
    """Residual connection around the language model: the readout gets the aligned token of each bin concatenated with
    its hidden state, so that a model that mixes the bins of a window does not hide what each of them holds."""
    readout: Literal["topk", "pooled", "summed"] = "topk"
    top_k: int = 25
    """`topk`: bins kept."""
    slot_order: SlotOrder = "genome"
    """`topk`: order of the kept bins in the flattened vector: along the genome, or by falling logit."""
    selector_position_bias: bool = False
    """`topk`: add a learned position bias to the logits, one number for each distance from the TSS; it starts by
    preferring near bins."""
    selector_gradient: SelectorGradient = "sigmoid"
    """`topk`: how the choice of bins learns."""
    queries: int = 4
    """`pooled`: learned averages of the bins."""
    n_kernels: int = 8
    """`summed`: learned kernels of distance, each a weighted sum over the bins."""
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

    RENAMED: ClassVar[Mapping[str, str]] = {"tokens_beside": "skip_connection", "sums": "n_kernels"}
    """What earlier versions called some of these, in saved runs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", precision_name(self.precision))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        check_counts(self, _COUNTS)
        check_counts(self, ("positions",), most=1 << 24)
        if self.attention_width % self.attention_heads:
            raise ValueError(
                f"attention_width is shared by the heads, so it is a multiple of attention_heads; "
                f"got {self.attention_width} and {self.attention_heads}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a fraction in [0, 1), got {self.dropout}")
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank is 0 for no adapters, or their rank; got {self.lora_rank}")
        if self.skip_connection and not (self.llm and self.sequence):
            raise ValueError(
                "skip_connection=True carries the tokens of bins past the language model, so it goes with llm=True and "
                "sequence=True; set it to False"
            )
        if not self.sequence and not (self.llm and self.prompt):
            raise ValueError(
                "sequence=False leaves the prompt alone to read, so it goes with llm=True and prompt=True; for "
                "neither, take the predictor 'mean'"
            )
        self._check_selector()
        self._check_tasks()

    def _check_selector(self) -> None:
        if self.readout == "topk":
            return
        defaults = {"slot_order": "genome", "selector_position_bias": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                raise ValueError(
                    f"{name} is of the selector, which the readout {self.readout!r} does not have; leave it out, or "
                    "set readout=topk"
                )

    def _check_tasks(self) -> None:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"each task has a name of its own, got {', '.join(self.tasks)}")
        if self.task_line and not (self.tasks and "{task}" in self.task_line):
            raise ValueError(
                f"task_line tells the tasks apart, so it holds {{task}} and goes with `tasks=`; got "
                f"{self.task_line!r} with {len(self.tasks)} tasks"
            )

    def to_json(self) -> dict[str, Any]:
        """Give the values for a JSON document."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "GtaConfig":
        """Take back what `to_json` gave."""
        return from_json(cls, document)


_CHOICES: dict[str, tuple[str, ...]] = {
    "precision": PRECISIONS,
    "data_attention": get_args(DataAttention),
    "data_position_ids": get_args(DataPositions),
    "prefix_cache_dtype": get_args(CacheDtype),
    "class_text": get_args(ClassText),
    "attention_scale": get_args(Scale),
    "distance_position": get_args(PositionKind),
    "readout": ("topk", "pooled", "summed"),
    "selector_gradient": get_args(SelectorGradient),
    "slot_order": get_args(SlotOrder),
    "target": get_args(TargetScale),
    "features": get_args(FeatureScale),
}
_COUNTS = (
    "layers",
    "vocabulary_prototypes",
    "name_prototypes",
    "attention_width",
    "attention_heads",
    "free_width",
    "top_k",
    "queries",
    "n_kernels",
    "hidden",
)

_UNIT_SCALE = GtaConfig(normalise_prototypes=True, attention_scale="head", normalise_tokens=True)
_BEST = replace(
    _UNIT_SCALE,
    skip_connection=True,
    readout="summed",
    hidden=64,
    dropout=0.1,
)
PRESETS: Mapping[str, GtaConfig] = MappingProxyType(
    {
        "paper": GtaConfig(),
        "paper-positions": replace(_UNIT_SCALE, distance_position="learned"),
        "best": _BEST,
        "no-llm": replace(_BEST, llm=False, skip_connection=False),
        "sequence-only": replace(_BEST, prompt=False),
        "prompt-only": replace(_BEST, sequence=False, skip_connection=False),
    }
)
"""`paper`: as printed. `paper-positions`: the same model with what it needs to learn, positions and unit scale.
`best`: what learned from 1,400 genes here. The others are its ablations: one part left out."""
