#!/usr/bin/env python3
"""Makes tests/golden/llama/: tiny random Llama checkpoints and what Hugging Face transformers computes on them.

    python3 tests/golden/make_llama_golden.py            # needs torch, transformers, safetensors, numpy

Every folder is a complete Hugging Face checkpoint plus
    tokens.json   {"input_ids": [48], "greedy_ids": [16], "min_greedy_margin": x}
    logits.f32    little-endian float32 [48, vocab_size], the logits of every position
The weights are drawn at the storage dtype; transformers then runs the files as written, upcast to float32, with eager
attention. MANIFEST.json says how far the same model run in float64 lies from that (transformers keeps norms, RoPE
angles and softmax in float32 even then), which is the noise floor a tolerance has to stay above. greedy_ids ignore EOS.

The weights are seeded; another torch release may draw other numbers, so a rerun replaces weights and logits together.
"""

import copy
import hashlib
import json
import platform
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parent / "llama"
NUM_TOKENS = 48
NUM_GREEDY = 16

SMALL = dict(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0,
             tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
WIDE = dict(SMALL, hidden_size=64, intermediate_size=96)

# name -> (what it is for, config, storage dtype, form of config.json, most bytes of a shard)
# The forms are those found in published checkpoints: "rope_scaling" with "type" (transformers < 4.43), with "rope_type"
# (4.43 and later), and "rope_parameters" (5 and later, which has no top-level rope_theta).
VARIANTS = {
    "mha_untied_f32": (
        "multi-head attention, untied head; intermediate 86 is no multiple of 32, so down_proj cannot be quantized; "
        "no num_key_value_heads in config.json, as in Llama 1",
        dict(SMALL, num_key_value_heads=4, intermediate_size=86), "float32", "rope_type", None),
    "gqa_tied_f16": (
        "grouped-query attention 4:1, tied embeddings, 3 layers, fp16; generation_config.json lists two eos ids",
        dict(WIDE, num_key_value_heads=1, num_hidden_layers=3, intermediate_size=64, tie_word_embeddings=True),
        "float16", "rope_type", None),
    "gqa_bias_f32": (
        "attention_bias and mlp_bias, every bias non-zero",
        dict(SMALL, attention_bias=True, mlp_bias=True), "float32", "rope_type", None),
    "rope_linear_f32": (
        'rope_scaling {"type": "linear", "factor": 4}, rope_theta 100000',
        dict(SMALL, rope_theta=100000.0, rope_scaling={"type": "linear", "factor": 4.0}), "float32", "type", None),
    "rope_llama3_bf16": (
        "rope_scaling llama3 with original_max_position_embeddings 16, so that every band (kept, blended, divided) "
        "occurs and the tested positions pass it; bf16; rope_theta 1000",
        dict(WIDE, max_position_embeddings=64, rope_theta=1000.0,
             rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 16}), "bfloat16", "rope_type", None),
    "head_dim_bf16": (
        "head_dim 32 where hidden_size / num_attention_heads is 16, bf16, rope_parameters form of config.json with "
        "rope_theta 500",
        dict(WIDE, num_attention_heads=4, num_key_value_heads=2, head_dim=32, intermediate_size=64, rope_theta=500.0),
        "bfloat16", "rope_parameters", None),
    "sharded_f16": (
        "fp16 in several safetensors shards with model.safetensors.index.json; vocab_size 128",
        dict(WIDE, vocab_size=128), "float16", "rope_type", "40KB"),
}


def draw_weights(model, seed):
    """Random weights large enough that attention, rotation and every bias change the logits visibly."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            value = 1.0 + 0.2 * noise
        elif name.endswith(".bias"):
            value = 0.3 * noise
        elif "embed_tokens" in name:
            value = noise
        else:
            # 1.5 / sqrt(in_features): sharper than an initialisation, so that softmax is far from uniform.
            value = noise * 1.5 / parameter.shape[1] ** 0.5
        parameter.data.copy_(value)


def write_config(folder, config, form):
    """Rewrites config.json in one of the forms that published checkpoints have."""
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    if form != "rope_parameters":
        saved.pop("rope_parameters", None)
        saved["rope_theta"] = config["rope_theta"]
        saved["rope_scaling"] = config.get("rope_scaling")
        saved["torch_dtype"] = saved.pop("dtype")
    if "head_dim" not in config:
        saved.pop("head_dim", None)
    if config["num_key_value_heads"] == config["num_attention_heads"]:
        saved.pop("num_key_value_heads")
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def greedy(model, ids):
    """Greedy continuation without a cache; returns ids and the least distance between the best two logits."""
    ids, margin = list(ids), float("inf")
    for _ in range(NUM_GREEDY):
        best = torch.topk(model(torch.tensor([ids])).logits[0, -1], 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[-NUM_GREEDY:], margin


@torch.no_grad()
def make(name, seed):
    purpose, config, dtype, form, shard = VARIANTS[name]
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model = LlamaForCausalLM(LlamaConfig(**copy.deepcopy(config)))  # the config class edits its arguments
    draw_weights(model, seed)
    model.to(getattr(torch, dtype))
    model.generation_config.eos_token_id = [2, 5] if name == "gqa_tied_f16" else 2
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    write_config(folder, config, form)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors creates its files 0600

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    rope = model.config.rope_parameters
    assert rope["rope_theta"] == config["rope_theta"], "transformers did not understand the rewritten config.json"
    assert rope["rope_type"] == (config.get("rope_scaling") or {}).get(
        "rope_type", (config.get("rope_scaling") or {}).get("type", "default"))
    ids = np.random.default_rng(seed).integers(3, config["vocab_size"], NUM_TOKENS).tolist()
    ids[0] = config["bos_token_id"]
    logits = model(torch.tensor([ids])).logits[0].float().numpy()
    greedy_ids, margin = greedy(model, ids)
    reference = model.double()(torch.tensor([ids])).logits[0].numpy()

    logits.astype("<f4").tofile(folder / "logits.f32")
    (folder / "tokens.json").write_text(json.dumps(
        {"input_ids": ids, "greedy_ids": greedy_ids, "min_greedy_margin": margin}) + "\n")
    return {
        "purpose": purpose,
        "seed": seed,
        "stored_dtype": dtype,
        "max_abs_logit": float(np.abs(logits).max()),
        "max_abs_difference_float32_to_float64": float(np.abs(logits - reference).max()),
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())},
    }


@torch.no_grad()
def check_rope_scaling_bites(folder):
    """A reader that ignores rope_scaling must fail the test by a wide margin."""
    config = transformers.AutoConfig.from_pretrained(folder)
    config.rope_parameters = {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"]}
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    ids = json.loads((folder / "tokens.json").read_text())["input_ids"]
    golden = np.fromfile(folder / "logits.f32", "<f4").reshape(NUM_TOKENS, -1)
    distance = np.abs(model(torch.tensor([ids])).logits[0].numpy() - golden).max(axis=1)
    print(f"{folder.name}: without rope_scaling the logits move by {distance.max():.2f}")
    assert distance.max() > 0.1 * np.abs(golden).max()


def check_biases_are_stored(folder):
    with safe_open(folder / "model.safetensors", "np") as file:
        biases = [k for k in file.keys() if k.endswith(".bias")]
        assert len(biases) == 2 * 7 and all(np.abs(file.get_tensor(k)).min() > 0 for k in biases), biases


def main():
    torch.set_num_threads(1)  # one order of summation, so that a rerun gives the same bytes
    OUT.mkdir(exist_ok=True)
    manifest = {
        "made_by": "tests/golden/make_llama_golden.py",
        "computed_in": "float32 (weights upcast from the stored dtype), eager attention, CPU, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "numpy": np.__version__},
        "variants": {name: make(name, 1000 + i) for i, name in enumerate(VARIANTS)},
    }
    check_biases_are_stored(OUT / "gqa_bias_f32")
    for name in ("rope_linear_f32", "rope_llama3_bf16"):
        check_rope_scaling_bites(OUT / name)
    (OUT / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")
    for name, entry in manifest["variants"].items():
        size = sum(p.stat().st_size for p in (OUT / name).iterdir())
        print(f"{name:18} {size:7} bytes  max|logit| {entry['max_abs_logit']:.2f}  "
              f"f32-f64 {entry['max_abs_difference_float32_to_float64']:.1e}")


if __name__ == "__main__":
    main()
