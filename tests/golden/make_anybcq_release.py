#!/usr/bin/env python3
"""Makes tests/golden/anybcq_release/: a checkpoint in the layout of the published AnyBCQ release, from numpy alone.

    python3 tests/golden/make_anybcq_release.py         # needs numpy and safetensors

Written from the description of the layout, without any code of Bitdial, so that both sides can be wrong only apart:
    P.qweight    int32 [in/32, 4, out]      bit t (LSB first) of word j = sign of input 32 j + t, 1 means +1; plane 0 first
    P.alpha_{b}  fp16  [in/group, b, out]   b = 2, 3, 4: one full set of scales per precision
    P.beta_{b}   fp16  [in/group, out]
    P.q_bias     fp16  [in/group, out]      uninitialised memory in the release; NaN here: a reader must ignore it
    config.json  "anybcq": {"seed_precision": 2, "parent_precision": 4, "group_size": 32, "arch_config": {...}}
Embeddings, norms and lm_head are fp16. The released checkpoints have beta = 0; here beta is fitted, since zeros would
hide a reader that loses it. tokenizer.json: byte-level BPE of 93 printable tokens and three special ones.

Quantization (AnyBCQ without reconstruction): 2 planes by greedy start and alternating refinement, then each further
plane is the sign of what is left, earlier planes frozen, and alpha and beta are solved again for each precision.

Goldens, for b = 2, 3, 4, by a Llama in float64 on the dequantized weights (alpha and beta as stored in fp16): logits_{b}.f32
float32 [48, vocab]; in tokens.json the text that input_ids stand for, greedy ids with their smallest margin, and the
perplexity of the second half of input_ids. transformers 5.23 in float32 gave the same greedy ids, and logits within 8e-6.
"""

import hashlib
import json
import platform
import re
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parent / "anybcq_release"
SEED_BITS, MAX_BITS, GROUP = 2, 4, 32
HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, VOCAB = 64, 96, 2, 4, 2, 96
NUM_TOKENS, NUM_GREEDY = 48, 16
SPECIAL = ["<unk>", "<s>", "</s>"]
MERGES = ["t h", "i n", "e r", "a n", "th e", "in g", "o n", "r e"]
BYTES = list(".,;:!?'\"()-/+*=<>[]&%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") + ["Ġ", "Ċ"]
TOKENS = SPECIAL + BYTES + [merge.replace(" ", "") for merge in MERGES]  # by id; Ġ and Ċ are GPT-2's " " and "\n"
# GPT-2's words, where all text is ASCII.
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
CONFIG = dict(vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_hidden_layers=LAYERS,
              num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=128,
              rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)


def signs(x):
    return np.where(x >= 0, 1.0, -1.0)


def solve(planes, w):
    """Least squares for [alpha; beta] of every group. planes [b, rows, g], w [rows, g] -> alpha [rows, b], beta [rows]."""
    basis = np.concatenate([planes, np.ones_like(planes[:1])]).transpose(1, 2, 0)  # [rows, g, b + 1]
    normal = basis.transpose(0, 2, 1) @ basis
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(normal.shape[1])
    x = np.linalg.solve(normal, (basis.transpose(0, 2, 1) @ w[:, :, None]))[:, :, 0]
    return x[:, :-1], x[:, -1]


def nearest_codes(alpha, beta, w):
    """Signs of the level sum_i +-alpha_i nearest to w - beta. alpha [rows, b] -> planes [b, rows, g]."""
    num_bits = alpha.shape[1]
    patterns = np.array([[1.0 if code >> i & 1 else -1.0 for i in range(num_bits)] for code in range(1 << num_bits)])
    levels = alpha @ patterns.T                                                    # [rows, 2^b]
    best = np.abs((w - beta[:, None])[:, :, None] - levels[:, None, :]).argmin(axis=2)  # [rows, g]
    return patterns[best].transpose(2, 0, 1)


def quantize(weight):
    """weight [out, in] -> signs [MAX_BITS, out, in] and {b: (alpha [out, groups, b], beta [out, groups])} in fp16."""
    out_features, in_features = weight.shape
    w = weight.reshape(-1, GROUP).astype(np.float64)  # rows = out * groups
    beta = w.mean(axis=1)
    residual, planes = w - beta[:, None], []
    for _ in range(SEED_BITS):
        plane = signs(residual)
        residual = residual - np.abs(residual).mean(axis=1)[:, None] * plane
        planes.append(plane)
    planes = np.stack(planes)
    for _ in range(20):
        alpha, beta = solve(planes, w)
        alpha = -np.sort(-np.abs(alpha), axis=1)
        planes = nearest_codes(alpha, beta, w)
    # A release may hold alphas of either sign: some groups keep their third plane inverted.
    invert, sets = np.arange(len(w)) % 7 == 0, {}
    for num_bits in range(SEED_BITS, MAX_BITS + 1):
        if num_bits > SEED_BITS:
            plane = signs(w - np.einsum("bri,rb->ri", planes, alpha) - beta[:, None])
            if num_bits == 3:
                plane[invert] *= -1
            planes = np.concatenate([planes, plane[None]])
        alpha, beta = solve(planes, w)
        groups = in_features // GROUP
        sets[num_bits] = (alpha.reshape(out_features, groups, num_bits).astype(np.float16),
                          beta.reshape(out_features, groups).astype(np.float16))
    return planes.reshape(MAX_BITS, out_features, in_features), sets


def pack(planes):
    """planes [bits, out, in] of +-1 -> int32 [in/32, bits, out]."""
    num_bits, out_features, in_features = planes.shape
    bit = (planes > 0).astype(np.uint32).reshape(num_bits, out_features, in_features // 32, 32)
    words = (bit << np.arange(32, dtype=np.uint32)).sum(axis=3, dtype=np.uint32)  # [bits, out, in/32]
    return np.ascontiguousarray(words.transpose(2, 0, 1)).view(np.int32)


def dequantize(planes, alpha, beta):
    """What the checkpoint means at alpha.shape[2] bits: [out, in] float32."""
    alpha, beta = alpha.astype(np.float64), beta.astype(np.float64)
    total = np.repeat(beta, GROUP, axis=1)
    for i in range(alpha.shape[2]):
        total = total + np.repeat(alpha[:, :, i], GROUP, axis=1) * planes[i]
    return total.astype(np.float32)


def random_weights(rng):
    """Float weights under their Hugging Face names, fp16 where the release keeps fp16."""
    weights = {"model.embed_tokens.weight": rng.standard_normal((VOCAB, HIDDEN)),
               "model.norm.weight": 1 + 0.2 * rng.standard_normal(HIDDEN),
               "lm_head.weight": rng.standard_normal((VOCAB, HIDDEN)) * 1.5 / HIDDEN**0.5}
    shapes = {"q": (HIDDEN, HIDDEN), "k": (HIDDEN * KV_HEADS // HEADS, HIDDEN), "v": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
              "o": (HIDDEN, HIDDEN), "gate": (INTERMEDIATE, HIDDEN), "up": (INTERMEDIATE, HIDDEN),
              "down": (HIDDEN, INTERMEDIATE)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{norm}.weight"] = 1 + 0.2 * rng.standard_normal(HIDDEN)
        for module in MODULES:
            shape = shapes[module.split(".")[1].split("_")[0]]
            weights[f"{prefix}{module}.weight"] = rng.standard_normal(shape) * 1.5 / shape[1] ** 0.5
    return {name: value.astype(np.float16) for name, value in weights.items()}


def forward(weights, ids):
    """Logits of every position, float64 [len(ids), vocab]."""
    def weight(name):
        return weights[f"{name}.weight"].astype(np.float64)

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + CONFIG["rms_norm_eps"]) * weight(name)

    num_tokens, head_dim = len(ids), HIDDEN // HEADS
    angle = np.arange(num_tokens)[:, None] * CONFIG["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)

    def rotate(x):  # the two halves of a head are the parts of complex numbers
        re_part, im_part = x[..., : head_dim // 2], x[..., head_dim // 2 :]
        return np.concatenate([re_part * np.cos(angle) - im_part * np.sin(angle),
                               im_part * np.cos(angle) + re_part * np.sin(angle)], axis=-1)

    def heads(x, count):  # [heads, tokens, head_dim], each KV head once for every head that reads it
        return np.repeat(x.reshape(num_tokens, count, head_dim).transpose(1, 0, 2), HEADS // count, axis=0)

    x = weight("model.embed_tokens")[ids]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        h = norm(x, prefix + "input_layernorm")
        q = rotate(heads(h @ weight(prefix + "self_attn.q_proj").T, HEADS))
        k = rotate(heads(h @ weight(prefix + "self_attn.k_proj").T, KV_HEADS))
        v = heads(h @ weight(prefix + "self_attn.v_proj").T, KV_HEADS)
        scores = np.where(np.tri(num_tokens, dtype=bool), q @ k.transpose(0, 2, 1) / head_dim**0.5, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(num_tokens, HIDDEN)
        x = x + attended @ weight(prefix + "self_attn.o_proj").T
        h = norm(x, prefix + "post_attention_layernorm")
        gate = h @ weight(prefix + "mlp.gate_proj").T
        x = x + gate / (1 + np.exp(-gate)) * (h @ weight(prefix + "mlp.up_proj").T) @ weight(prefix + "mlp.down_proj").T
    return norm(x, "model.norm") @ weight("lm_head").T


def greedy(weights, ids):
    """The best continuation, and by how much each of its tokens was the best, at least."""
    sequence, margin = list(ids), float("inf")
    for _ in range(NUM_GREEDY):
        last = forward(weights, sequence)[-1]
        second, best = np.sort(last)[-2:]
        margin = min(margin, float(best - second))
        sequence.append(int(last.argmax()))
    return sequence[len(ids):], margin


def perplexity(logits, ids):
    """Of the second half, each token given all before it; its first token is not scored (llama.cpp's definition)."""
    targets = np.arange(len(ids) // 2 + 1, len(ids))
    before = logits[targets - 1]
    log_sum = np.log(np.exp(before - before.max(-1, keepdims=True)).sum(-1)) + before.max(-1)
    return float(np.exp(np.mean(log_sum - before[np.arange(len(targets)), np.array(ids)[targets]])))


def encode(text):
    """BPE by its definition: in each word the first merge of the list that applies, again and again."""
    ids = []
    for word in WORD.findall(text):
        parts = list(word.replace(" ", "Ġ").replace("\n", "Ċ"))
        while True:
            pairs = [f"{a} {b}" for a, b in zip(parts, parts[1:])]
            found = min((merge for merge in pairs if merge in MERGES), key=MERGES.index, default=None)
            if found is None:
                break
            at = pairs.index(found)
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        ids += [TOKENS.index(part) for part in parts]
    return ids


def write_tokenizer():
    assert len(TOKENS) == VOCAB
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    begin = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                         {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": begin}
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, token in enumerate(SPECIAL)]
    (OUT / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": template, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: i for i, token in enumerate(TOKENS)}, "merges": MERGES}}, ensure_ascii=False) + "\n")
    (OUT / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}) + "\n")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    rng = np.random.default_rng(7)
    weights = random_weights(rng)
    stored, dense = {}, {b: {} for b in range(SEED_BITS, MAX_BITS + 1)}
    negative, errors = 0, {b: 0.0 for b in dense}
    for name, weight in weights.items():
        prefix = name.removesuffix(".weight")
        if not any(prefix.endswith(module) for module in MODULES):
            stored[name] = weight
            for b in dense:
                dense[b][name] = weight
            continue
        planes, sets = quantize(weight.astype(np.float32))
        stored[f"{prefix}.qweight"] = pack(planes)
        for b, (alpha, beta) in sets.items():
            stored[f"{prefix}.alpha_{b}"] = np.ascontiguousarray(alpha.transpose(1, 2, 0))
            stored[f"{prefix}.beta_{b}"] = np.ascontiguousarray(beta.T)
            dense[b][name] = dequantize(planes, alpha, beta)
            negative += int((alpha < 0).sum())
            errors[b] += float(((dense[b][name] - weight) ** 2).sum())
        stored[f"{prefix}.q_bias"] = np.full_like(stored[f"{prefix}.beta_{SEED_BITS}"], np.nan)
    assert errors[2] > errors[3] > errors[4], errors
    save_file(stored, OUT / "model.safetensors", metadata={"format": "pt"})
    (OUT / "model.safetensors").chmod(0o644)
    (OUT / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", **CONFIG,
        "attention_bias": False, "mlp_bias": False, "rope_scaling": None, "torch_dtype": "float16",
        "anybcq": {"seed_precision": SEED_BITS, "parent_precision": MAX_BITS, "group_size": GROUP,
                   "arch_config": {"model_name": "model", "layers_name": "layers", "module_names": MODULES}}},
        indent=2) + "\n")
    (OUT / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}) + "\n")

    write_tokenizer()

    ids = [1] + rng.integers(3, VOCAB, NUM_TOKENS - 1).tolist()
    text = "".join(TOKENS[i] for i in ids[1:]).replace("Ġ", " ").replace("Ċ", "\n")
    assert encode(text) == ids[1:]
    tokens = {"input_ids": ids, "text": text, "greedy_ids": {}, "min_greedy_margin": {}, "perplexity": {}}
    largest = {}
    for b in dense:
        logits = forward(dense[b], ids)
        logits.astype("<f4").tofile(OUT / f"logits_{b}.f32")
        greedy_ids, margin = greedy(dense[b], ids)
        tokens["greedy_ids"][str(b)], tokens["min_greedy_margin"][str(b)] = greedy_ids, margin
        tokens["perplexity"][str(b)] = perplexity(logits, ids)
        largest[str(b)] = float(np.abs(logits).max())
        print(f"{b} bits: squared weight error {errors[b]:.3f}  max|logit| {largest[str(b)]:.2f}  margin {margin:.4f}  "
              f"perplexity {tokens['perplexity'][str(b)]:.3f}")
    print(f"negative alphas: {negative}")
    (OUT / "tokens.json").write_text(json.dumps(tokens) + "\n")
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(OUT.iterdir())}
    (OUT / "MANIFEST.json").write_text(json.dumps({
        "made_by": "tests/golden/make_anybcq_release.py",
        "computed_in": "float64 on dequantized weights",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "squared_weight_error": {str(b): errors[b] for b in errors}, "max_abs_logit": largest,
        "files": files}, indent=1) + "\n")


if __name__ == "__main__":
    main()
