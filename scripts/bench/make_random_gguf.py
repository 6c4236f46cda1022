#!/usr/bin/env python3
"""A GGUF file of a named Llama shape with random fp16 weights and no vocabulary: a peer's model for benches of speed.

    scripts/bench/make_random_gguf.py llama-1.1b OUT.gguf

The shapes are those of `bitdial bench engine --shape`.
"""
import sys

import gguf
import numpy as np

import shapes


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    layers, hidden, ffn, heads, kv_heads, vocab, positions = shape = shapes.parse(sys.argv[1])
    kv = shape.kv
    writer = gguf.GGUFWriter(sys.argv[2], "llama", use_temp_file=False)
    writer.add_context_length(positions)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    matrices = {"token_embd": (vocab, hidden), "output": (vocab, hidden)}
    for i in range(layers):
        matrices |= {f"blk.{i}.attn_q": (hidden, hidden), f"blk.{i}.attn_k": (kv, hidden), f"blk.{i}.attn_v": (kv, hidden),
                     f"blk.{i}.attn_output": (hidden, hidden), f"blk.{i}.ffn_gate": (ffn, hidden),
                     f"blk.{i}.ffn_up": (ffn, hidden), f"blk.{i}.ffn_down": (hidden, ffn)}
    vectors = [f"blk.{i}.{norm}" for i in range(layers) for norm in ("attn_norm", "ffn_norm")] + ["output_norm"]
    random = np.random.default_rng(1)
    # One row of normal values for all rows, each rolled by its own number: as random as a bench of speed needs.
    for tensor, (rows, columns) in matrices.items():
        values = (random.standard_normal(rows + columns) * 0.02).astype(np.float16)
        weights = np.lib.stride_tricks.sliding_window_view(values, columns)[:rows]
        writer.add_tensor(tensor + ".weight", np.ascontiguousarray(weights))
    for tensor in vectors:
        writer.add_tensor(tensor + ".weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
