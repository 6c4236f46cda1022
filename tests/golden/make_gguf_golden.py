#!/usr/bin/env python3
"""Makes tests/golden/gguf/: a tiny "llama" GGUF file with every tensor type Bitdial reads, what must come out of it, and
blocks of random bits.

    python3 tests/golden/make_gguf_golden.py            # needs gguf, numpy, safetensors

tiny.gguf              random blocks (every code, f16 scales down to subnormals), q and k rows in llama.cpp's order,
                       llama3 rope factors, byte-sized tokenizer arrays of every kind the getters serve
expected.safetensors   f32 values under Hugging Face names: dequantized by the `gguf` package, rows put back with the
                       formula of transformers' GGUF loader
expected_config.json   the config.json the metadata stands for
blocks.safetensors     for each block type T: "T.blocks" (u8, [16, block bytes]) and "T.values" (f32, [16, block values]),
                       dequantized by the `gguf` package. All zeros, all ones, an infinity as each scale, and random bits,
                       scales too: values can be infinite or NaN

The bytes depend on the seeds alone. The file is not a working model: after layer 0 it holds what shows the other types.
"""

import json
import math
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parent / "gguf"
HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, VOCAB, LAYERS = 32, 256, 4, 2, 8, 40, 5
THETA = 1000.0
ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}
# Where a block has its f16 scales.
F16_AT = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
rng = np.random.default_rng(20260214)


def random_tensor(shape, qtype):
    """Random stored bytes of one tensor: (array for the writer, its f32 values)."""
    if qtype == T.F32:
        x = rng.standard_normal(shape).astype(np.float32)
        return x, x
    if qtype == T.F16:
        x = rng.standard_normal(shape).astype(np.float16)
        return x, x.astype(np.float32)
    block, num_bytes = gguf.GGML_QUANT_SIZES[qtype]
    raw = rng.integers(0, 256, (*shape[:-1], shape[-1] // block, num_bytes), dtype=np.uint8)
    if qtype == T.BF16:  # any bits but infinities and NaN
        raw[..., 1] = np.where(raw[..., 1] & 0x7F == 0x7F, 0x40, raw[..., 1])
    else:  # f16 scales of magnitudes 2^-20 to 1
        for at in F16_AT[qtype]:
            scales = rng.standard_normal(raw.shape[:-1]) * np.exp2(-rng.integers(0, 20, raw.shape[:-1]))
            raw[..., at:at + 2] = scales.astype("<f2")[..., None].view(np.uint8)
    raw = raw.reshape(*shape[:-1], -1)
    return raw, quants.dequantize(raw, qtype).astype(np.float32)


def random_blocks():
    """Blocks of any bits and their values, for blocks.safetensors."""
    bits, tensors = np.random.default_rng(20261127), {}
    for qtype, scales in F16_AT.items():
        raw = bits.integers(0, 256, (16, gguf.GGML_QUANT_SIZES[qtype][1]), dtype=np.uint8)
        raw[0], raw[1] = 0, 255
        for row, at in enumerate(scales, start=2):
            raw[row, at:at + 2] = np.array([np.inf], dtype="<f2").view(np.uint8)
        with np.errstate(invalid="ignore"):
            values = quants.dequantize(raw, qtype).astype(np.float32)
        assert np.isfinite(values).any() and not np.isfinite(values[1:2 + len(scales)]).any()
        tensors[f"{qtype.name}.blocks"], tensors[f"{qtype.name}.values"] = raw, np.ascontiguousarray(values)
    return tensors


def permute(w, heads):
    """llama.cpp, convert_hf_to_gguf.py: Hugging Face order -> GGUF order."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def reverse_permute(w, heads):
    """transformers, modeling_gguf_pytorch_utils.py: GGUF order -> Hugging Face order."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(2, 1).reshape(w.shape)


def rope_factors():
    """llama.cpp, convert_hf_to_gguf.py (generate_extra_tensors)."""
    low = ROPE["original_max_position_embeddings"] / ROPE["low_freq_factor"]
    high = ROPE["original_max_position_embeddings"] / ROPE["high_freq_factor"]
    factors = []
    for i in range(0, HEAD_DIM, 2):
        wavelen = 2 * math.pi * THETA ** (i / HEAD_DIM)
        if wavelen < high:
            factors.append(1.0)
        elif wavelen > low:
            factors.append(ROPE["factor"])
        else:
            smooth = ((ROPE["original_max_position_embeddings"] / wavelen - ROPE["low_freq_factor"])
                      / (ROPE["high_freq_factor"] - ROPE["low_freq_factor"]))
            factors.append(1 / ((1 - smooth) / ROPE["factor"] + smooth))
    assert 1 < factors[1] < ROPE["factor"], factors  # all three bands are there
    return np.array(factors, dtype=np.float32)


TENSORS = [  # GGUF name, Hugging Face name, shape, type, heads permuted
    ("token_embd.weight", "model.embed_tokens.weight", (VOCAB, HIDDEN), T.Q8_0, 0),
    ("output_norm.weight", "model.norm.weight", (HIDDEN,), T.F32, 0),
    ("output.weight", "lm_head.weight", (VOCAB, HIDDEN), T.F16, 0),
    ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", (HIDDEN,), T.F32, 0),
    ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", (HIDDEN,), T.F32, 0),
    ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", (32, HIDDEN), T.Q4_0, HEADS),
    ("blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias", (32,), T.F32, HEADS),
    ("blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", (16, HIDDEN), T.Q4_1, KV_HEADS),
    ("blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias", (16,), T.F32, KV_HEADS),
    ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", (16, HIDDEN), T.F16, 0),
    ("blk.0.attn_v.bias", "model.layers.0.self_attn.v_proj.bias", (16,), T.F32, 0),
    ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", (HIDDEN, 32), T.BF16, 0),
    ("blk.0.attn_output.bias", "model.layers.0.self_attn.o_proj.bias", (HIDDEN,), T.F32, 0),
    ("blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN), T.Q4_1, 0),
    ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", (INTERMEDIATE, HIDDEN), T.Q4_0, 0),
    ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", (HIDDEN, INTERMEDIATE), T.Q6_K, 0),
    ("blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight", (32, HIDDEN), T.F16, HEADS),
    ("blk.1.attn_k.weight", "model.layers.1.self_attn.k_proj.weight", (16, HIDDEN), T.BF16, KV_HEADS),
    ("blk.2.attn_q.weight", "model.layers.2.self_attn.q_proj.weight", (32, HIDDEN), T.F32, HEADS),
    ("blk.2.attn_k.weight", "model.layers.2.self_attn.k_proj.weight", (16, HIDDEN), T.Q8_0, KV_HEADS),
    ("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight", (32, HIDDEN), T.Q5_0, HEADS),
    ("blk.3.attn_k.weight", "model.layers.3.self_attn.k_proj.weight", (16, HIDDEN), T.Q5_1, KV_HEADS),
    ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight", (4, INTERMEDIATE), T.Q2_K, 0),
    ("blk.2.ffn_down.weight", "model.layers.2.mlp.down_proj.weight", (4, INTERMEDIATE), T.Q3_K, 0),
    ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight", (4, INTERMEDIATE), T.Q4_K, 0),
    ("blk.4.ffn_down.weight", "model.layers.4.mlp.down_proj.weight", (4, INTERMEDIATE), T.Q5_K, 0),
]

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "rms_norm_eps": 1e-05, "rope_theta": THETA,
    "rope_scaling": ROPE, "max_position_embeddings": 256, "vocab_size": VOCAB, "tie_word_embeddings": False,
    "attention_bias": True, "mlp_bias": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
}


def main():
    OUT.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(OUT / "tiny.gguf", "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(THETA)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"token{i}" for i in range(VOCAB - 1)] + [b"\xff\xfe"])  # tokens may be any bytes
    writer.add_token_scores([i / 4 for i in range(VOCAB)])
    writer.add_token_types([1 + i % 6 for i in range(VOCAB)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(5)
    writer.add_add_bos_token(True)

    expected = {}
    for name, hf_name, shape, qtype, heads in TENSORS:
        stored, values = random_tensor(shape, qtype)
        writer.add_tensor(name, stored, raw_dtype=None if qtype in (T.F32, T.F16) else qtype)
        if heads:
            restored = reverse_permute(values, heads)
            assert np.array_equal(permute(restored, heads), values)
            values = restored
        expected[hf_name] = np.ascontiguousarray(values)
    writer.add_tensor("rope_freqs.weight", rope_factors())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, OUT / "expected.safetensors")
    save_file(random_blocks(), OUT / "blocks.safetensors")
    (OUT / "expected_config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    print(f"{OUT}: {sum(f.stat().st_size for f in OUT.iterdir())} bytes, "
          f"gguf {version('gguf')}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
