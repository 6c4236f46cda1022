#!/usr/bin/env python3
"""Trains the demo models: a small Llama and a small OPT, fp16, each at most 10 MB, in Hugging Face's layout.

    scripts/train_demo.py --text books.txt -o demo            both, as in the repository (see demo/README.md)
    scripts/train_demo.py --text a.txt b.txt --family opt -o out --minutes 20
    scripts/train_demo.py --smoke -o /tmp/smoke               tiny models on this repository's own docs, in a minute

Text files are UTF-8; "<|endoftext|>" ends a document. Every 33rd document is held out and scored. Needs PyTorch (1.13
or newer, CPU or CUDA), numpy, tokenizers and safetensors. Without --minutes, the same seed, threads and versions give the
same weights on the same processor. Exit codes: 0 done; 1 failed; 2 usage.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=pathlib.Path, nargs="+", help="UTF-8 text files to train on")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="a folder; OUTPUT/FAMILY must not exist")
    parser.add_argument("--family", choices=("llama", "opt"), nargs="+", default=["llama", "opt"])
    parser.add_argument("--steps", type=positive(int), help="of each model's training (default: 3500)")
    parser.add_argument("--minutes", type=positive(float), help="end each model's training after this time, if steps are left")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(default: cuda where PyTorch sees a device)")
    parser.add_argument("--threads", type=positive(int), help="CPU threads (default: PyTorch's)")
    parser.add_argument("--compile", action="store_true", help="torch.compile: half a minute, then faster steps")
    parser.add_argument("--seed", type=positive(int), default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny models on this repository's docs")
    parser.add_argument("--held-out-text", type=pathlib.Path, help="also write the held-out text, for bitdial eval")
    parser.add_argument("--json", action="store_true", help="print the facts of each model as JSON")
    return parser


def import_training():
    """Late, so that --help and a wrong flag are answered without its packages."""
    try:
        from demo import training
    except ImportError as error:
        sys.exit(f"{sys.executable}: {error}: training needs PyTorch, numpy and what scripts/demo/requirements.txt lists; "
                 "demo/README.md says how to install them")
    return training


def check(parser, options, why_not):
    """What would end the run after the training is found before it."""
    if options.smoke:
        options.text = options.text or sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if not options.text:
        parser.error("--text is needed (or --smoke)")
    for path in options.text:
        if not path.is_file():
            parser.error(f"--text: no such file: {path}")
    options.family = list(dict.fromkeys(options.family))
    for family in options.family:
        if (options.output / family).exists():
            parser.error(f"-o: {options.output / family} exists; move it away")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        if options.held_out_text:
            options.held_out_text.write_text("")
    except OSError as error:
        parser.error(f"cannot be written: {error}")
    if why := why_not(options):
        parser.error(why)


def positive(kind):
    def parse(value):
        number = kind(value)
        if not 0 < number < 1 << 31:
            raise argparse.ArgumentTypeError(f"{value} is not a number above 0")
        return number
    parse.__name__ = kind.__name__
    return parse


def main():
    parser = make_parser()
    options = parser.parse_args()
    training = import_training()
    options.device = options.device or training.best_device()
    check(parser, options, training.why_not)
    facts = training.train_all(options)
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        for fact in facts:
            print(f"{options.output / fact['family']}: held-out perplexity {fact['held_out_perplexity']:.2f}")


if __name__ == "__main__":
    main()
