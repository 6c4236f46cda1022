"""From text to a model's folder: the recipe, the training, its score and its card. Needs PyTorch; the command line, which
must not, is train_demo.py."""

import hashlib
import math
import pathlib
import sys
import time

import numpy as np
import safetensors.torch
import torch
from torch.nn import functional as F

from demo import card, models, text

HAS_MUON = hasattr(torch.optim, "Muon")  # PyTorch 2.9 and later
HELD_OUT_EVERY = 33
HELD_OUT_WINDOWS = 256  # of the model's context, scored: `bitdial eval --max-windows 256`


class Recipe:
    """What a run is made of; the card prints it."""

    def __init__(self, smoke, steps=None):
        self.smoke = smoke
        self.tokens_of_vocab = 509 if smoke else 2040  # the embedding is padded to a multiple of 64 rows
        self.context = 128 if smoke else 512           # tokens of a training sequence, and the model's context
        self.batch = 8                                 # sequences a step
        self.steps = steps or (200 if smoke else 3500)
        self.warmup_steps = 10 if smoke else 100
        self.learning_rate = 4e-3 if smoke else 3e-3   # the peak; falls to a tenth along a cosine
        self.weight_decay = 0.1
        self.betas = (0.9, 0.95)
        self.max_grad_norm = 1.0
        self.optimizer = "Muon for the layers' matrices, AdamW for the rest" if HAS_MUON else "AdamW"

    def shape(self, family):
        common = {"vocab_size": -(-self.tokens_of_vocab // 64) * 64, "context": self.context, "heads": 4}
        if self.smoke:
            common |= {"hidden": 64, "layers": 2}
            return models.Shape(**common, **{"llama": {"kv_heads": 2, "ffn": 128}, "opt": {"kv_heads": 4, "ffn": 256}}[family])
        common |= {"hidden": 256}
        return models.Shape(**common, **{"llama": {"layers": 4, "kv_heads": 2, "ffn": 640},
                                         "opt": {"layers": 4, "kv_heads": 4, "ffn": 768}}[family])

    def learning_rate_at(self, progress):
        """progress: 0 to 1, of steps or of the time there is."""
        warmup = self.warmup_steps / self.steps
        if progress < warmup:
            return self.learning_rate * progress / warmup
        cosine = 0.5 + 0.5 * math.cos(math.pi * (progress - warmup) / (1 - warmup))
        return self.learning_rate * (0.1 + 0.9 * cosine)


def autocast(device):
    """bfloat16 where it is fast: CUDA, and CPUs with AMX or AVX-512 BF16."""
    has_bf16 = device == "cuda" or "bf16" in cpu_flags()
    return torch.autocast(device, dtype=torch.bfloat16, enabled=has_bf16)


def cpu_flags():
    try:
        return pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def sample_batch(ids, starts, recipe, generator):
    """Sequences that begin with </s> and go on at a paragraph: [batch, context + 1]."""
    last = len(ids) - recipe.context - 1
    begin = generator.choice(starts[starts <= last], recipe.batch)
    rows = ids[begin[:, None] + np.arange(recipe.context)[None]].astype(np.int64)
    return torch.from_numpy(np.concatenate((np.full((recipe.batch, 1), text.BOS_ID), rows), axis=1))


def make_optimizers(model, recipe):
    """Muon for the matrices of the layers where PyTorch has it: fewer tokens for the same loss."""
    def adamw(parameters, weight_decay):
        return torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=weight_decay)

    named = list(model.named_parameters())
    layers = [p for name, p in named if p.dim() == 2 and ".layers." in name]
    tables = [p for name, p in named if p.dim() == 2 and ".layers." not in name]
    vectors = [p for _, p in named if p.dim() != 2]
    optimizers = [adamw(tables, recipe.weight_decay), adamw(vectors, 0.0)]
    if HAS_MUON:
        optimizers.append(torch.optim.Muon(layers, lr=recipe.learning_rate, weight_decay=recipe.weight_decay,
                                           adjust_lr_fn="match_rms_adamw"))
    else:
        optimizers.append(adamw(layers, recipe.weight_decay))
    return optimizers


def train(model, ids, starts, recipe, options):
    """Until the steps are done or the time is over; the learning rate follows whichever is nearer its end."""
    device = options.device
    model.to(device).train()
    step_model = torch.compile(model) if options.compile else model
    optimizers = make_optimizers(model, recipe)
    generator = np.random.default_rng(options.seed)
    began, mean_loss, step = time.monotonic(), None, 0
    while True:
        minutes = (time.monotonic() - began) / 60
        progress = max(step / recipe.steps, minutes / options.minutes if options.minutes else 0)
        if progress >= 1:
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(progress)
        batch = sample_batch(ids, starts, recipe, generator).to(device)
        with autocast(device):
            logits = step_model(batch[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        mean_loss = loss.item() if mean_loss is None else 0.98 * mean_loss + 0.02 * loss.item()
        if step % 20 == 0:
            rate = step * recipe.batch * recipe.context / (time.monotonic() - began)
            show_progress(f"step {step}, {progress:.0%}, loss {mean_loss:.3f}, {rate:.0f} tokens/s", progress, began)
    show_progress(None, 1, began)
    return {"steps": step, "tokens": step * recipe.batch * recipe.context,
            "minutes": round((time.monotonic() - began) / 60, 1), "training_loss": round(mean_loss, 3)}


def show_progress(line, progress, began):
    if line is None:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return
    if progress > 0:
        line += f", {(time.monotonic() - began) / 60 * (1 - progress) / progress:.1f} min left"
    is_terminal = sys.stderr.isatty()
    print(f"\r{line} " if is_terminal else line, end="" if is_terminal else "\n", file=sys.stderr, flush=True)


@torch.no_grad()
def perplexity(model, ids, context):
    """As `bitdial eval` scores: windows that do not overlap, </s> in front, the second half of each. -> (it, tokens)"""
    model.eval()
    count = min(len(ids) // context, HELD_OUT_WINDOWS)
    windows = torch.from_numpy(ids[:count * context].astype(np.int64)).view(-1, context)
    windows[:, 0] = text.BOS_ID
    total = count = 0
    for window in windows.split(16):
        logits = model(window[:, :-1]).float()[:, context // 2:]
        targets = window[:, context // 2 + 1:]
        total += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        count += targets.numel()
    return math.exp(total / count), count


@torch.no_grad()
def generate(model, tokenizer, prompt, tokens, generator, temperature=0.7, top_k=40):
    ids = [text.BOS_ID] + tokenizer.encode(prompt).ids
    for _ in range(tokens):
        logits = model(torch.tensor([ids]))[0, -1, :tokenizer.get_vocab_size()] / temperature
        best = logits.topk(top_k)
        ids.append(int(best.indices[torch.multinomial(best.values.softmax(-1), 1, generator=generator)]))
        if ids[-1] == text.BOS_ID:
            break
    return tokenizer.decode(ids, skip_special_tokens=True)


def save(model, family, tokenizer, folder):
    """fp16 weights and config; returns the model with the weights as they were written."""
    folder.mkdir(parents=True)
    state = {name: tensor.detach().cpu().half().contiguous() for name, tensor in model.state_dict().items()}
    weights = folder / "model.safetensors"
    safetensors.torch.save_file(state, str(weights), metadata={"format": "pt"})
    weights.chmod(0o644)
    config, save_tokenizer = {"llama": (models.llama_config, text.save_tokenizer_json),
                              "opt": (models.opt_config, text.save_vocab_and_merges)}[family]
    text.write_json(folder / "config.json", config(model.shape, text.BOS_ID))
    text.write_json(folder / "generation_config.json",
                    {"bos_token_id": text.BOS_ID, "eos_token_id": text.BOS_ID, "do_sample": False})
    save_tokenizer(tokenizer, folder)
    model.cpu().float().load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model


def make(family, corpus, recipe, options):
    """Trains one model and writes its folder. Returns its facts."""
    torch.manual_seed(options.seed)
    model = getattr(models, family)(recipe.shape(family))
    print(f"{family}: {sum(p.numel() for p in model.parameters()):,} parameters", file=sys.stderr)
    run = train(model, corpus["ids"], corpus["starts"], recipe, options)
    folder = options.output / family
    model = save(model, family, corpus["tokenizer"], folder)
    score, num_scored = perplexity(model, corpus["held_out_ids"], recipe.context)
    facts = {"family": family, **run, "held_out_perplexity": score, "held_out_tokens": num_scored}
    generator = torch.Generator().manual_seed(options.seed)
    tokens = 20 if options.smoke else 80
    facts["samples"] = [generate(model, corpus["tokenizer"], prompt, tokens, generator) for prompt in card.PROMPTS]
    (folder / "README.md").write_text(card.model_card(facts, model.shape, recipe, corpus, options))
    hashes = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())
              if path.name != "README.md"]
    (folder / "SHA256SUMS").write_text("".join(hashes))
    return facts


def read_corpus(paths, recipe):
    documents = text.read_documents(paths)
    if len(documents) < 2:
        raise SystemExit(f"--text: {len(documents)} document with text; at least 2 are needed, one is held out")
    held_out_at = set(range(HELD_OUT_EVERY // 2, len(documents), HELD_OUT_EVERY)) or {len(documents) - 1}
    held_out = [document for i, document in enumerate(documents) if i in held_out_at]
    kept = [document for i, document in enumerate(documents) if i not in held_out_at]
    tokenizer = text.train_tokenizer(kept, recipe.tokens_of_vocab)
    ids, starts = text.encode(tokenizer, kept)
    held_out_text = "\n\n".join(held_out)
    held_out_ids = np.array([text.BOS_ID, *tokenizer.encode(held_out_text).ids], np.uint16)
    if min(len(ids), len(held_out_ids)) <= recipe.context:
        raise SystemExit(f"--text: {len(ids)} tokens to train on and {len(held_out_ids)} held out; "
                         f"each must be more than {recipe.context}")
    return {"tokenizer": tokenizer, "ids": ids, "starts": starts, "held_out_ids": held_out_ids,
            "held_out_text": held_out_text, "num_documents": len(documents), "num_held_out": len(held_out), "sources": [(path.name, path.stat().st_size,
                                                    hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]}


def best_device():
    return "cuda" if torch.cuda.is_available() else "cpu"


def why_not(options):
    """What this PyTorch lacks for the options; None: nothing."""
    if options.device == "cuda" and not torch.cuda.is_available():
        return "--device cuda: this PyTorch sees no CUDA device"
    if options.compile and not hasattr(torch, "compile"):
        return f"--compile: PyTorch {torch.__version__} has no torch.compile (2.0 does)"
    return None


def train_all(options):
    """Trains and writes each family. Returns their facts."""
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = Recipe(options.smoke, options.steps)
    corpus = read_corpus(options.text, recipe)
    print(f"{len(corpus['ids']):,} tokens, {len(corpus['held_out_ids']):,} held out", file=sys.stderr)
    if options.held_out_text:
        options.held_out_text.write_text(corpus["held_out_text"])
    return [make(family, corpus, recipe, options) for family in options.family]
