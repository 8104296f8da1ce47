"""What the extractor of Hugging Face models alone can be set to.

Belongs here: the options that `--set` takes for `--extractor hf`. Does not: what reads them.
"""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HfSettings:
    """Which model, which layer, and how its tokens become a bin."""

    model: str
    """Folder of a model, or its id owner/model on the Hugging Face Hub."""
    revision: str | None = None
    """Of a model on the Hub: its commit, 40 hexadecimal figures. A branch or tag is looked up, and its commit
    recorded."""
    layer: int = -1
    """Hidden states of the Transformers library: 0 are the embeddings, k those after block k; negative ones count from
    the last."""
    pooling: Literal["mean", "cls", "tokens"] = "mean"
    """mean: of the tokens, weighted by the bases of the bin that each covers; cls: the first token, where the tokenizer
    puts a special one there; tokens: means of token_bp bases each, side by side."""
    token_bp: int = 1
    """Bases (bp) of one piece of pooling=tokens; the bin is a multiple of it."""
    strands: Literal["forward", "both"] = "forward"
    """both: the mean of the sequence and its reverse complement, positions of the forward strand."""
    context_bp: int = 0
    """Bases (bp) that the model reads on either side of the bin, and that are not pooled."""
    piece_tokens: int | None = None
    """Longest input (tokens, special ones included); a bin with more is read in overlapping pieces. By default what
    the model says."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the model."""
    batch_pieces: int = 16
    """Pieces that are computed at once."""
    random_seed: int | None = None
    """A control: the same architecture with random weights of this seed, in place of those that were trained."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model. It can do anything: read it first, and pin revision."""
    feature_set: str = "hf"
    """Name of the feature set, so that a store holds several models."""

    def __post_init__(self) -> None:
        at_least = {"token_bp": 1, "context_bp": 0, "batch_pieces": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"`{name}=` is at least {least}; got {getattr(self, name)}")
        if self.piece_tokens is not None and self.piece_tokens < 8:
            raise ValueError(f"`piece_tokens=` is at least 8; got {self.piece_tokens}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.feature_set):
            raise ValueError(f"`feature_set=` is a name of letters, digits, '.', '_', '-'; got {self.feature_set!r}")
