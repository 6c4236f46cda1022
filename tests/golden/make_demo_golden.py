#!/usr/bin/env python3
"""What Hugging Face transformers makes of the demo models: greedy ids and the perplexity of demo/story.txt.

    tests/golden/make_demo_golden.py            # writes tests/golden/demo/; needs torch, transformers

float32 on the CPU from the fp16 files. `margin` is the smallest distance between the best and the second logit along the
greedy ids: a difference below it cannot change them.
"""
import json
import pathlib

import torch
import transformers

SOURCE = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(__file__).resolve().parent / "demo"
PROMPTS = ["Once upon a time", "\"Where are you going?\" said", "The old house"]
NEW_TOKENS = 24
WINDOW = 512


@torch.no_grad()
def greedy(model, ids):
    ids, margin = list(ids), float("inf")
    for _ in range(NEW_TOKENS):
        best = torch.topk(model(torch.tensor([ids])).logits[0, -1], 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[-NEW_TOKENS:], margin


@torch.no_grad()
def perplexity(model, ids, bos):
    """Windows that do not overlap, BOS in front, the second half of each scored: as `bitdial eval` says."""
    total = count = 0
    for begin in range(0, len(ids) - WINDOW + 1, WINDOW):
        window = torch.tensor([[bos, *ids[begin + 1:begin + WINDOW]]])
        logits = model(window).logits[0, WINDOW // 2:-1]
        total += torch.nn.functional.cross_entropy(logits, window[0, WINDOW // 2 + 1:], reduction="sum").item()
        count += WINDOW - WINDOW // 2 - 1
    return torch.tensor(total / count).exp().item(), count


def main():
    OUT.mkdir(exist_ok=True)
    for family in ("llama", "opt"):
        folder = SOURCE / "demo" / family
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        golden = {"made_by": "tests/golden/make_demo_golden.py", "transformers": transformers.__version__,
                  "torch": torch.__version__, "greedy": []}
        for prompt in PROMPTS:
            prompt_ids = tokenizer(prompt).input_ids
            ids, margin = greedy(model, prompt_ids)
            golden["greedy"].append({"prompt": prompt, "prompt_ids": prompt_ids, "ids": ids, "margin": margin,
                                     "text": tokenizer.decode(ids)})
        story_ids = tokenizer((SOURCE / "demo/story.txt").read_text()).input_ids
        value, scored = perplexity(model, story_ids, model.config.bos_token_id)
        golden["story"] = {"perplexity": value, "tokens_scored": scored}
        (OUT / f"{family}.json").write_text(json.dumps(golden, indent=1) + "\n")
        print(family, golden["story"], [entry["text"] for entry in golden["greedy"]])


if __name__ == "__main__":
    main()
