"""Likelihoods of a masked language model: held to one pass a masked token, through Transformers itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hf_models import POSITIONS, WIDTH, write_causal, write_model
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    EsmConfig,
    EsmForMaskedLM,
    PreTrainedTokenizerFast,
)

from builders.attribution.request import AttributionRequest
from builders.attribution.run import attribute
from builders.extractors.base import ExtractorOptions, load_extractor
from builders.extractors.hf.files import HfModelError
from builders.variants.request import VariantsRequest
from builders.variants.run import score_variants
from model.language.directory import quiet_transformers

LENGTH = 24
_SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def write_masked(folder: Path, kind: str) -> Path:
    """A small random model with its head, and a token that masks."""
    with torch.random.fork_rng(), quiet_transformers():
        if kind == "esm, 3-mers":
            write_model(folder, kind)
            torch.manual_seed(3)
            words = len((folder / "vocab.txt").read_text().split())
            config = EsmConfig(
                vocab_size=words, max_position_embeddings=POSITIONS + 2, pad_token_id=1, mask_token_id=4, **_SHAPE
            )
            EsmForMaskedLM(config).save_pretrained(folder)
            return folder
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGTN"]
        made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        PreTrainedTokenizerFast(tokenizer_object=made, mask_token="[MASK]", **names).save_pretrained(folder)
        torch.manual_seed(3)
        config = BertConfig(vocab_size=len(words), max_position_embeddings=POSITIONS, **_SHAPE)
        BertForMaskedLM(config).save_pretrained(folder)
    return folder


def made(folder: Path, **settings: Any) -> Any:
    options = ExtractorOptions(bin_size=LENGTH, device="cpu")
    return load_extractor("hf", options, {"model": str(folder), **settings})


def windows(*texts: str) -> Any:
    return np.array([list(text.encode()) for text in texts], dtype=np.uint8)


def hidden(model: Any, ids: list[int], places: list[int], mask: int) -> float:
    """Log-probability of the tokens at some places, all of them masked in one pass."""
    masked = [mask if place in places else one for place, one in enumerate(ids)]
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([masked])).logits[0].double().log_softmax(-1)
    return float(sum(logs[place, ids[place]] for place in places))


REF = "ACGTTGCAACGTGACTTAGCCATG"
ALT = REF[:12] + "T" + REF[13:]


@pytest.mark.parametrize("kind", ["bert, letters", "esm, 3-mers"])
def test_the_ratio_masks_all_tokens_that_differ_and_the_pseudo_likelihood_each(kind: str, tmp_path: Path) -> None:
    folder = write_masked(tmp_path, kind)
    extractor = made(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = [extractor.tokenizer(text).ids.tolist() for text in (REF, ALT)]
    differ = [place for place in range(len(ids[0])) if ids[0][place] != ids[1][place]]
    mask = extractor.tokenizer.mask_id
    pairs, seen = [(0, 1), (1, 0), (0, 0)], windows(REF, ALT)
    ratio = hidden(model, ids[1], differ, mask) - hidden(model, ids[0], differ, mask)
    np.testing.assert_allclose(extractor.variant_scores("llr", seen, pairs)[:, 0], [ratio, -ratio, 0], atol=1e-5)
    is_special = extractor.tokenizer.is_special
    whole = [sum(hidden(model, one, [n], mask) for n in range(len(one)) if not is_special(one[n])) for one in ids]
    found = extractor.variant_scores("pll", seen, pairs)[:, 0]
    np.testing.assert_allclose(found, [whole[1] - whole[0], whole[0] - whole[1], 0], atol=1e-4)


def test_alleles_with_other_numbers_of_tokens_are_each_masked_in_their_own_context(tmp_path: Path) -> None:
    folder = write_masked(tmp_path, "esm, 3-mers")
    extractor = made(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    alt = REF[:12] + "N" + REF[13:]  # an N makes single letters of a 3-mer
    ids = [extractor.tokenizer(text).ids.tolist() for text in (REF, alt)]
    assert len(ids[0]) != len(ids[1])
    same_first = next(n for n in range(len(ids[0])) if ids[0][n] != ids[1][n])
    same_last = next(n for n in range(len(ids[0])) if ids[0][-1 - n] != ids[1][-1 - n])
    of = [hidden(model, one, list(range(same_first, len(one) - same_last)), extractor.tokenizer.mask_id) for one in ids]
    found = extractor.variant_scores("llr", windows(REF, alt), [(0, 1)])
    np.testing.assert_allclose(found, [[of[1] - of[0]]], atol=1e-5)


def test_both_strands_give_the_mean_of_the_two(tmp_path: Path) -> None:
    folder = write_masked(tmp_path, "bert, letters")
    turned = [text[::-1].translate(str.maketrans("ACGT", "TGCA")) for text in (REF, ALT)]
    one = [made(folder).variant_scores("llr", windows(*pair), [(0, 1)]) for pair in ((REF, ALT), turned)]
    both = made(folder, strands="both").variant_scores("llr", windows(REF, ALT), [(0, 1)])
    np.testing.assert_allclose(both, np.mean(one, axis=0), atol=1e-6)


def test_models_that_mask_no_tokens_or_lack_their_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no mask"):
        made(write_model(tmp_path / "a", "llama, letters")).variant_channels("llr")
    headless = made(write_model(tmp_path / "b", "esm, 3-mers"))
    with pytest.raises(HfModelError, match="weights of a masked language model"):
        headless.variant_scores("llr", windows(REF, ALT), [(0, 1)])
    long = made(write_masked(tmp_path / "c", "bert, letters"), piece_tokens=12)
    with pytest.raises(ValueError, match="a window has 26 tokens"):
        long.variant_scores("llr", windows(REF, ALT), [(0, 1)])


def test_the_table_of_variants_has_the_score_beside_those_of_hidden_states(tmp_path: Path) -> None:
    folder = write_masked(tmp_path / "model", "bert, letters")
    (tmp_path / "g.fa").write_text(f">c\n{REF}\n")
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "v.vcf").write_text(f"{header}c\t12\t.\t{REF[11]}\tA,<DEL>\t.\t.\t.\n")
    request = VariantsRequest(
        vcf=tmp_path / "v.vcf",
        fasta=str(tmp_path / "g.fa"),
        out=tmp_path / "o.parquet",
        extractor=("hf",),
        settings={"model": str(folder)},
        scores=("l2", "llr"),
        bin_size=LENGTH,
        device="cpu",
    )
    score_variants(request)
    table = pl.read_parquet(request.out)
    expected = made(folder).variant_scores("llr", windows(REF, f"{REF[:11]}A{REF[12:]}"), [(0, 1)])[0, 0]
    assert table["hf:llr"].to_list() == [pytest.approx(expected, abs=1e-6), None]
    assert table.columns[-2:] == ["hf:l2", "hf:llr"]
    with pytest.raises(ValueError, match=r"`scores=llr` is of the extractor hf"):
        score_variants(replace(request, extractor=("onehot",), settings={}, out=tmp_path / "p.parquet"))


def entropy_by_hand(folder: Path, extractor: Any, text: str) -> list[float]:
    """Entropy of each base's token, hidden in a pass of its own."""
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokens = extractor.tokenizer(text)
    found = [float("nan")] * len(text)
    for place, token in enumerate(tokens.ids.tolist()):
        if extractor.tokenizer.is_special(token):
            continue
        hidden_one = tokens.ids.tolist()
        hidden_one[place] = extractor.tokenizer.mask_id
        with torch.no_grad():
            shares = model(input_ids=torch.tensor([hidden_one])).logits[0, place].double().softmax(-1).numpy()
        for base in range(tokens.starts[place], tokens.ends[place]):
            found[base] = -sum(share * np.log2(share) for share in shares)
    return found


@pytest.mark.parametrize("kind", ["bert, letters", "esm, 3-mers"])
def test_the_entropy_of_a_base_is_that_of_its_token_masked_by_itself(kind: str, tmp_path: Path) -> None:
    folder = write_masked(tmp_path, kind)
    text = REF + "NAC"  # the 3-mers end in single letters
    found = made(folder).masked_entropy(windows(text.lower())[0])
    expected = entropy_by_hand(folder, made(folder), text)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    turned = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    reverse = entropy_by_hand(folder, made(folder), turned)[::-1]
    both = made(folder, strands="both").masked_entropy(windows(text)[0])
    np.testing.assert_allclose(both, np.mean([expected, reverse], axis=0), atol=1e-5)


def test_the_entropy_of_a_causal_model_is_of_each_next_token(tmp_path: Path) -> None:
    folder, text = write_causal(tmp_path, "llama, letters"), REF + "NAC"
    extractor = made(folder, strands="both")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def by_hand(read: str) -> list[float]:
        found = []
        for place in range(1, len(read) + 1):  # token 0 is the one before the first base
            ids = extractor.tokenizer(read).ids[:place]
            with torch.no_grad():
                shares = model(input_ids=torch.tensor(ids[None])).logits[0, -1].double().softmax(-1).numpy()
            found.append(-sum(share * np.log2(share) for share in shares))
        return found

    turned = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    expected = np.mean([by_hand(text), by_hand(turned)[::-1]], axis=0)
    np.testing.assert_allclose(extractor.masked_entropy(windows(text)[0]), expected, atol=1e-5)


def test_a_causal_model_says_nothing_of_the_bases_of_its_first_token(tmp_path: Path) -> None:
    extractor = made(write_causal(tmp_path, "gpt-neox, BPE"))
    found = extractor.masked_entropy(windows(REF)[0])
    tokens = extractor.tokenizer(REF)
    assert np.isnan(found).tolist() == [place < tokens.ends[0] for place in range(len(REF))]


def test_the_verb_writes_a_row_a_base_with_the_context_that_the_model_is_given(tmp_path: Path) -> None:
    folder = write_masked(tmp_path / "model", "bert, letters")
    (tmp_path / "g.fa").write_text(f">c\n{REF}\n")
    request = AttributionRequest(
        fasta=str(tmp_path / "g.fa"),
        region="c:3-7",
        extractor="hf",
        settings={"model": str(folder), "context_bp": 4},
        method="entropy",
        out=tmp_path / "o.parquet",
        figure=tmp_path / "o.svg",
        device="cpu",
    )
    table = pl.read_parquet(attribute(request).out)
    expected = entropy_by_hand(folder, made(folder), "NN" + REF[:11])[4:9]
    np.testing.assert_allclose(table["hf:entropy"], expected, atol=1e-5)
    assert "".join(table["base"]) == "".join(table["ref"]) == REF[2:7]
    assert (tmp_path / "o.svg").exists()


def test_entropy_is_refused_where_nothing_is_masked_or_too_much_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no mask"):
        made(write_model(tmp_path / "a", "llama, letters")).masked_entropy(windows(REF)[0])
    folder = write_masked(tmp_path / "b", "bert, letters")
    with pytest.raises(ValueError, match="of trained weights"):
        made(folder, random_seed=1).masked_entropy(windows(REF)[0])
    with pytest.raises(ValueError, match="26 tokens, and the model reads 12 at once; give a smaller region"):
        made(folder, piece_tokens=12).masked_entropy(windows(REF)[0])
    (tmp_path / "g.fa").write_text(f">c\n{REF}\n")
    words = {"fasta": str(tmp_path / "g.fa"), "region": "c:3-7", "out": tmp_path / "o.npz", "method": "entropy"}
    with pytest.raises(ValueError, match="motif predicts no tokens"):
        attribute(AttributionRequest(**words))
    with pytest.raises(ValueError, match="of tokens, not of channels"):
        AttributionRequest(**words, channels=("entropy",))
