"""A small language model with random weights, made on the spot.

Belongs here: the stand-in for a language model where none can be downloaded, marked so that nobody mistakes it.
Does not: loading it again (`model.language.backbone` loads it like any other).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from catalog.runtime.locations import required_path
from model.language.directory import UNTRAINED_MARK, quiet_transformers

_SPECIAL = ("<s>", "</s>")
_README = """# An untrained language model

Random weights (seed {seed}), never trained on anything: a Llama of {layers} blocks, width {hidden}, with a byte-level
BPE tokenizer of {vocabulary} tokens learned from {texts} texts. It stands in for a real language model where none is at
hand, and is the control for one that is: what a prompt says can mean nothing to it.

`config.json` carries `"{mark}": true`.
"""


def make_untrained_backbone(
    directory: str | Path,
    texts: Sequence[str],
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    positions: int = 2048,
    vocabulary: int = 2048,
    seed: int = 0,
) -> Path:
    """Write a small random Llama with its tokenizer as an ordinary Hugging Face directory.

    Parameters
    ----------
    directory
        Where to write; made if need be. Files of the same names are replaced.
    texts
        What the tokenizer learns from: the prompts.
    hidden
        Width; a multiple of `2 * heads`.
    layers, heads, positions
        Shape of the model.
    vocabulary
        Tokens that the tokenizer has at the most.
    seed
        The same seed and texts give the same files.

    Returns
    -------
    The directory.

    Raises
    ------
    ValueError
        If there is no text, or `hidden` does not suit `heads`.
    """
    if not any(text.strip() for text in texts):
        raise ValueError("a tokenizer is learned from texts; give the prompts of the genes")
    if hidden % (2 * heads):
        raise ValueError(f"hidden must be a multiple of 2 x heads = {2 * heads} (rotary positions), got {hidden}")
    directory = required_path(directory)
    tokenizer = train_tokenizer(texts, vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        # At the usual 0.02 each block of a narrow model adds next to nothing to its residual stream: a prompt is then
        # hardly read. At 1 / sqrt(width) products keep the scale of what they are given.
        initializer_range=hidden**-0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    setattr(config, UNTRAINED_MARK, True)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaModel(config)
        # At the usual 0.02 every prototype mixed from them is near zero, and the alignment starts blind.
        model.embed_tokens.weight.normal_()
    with quiet_transformers():
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    (directory / "README.md").write_text(
        _README.format(
            seed=seed, layers=layers, hidden=hidden, vocabulary=len(tokenizer), texts=len(texts), mark=UNTRAINED_MARK
        ),
        encoding="utf-8",
    )
    return directory


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE tokenizer of at most `vocabulary` tokens: any text can be written with it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    begin, end = _SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=begin, eos_token=end)  # type: ignore[no-untyped-call]  # not annotated there
