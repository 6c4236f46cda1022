#!/usr/bin/env python3
"""Writes a tiny random model for tests of commands and the server, in the standard library alone.
Usage: make_tiny_model.py FOLDER [--family llama|opt] [--seed N] [--dtype f32|f16] [--context N]

llama: hidden 64, 2 layers, 4 heads (2 KV heads), intermediate 128, 272 tokens: 256 bytes, 14 merges, 2 special;
tokenizer.json and a ChatML template.
opt: the same sizes in the form of OPT-350m (norms after, an embedding of 32 channels), 274 tokens: fairseq's four, 256
bytes, 14 merges, in vocab.json and merges.txt; the embedding is padded to 512 rows, of which 238 mean nothing.
"""
import argparse
import json
import pathlib
import random
import struct

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 64, 2, 4, 2, 16, 128
MERGES = ["t h", "i n", "e r", "a n", "Ġ t", "o n", "r e", "h e", "o u", "e s", "Ġ a", "th e", "in g", "Ġt he"]
SPECIAL = ["<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_to_unicode():
    """GPT-2's printable stand-in for every byte."""
    printable = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    mapping, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            mapping[byte] = chr(byte)
        else:
            mapping[byte] = chr(256 + extra)
            extra += 1
    return mapping


def tokenizer_json():
    vocab = {char: byte for byte, char in byte_to_unicode().items()}
    for merge in MERGES:
        vocab[merge.replace(" ", "")] = len(vocab)
    added = [
        {"id": len(vocab) + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i, text in enumerate(SPECIAL)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                  "merges": MERGES},
    }


def shapes(vocab_size):
    yield "model.embed_tokens.weight", [vocab_size, HIDDEN]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", [HIDDEN]
        yield prefix + "mlp.down_proj.weight", [HIDDEN, INTERMEDIATE]
        yield prefix + "mlp.gate_proj.weight", [INTERMEDIATE, HIDDEN]
        yield prefix + "mlp.up_proj.weight", [INTERMEDIATE, HIDDEN]
        yield prefix + "post_attention_layernorm.weight", [HIDDEN]
        yield prefix + "self_attn.k_proj.weight", [KV_HEADS * HEAD_DIM, HIDDEN]
        yield prefix + "self_attn.o_proj.weight", [HIDDEN, HEADS * HEAD_DIM]
        yield prefix + "self_attn.q_proj.weight", [HEADS * HEAD_DIM, HIDDEN]
        yield prefix + "self_attn.v_proj.weight", [KV_HEADS * HEAD_DIM, HIDDEN]
    yield "model.norm.weight", [HIDDEN]


OPT_VOCAB, OPT_EMBED = 512, 32


def opt_tokens():
    return ["<s>", "<pad>", "</s>", "<unk>", *byte_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]


def opt_shapes(context):
    yield "model.decoder.embed_positions.weight", [context + 2, HIDDEN]
    yield "model.decoder.embed_tokens.weight", [OPT_VOCAB, OPT_EMBED]
    for layer in range(LAYERS):
        prefix = f"model.decoder.layers.{layer}."
        for name, out_features, in_features in [
            ("fc1", INTERMEDIATE, HIDDEN), ("fc2", HIDDEN, INTERMEDIATE),
            *((f"self_attn.{part}_proj", HIDDEN, HIDDEN) for part in ("k", "out", "q", "v")),
        ]:
            yield prefix + name + ".bias", [out_features]
            yield prefix + name + ".weight", [out_features, in_features]
        for norm in ("final_layer_norm", "self_attn_layer_norm"):
            yield prefix + norm + ".bias", [HIDDEN]
            yield prefix + norm + ".weight", [HIDDEN]
    yield "model.decoder.project_in.weight", [HIDDEN, OPT_EMBED]
    yield "model.decoder.project_out.weight", [OPT_EMBED, HIDDEN]


def write_opt(folder, seed=0, dtype="f32", context=256):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "activation_function": "relu", "hidden_size": HIDDEN,
        "ffn_dim": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "max_position_embeddings": context, "vocab_size": OPT_VOCAB, "word_embed_proj_dim": OPT_EMBED,
        "do_layer_norm_before": False, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    vocab = {token: i for i, token in enumerate(opt_tokens())}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(merge + "\n" for merge in MERGES))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "</s>", "eos_token": "</s>",
         "unk_token": "</s>", "pad_token": "<pad>"}))
    write_weights(folder / "model.safetensors", opt_shapes(context), seed, dtype)


def write_model(folder, seed=0, dtype="f32", context=256):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_json()
    vocab_size = len(tokenizer["model"]["vocab"]) + len(SPECIAL)
    end_id = vocab_size - 1
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": context, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "vocab_size": vocab_size, "tie_word_embeddings": True, "eos_token_id": end_id,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end_id}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": SPECIAL[1], "chat_template": CHAT_TEMPLATE}))

    write_weights(folder / "model.safetensors", shapes(vocab_size), seed, dtype)


def write_weights(path, shapes_by_name, seed, dtype):
    generator = random.Random(seed)
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    code, size, name_of_type = ("f", 4, "F32") if dtype == "f32" else ("e", 2, "F16")
    for name, shape in shapes_by_name:
        count = 1
        for dim in shape:
            count *= dim
        deviation = 0.3 if name.endswith(".bias") else 1.5 * shape[-1] ** -0.5
        is_norm = len(shape) == 1 and not name.endswith(".bias")
        values = [1.0] * count if is_norm else [generator.gauss(0, deviation) for _ in range(count)]
        blobs.append(struct.pack(f"<{count}{code}", *values))
        header[name] = {"dtype": name_of_type, "shape": shape, "data_offsets": [offset, offset + count * size]}
        offset += count * size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--family", choices=["llama", "opt"], default="llama")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=["f32", "f16"], default="f32")
    parser.add_argument("--context", type=int, default=256)
    arguments = parser.parse_args()
    write = write_opt if arguments.family == "opt" else write_model
    write(arguments.folder, arguments.seed, arguments.dtype, arguments.context)


if __name__ == "__main__":
    main()
