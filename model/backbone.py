"""A frozen language model that reads prompt tokens and then data tokens.

Belongs here: loading any Hugging Face model directory, cutting it to its first blocks, running it on embeddings.
Does not: what the data tokens are (`model.alignment`), which of them see which (`model.data_attention`), keeping what
it computed of a prompt (`model.prefix_cache`), adapters (`model.lora`), making a small untrained one
(`model.untrained`).
"""

import contextlib
import hashlib
import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from model.data_attention import attention_windows, check_masks_are_obeyed, data_mask
from model.hub import fetch_model, is_hub_id

DataAttention = Literal["causal", "bidirectional"]
UNTRAINED_MARK = "featurestore_untrained"
"""Attribute of `config.json` that says: these weights are random, made on the spot."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "vocab.bpe")
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16
_ROWS_KEPT = 1 << 16


class BackboneError(ValueError):
    """A model directory that cannot serve as a backbone, or input that does not fit into one."""


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
        GPT-2, ...) and encoder (BERT, ...) models both do; which it is, is measured. No code of the directory runs, and
        pickled weights are refused. An id `owner/model` that is no folder here is looked up in the local cache of the
        Hugging Face Hub, and downloaded where the network allows.
    max_layers
        Keep at most this many blocks (the paper: 8 of 32); None keeps all. Only these are read from disk.
    max_positions
        Use at most this many positions (prompt + data), however many the model has.
    precision
        `float32` or `bfloat16`: of the frozen weights and of the arithmetic in them.
    data_attention
        `bidirectional` lets the data tokens of a causal model see each other in both directions.

    Raises
    ------
    BackboneError
        If the directory lacks the configuration, the weights or the tokenizer, or holds a model of another kind, or one
        whose attention cannot be made bidirectional.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_layers: int | None = None,
        max_positions: int = 2048,
        precision: str = "float32",
        data_attention: DataAttention = "causal",
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise BackboneError(f"precision is one of {', '.join(PRECISIONS)}; got {precision!r}")
        if data_attention not in get_args(DataAttention):
            raise BackboneError(
                f"data_attention is one of {', '.join(get_args(DataAttention))}; got {data_attention!r}"
            )
        self.directory = _find(directory)
        _check_files(self.directory)
        self.model = _load_model(self.directory, max_layers, PRECISIONS[precision])
        self.tokenizer = _load_tokenizer(self.directory)
        config = self.model.config
        self.layers: int = config.num_hidden_layers
        self.width: int = config.hidden_size
        self.is_untrained: bool = bool(getattr(config, UNTRAINED_MARK, False))
        self._first_position = _first_position(self.model)
        own = getattr(config, "max_position_embeddings", None)
        self.positions: int = max_positions if own is None else min(max_positions, own - self._first_position)
        self._takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        self.is_adapted = False
        """Whether something trainable was put into it (`model.lora`)."""
        self._windows: dict[str, int | None] = {}
        self.is_causal = self._ignores_what_follows()
        self.data_attention = data_attention
        if data_attention == "bidirectional":
            self._open_data_attention()
        self._digest: str | None = None
        self._rows: dict[tuple[str, int], NDArray[np.int32]] = {}

    @property
    def embeddings(self) -> Tensor:
        """The frozen token embeddings, shape `(vocabulary, embedding_width)`."""
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight

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
            self._digest = directory_digest(self.directory)
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
                "positions; use fewer bins, raise max_positions if the model has more, or take another model"
            )
        return room

    def encode_prompts(self, prompts: Sequence[str], n_data: int) -> PromptTokens:
        """Tokenise prompts, cut them to what `n_data` data tokens leave, and pad them on the left."""
        return self.pad(self.token_rows(prompts, n_data))

    def token_rows(self, prompts: Sequence[str], n_data: int) -> list[NDArray[np.int32]]:
        """Give the tokens of each prompt, cut to what `n_data` data tokens leave; a prompt met before costs nothing."""
        room = self.prompt_room(n_data)
        fresh = [text for text in dict.fromkeys(prompts) if (text, room) not in self._rows]
        if fresh:
            # Prompts of one long training run fit; whoever reads more of them pays for it once in a while.
            if len(self._rows) + len(fresh) > _ROWS_KEPT:
                self._rows.clear()
                fresh = list(dict.fromkeys(prompts))
            encoded = self.tokenizer(fresh, truncation=True, max_length=room)["input_ids"]
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
        return PromptTokens(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))

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
        prompt = self.embeddings[tokens.ids]
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
            Shape `(batch, tokens, embedding_width)`.
        mask
            True where there is a token, shape `(batch, past + tokens)`, bool.
        n_data
            How many of the last tokens are data: what `data_attention` is about.
        past
            A Transformers cache to read from and add to, or None.
        """
        options: dict[str, Any] = {"attention_mask": mask.long(), "use_cache": past is not None}
        if self._windows and n_data:
            masks = {
                kind: data_mask(mask, embedded.shape[1], n_data, window=window, dtype=embedded.dtype)
                for kind, window in self._windows.items()
            }
            # Models whose blocks differ in kind take one mask a kind, the others one.
            options["attention_mask"] = masks if len(masks) > 1 else next(iter(masks.values()))
        if self._takes_positions:
            positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0) + self._first_position
            options["position_ids"] = positions[:, -embedded.shape[1] :]
        if past is not None:
            options["past_key_values"] = past
        return self.model(inputs_embeds=embedded, **options)

    def _known(self, ids: list[int]) -> list[int]:
        if max(ids, default=0) >= self.embeddings.shape[0]:
            raise BackboneError(
                f"the tokenizer in {self.directory} gave token {max(ids)}, but the model embeds "
                f"{self.embeddings.shape[0]} tokens; use the tokenizer that the model was trained with"
            )
        return ids

    @torch.no_grad()
    def _ignores_what_follows(self) -> bool:
        """Measure whether a token's output depends on the token after it: no configuration says so reliably."""
        embedded, changed, mask = self._probe()
        before, after = (self.run(x, mask).last_hidden_state[:, 0].float() for x in (embedded, changed))
        return bool(torch.allclose(before, after, rtol=1e-4, atol=1e-5))

    def _probe(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give embeddings of five tokens, the same with another last one, and their mask."""
        generator = torch.Generator().manual_seed(0)
        embedded = torch.randn(1, 5, self.embedding_width, generator=generator).to(self.embeddings)
        changed = embedded.clone()
        changed[:, -1] *= -1
        return embedded, changed, torch.ones(1, 5, dtype=torch.bool, device=embedded.device)

    @torch.no_grad()
    def _open_data_attention(self) -> None:
        """Take masks of our own from now on, and measure that the model obeys them."""
        if not self.is_causal:
            raise BackboneError(
                f"{self.directory.name} reads in both directions already; data_attention='bidirectional' is for causal "
                "models, leave it out"
            )
        embedded, changed, mask = self._probe()
        try:
            self._windows = attention_windows(self.model.config, self.positions)
            check_masks_are_obeyed(
                lambda x, n_data: self.run(x, mask, n_data=n_data).last_hidden_state[0].float(), embedded, changed
            )
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise BackboneError(
                f"data_attention='bidirectional' cannot be had of {self.directory.name} "
                f"({self.model.config.model_type}): {error}; use 'causal', or a model of the Llama, Mistral, Qwen or "
                "GPT-2 families, or an encoder"
            ) from error


def directory_digest(directory: Path) -> str:
    """Hash a model directory; see `Backbone.digest`."""
    total = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix == ".json" or path.name in _TOKENIZER_FILES:
            total.update(f"{path.name}\n".encode() + path.read_bytes())
        elif path.suffix == ".safetensors":
            size = path.stat().st_size
            total.update(f"{path.name}\n{size}\n".encode())
            with path.open("rb") as file:
                for sample in range(_SAMPLES):
                    file.seek(max(size - _SAMPLE_BYTES, 0) * sample // (_SAMPLES - 1))
                    total.update(file.read(_SAMPLE_BYTES))
    return total.hexdigest()


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loading reports and bars of Transformers off the terminal: blocks that we cut off are no news."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated there
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated there


def _find(directory: str | os.PathLike[str]) -> Path:
    if not is_hub_id(directory):
        return Path(directory).resolve()
    try:
        return fetch_model(os.fspath(directory))
    except OSError as error:
        raise BackboneError(str(error)) from error


def _check_files(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise BackboneError(
            f"{directory} is no Hugging Face model directory: it has no config.json; give the folder that "
            "`save_pretrained` or `hf download` wrote"
        )
    if not any(directory.glob("*.safetensors")):
        pickled = sorted(path.name for path in directory.glob("*.bin"))
        found = f"only {pickled[0]}, a pickle, which may run code" if pickled else "none"
        raise BackboneError(
            f"{directory} has no weights in safetensors (found {found}); download the .safetensors files too, or "
            "convert once where you trust the file: AutoModel.from_pretrained(...).save_pretrained(...)"
        )
    if not any((directory / name).is_file() for name in _TOKENIZER_FILES):
        raise BackboneError(
            f"{directory} has no tokenizer (looked for {', '.join(_TOKENIZER_FILES)}); copy the tokenizer files of the "
            "model into it"
        )


def _load_model(directory: Path, max_layers: int | None, dtype: torch.dtype) -> Any:
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except (ValueError, OSError, KeyError) as error:
            raise BackboneError(
                f"{directory} holds a model that Transformers does not know without running code from the directory: "
                f"{error}"
            ) from error
        if config.is_encoder_decoder:
            raise BackboneError(
                f"{directory} holds an encoder-decoder ({config.model_type}); use a causal model (Llama, GPT-2, ...) "
                "or an encoder (BERT, ...)"
            )
        if max_layers is not None and max_layers < config.num_hidden_layers:
            if max_layers < 1:
                raise BackboneError(f"a backbone keeps at least 1 block, got max_layers={max_layers}")
            # Newer configurations name the kind of each block; the two must agree before either is read.
            if vars(config).get("layer_types"):
                config.layer_types = config.layer_types[:max_layers]
            config.num_hidden_layers = max_layers
        try:
            model, report = AutoModel.from_pretrained(
                directory,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (ValueError, OSError, RuntimeError) as error:
            raise BackboneError(f"the weights in {directory} cannot be loaded: {error}") from error
    # A pooler (BERT) sits after the hidden states, which are all that is used here.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise BackboneError(
            f"the weights in {directory} lack {len(missing)} tensors that its config.json asks for ({missing[0]}, ...);"
            " download all of its .safetensors files again"
        )
    return model.eval().requires_grad_(False)


def _load_tokenizer(directory: Path) -> Any:
    with quiet_transformers():
        try:
            return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except (ValueError, OSError, ImportError) as error:
            raise BackboneError(
                f"the tokenizer in {directory} cannot be loaded: {error}; copy the model's tokenizer.json into it"
            ) from error


def _first_position(model: nn.Module) -> int:
    """Give the first position id: RoBERTa and its kin begin after the padding index."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
