#!/usr/bin/env python3
"""Makes seeds of the server's fuzz targets, tests/server/corpus/<target>/. Standard library only. Deterministic.

    python3 tests/server/make_corpus.py

The seeds of sentencepiece_fuzz, tokenizer_json_fuzz and validator_fuzz are not from here.
"""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "testing"))
from gguf_bytes import array, gguf, text, u32, value  # noqa: E402

OUT = Path(__file__).resolve().parent / "corpus"
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
          "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
SMOLLM2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n"
           "You are <it\\'s>.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
           "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]"
          "['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for "
          "message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("
          "'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and "
          "system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message"
          "['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ "
          "bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + "
          "content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA3 = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
          "message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 "
          "%}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ "
          "'<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")


def write(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def compact(json_value):
    return json.dumps(json_value, separators=(",", ":"), ensure_ascii=False)


def ggml(name, kind, payload):
    return value("tokenizer.ggml." + name, kind, payload)


def texts(name, words):
    return ggml(name, 9, array(8, len(words), b"".join(map(text, words))))


def types(numbers):
    return ggml("token_type", 9, array(5, len(numbers), struct.pack(f"<{len(numbers)}i", *numbers)))


def byte_level(pre, *more):
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "T", "h", "e", "r", "1", "Ġ", "Ċ", "Th", "The", "er"]
    return gguf([ggml("model", 8, text("gpt2")), ggml("pre", 8, text(pre)), texts("tokens", words),
                 types([3, 3, 3] + [1] * 9 + [4]), texts("merges", ["T h", "Th e", "e r"]),
                 u32("tokenizer.ggml.bos_token_id", 1), u32("tokenizer.ggml.eos_token_id", 2), *more], [])


def sentencepiece(words, kinds, *more):
    scores = struct.pack(f"<{len(words)}f", *(-float(i) for i in range(len(words))))
    return gguf([ggml("model", 8, text("llama")), texts("tokens", words), types(kinds),
                 ggml("scores", 9, array(6, len(words), scores)), u32("tokenizer.ggml.bos_token_id", 1),
                 u32("tokenizer.ggml.eos_token_id", 2), *more], [])


def make_tokenizer_gguf():
    for pre in ("gpt-2", "llama-bpe", "smollm", "qwen2"):
        write("tokenizer_gguf_fuzz", f"bpe_{pre}", byte_level(pre))
    write("tokenizer_gguf_fuzz", "bpe_chat", byte_level(
        "smollm", value("tokenizer.chat_template", 8, text(CHATML)), ggml("add_bos_token", 7, b"\x01"),
        ggml("add_eos_token", 7, b"\x01"), ggml("add_space_prefix", 7, b"\x01")))
    write("tokenizer_gguf_fuzz", "bpe_bad_merge", byte_level("gpt-2").replace(text("e r"), text("e x")))
    write("tokenizer_gguf_fuzz", "unknown_pre", byte_level("deepseek-llm"))
    words = ["<unk>", "<s>", "</s>", "▁", "a", "A", "r", "▁A", "AA", "er", "e"]
    kinds = [2, 3, 3, 1, 1, 1, 1, 1, 1, 4, 5]
    write("tokenizer_gguf_fuzz", "spm", sentencepiece(words, kinds))
    write("tokenizer_gguf_fuzz", "spm_spaces", sentencepiece(
        words, kinds, ggml("add_space_prefix", 7, b"\0"), ggml("remove_extra_whitespaces", 7, b"\x01"),
        u32("tokenizer.ggml.unknown_token_id", 0), u32("tokenizer.ggml.eot_token_id", 2)))
    write("tokenizer_gguf_fuzz", "spm_bytes", sentencepiece(
        words[:4] + [f"<0x{byte:02X}>" for byte in range(256)], kinds[:4] + [6] * 256))
    write("tokenizer_gguf_fuzz", "spm_charsmap", sentencepiece(
        words, kinds, ggml("precompiled_charsmap", 9, array(0, 4, bytes(4)))))


def make_tokenizer_config():
    added = {"1": {"content": "<s>", "special": True}, "9": {"content": "<|im_end|>", "lstrip": True, "rstrip": True,
                                                            "normalized": True, "single_word": False}}
    write("tokenizer_config_fuzz", "names", compact({"bos_token": "<s>", "eos_token": {"content": "</s>"},
                                                     "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": True,
                                                     "tokenizer_class": "LlamaTokenizer", "add_prefix_space": True}))
    write("tokenizer_config_fuzz", "added", compact({"added_tokens_decoder": added, "eos_token": "<|im_end|>"}))
    write("tokenizer_config_fuzz", "templates", compact({"chat_template": [
        {"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]}))
    write("tokenizer_config_fuzz", "jinja", compact({"chat_template": "{{ old }}", "bos_token": None}) + "\0" + LLAMA3)


def make_chat_template():
    for name, template in {"chatml": CHATML, "smollm2": SMOLLM2, "llama2": LLAMA2, "llama3": LLAMA3}.items():
        write("chat_template_fuzz", name, template + "\0 <|im_end|>\n<|im_start|>system\n[INST] </s> <|eot_id|> \u00e9\u3000")
    spelled = CHATML.replace("message['role']", "message.role").replace("'", '"').replace("{% ", "{%-  ")
    write("chat_template_fuzz", "spelled", "{# a comment #}" + spelled)
    write("chat_template_fuzz", "unclosed", "{% for m in messages %}{{ 'a")
    write("chat_template_fuzz", "unknown", "\u00e9" * 90 + "{{ x -}} \n {%- if a %}\n\t{#- b -#}")


def make_detokenizer():
    def tokens(rules, *words):
        return bytes([rules]) + b"".join(bytes([len(word) | special]) + word for word, special in words)

    smile = "\U0001f600".encode()
    write("detokenizer_fuzz", "cut_characters", tokens(0, (smile[:1], 0), (smile[1:3], 0), (smile[3:] + b"a", 0)))
    write("detokenizer_fuzz", "never_finished", tokens(0x10, (b"\xe4\xbd", 0), (b"\xf4\x90", 0), (b"\xed\xa0\x80", 0), (b"\xc3", 0)))
    write("detokenizer_fuzz", "strip_one", tokens(1, (b"<s>", 16), (b" ", 0), (b" a", 0), (b" b", 0)))
    write("detokenizer_fuzz", "strip_all", tokens(2, (b" ", 0), (b"  ", 0), (b" a", 0)))
    write("detokenizer_fuzz", "special_between", tokens(0x31, (b"\xe4\xbd", 0), (b"</s>", 16), (b"\xa0", 0), (b"", 0)))
    write("detokenizer_fuzz", "after_prompt", tokens(0x42, (b" a", 0), (smile[:2], 0), (b"\xff\x80", 0)))


def make_server_config():
    write("server_config_fuzz", "some", compact({"about": "x", "listen": "[::1]:0", "threads": 2, "kv_format": "f32",
                                                 "allow_insecure_remote": False, "max_queued_tokens": 1 << 32}))
    write("server_config_fuzz", "remote", compact({"listen": "0.0.0.0:50051", "allow_insecure_remote": True, "threads": None}))
    write("server_config_fuzz", "typo", compact({"thread": 2}))
    write("server_config_fuzz", "nul", '{"listen":"127.0.0.1\\u0000.example.org:80"}')
    for name, word in {"address": "localhost:65535", "address6": "[::1]:50051", "number": "1024", "word": "json",
                       "truth": "true"}.items():
        write("server_config_fuzz", name, word)


def make_key_file():
    line = {"name": "alice", "id": "00" * 8, "salt": "11" * 16, "sha256": "22" * 32, "scopes": ["inference", "models"]}
    limits = {"max_concurrent_requests": 4, "max_requests_per_minute": 60}
    write("key_file_fuzz", "one", compact(line))
    write("key_file_fuzz", "two", compact(line) + "\r\n\n" + compact({**line, **limits, "name": "bob", "id": "ff" * 8,
                                                                    "scopes": ["admin"]}) + "\n")
    write("key_file_fuzz", "twice", compact(line) + "\n" + compact(line))
    write("key_file_fuzz", "limits", compact({**line, "max_concurrent_requests": -1, "max_requests_per_minute": 1e300}))
    write("key_file_fuzz", "name", compact({**line, "name": "a\nb\u0000"}))
    write("key_file_fuzz", "deep", "[" * 5000)
    write("key_file_fuzz", "key", "bd_0123456789abcdef_" + "A" * 43)


def make_generation_config():
    write("generation_config_fuzz", "all", compact({"temperature": 0.6, "top_k": 50, "top_p": 0.9, "min_p": 0.1,
                                                    "repetition_penalty": 1.1, "eos_token_id": [1, 2]}))
    write("generation_config_fuzz", "wrong", compact({"temperature": "hot", "top_k": 1.5, "top_p": 0, "min_p": 1e300}))
    write("generation_config_fuzz", "list", "[1]")


def make_load_trace():
    header = "arrival_s,prompt_tokens,output_tokens"
    write("load_trace_fuzz", "plain", f"{header}\n0,32,128\n0.25,500,20\n1e2,1,1048576\n")
    write("load_trace_fuzz", "bits", f"{header},weight_bits\r\n0,32,128,4\r\n0,8,8,auto:2\r\n3.5,8,8,dense")
    write("load_trace_fuzz", "unsorted", f"{header}\n2,1,1\n1,1,1\n")
    write("load_trace_fuzz", "wrong", f"{header}\nnan,0,-1\n")
    for name, word in {"mix": "4:0.7,2:0.3,dense:1e-3", "auto": "auto:2", "range": "16:1048576"}.items():
        write("load_trace_fuzz", name, word)


if __name__ == "__main__":
    make_tokenizer_gguf()
    make_tokenizer_config()
    make_chat_template()
    make_detokenizer()
    make_server_config()
    make_key_file()
    make_generation_config()
    make_load_trace()
