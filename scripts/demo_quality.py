#!/usr/bin/env python3
"""What fewer bits cost the demo models: perplexity at dense, 4, 3 and 2 bits, from full-precision weights.

    scripts/demo_quality.py                          the tale demo/story.txt
    scripts/demo_quality.py --text held_out.txt      another text: `train_demo.py --held-out-text` writes one
    scripts/demo_quality.py --method rtn bcq anybcq --group-size 64

Prints a Markdown table. Needs build/release/bitdial (scripts/quickstart.sh builds it).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def bitdial(executable, *arguments):
    result = subprocess.run([executable, *map(str, arguments), "--json"], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"bitdial {' '.join(map(str, arguments))}: exit code {result.returncode}\n{result.stderr}")
    return json.loads(result.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "demo/story.txt")
    parser.add_argument("--method", nargs="+", default=["anybcq"])
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--bitdial", type=pathlib.Path, default=ROOT / "build/release/bitdial")
    options = parser.parse_args()
    if not options.bitdial.is_file():
        parser.error(f"--bitdial: no such file: {options.bitdial}; ./scripts/quickstart.sh --demo builds it")
    print("| model | method | dense | " + " | ".join(f"{bits} bits" for bits in options.bits) + " | tokens scored |")
    print("|---" * (len(options.bits) + 4) + "|")
    for family in ("llama", "opt"):
        dense = bitdial(options.bitdial, "eval", ROOT / "demo" / family, "--perplexity", options.text)
        for method in options.method:
            with tempfile.TemporaryDirectory(prefix="bitdial_quality_") as folder:
                quantized = pathlib.Path(folder) / family
                bitdial(options.bitdial, "quantize", ROOT / "demo" / family, "-o", quantized, "--method", method, "--bits",
                        f"{min(options.bits)}-{max(options.bits)}", "--group-size", options.group_size)
                cells = [bitdial(options.bitdial, "eval", quantized, "--perplexity", options.text, "--bits", bits)["perplexity"]
                         for bits in options.bits]
            print(f"| {family} | {method} | {dense['perplexity']:.2f} | " + " | ".join(f"{cell:.2f}" for cell in cells) +
                  f" | {dense['tokens']:,} |", flush=True)


if __name__ == "__main__":
    main()
