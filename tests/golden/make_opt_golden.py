#!/usr/bin/env python3
"""Makes tests/golden/opt/: tiny random OPT checkpoints and what Hugging Face transformers computes on them.

    python3 tests/golden/make_opt_golden.py              # needs torch, transformers, safetensors, numpy

Every folder is a complete Hugging Face checkpoint plus
    tokens.json   {"input_ids": [48], "greedy_ids": [16], "min_greedy_margin": x}
    logits.f32    little-endian float32 [48, vocab_size], the logits of every position
The weights are drawn at the storage dtype; transformers then runs the files as written, upcast to float32, with eager
attention. MANIFEST.json says how far the same model run in float64 lies from that, which is the noise floor a tolerance
has to stay above, and how far the logits move when each trait of a variant is taken away: a reader that overlooks the
trait must fail. greedy_ids ignore EOS.

planes_f16/ is such a model in the layout of the AnyBCQ release, its planes by the code of make_anybcq_release.py (which
shares none with Bitdial): logits_{b}.f32 for b = 2, 3, 4 bits by transformers on the dequantized weights.

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
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, OPTConfig, OPTForCausalLM

import make_anybcq_release as anybcq

OUT = Path(__file__).resolve().parent / "opt"
NUM_TOKENS = 48
NUM_GREEDY = 16

SMALL = dict(vocab_size=104, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=72, word_embed_proj_dim=32, do_layer_norm_before=True, activation_function="relu",
             bos_token_id=2, eos_token_id=2, pad_token_id=1)

# name -> (what it is for, config, storage dtype, keys taken out of config.json, the traits that must show)
# A trait is a change of the config (or "offset": positions without their offset of 2) that the logits must not survive.
VARIANTS = {
    "pre_norm_f16": (
        "as OPT-125m and most others: norms before, tied head, fp16; config.json leaves out every key with a default",
        SMALL, "float16",
        ["word_embed_proj_dim", "do_layer_norm_before", "activation_function", "tie_word_embeddings", "enable_bias",
         "layer_norm_elementwise_affine", "_remove_final_layer_norm"],
        ["offset", {"do_layer_norm_before": False}]),
    "post_norm_proj_f32": (
        "as OPT-350m: norms after, no final norm, embedding and head of 24 channels with project_in and project_out; "
        "ffn_dim 70 is no multiple of 32, so fc2 cannot be quantized",
        dict(SMALL, do_layer_norm_before=False, word_embed_proj_dim=24, ffn_dim=70), "float32", [],
        ["offset", {"do_layer_norm_before": True}]),
    "pre_norm_proj_bf16": (
        "norms before, a final norm and then project_out to 48 channels, more than the hidden size; bf16; untied head",
        dict(SMALL, word_embed_proj_dim=48, tie_word_embeddings=False), "bfloat16", [],
        [{"_remove_final_layer_norm": True}]),
    "no_final_norm_f16": (
        "_remove_final_layer_norm; tensors named decoder.* without model., as the base model saves them; in shards",
        dict(SMALL, _remove_final_layer_norm=True), "float16", [], [{"_remove_final_layer_norm": False}]),
    "plain_gelu_f32": (
        "what the other keys allow: gelu, no biases, norms without weight and bias",
        dict(SMALL, activation_function="gelu", enable_bias=False, layer_norm_elementwise_affine=False), "float32", [],
        [{"activation_function": "relu"}]),
}


def draw_weights(model, seed):
    """Random weights large enough that positions, norms and every bias change the logits visibly."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("layer_norm.weight"):
            value = 1.0 + 0.2 * noise
        elif name.endswith(".bias"):
            value = 0.3 * noise
        elif "embed_tokens" in name:
            value = noise
        elif "embed_positions" in name:
            value = 0.7 * noise
        else:
            # 1.5 / sqrt(in_features): sharper than an initialisation, so that softmax is far from uniform.
            value = noise * 1.5 / parameter.shape[1] ** 0.5
        parameter.data.copy_(value)


def edit_config(folder, missing):
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    for key in missing:
        saved.pop(key, None)
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")


def rename_to_base(folder):
    """decoder.* in two shards: the names that OPTModel, saved alone, has."""
    tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for i, part in enumerate((names[: len(names) // 2], names[len(names) // 2:])):
        shard = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard, metadata={"format": "pt"})
        weight_map.update({name: shard for name in part})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}, indent=1) + "\n")


def load(folder, change=None):
    config = OPTConfig.from_pretrained(folder)
    for key, value in (change or {}).items():
        setattr(config, key, value)
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32,
                                                attn_implementation="eager").eval()


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids])).logits[0].numpy()


@torch.no_grad()
def greedy(model, ids):
    """Greedy continuation without a cache; returns ids and the least distance between the best two logits."""
    ids, margin = list(ids), float("inf")
    for _ in range(NUM_GREEDY):
        best = torch.topk(model(torch.tensor([ids])).logits[0, -1], 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[-NUM_GREEDY:], margin


def distance_without(trait, folder, ids, logits):
    """How far the logits move when the trait is taken away."""
    model = load(folder, trait if isinstance(trait, dict) else None)
    if trait == "offset":
        model.model.decoder.embed_positions.offset = 0
    return float(np.abs(logits_of(model, ids) - logits).max())


@torch.no_grad()
def make(name, seed):
    purpose, config, dtype, missing, traits = VARIANTS[name]
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model = OPTForCausalLM(OPTConfig(**copy.deepcopy(config)))
    draw_weights(model, seed)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    edit_config(folder, missing)
    if name == "no_final_norm_f16":
        rename_to_base(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors creates its files 0600

    model = load(folder)
    for key, value in config.items():
        assert getattr(model.config, key) == value, f"transformers did not understand {key} of config.json as rewritten"
    ids = np.random.default_rng(seed).integers(4, config["vocab_size"], NUM_TOKENS).tolist()
    ids[0] = config["bos_token_id"]
    logits = logits_of(model, ids)
    distances = {json.dumps(trait): distance_without(trait, folder, ids, logits) for trait in traits}
    assert min(distances.values()) > 0.05 * np.abs(logits).max(), distances
    greedy_ids, margin = greedy(model, ids)
    reference = logits_of(model.double(), ids)

    logits.astype("<f4").tofile(folder / "logits.f32")
    (folder / "tokens.json").write_text(json.dumps(
        {"input_ids": ids, "greedy_ids": greedy_ids, "min_greedy_margin": margin}) + "\n")
    return {
        "purpose": purpose,
        "seed": seed,
        "stored_dtype": dtype,
        "max_abs_logit": float(np.abs(logits).max()),
        "max_abs_difference_float32_to_float64": float(np.abs(logits - reference).max()),
        "max_abs_difference_without": distances,
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())},
    }


MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"]
PLANES = ("as OPT-350m, with every linear of the layers as bit-planes, one set of scales for each of 2, 3 and 4 bits",
          dict(SMALL, do_layer_norm_before=False, word_embed_proj_dim=24))


@torch.no_grad()
def make_planes(name, seed):
    purpose, config = PLANES
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model = OPTForCausalLM(OPTConfig(**config))
    draw_weights(model, seed)
    model.half().save_pretrained(folder)
    dense_file = folder / "model.safetensors"
    stored, dense = {}, {bits: {} for bits in (2, 3, 4)}
    for key, weight in load_file(dense_file).items():
        prefix = key.removesuffix(".weight")
        if not any(prefix.endswith("." + module) for module in MODULES) or prefix == key:
            stored[key] = weight
            continue
        planes, sets = anybcq.quantize(weight.float().numpy())
        stored[f"{prefix}.qweight"] = torch.from_numpy(anybcq.pack(planes))
        for bits, (alpha, beta) in sets.items():
            stored[f"{prefix}.alpha_{bits}"] = torch.from_numpy(np.ascontiguousarray(alpha.transpose(1, 2, 0)))
            stored[f"{prefix}.beta_{bits}"] = torch.from_numpy(np.ascontiguousarray(beta.T))
            dense[bits][key] = torch.from_numpy(anybcq.dequantize(planes, alpha, beta))
    reference = load(folder)
    save_file(stored, dense_file, metadata={"format": "pt"})
    saved = json.loads((folder / "config.json").read_text())
    saved["anybcq"] = {"seed_precision": 2, "parent_precision": 4, "group_size": anybcq.GROUP, "arch_config": {
        "model_name": "model.decoder", "layers_name": "layers", "module_names": MODULES}}
    (folder / "config.json").write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)

    ids = np.random.default_rng(seed).integers(4, config["vocab_size"], NUM_TOKENS).tolist()
    ids[0] = config["bos_token_id"]
    tokens, largest = {"input_ids": ids, "greedy_ids": {}, "min_greedy_margin": {}}, {}
    for bits, weights in dense.items():
        reference.load_state_dict(weights, strict=False)
        logits = logits_of(reference, ids)
        logits.astype("<f4").tofile(folder / f"logits_{bits}.f32")
        tokens["greedy_ids"][str(bits)], tokens["min_greedy_margin"][str(bits)] = greedy(reference, ids)
        largest[str(bits)] = float(np.abs(logits).max())
    (folder / "tokens.json").write_text(json.dumps(tokens) + "\n")
    return {
        "purpose": purpose,
        "seed": seed,
        "stored_dtype": "float16",
        "max_abs_logit": largest,
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())},
    }


def main():
    torch.set_num_threads(1)  # one order of summation, so that a rerun gives the same bytes
    OUT.mkdir(exist_ok=True)
    manifest = {
        "made_by": "tests/golden/make_opt_golden.py",
        "computed_in": "float32 (weights upcast from the stored dtype), eager attention, CPU, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "numpy": np.__version__},
        "variants": {name: make(name, 2000 + i) for i, name in enumerate(VARIANTS)},
    }
    for name, entry in manifest["variants"].items():
        size = sum(p.stat().st_size for p in (OUT / name).iterdir())
        print(f"{name:20} {size:7} bytes  max|logit| {entry['max_abs_logit']:.2f}  "
              f"f32-f64 {entry['max_abs_difference_float32_to_float64']:.1e}  "
              f"without {entry['max_abs_difference_without']}")
    manifest["variants"]["planes_f16"] = make_planes("planes_f16", 2100)
    print("planes_f16", manifest["variants"]["planes_f16"]["max_abs_logit"])
    (OUT / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
