#!/usr/bin/env python3
"""Makes the seeds of the engine's fuzz targets, tests/engine/corpus/<target>/. Standard library only. Deterministic.

    python3 tests/engine/make_corpus.py
"""

import json
from pathlib import Path

OUT = Path(__file__).resolve().parent / "corpus"
LLAMA = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "eos_token_id": 2}
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}


def write(name, config, generation_config=None):
    folder = OUT / "llama_config_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [config] if generation_config is None else [config, generation_config]
    (folder / name).write_text("\0".join(json.dumps(part, separators=(",", ":")) for part in parts))


def main():
    write("plain", LLAMA, {"eos_token_id": [2, 5], "temperature": 0.6})
    write("llama3_rope", {**LLAMA, "rope_theta": 5e5, "rope_scaling": LLAMA3_ROPE, "head_dim": 32})
    write("linear_rope", {**LLAMA, "rope_scaling": {"type": "linear", "factor": 4.0}, "attention_bias": True})
    write("rope_parameters", {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "mlp_bias": True})
    write("foreign", {**LLAMA, "quantization_config": {"quant_method": "gptq"}, "hidden_act": "gelu"})


if __name__ == "__main__":
    main()
