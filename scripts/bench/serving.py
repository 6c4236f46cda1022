#!/usr/bin/env python3
"""Loads a server with `bitdial bench serve` and prints Markdown tables. Called by scripts/bench_serving.sh. Standard
library only."""
import argparse
import contextlib
import datetime
import json
import pathlib
import re
import subprocess
import sys
import threading

CLIENTS = 8
SMALL_LENGTHS = ("--prompt-tokens", 64, "--output-tokens", 128)
LENGTHS = ("--prompt-tokens", 32, "--output-tokens", 128)
SWEEP = (0.5, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3)  # of what a full server answers in a closed loop
FURTHER, FURTHEST = 1.2, 4  # while the last rate was the best: the next one, and where to stop
OVERLOAD = 10
POLL_S = 0.5


@contextlib.contextmanager
def serving(options, model, *flags):
    """The address of a server of its own, which ends with the block."""
    command = [options.bitdial, "serve", model, "--listen", "127.0.0.1:0", "--threads", options.threads, "--numerics",
               options.numerics, "--log-level", "warn", *flags]
    server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        for line in server.stdout:
            if match := re.match(r"Serving .* on (\S+:\d+) ", line):
                yield match[1]
                return
        sys.exit(f"bitdial serve {model} ended with exit code {server.wait()}")
    finally:
        server.terminate()
        server.wait()


def load(options, address, name, *flags):
    """The JSON of one run. Seeds differ, so that no run finds the prompts of another in a cache."""
    options.runs += 1
    command = [options.bitdial, "bench", "serve", "--server", address, "--seed", options.runs, "--json", *flags]
    if options.out:
        command += ["--plot", options.out / f"{name}.svg"]
    print(f"   {name}", file=sys.stderr, flush=True)
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if not result.stdout:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr}")
    if options.out:
        (options.out / f"{name}.json").write_text(result.stdout)
    return json.loads(result.stdout)


def open_load(options, address, name, rate, bits):
    """Poisson arrivals; the time in which a queue and a batch fill up does not count."""
    warmup_s = min(10, options.duration / 3)
    return load(options, address, name, *LENGTHS, "--rate", f"{rate:.4g}", "--duration", options.duration, "--warmup",
                round(rate * warmup_s), "--bits", bits, "--slo-ttft-ms", options.slo_ttft_ms, "--slo-tpot-ms",
                options.slo_tpot_ms)


def most_queued(options, address, stop, seen):
    """Appends how many requests wait, until told to stop."""
    while not stop.wait(POLL_S):
        asked = subprocess.run([options.bitdial, "client", "--server", address, "--model-info", "--json"],
                               capture_output=True, text=True)
        if asked.returncode == 0:
            seen.append(json.loads(asked.stdout)["num_queued"])


def clients(options):
    with serving(options, options.small) as address:
        closed = ("--arrivals", "closed", "--duration", options.duration, "--bits", 4, *SMALL_LENGTHS)
        one = load(options, address, "one-client", *closed, "--warmup", 1)["output_tokens_per_s"]
        many = load(options, address, "clients", *closed, "--concurrency", CLIENTS, "--warmup",
                    CLIENTS)["output_tokens_per_s"]
    print(f"## Clients at once\n\n{options.small.name}, 4 bits, prompt 64, output 128, closed.\n\n"
          f"| clients | output tokens/s | ratio |\n|---|---|---|\n| 1 | {one:.1f} | |\n"
          f"| {CLIENTS} | {many:.1f} | **{many / one:.2f}** |\n", flush=True)


def row(rate, figures):
    latencies, goodput = figures["all"], figures["goodput"]
    print(f"| {rate:.3g} | {figures['sent']} | {figures['ok']} | {figures['rejected']} | "
          f"{goodput['requests_per_s']:.3f} | {figures['output_tokens_per_s']:.1f} | "
          f"{latencies['ttft_s']['p50']:.2f} | {latencies['ttft_s']['p99']:.2f} | "
          f"{1000 * latencies['tpot_s']['p50']:.1f} | {1000 * latencies['tpot_s']['p99']:.1f} |", flush=True)


def sweep(options, address):
    """The best goodput, fixed 4 bits."""
    full = load(options, address, "full", *LENGTHS, "--arrivals", "closed", "--concurrency", options.running,
                "--duration", options.duration, "--warmup", options.running, "--bits", 4)["requests_per_s"]
    if full == 0:
        sys.exit("no request was answered in the time: give a longer --duration")
    print(f"## Goodput over the rate\n\n{options.model.name}, prompt 32, output 128, Poisson, 4 bits; SLO: TTFT "
          f"{options.slo_ttft_ms:g} ms, TPOT {options.slo_tpot_ms:g} ms; {options.running} run, {options.queue} wait. "
          f"{options.running} clients in a closed loop: {full:.3f} requests/s.\n\n"
          "| requests/s | sent | ok | rejected | goodput/s | tokens/s | TTFT p50 s | p99 | TPOT p50 ms | p99 |\n"
          "|---|---|---|---|---|---|---|---|---|---|", flush=True)
    best, shares = (0, 0), list(SWEEP)
    for share in shares:  # grows on the way
        figures = open_load(options, address, f"rate-{share:.2f}", share * full, 4)
        row(share * full, figures)
        best = max(best, (figures["goodput"]["requests_per_s"], share * full))
        if share == shares[-1] and best[1] == share * full and share * FURTHER <= FURTHEST:
            shares.append(share * FURTHER)
    print(f"\nPeak: **{best[0]:.3f}** good answers/s at {best[1]:.3g} requests/s.\n", flush=True)
    return best[0]


def overload(options, address, rate, bits):
    seen, stop = [0], threading.Event()
    poller = threading.Thread(target=most_queued, args=(options, address, stop, seen))
    poller.start()
    try:
        figures = open_load(options, address, f"overload-{bits}".replace(":", "-"), rate, bits)
    finally:
        stop.set()
        poller.join()
    return figures, max(seen)


def ratio(value, base):
    return f"{value / base:.2f}" if base > 0 else "-"


def overloads(options, address, peak):
    rate = OVERLOAD * peak
    print(f"## Overload: {OVERLOAD} times the peak, {rate:.3g} requests/s\n\n"
          "| bits | sent | ok | rejected | goodput/s | of the peak | beside 4 bits | most queued (bound) | reject p50 ms "
          "| p99 ms | lateness p99 ms | tokens by bits |\n|---|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    fixed = None
    for bits in ("4", "auto:2"):
        figures, queued = overload(options, address, rate, bits)
        good = figures["goodput"]["requests_per_s"]
        fixed = good if fixed is None else fixed
        print(f"| {bits} | {figures['sent']} | {figures['ok']} | {figures['rejected']} | {good:.3f} | "
              f"{ratio(good, peak)} | {ratio(good, fixed)} | {queued} ({options.queue}) | "
              f"{1000 * figures['reject_s']['p50']:.2f} | {1000 * figures['reject_s']['p99']:.2f} | "
              f"{1000 * figures['lateness_s']['p99']:.2f} | {figures['tokens_by_bits']} |", flush=True)


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bitdial", "small", "model"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--duration", type=float, default=60)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--numerics", choices=("exact", "int8"), default="int8")
    parser.add_argument("--running", type=int, default=8)
    parser.add_argument("--queue", type=int, default=4)
    parser.add_argument("--slo-ttft-ms", type=float, default=10000)
    parser.add_argument("--slo-tpot-ms", type=float, default=250)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    options.runs = 0
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    print(f"# Serving under load\n\n{datetime.date.today()}, {cpu_name()}, commit {options.commit}, `--numerics "
          f"{options.numerics}`, threads {options.threads or 'all'}, {options.duration:g} s a run, client on the same "
          "machine.\n", flush=True)
    clients(options)
    with serving(options, options.model, "--max-running-requests", options.running, "--max-queued-requests",
                 options.queue) as address:
        peak = sweep(options, address)
        if peak == 0:
            sys.exit("no answer met the SLO at any rate: give wider bounds")
        overloads(options, address, peak)


if __name__ == "__main__":
    main()
