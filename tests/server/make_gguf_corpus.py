#!/usr/bin/env python3
"""Makes the seeds of tokenizer_gguf_fuzz, tests/server/corpus/tokenizer_gguf_fuzz/. Standard library only.

    python3 tests/server/make_gguf_corpus.py
"""

import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "quant"))
from make_corpus import array, gguf, text, u32, value  # noqa: E402

OUT = HERE / "corpus" / "tokenizer_gguf_fuzz"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def strings(key, items):
    return value(key, 9, array(8, len(items), b"".join(text(item) for item in items)))


def pieces(entries):
    """(text, score, type) of each token, as the metadata of a SentencePiece model."""
    texts, scores, types = zip(*entries)
    return [value("tokenizer.ggml.model", 8, text("llama")), strings("tokenizer.ggml.tokens", texts),
            value("tokenizer.ggml.scores", 9, array(6, len(scores), struct.pack(f"<{len(scores)}f", *scores))),
            value("tokenizer.ggml.token_type", 9, array(5, len(types), struct.pack(f"<{len(types)}i", *types)))]


FEW = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL), ("\u2581", -1, NORMAL), ("a", -2, NORMAL),
       ("b", -3, NORMAL), ("ab", -4, NORMAL), ("b  a", 0, USER_DEFINED), ("ba", -5, UNUSED)]
IDS = [u32("tokenizer.ggml.bos_token_id", 1), u32("tokenizer.ggml.eos_token_id", 2),
       u32("tokenizer.ggml.unknown_token_id", 0)]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    seeds = {
        "pieces": pieces(FEW) + IDS,
        "bytes": pieces(FEW + [(f"<0x{byte:02X}>", 0, BYTE) for byte in range(256)]),
        "options": pieces(FEW) + IDS + [value("tokenizer.ggml.add_space_prefix", 7, b"\0"),
                                        value("tokenizer.ggml.remove_extra_whitespaces", 7, b"\1"),
                                        value("tokenizer.ggml.add_eos_token", 7, b"\1")],
        "byte_level": [value("tokenizer.ggml.model", 8, text("gpt2")), value("tokenizer.ggml.pre", 8, text("gpt-2")),
                       strings("tokenizer.ggml.tokens", ["a", "b", "ab", "\u0120", "<|im_end|>"]),
                       value("tokenizer.ggml.token_type", 9, array(5, 5, struct.pack("<5i", 1, 1, 1, 1, CONTROL))),
                       strings("tokenizer.ggml.merges", ["a b"]), u32("tokenizer.ggml.eos_token_id", 4)],
    }
    for name, values in seeds.items():
        (OUT / name).write_bytes(gguf(values, []))
    print(f"{len(seeds)} seeds, {sum(path.stat().st_size for path in OUT.iterdir())} bytes")


if __name__ == "__main__":
    main()
