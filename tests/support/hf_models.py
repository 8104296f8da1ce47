"""Small random language models of real architectures, with tokenizers of the kinds that DNA models have."""

from itertools import product
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    EsmConfig,
    EsmModel,
    EsmTokenizer,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from model.language.directory import quiet_transformers

WIDTH, BLOCKS, POSITIONS = 16, 3, 64
_SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 2, "intermediate_size": 32}


def write_model(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Write one of `KINDS`."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        KINDS[kind](folder)
    return folder


def write_causal(folder: Path, kind: str) -> Path:
    """Write one of `KINDS` with a head that predicts the next token."""
    write_model(folder, kind)
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(3)
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


def _esm_kmers(folder: Path) -> None:
    """ESM with 3-mers and single letters, tokenized in Python: as the Nucleotide Transformer."""
    words = ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *map("".join, product("ACGT", repeat=3)), *"ACGTN"]
    (folder / "vocab.txt").write_text("\n".join(words))
    EsmTokenizer(str(folder / "vocab.txt"), eos_token=None).save_pretrained(folder)
    config = EsmConfig(
        vocab_size=len(words), max_position_embeddings=POSITIONS + 2, pad_token_id=1, mask_token_id=4, **_SHAPE
    )
    EsmModel(config).save_pretrained(folder)


def _bert_letters(folder: Path) -> None:
    """BERT with a token a base, special tokens at both ends."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGTN"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=POSITIONS, **_SHAPE)).save_pretrained(folder)


def _neox_bpe(folder: Path) -> None:
    """GPT-NeoX with byte-pair encoding, no special token, no padding token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    letters = torch.randint(0, 4, (200, 200), generator=torch.Generator().manual_seed(1))
    texts = ["".join("ACGT"[one] for one in row) for row in letters.tolist()]
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=60, initial_alphabet=["N"], show_progress=False))
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    config = GPTNeoXConfig(vocab_size=made.get_vocab_size(), max_position_embeddings=POSITIONS, **_SHAPE)
    GPTNeoXModel(config).save_pretrained(folder)


def _llama_letters(folder: Path) -> None:
    """Llama with a token a base, after a special one at the beginning."""
    words = ["<unk>", "<s>", "</s>", *"ACGTN"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    config = LlamaConfig(vocab_size=len(words), max_position_embeddings=POSITIONS, **_SHAPE)
    LlamaModel(config).save_pretrained(folder)


KINDS = {
    "esm, 3-mers": _esm_kmers,
    "bert, letters": _bert_letters,
    "gpt-neox, BPE": _neox_bpe,
    "llama, letters": _llama_letters,
}
