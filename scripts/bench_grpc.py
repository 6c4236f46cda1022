#!/usr/bin/env python3
"""What gRPC costs: one client's decode tokens/s through a server over the same in this process, in turns.

    scripts/bench_grpc.py models/SmolLM2-135M-Instruct-bitdial --bits 4

Needs build/release/bitdial (scripts/quickstart.sh builds it). Run alone: anything beside it changes the figures.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT = "Once upon a time"


def run(command):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr}")
    return json.loads(result.stdout)


def start_server(options):
    server = subprocess.Popen(list(map(str, [options.bitdial, "serve", options.model, "--listen", "127.0.0.1:0", "--numerics",
                                             options.numerics, "--threads", options.threads])),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in server.stdout:
        if match := re.match(r"Serving .* on (\S+:\d+) ", line):
            return server, match[1]
    sys.exit(f"bitdial serve ended with exit code {server.wait()}")


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}..{max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--bits", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--numerics", choices=["exact", "int16", "int8"], default="int8")
    parser.add_argument("--bitdial", type=pathlib.Path, default=ROOT / "build/release/bitdial")
    options = parser.parse_args()
    server, address = start_server(options)
    try:
        print("| bits | in process tokens/s | through gRPC tokens/s | ratio |\n|---|---|---|---|")
        for bits in options.bits:
            ask = ["--prompt", PROMPT, "--bits", bits, "--max-tokens", options.tokens, "--ignore-eos", "--json"]
            local, remote = [], []
            for _ in range(options.rounds):
                local.append(run([options.bitdial, "generate", options.model, "--numerics", options.numerics, "--threads",
                                  options.threads, *ask])["decode_tokens_per_s"])
                remote.append(run([options.bitdial, "client", "--server", address, *ask])["decode_tokens_per_s"])
            ratio = statistics.median(remote) / statistics.median(local)
            print(f"| {bits} | {spread(local)} | {spread(remote)} | **{ratio:.2f}** |", flush=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
