"""Write the trained network as a q8_0 GGUF file.

Usage: ``python -m demo_model.export TOKENIZER WEIGHTS OUT``.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch

from demo_model import chat
from demo_model.network import Network, Shape


def main(tokenizer: Path, weights: Path, out: Path) -> None:
    """Write the GGUF file `out`.

    Tensors and metadata have llama.cpp's names for the Llama architecture.
    """
    state = torch.load(weights, weights_only=True)
    shape = Shape(vocabulary=state["token_embd.weight"].shape[0])
    Network(shape).load_state_dict(state)  # raises RuntimeError for weights of another shape
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out, "llama")
    _add_metadata(writer, shape)
    _add_tokenizer(writer, json.loads(tokenizer.read_text(encoding="utf-8")))
    for name, tensor in state.items():
        _add_tensor(writer, shape, name.replace("layers.", "blk."), tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"export: {out}, {out.stat().st_size / 1e6:.2f} MB")


def _add_metadata(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name("sluice-demo")
    writer.add_description("Exercises the pipeline of Sluice; not meant to be right.")
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict) -> None:
    ids = tokenizer["model"]["vocab"]
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    kinds = [
        gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(special[chat.START])
    writer.add_eos_token_id(special[chat.END])
    writer.add_eot_token_id(special[chat.END])
    writer.add_pad_token_id(special[chat.PAD])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(chat.TEMPLATE)


def _add_tensor(writer: gguf.GGUFWriter, shape: Shape, name: str, values: np.ndarray) -> None:
    if values.ndim == 1:
        writer.add_tensor(name, values)
        return
    for part, heads in (("attn_q.", shape.heads), ("attn_k.", shape.kv_heads)):
        if part in name:
            # llama.cpp rotates neighbouring rows; the network rotates the two halves of a head.
            halves = values.reshape(heads, 2, shape.head // 2, shape.width)
            values = halves.swapaxes(1, 2).reshape(values.shape)
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(
        name, gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind
    )


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
