"""A frozen language model that reads prompt tokens and then data tokens.

Belongs here: loading any Hugging Face model directory, cutting it to its first blocks, running it on embeddings.
Does not: what the data tokens are (`model.alignment`), keeping what it computed of a prompt (`model.prefix_cache`),
making a small untrained one (`model.untrained`).
"""

import contextlib
import hashlib
import inspect
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

UNTRAINED_MARK = "featurestore_untrained"
"""Attribute of `config.json` that says: these weights are random, made on the spot."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "vocab.bpe")
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


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
        GPT-2, ...) and encoder (BERT, ...) models both do; which it is, is measured. Nothing is downloaded, no code of
        the directory runs, and pickled weights are refused.
    max_layers
        Keep at most this many blocks (the paper: 8 of 32); None keeps all. Only these are read from disk.
    max_positions
        Use at most this many positions (prompt + data), however many the model has.
    precision
        `float32` or `bfloat16`: of the frozen weights and of the arithmetic in them.

    Raises
    ------
    BackboneError
        If the directory lacks the configuration, the weights or the tokenizer, or holds a model of another kind.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        max_layers: int | None = None,
        max_positions: int = 2048,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise BackboneError(f"precision is one of {', '.join(PRECISIONS)}; got {precision!r}")
        self.directory = Path(directory).resolve()
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
        self.is_causal = self._ignores_what_follows()
        self._digest: str | None = None

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
        room = self.prompt_room(n_data)
        encoded = self.tokenizer(list(prompts), truncation=True, max_length=room)["input_ids"]
        rows = [self._known(row) for row in encoded]
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for index, row in enumerate(rows):
            if row:
                ids[index, -len(row) :] = torch.tensor(row)
                mask[index, -len(row) :] = True
        device = self.embeddings.device
        return PromptTokens(ids.to(device), mask.to(device))

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
        hidden = self.run(torch.cat([prompt, data.to(prompt.dtype)], dim=1), mask).last_hidden_state
        read: Tensor = hidden[:, -data.shape[1] :].float()
        return read

    def run(self, embedded: Tensor, mask: Tensor, *, past: Any = None) -> Any:
        """Run the model on embeddings; positions count the unmasked tokens, so padding shifts nothing.

        Parameters
        ----------
        embedded
            Shape `(batch, tokens, embedding_width)`.
        mask
            True where there is a token, shape `(batch, past + tokens)`, bool.
        past
            A Transformers cache to read from and add to, or None.
        """
        options: dict[str, Any] = {"attention_mask": mask.long(), "use_cache": past is not None}
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
        generator = torch.Generator().manual_seed(0)
        embedded = torch.randn(1, 4, self.embedding_width, generator=generator).to(self.embeddings)
        changed = embedded.clone()
        changed[:, -1] *= -1
        mask = torch.ones(1, 4, dtype=torch.bool, device=embedded.device)
        before, after = (self.run(x, mask).last_hidden_state[:, 0].float() for x in (embedded, changed))
        return bool(torch.allclose(before, after, rtol=1e-4, atol=1e-5))


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
