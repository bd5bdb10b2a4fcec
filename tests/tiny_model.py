"""Builds a two-layer random Llama that real vLLM serves: for tests that need no sense, only speed.

`python tests/tiny_model.py FOLDER`. Everything is home-made (weights, byte-level tokenizer, chat
template), so no model hub is asked and neither torch nor transformers is imported: 0.4 M
parameters, written in under a second.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HIDDEN = 128
LAYERS = 2
HEADS = 4
FEED_FORWARD = 256
CONTEXT = 2048
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# What makes it ready soonest on two CPU cores: 64 MiB of KV cache hold 32,000 of its tokens.
FLAGS = (
    "--enforce-eager",
    "--dtype=float32",
    "--max-model-len=1024",
    "--max-num-seqs=64",
    "--block-size=32",
    "--kv-cache-memory-bytes=64M",
)


def build(folder: Path) -> Path:
    """Write the model into `folder` (made when absent) and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder)
    _write_config(folder, vocabulary)
    save_file(_weights(vocabulary), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _write_tokenizer(folder: Path) -> int:
    """One token per byte and three special ones; returns the size of the vocabulary."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": CHAT_TEMPLATE,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
        },
    )
    return int(tokenizer.get_vocab_size())


def _write_config(folder: Path, vocabulary: int) -> None:
    end = vocabulary - 1
    _write(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": HIDDEN,
            "intermediate_size": FEED_FORWARD,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            "vocab_size": vocabulary,
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": vocabulary - len(SPECIAL),
        },
    )
    _write(folder / "generation_config.json", {"eos_token_id": end})


def _weights(vocabulary: int) -> dict[str, Any]:
    rng = np.random.default_rng(7)

    def matrix(rows: int, columns: int) -> Any:
        return rng.normal(0, 0.08, (rows, columns)).astype(np.float32)

    def ones() -> Any:
        return np.ones(HIDDEN, dtype=np.float32)

    weights = {"model.embed_tokens.weight": matrix(vocabulary, HIDDEN), "model.norm.weight": ones()}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name in ("q", "k", "v", "o"):
            weights[f"{prefix}.self_attn.{name}_proj.weight"] = matrix(HIDDEN, HIDDEN)
        weights[f"{prefix}.mlp.gate_proj.weight"] = matrix(FEED_FORWARD, HIDDEN)
        weights[f"{prefix}.mlp.up_proj.weight"] = matrix(FEED_FORWARD, HIDDEN)
        weights[f"{prefix}.mlp.down_proj.weight"] = matrix(HIDDEN, FEED_FORWARD)
        weights[f"{prefix}.input_layernorm.weight"] = ones()
        weights[f"{prefix}.post_attention_layernorm.weight"] = ones()
    return weights


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
