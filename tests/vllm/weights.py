"""Write the demo model in Hugging Face's layout, for a real vLLM.

Run by vLLM's own Python: `python -m tests.vllm.weights FOLDER [--thinking]`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo_model import WEIGHTS, chat
from demo_model.network import Shape

_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_EMBEDDING = "model.embed_tokens.weight"
_MARKS = ("<think>", "</think>")
_ABOVE = 1.2
"""How much rather the thinking model writes `</think>` than a full stop."""


def main(folder: Path, *, thinking: bool) -> None:
    """Write weights, configuration and tokenizer.

    A thinking model ends its first sentence with `</think>` in place of the full stop, so that
    vLLM's parsers find reasoning in its answers.
    """
    reader = GGUFReader(WEIGHTS)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(it.split(" ")) for it in reader.fields["tokenizer.ggml.merges"].contents()]
    shape = Shape(vocabulary=len(tokens))
    state = dict(_tensors(reader, shape))
    if thinking:
        rows = state[_EMBEDDING]
        mark = _ABOVE * rows[tokens.index(".")]
        state[_EMBEDDING] = torch.cat([rows, torch.zeros_like(mark)[None], mark[None]])
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(tokens, merges, thinking=thinking).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(state[_EMBEDDING]),
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.norm_epsilon,
        rope_theta=shape.rope_theta,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokens.index(chat.END),
        pad_token_id=tokens.index(chat.PAD),
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], []), (missing, unexpected)
    model.save_pretrained(folder)


def _tensors(reader: Any, shape: Shape) -> Iterator[tuple[str, Any]]:
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "token_embd.weight":
            name = _EMBEDDING
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            _, layer, part, _ = tensor.name.split(".")
            heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(part)
            if heads is not None:  # demo_model.export has put neighbouring rows together
                pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, -1)
                values = pairs.swapaxes(1, 2).reshape(values.shape)
            name = f"model.layers.{layer}.{_LAYER[part]}.weight"
        yield name, torch.from_numpy(np.ascontiguousarray(values))


def _tokenizer(tokens: list[str], merges: list[tuple[str, ...]], *, thinking: bool) -> Any:
    words = Tokenizer(models.BPE(vocab={it: at for at, it in enumerate(tokens)}, merges=merges))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    words.decoder = decoders.ByteLevel()
    if thinking:
        words.add_tokens([AddedToken(it, normalized=False) for it in _MARKS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token=chat.END,
        pad_token=chat.PAD,
        additional_special_tokens=[chat.START],
    )
    tokenizer.chat_template = chat.TEMPLATE
    return tokenizer


if __name__ == "__main__":
    main(Path(sys.argv[1]), thinking="--thinking" in sys.argv)
