"""Any DNA model of Hugging Face Transformers as an extractor.

Belongs here: from hidden states to bins, strands, channels, what the values depend on. Does not: the model's files
(`builders.extractors.hf.files`), tokens and pieces.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions, check_output
from builders.extractors.hf.pieces import Piece, pieces
from builders.extractors.hf.settings import HfSettings
from builders.extractors.sequence import reverse_complement
from catalog import Channel
from catalog.runtime.plugins import how_to_install

try:
    import torch
    from torch import nn

    from builders.extractors.hf.files import (
        HfModelError,
        digest_of,
        find_model,
        last_is_output,
        licence_of,
        load_config,
        load_model,
        load_tokenizer,
        most_tokens,
    )
    from builders.extractors.hf.likelihood import (
        MaskedScores,
        is_causal,
        load_causal_model,
        load_masked_model,
        next_entropy,
    )
    from builders.extractors.hf.tokens import DnaTokenizer, Tokens
    from builders.extractors.networks.torch_device import usable_device
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"the hf extractor needs torch and transformers: {how_to_install('model')}") from error

_MOST_TOKENS = 4096
"""Longest input for a model that says more, or nothing: attention grows with its square."""
_CODE_VERSION = 1  # raise it with every change that changes a value
_NO_PART = {"model", "revision", "batch_pieces", "trust_remote_code", "feature_set"}
"""Settings that change no value, or that the digest of the files stands for."""


class HfExtractor:
    """Pool the hidden states of a layer of a language model to bins.

    Parameters
    ----------
    settings
        Which model, which layer, which pooling.
    bin_size
        Bases a bin (bp).
    device
        `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one.

    Raises
    ------
    OSError
        If the model is not there, or cannot be fetched.
    HfModelError, TokenizerError, ValueError
        If it cannot serve, or the settings do not fit it.
    """

    name: str = "hf"
    citation: str = ""

    def __init__(self, settings: HfSettings, *, bin_size: int = 4096, device: str = "auto") -> None:
        self.settings = settings
        self.bin_size = bin_size
        self.device = device
        self.place = find_model(settings.model, revision=settings.revision, trusted=settings.trust_remote_code)
        self.config = load_config(self.place.folder, trusted=settings.trust_remote_code)
        self.layer = _layer(settings.layer, int(self.config.num_hidden_layers))
        tokenizer = load_tokenizer(self.place.folder, trusted=settings.trust_remote_code)
        self.tokenizer = DnaTokenizer(tokenizer)
        self.most_tokens = settings.piece_tokens or most_tokens(self.config, tokenizer, _MOST_TOKENS)
        self.input_length = bin_size + 2 * settings.context_bp
        self.slots = _slots(settings, bin_size)
        if settings.pooling == "cls" and not self.tokenizer.begins_with_special:
            raise ValueError(
                "`pooling='cls'` reads the special token that a tokenizer puts first, and this one puts none; use "
                "'mean'"
            )
        self.batch_size = 8
        self.tolerance = 2e-3 if settings.precision == "fp32" else 3e-2
        licence = licence_of(self.place.folder)
        self.licence = f"Computed with {settings.model}, licence: {licence or 'not stated; see its card'}"
        strands = 2 if settings.strands == "both" else 1
        tokens = self.input_length / self.tokenizer.bases_a_token
        weights_a_block = 12 * int(self.config.hidden_size) ** 2
        self.flops_per_bin = 2.0 * strands * tokens * weights_a_block * (self.layer + 1)

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: HfSettings) -> "HfExtractor":
        """Make the extractor that the options describe; the errors are those of the constructor."""
        check_output(options, settings.feature_set)
        return cls(settings, bin_size=options.bin_size, device=options.device)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the model's files, the settings that change values, and the version of this code."""
        chosen = {name: value for name, value in asdict(self.settings).items() if name not in _NO_PART}
        decisive = {
            "extractor": self.name,
            "version": _CODE_VERSION,
            "files": digest_of(self.place.folder),
            "bin_size": self.bin_size,
            **chosen,
            "layer": self.layer,
            "piece_tokens": self.most_tokens,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """The hidden units of each slot of the bin, of which there is one unless tokens are kept apart."""
        width, where = int(self.config.hidden_size), f"layer {self.layer} of {self.settings.model}"
        names = [("", where)]
        if self.settings.pooling == "tokens":
            names = [(f"b{start:04d}", f"{where}, base {start} on") for start in self.slots[:-1].tolist()]
        return {
            self.settings.feature_set: tuple(
                Channel(name=f"{slot}h{unit:04d}", description=f"unit {unit}, {text}", group=slot)
                for slot, text in names
                for unit in range(width)
            )
        }

    @property
    def options(self) -> dict[str, JsonValue]:
        """What decides the values, for people."""
        return {
            **asdict(self.settings),
            "layer": self.layer,
            "layers": int(self.config.num_hidden_layers),
            "revision": self.place.commit,
            "piece_tokens": self.most_tokens,
            "architecture": str(self.config.model_type),
            "last_layer_is": self._last_layer_is,
        }

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Compute bins.

        Parameters
        ----------
        sequence
            ASCII bases in either case, shape `(bins, input_length)`, uint8.

        Returns
        -------
        `(bins, slots * hidden)`, float32.
        """
        upper = np.where((sequence >= ord("a")) & (sequence <= ord("z")), sequence - 32, sequence)
        found = self._pooled([row.tobytes().decode("ascii") for row in upper])
        if self.settings.strands == "both":
            turned = self._pooled([row.tobytes().decode("ascii") for row in reverse_complement(upper)])
            found = (found + turned[:, ::-1]) / np.float32(2)
        return {self.settings.feature_set: found.reshape(len(sequence), -1)}

    def variant_channels(self, score: str) -> tuple[str, ...]:
        """Name the one number of `llr` and `pll`; a ValueError for others, or if the model masks no tokens."""
        if score not in ("llr", "pll"):
            raise ValueError(f"hf has the scores llr and pll of its own, not {score}")
        self._require_mask(f"`scores={score}`")
        return (score,)

    def variant_scores(
        self, score: str, windows: NDArray[np.uint8], pairs: Sequence[tuple[int, int]]
    ) -> NDArray[np.floating[Any]]:
        """Compute log-likelihoods of ALT less those of REF (`builders.extractors.hf.likelihood`), `(pairs, 1)`."""
        strands = [windows] if self.settings.strands == "forward" else [windows, reverse_complement(windows)]
        kind: Literal["llr", "pll"] = "llr" if score == "llr" else "pll"
        found = [
            self._masked.score([row.tobytes().decode("ascii").upper() for row in strand], pairs, kind)
            for strand in strands
        ]
        mean: NDArray[np.float64] = np.mean(found, axis=0)
        return mean[:, None]

    @property
    def context_bp(self) -> int:
        """Bases that are read on either side (bp)."""
        return self.settings.context_bp

    def masked_entropy(self, sequence: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Give the entropy of each base's token in bits, `(length,)`; of both strands the mean, if they are asked for.

        A masked model expects a token from all others, a causal one from those before it.

        Raises
        ------
        ValueError
            If the model has no head of either kind, its weights are random, or the sequence has more tokens than it
            reads.
        """
        forward = self._entropy(sequence)
        if self.settings.strands == "forward":
            return forward
        mean: NDArray[np.float64] = (forward + self._entropy(reverse_complement(sequence))[::-1]) / 2
        return mean

    def _entropy(self, sequence: NDArray[np.uint8]) -> NDArray[np.float64]:
        text = sequence.tobytes().decode("ascii").upper()
        if is_causal(self.config):
            self._require_trained("`method=entropy`")
            return next_entropy(self._causal, self.tokenizer, text, most_tokens=self.most_tokens)
        self._require_mask("`method=entropy`")
        return self._masked.entropy(text)

    def _require_mask(self, what: str) -> None:
        if self.tokenizer.mask_id is None:
            raise ValueError(f"{what} masks tokens, and the tokenizer of {self.settings.model} has no mask")
        self._require_trained(what)

    def _require_trained(self, what: str) -> None:
        if self.settings.random_seed is not None:
            raise ValueError(f"{what} is of trained weights; leave random_seed out")

    @cached_property
    def _causal(self) -> nn.Module:
        settings = self.settings
        model = load_causal_model(
            self.place.folder, self.config, precision=settings.precision, trusted=settings.trust_remote_code
        )
        return model.to(usable_device(self.device))

    @cached_property
    def _masked(self) -> MaskedScores:
        settings = self.settings
        model = load_masked_model(
            self.place.folder, self.config, precision=settings.precision, trusted=settings.trust_remote_code
        )
        return MaskedScores(
            model.to(usable_device(self.device)),
            self.tokenizer,
            most_tokens=self.most_tokens,
            batch_size=settings.batch_pieces,
        )

    def _pooled(self, sequences: Sequence[str]) -> NDArray[np.float32]:
        """Pool each sequence: shape `(sequences, slots, hidden)`."""
        width = int(self.config.hidden_size)
        total = np.zeros((len(sequences), len(self.slots) - 1, width))
        weight = np.zeros((len(sequences), len(self.slots) - 1))
        anywhere, n_tokens = np.zeros((len(sequences), width)), np.zeros(len(sequences))
        read = [one for number, text in enumerate(sequences) for one in self._read(number, text)]
        read.sort(key=lambda one: len(one.tokens.ids))  # of like length together: less padding
        size = self.settings.batch_pieces
        for batch in (read[first : first + size] for first in range(0, len(read), size)):
            for one, hidden in zip(batch, self._hidden([one.tokens for one in batch]), strict=True):
                share = self._share(one)
                total[one.number] += share @ hidden
                weight[one.number] += share.sum(axis=1)
                anywhere[one.number] += hidden.sum(axis=0)
                n_tokens[one.number] += len(hidden)
        # A tokenizer may leave bases out, such as N: their place has the mean of all tokens.
        empty = weight == 0
        total[empty] = np.repeat((anywhere / n_tokens[:, None])[:, None], total.shape[1], axis=1)[empty]
        weight[empty] = 1
        return (total / weight[:, :, None]).astype(np.float32)

    def _read(self, number: int, text: str) -> Iterator["_Read"]:
        """Tokenize a sequence in pieces that the model can take."""
        room = self.most_tokens - self.tokenizer.n_special
        longest = max(room, int(room * self.tokenizer.bases_a_token))
        while True:
            found = [
                _Read(number, piece, self.tokenizer(text[piece.start : piece.end]))
                for piece in pieces(len(text), longest)
            ]
            if all(len(one.tokens.ids) <= self.most_tokens for one in found) or longest <= room:
                yield from found
                return
            longest = max(room, longest // 2)  # rare words, or N: shorter tokens than usual

    def _share(self, one: "_Read") -> NDArray[np.float64]:
        """Give the bases of each slot that each token speaks for: shape `(slots, tokens)`."""
        piece, offset = one.piece, one.piece.start
        edges = self.slots + self.settings.context_bp
        low = np.clip(edges[:-1], piece.own_start, piece.own_end)[:, None]
        high = np.clip(edges[1:], piece.own_start, piece.own_end)[:, None]
        if self.settings.pooling == "cls":
            first = np.zeros((len(low), len(one.tokens.ids)))
            first[:, :1] = high - low
            return first
        covered = np.minimum(one.tokens.ends + offset, high) - np.maximum(one.tokens.starts + offset, low)
        share: NDArray[np.float64] = np.maximum(covered, 0).astype(np.float64)
        return share

    def _hidden(self, tokens: Sequence[Tokens]) -> list[NDArray[np.float64]]:
        """Compute the hidden states of some pieces at once, each `(tokens, hidden)`."""
        model, device = self._loaded
        longest = max(len(one.ids) for one in tokens)
        ids = np.full((len(tokens), longest), self.tokenizer.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one.ids)], mask[row, : len(one.ids)] = one.ids, 1
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            output = model(
                input_ids=torch.from_numpy(ids).to(device),
                attention_mask=torch.from_numpy(mask).to(device),
                output_hidden_states=True,
            )
            states = output.hidden_states[self.layer].double().cpu().numpy()
        if states.shape[2] != int(self.config.hidden_size):
            raise HfModelError(
                f"{self.settings.model} gives {states.shape[2]} hidden units, and its config.json states "
                f"{self.config.hidden_size}; a plug-in can serve it"
            )
        return [states[row, : len(one.ids)] for row, one in enumerate(tokens)]

    @cached_property
    def _loaded(self) -> tuple[nn.Module, torch.device]:
        device = usable_device(self.device)
        settings = self.settings
        model = load_model(
            self.place.folder,
            self.config,
            layer=self.layer,
            precision=settings.precision,
            trusted=settings.trust_remote_code,
            random_seed=settings.random_seed,
        )
        return model.to(device), device

    @property
    def _last_layer_is(self) -> str:
        """Say whether the last hidden states are those after the final norm."""
        is_output = last_is_output(self.config, trusted=self.settings.trust_remote_code)
        if is_output is None:
            return "not known"
        return "the model's output, after its final norm if it has one" if is_output else "before the final norm"


class _Read(NamedTuple):
    """A piece of a sequence as tokens."""

    number: int
    """Of the sequence."""
    piece: Piece
    tokens: Tokens


def _layer(layer: int, blocks: int) -> int:
    found = layer if layer >= 0 else blocks + 1 + layer
    if not 0 <= found <= blocks:
        raise ValueError(f"`layer=` is 0 (embeddings) to {blocks}, or -1 to {-blocks - 1}; got {layer}")
    return found


def _slots(settings: HfSettings, bin_size: int) -> NDArray[np.int64]:
    """Give the edges (bp) of what is pooled apart, from the first base of the bin."""
    step = settings.token_bp if settings.pooling == "tokens" else bin_size
    if bin_size % step:
        raise ValueError(f"`token_bp=` divides the bin: {bin_size:,} bp is no multiple of {step}")
    return np.arange(0, bin_size + 1, step)
