"""The model card of a demo model: what it is, what it was made from, how well it does, what it says."""

import platform

import torch

PROMPTS = ["Once upon a time", "The old man", "\"Where are you going?\"", "It was a cold winter morning, and",
           "The children ran", "She opened the letter", "In the middle of the forest", "The captain looked at",
           "\"I am very glad\"", "At last the sun"]


def model_card(facts, shape, recipe, corpus, options):
    sources = "\n".join(f"| {name} | {size:,} | `{digest}` |" for name, size, digest in corpus["sources"])
    samples = "\n\n".join(f"{number}. {quoted(sample)}" for number, sample in enumerate(facts["samples"], 1))
    return f"""# A demo {facts['family']}

A language model small enough for a repository, for tests, for a first run without a network, and to see what fewer bits
do to trained weights. It knows how sentences go and nothing else: no fact it states means anything.

| | |
|---|---|
| architecture | {facts['family']}: {shape.layers} layers, hidden size {shape.hidden}, {shape.heads} heads \
({shape.kv_heads} for K and V), MLP {shape.ffn}, context {shape.context}, head tied to the embedding |
| weights | fp16; names and layout as Hugging Face stores them |
| tokenizer | byte-level BPE of our own, {corpus['tokenizer'].get_vocab_size()} tokens; {shape.vocab_size} rows of embedding |
| held-out perplexity | **{facts['held_out_perplexity']:.2f}** a token of this tokenizer (windows of {shape.context}, second \
half scored: {facts['held_out_tokens']:,} tokens of documents not trained on) |

## Recipe

`scripts/train_demo.py {command_line(corpus, options, facts)}`

{facts['steps']} steps of {recipe.batch} sequences of {recipe.context} tokens ({facts['tokens']:,} tokens, \
{facts['minutes']} minutes on {f'{torch.get_num_threads()} CPU threads' if options.device == 'cpu' else 'one GPU'}), \
{recipe.optimizer}, peak learning rate {recipe.learning_rate}, cosine to a tenth, weight decay {recipe.weight_decay}; last \
training loss {facts['training_loss']}. PyTorch {torch.__version__}, Python {platform.python_version()}. \
{corpus['num_held_out']} of {corpus['num_documents']} documents were held out.{CLOCK if options.minutes else ''}

| text | bytes | sha256 |
|---|---|---|
{sources}

## Samples

Ten prompts, temperature 0.7, top-k 40, seed {options.seed}; the first that came.

{samples}
"""


CLOCK = " With --minutes the learning rate follows the clock: another run ends at another step and other weights."


def command_line(corpus, options, facts):
    words = [] if options.smoke else ["--text", *(name for name, _, _ in corpus["sources"])]
    words += ["--family", facts["family"], "--seed", options.seed]
    for flag in ("steps", "minutes", "threads"):
        if getattr(options, flag):
            words += [f"--{flag}", f"{getattr(options, flag):g}"]
    words += [f"--{flag}" for flag in ("compile", "smoke") if getattr(options, flag)]
    return " ".join(map(str, [*words, "--device", options.device]))


def quoted(sample):
    return "> " + sample.replace("\n", "\n   > ")
