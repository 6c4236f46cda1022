#!/usr/bin/env python3
"""Makes the seeds of the container's fuzz targets, tests/quant/corpus/<target>/. Standard library only.

    python3 tests/quant/make_corpus.py

Small on purpose: mutations of a hundred bytes reach a header's every field. Deterministic.
"""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "testing"))
from gguf_bytes import array, f32, gguf, text, u32, value  # noqa: E402

OUT = Path(__file__).resolve().parent / "corpus"


def write(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors(header, data):
    text = (header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make_safetensors():
    write("safetensors_fuzz", "empty", safetensors({}, b""))
    write("safetensors_fuzz", "two", safetensors(
        {"__metadata__": {"format": "pt"}, "a": entry("F32", [2, 2], 0, 16), "b": entry("F16", [3], 16, 22)},
        bytes(range(22))))
    write("safetensors_fuzz", "odd_shapes", safetensors(
        {"scalar": entry("I32", [], 0, 4), "none": entry("F32", [0, 5], 4, 4), "u8": entry("U8", [1, 1, 1, 3], 4, 7)},
        bytes(7)))
    write("safetensors_fuzz", "huge_shape", safetensors({"t": entry("F32", [2**32, 2**32], 0, 0)}, b""))
    write("safetensors_fuzz", "overlap", safetensors(
        {"a": entry("U8", [8], 0, 8), "b": entry("U8", [8], 4, 12)}, bytes(12)))
    write("safetensors_fuzz", "unknown_dtype", safetensors({"t": entry("F8_E4M3", [4], 0, 4)}, bytes(4)))
    write("safetensors_fuzz", "header_too_long", struct.pack("<Q", 2**63) + b"{}")


LLAMA = [value("general.architecture", 8, text("llama")), u32("llama.block_count", 1), u32("llama.context_length", 64),
         u32("llama.embedding_length", 4), u32("llama.feed_forward_length", 256),
         u32("llama.attention.head_count", 1), f32("llama.attention.layer_norm_rms_epsilon", 1e-5)]
EMBEDDING = ("token_embd.weight", (4, 2), 0, bytes(32))


def make_gguf():
    write("gguf_fuzz", "values", gguf([
        value("u8", 0, b"\x01"), value("i16", 3, b"\xff\xff"), value("u64", 10, b"\xff" * 8), value("f64", 12, bytes(8)),
        value("bool", 7, b"\x01"), value("text", 8, text(b"\xff\xfe")),
        value("texts", 9, array(8, 2, text("a") + text(""))), value("ints", 9, array(5, 2, bytes(8))),
        value("nested", 9, array(9, 1, array(0, 2, b"xy")))], []))
    write("gguf_fuzz", "llama_plain", gguf(LLAMA, [
        EMBEDDING, ("blk.0.attn_q.weight", (4, 4), 1, bytes(32)), ("blk.0.attn_q.bias", (4,), 30, bytes(8)),
        ("rope_freqs.weight", (2,), 0, struct.pack("<2f", 1, 1))]))
    write("gguf_fuzz", "llama_blocks", gguf(LLAMA, [
        EMBEDDING, ("blk.0.ffn_up.weight", (32, 1), 2, bytes(18)), ("blk.0.ffn_gate.weight", (32, 1), 3, bytes(20)),
        ("blk.0.attn_k.weight", (32, 4), 8, bytes(range(136))), ("blk.0.ffn_down.weight", (256, 1), 14, bytes(210))]))
    write("gguf_fuzz", "llama_k_blocks", gguf(LLAMA, [
        EMBEDDING, ("blk.0.attn_q.weight", (32, 4), 6, bytes(range(88))), ("blk.0.attn_k.weight", (32, 4), 7, bytes(range(96))),
        ("blk.0.ffn_up.weight", (256, 1), 10, bytes(range(84))), ("blk.0.ffn_gate.weight", (256, 1), 11, bytes(range(110))),
        ("blk.0.ffn_down.weight", (256, 1), 12, bytes(range(144))),
        ("blk.0.attn_output.weight", (256, 1), 13, bytes(range(176)))]))
    write("gguf_fuzz", "llama_linear_rope", gguf(LLAMA + [
        value("llama.rope.scaling.type", 8, text("linear")), f32("llama.rope.scaling.factor", 4),
        value("llama.attention.head_count_kv", 9, array(4, 1, struct.pack("<I", 1))),
        u32("tokenizer.ggml.eos_token_id", 1)], [EMBEDDING]))
    write("gguf_fuzz", "aligned_64_v2", gguf([u32("general.alignment", 64)], [("t", (2,), 0, bytes(8))], 2, 64))
    write("gguf_fuzz", "unread_type", gguf(LLAMA, [("token_embd.weight", (256, 1), 23, bytes(136))]))
    write("gguf_fuzz", "counts", b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))


def make_json():
    write("json_fuzz", "kinds", '{"a":[1,-2,3.5,1e300,true,null,"\\u00e9\\n"],"b":{"c":{}},"d":18446744073709551615}')
    write("json_fuzz", "duplicate", '{"a":1,"b":{"a":2},"a":3}')
    write("json_fuzz", "deep", "[" * 20 + "]" * 20)
    write("json_fuzz", "numbers", '{"i":9223372036854775807,"j":-9223372036854775808,"k":9223372036854775808,"f":2.0}')
    write("json_fuzz", "utf8", b'{"caf\xc3\xa9":"\xf0\x9f\x98\x80","bad":"\xff"}')
    write("json_fuzz", "escapes", '"\\ud83d\\ude00 \\ud800 \\u0000 \\q"')
    write("json_fuzz", "literals", "[NaN,Infinity,-0,0.1e+1]")
    write("json_fuzz", "lists", '{"eos_token_id":[2,5],"names":["a","b"],"one":2,"inner":{"x":1}}')


def make_config():
    anybcq = {"seed_precision": 1, "parent_precision": 2, "group_size": 32, "arch_config": {"model_name": "model"}}
    write("checkpoint_config_fuzz", "dense", '{"architectures":["LlamaForCausalLM"],"hidden_size":64}')
    write("checkpoint_config_fuzz", "anybcq", json.dumps({"architectures": ["LlamaForCausalLM"], "anybcq": anybcq}))
    write("checkpoint_config_fuzz", "foreign", '{"architectures":["A"],"quantization_config":{"quant_method":"gptq"}}')


def make_shards():
    index = '{"metadata":{"total_size":16},"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}'
    write("shard_index_fuzz", "two", index)
    write("shard_index_fuzz", "own_second", index.encode() + b"\0" + safetensors({"b": entry("U8", [3], 0, 3)}, b"abc"))
    write("shard_index_fuzz", "not_indexed", index.encode() + b"\0" + safetensors(
        {"b": entry("U8", [3], 0, 3), "c": entry("F16", [1], 3, 5)}, b"abcde"))
    write("shard_index_fuzz", "twice", index.encode() + b"\0" + safetensors({"a": entry("U8", [3], 0, 3)}, b"abc"))
    write("shard_index_fuzz", "wrong_shard", '{"weight_map":{"a":"b.safetensors"}}')
    write("shard_index_fuzz", "elsewhere", '{"weight_map":{"a":"../a.safetensors"}}')
    write("shard_index_fuzz", "itself", '{"weight_map":{"a":"model.safetensors.index.json","b":"."}}')
    write("shard_index_fuzz", "no_shard", '{"weight_map":{}}')


if __name__ == "__main__":
    make_safetensors()
    make_gguf()
    make_json()
    make_config()
    make_shards()
    seeds = [path for path in OUT.rglob("*") if path.is_file()]
    print(f"{len(seeds)} seeds, {sum(path.stat().st_size for path in seeds)} bytes")
