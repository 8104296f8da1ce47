"""From bases to tokens, and which bases each token covers.

Belongs here: any tokenizer of the Transformers library, fast or not. Does not: pieces of long sequence
(`builders.extractors.hf.pieces`), the model.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_UNKNOWN = 0.01
"""Largest share of the bases A, C, G, T that a tokenizer may not know."""
_MARKS = ("\u0120", "\u2581", "##")
"""What tokenizers put before a token: of byte-level BPE, of SentencePiece, of WordPiece."""
_TRIAL_BP = 3000


class TokenizerError(ValueError):
    """A tokenizer that cannot read DNA, or not this way."""


class Tokens(NamedTuple):
    """One sequence as tokens."""

    ids: NDArray[np.int64]
    """Shape `(tokens,)`, with the special ones that the tokenizer adds."""
    starts: NDArray[np.int64]
    """First base that each token covers, shape `(tokens,)`; special tokens cover none."""
    ends: NDArray[np.int64]


class DnaTokenizer:
    """Tokenizes upper-case bases, and says which of them each token covers.

    Parameters
    ----------
    tokenizer
        Of the Transformers library.

    Raises
    ------
    TokenizerError
        If more than 1 % of random A, C, G, T becomes unknown tokens: it was made for something else, or wants its
        k-mers spaced out.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        rng = np.random.default_rng(0)
        trial = "".join(rng.choice(list("ACGT"), _TRIAL_BP))
        tokens = self(trial)
        unknown = tokens.ids == tokenizer.unk_token_id
        covered = tokens.ends - tokens.starts
        self._bases_a_token = _TRIAL_BP / max(1, int((covered > 0).sum()))
        share = 1 - covered[~unknown].sum() / _TRIAL_BP
        if share > MOST_UNKNOWN:
            raise TokenizerError(
                f"the tokenizer does not know {share:.0%} of the bases of random DNA, and at most {MOST_UNKNOWN:.0%} "
                "may be unknown; it was made for other text, or wants k-mers with spaces between them"
            )

    @property
    def pad_id(self) -> int:
        """Id to fill up with; any, since what is filled up is masked."""
        found = self._tokenizer.pad_token_id
        return 0 if found is None else int(found)

    @property
    def mask_id(self) -> int | None:
        """Id of the token that hides another; None if there is none."""
        found = self._tokenizer.mask_token_id
        return None if found is None else int(found)

    def is_special(self, one: int) -> bool:
        """Tell whether a token stands for no bases."""
        return one in self._special

    @cached_property
    def n_special(self) -> int:
        """Special tokens that are added to each sequence."""
        return int((self("A").ends == 0).sum())

    @property
    def bases_a_token(self) -> float:
        """Bases that a token covers, in the mean over random DNA."""
        return self._bases_a_token

    @property
    def begins_with_special(self) -> bool:
        """Whether the first token is a special one, such as CLS."""
        first = self("A").ids[0]
        return bool(first in self._special)

    def __call__(self, sequence: str) -> Tokens:
        """Tokenize bases.

        Raises
        ------
        TokenizerError
            If the tokens, put together, are not the sequence.
        """
        if self._tokenizer.is_fast:
            encoded = self._tokenizer(sequence, return_offsets_mapping=True, verbose=False)
            spans = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
            ids = np.asarray(encoded["input_ids"], dtype=np.int64)
            spans[np.isin(ids, list(self._special))] = 0
            return Tokens(ids, spans[:, 0], spans[:, 1])
        ids = np.asarray(self._tokenizer(sequence, verbose=False)["input_ids"], dtype=np.int64)
        return self._by_text(sequence, ids)

    def _by_text(self, sequence: str, ids: NDArray[np.int64]) -> Tokens:
        """Find what tokens cover by their text; an unknown one covers what lies before the next known one."""
        texts = [self._text(int(one)) for one in ids]
        starts, ends = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
        place = 0
        for number, text in enumerate(texts):
            if text == "":
                continue
            if text is None:
                known = next((later for later in texts[number + 1 :] if later), None)
                end = len(sequence) if known is None else sequence.find(known, place + 1)
                end = len(sequence) if end < 0 else end
            elif sequence.startswith(text, place):
                end = place + len(text)
            else:
                raise TokenizerError(
                    f"the tokens of {sequence[:20]}... are not its bases (found {text!r} at base {place}); give a "
                    "tokenizer that keeps what it reads"
                )
            starts[number], ends[number] = place, end
            place = end
        return Tokens(ids, starts, ends)

    def _text(self, one: int) -> str | None:
        """Give the bases of a token: none of a special one, None of the unknown one."""
        if one in self._special:
            return ""
        if one == self._tokenizer.unk_token_id:
            return None
        text = str(self._tokenizer.convert_ids_to_tokens(one))
        for mark in _MARKS:
            text = text.removeprefix(mark)
        return text.upper()
