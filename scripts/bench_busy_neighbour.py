#!/usr/bin/env python3
"""What a busy neighbour costs: decode tokens/s alone and with other processes that want the same cores, in turns.

    scripts/bench_busy_neighbour.py                        llama-1.1b, 2 bits, one busy process
    scripts/bench_busy_neighbour.py --shape llama-1.1b:4 --neighbours 1 2

An engine whose threads spin at a barrier waits there for a thread that has lost its core: a fixed spin barrier made
another engine thirty times slower. Needs build/release/bitdial (scripts/quickstart.sh builds it).
"""
import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def busy(count):
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def decode(options):
    command = [options.bitdial, "bench", "engine", "--shape", options.shape, "--bits", options.bits, "--numerics",
               options.numerics, "--threads", options.threads, "--prompt-tokens", 16, "--tokens", options.tokens, "--samples", 1,
               "--json"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"bitdial bench engine: exit code {result.returncode}\n{result.stderr}")
    return json.loads(result.stdout)["results"][0]["decode_tokens_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="llama-1.1b")
    parser.add_argument("--bits", type=int, default=2)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--numerics", choices=["exact", "int16", "int8"], default="int8")
    parser.add_argument("--bitdial", type=pathlib.Path, default=ROOT / "build/release/bitdial")
    options = parser.parse_args()
    samples = {count: [] for count in [0, *options.neighbours]}
    for _ in range(options.rounds):
        for count, values in samples.items():
            with busy(count):
                values.append(decode(options))
    alone = statistics.median(samples[0])
    print("| busy neighbours | tokens/s (min..max) | times slower |\n|---|---|---|")
    for count, values in samples.items():
        median = statistics.median(values)
        print(f"| {count} | {median:.1f} ({min(values):.1f}..{max(values):.1f}) | {alone / median:.1f} |")


if __name__ == "__main__":
    main()
