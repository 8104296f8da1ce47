"""What a language model expects of tokens that it does not see: likelihoods of variants, entropy.

Belongs here: log-likelihood ratio and pseudo-log-likelihood of two sequences, entropy of one, by masked tokens; of a
causal model the entropy of each next token. Does not: hidden states
(`builders.extractors.hf.extractor`), windows of alleles (`builders.variants.windows`).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from builders.extractors.hf.files import read_weights
from builders.extractors.hf.tokens import DnaTokenizer

_Ids = tuple[int, ...]
_Masked = tuple[_Ids, tuple[int, ...]]
"""Tokens with some of them masked, and the places of those."""


_CAUSAL = ("ForCausalLM", "LMHeadModel")


def is_causal(config: Any) -> bool:
    """Tell whether a model was trained to predict the next token, by what its configuration says."""
    return any(name.endswith(_CAUSAL) for name in getattr(config, "architectures", None) or ())


def load_masked_model(folder: Any, config: Any, *, precision: str, trusted: bool) -> torch.nn.Module:
    """Load a model with its head of a masked language model.

    Raises
    ------
    HfModelError
        If it has none that was trained, or its weights are damaged.
    """
    model = read_weights(
        AutoModelForMaskedLM,
        folder,
        config,
        what="a masked language model with its head",
        precision=precision,
        trusted=trusted,
        spared=("pooler",),
    )
    return model.eval().requires_grad_(False)


def load_causal_model(folder: Any, config: Any, *, precision: str, trusted: bool) -> torch.nn.Module:
    """Load a model with its head of a causal language model; an HfModelError as of `load_masked_model`."""
    model = read_weights(
        AutoModelForCausalLM,
        folder,
        config,
        what="a causal language model with its head",
        precision=precision,
        trusted=trusted,
        spared=(),
    )
    return model.eval().requires_grad_(False)


def next_entropy(
    model: torch.nn.Module, tokenizer: DnaTokenizer, sequence: str, *, most_tokens: int
) -> NDArray[np.float64]:
    """Give the entropy of what a causal model expects in place of each token, from those before it, for each base.

    Returns
    -------
    Shape `(bases,)`, float64, in bits; NaN for a base that no token covers, or whose token is the first: nothing is
    before it. One pass.
    """
    tokens = tokenizer(sequence)
    _require_room(len(tokens.ids), most_tokens, mend="a smaller region")
    device = next(model.parameters()).device
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        logits = model(input_ids=torch.from_numpy(tokens.ids[None]).to(device)).logits[0, :-1].double()
        logs = logits.log_softmax(-1)
        entropy = (-(logs.exp() * logs).sum(-1) / np.log(2)).cpu().numpy()
    found = np.full(len(sequence), np.nan)
    for start, end, value in zip(tokens.starts[1:], tokens.ends[1:], entropy, strict=True):
        found[start:end] = value
    return found


class MaskedScores:
    """Scores pairs of sequences.

    Parameters
    ----------
    tokenizer
        With a token that hides others.
    most_tokens
        Longest input; longer windows are an error.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: DnaTokenizer, *, most_tokens: int, batch_size: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        assert tokenizer.mask_id is not None
        self._mask_id = tokenizer.mask_id
        self._most_tokens = most_tokens
        self._batch_size = batch_size

    def score(
        self, sequences: Sequence[str], pairs: Sequence[tuple[int, int]], kind: Literal["llr", "pll"]
    ) -> NDArray[np.float64]:
        """Give the log-likelihood of ALT less that of REF, shape `(pairs,)`, in nats.

        `llr`: of the tokens that differ, all of them masked at once. Where both alleles have as many, they are masked
        in the same context, and one pass tells both; otherwise each has its own. `pll`: of all tokens, each masked by
        itself (pseudo-log-likelihood; a pass a token).
        """
        ids = [tuple(self._tokenizer(text).ids.tolist()) for text in sequences]
        _require_room(max(map(len, ids), default=0), self._most_tokens, mend="a smaller `bin_size=`")
        wanted = [
            [self._masked(ids[ref], ids[alt], kind), self._masked(ids[alt], ids[ref], kind)] for ref, alt in pairs
        ]
        contexts: dict[_Masked, int] = {}
        for masked, _ in (one for of_pair in wanted for allele in of_pair for one in allele):
            contexts.setdefault(masked, len(contexts))
        logs = self._log_probabilities(list(contexts))

        def likelihood(allele: Sequence[tuple[_Masked, list[int]]]) -> float:
            return sum(float(logs[contexts[one]][np.arange(len(hidden)), hidden].sum()) for one, hidden in allele)

        return np.array([likelihood(alt) - likelihood(ref) for ref, alt in wanted], dtype=np.float64)

    def entropy(self, sequence: str) -> NDArray[np.float64]:
        """Give the entropy of what is expected in place of each token, masked by itself, for each base that it covers.

        Returns
        -------
        Shape `(bases,)`, in bits; NaN for a base that no token covers. A pass a token.
        """
        tokens = self._tokenizer(sequence)
        _require_room(len(tokens.ids), self._most_tokens, mend="a smaller region")
        masked = [one for one, _ in self._masked(tuple(tokens.ids.tolist()), (), "pll")]
        found = np.full(len(sequence), np.nan)
        for (_, (place,)), logs in zip(masked, self._log_probabilities(masked), strict=True):
            found[tokens.starts[place] : tokens.ends[place]] = -(np.exp(logs) * logs).sum() / np.log(2)
        return found

    def _log_probabilities(self, masked: Sequence[_Masked]) -> list[NDArray[np.float64]]:
        """Compute the log-probabilities of all tokens at the masked places of each input, `(places, vocabulary)`."""
        device = next(self._model.parameters()).device
        order = sorted(range(len(masked)), key=lambda one: len(masked[one][0]))  # of like length together
        found: dict[int, NDArray[np.float64]] = {}
        for first in range(0, len(order), self._batch_size):
            batch = order[first : first + self._batch_size]
            longest = max(len(masked[one][0]) for one in batch)
            ids = torch.full((len(batch), longest), self._tokenizer.pad_id, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for row, one in enumerate(batch):
                length = len(masked[one][0])
                ids[row, :length], mask[row, :length] = torch.tensor(masked[one][0]), 1
            with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
                logits = self._model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
                for row, one in enumerate(batch):
                    chosen = logits[row, list(masked[one][1])].double()
                    found[one] = chosen.log_softmax(-1).cpu().numpy()
        return [found[one] for one in range(len(masked))]

    def _masked(self, ids: _Ids, other: _Ids, kind: str) -> list[tuple[_Masked, list[int]]]:
        """Give the masked inputs of an allele, each with the tokens that it hides."""
        if kind == "pll":
            groups: list[tuple[int, ...]] = [
                (place,) for place, token in enumerate(ids) if not self._tokenizer.is_special(token)
            ]
        else:
            least = min(len(ids), len(other))
            first = next((n for n in range(least) if ids[n] != other[n]), least)
            last = next((n for n in range(least - first) if ids[-1 - n] != other[-1 - n]), least - first)
            groups = [tuple(range(first, len(ids) - last))]
        made: list[tuple[_Masked, list[int]]] = []
        for places in groups:
            hidden = list(ids)
            for place in places:
                hidden[place] = self._mask_id
            made.append(((tuple(hidden), places), [ids[place] for place in places]))
        return made


def _require_room(longest: int, most_tokens: int, *, mend: str) -> None:
    if longest > most_tokens:
        raise ValueError(
            f"a window has {longest:,} tokens, and the model reads {most_tokens:,} at once; give {mend}, or less "
            "context_bp"
        )
