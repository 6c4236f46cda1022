#!/usr/bin/env python3
"""Loads a server with `bitdial bench serve` and prints Markdown tables. Called by scripts/bench_serving.sh. Standard
library only."""
import argparse
import contextlib
import datetime
import json
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

CLIENTS = 8
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


def free_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def model_seconds(metrics):
    """Wall clock, and how long the model has computed until now."""
    page = urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10).read().decode()
    value = {name: float(number) for name, number in re.findall(r"^(bitdial_\w+) (\S+)$", page, re.MULTILINE)}
    return time.monotonic(), value["bitdial_step_seconds_total"] - value["bitdial_host_gap_seconds_total"]


def watch_gap(metrics, duration, gaps):
    """Appends the share of wall time in which the model did not compute, in the middle of a run."""
    time.sleep(0.3 * duration)
    began, before = model_seconds(metrics)
    time.sleep(0.6 * duration)
    ended, after = model_seconds(metrics)
    gaps.append(1 - (after - before) / (ended - began))


def clients(options):
    metrics, ones, manys, gaps = free_address(), [], [], []
    with serving(options, options.small, "--metrics-listen", metrics) as address:
        closed = ("--arrivals", "closed", "--duration", options.duration, "--bits", 4, *LENGTHS)
        for i in range(options.rounds):
            ones.append(load(options, address, f"one-client-{i}", *closed, "--warmup", 1)["output_tokens_per_s"])
            watcher = threading.Thread(target=watch_gap, args=(metrics, options.duration, gaps))
            watcher.start()
            manys.append(load(options, address, f"clients-{i}", *closed, "--concurrency", CLIENTS, "--warmup",
                              CLIENTS)["output_tokens_per_s"])
            watcher.join()
    ratios = [many / one for one, many in zip(ones, manys)]
    print(f"## Clients at once\n\n{options.small.name}, 4 bits, prompt 32, output 128, closed; medians of {options.rounds} "
          "rounds (min to max). Outside the model: the share of wall time, with all clients at once.\n\n"
          "| clients | output tokens/s | ratio | outside the model |\n|---|---|---|---|\n"
          f"| 1 | {spread(ones, '.1f')} | | |\n| {CLIENTS} | {spread(manys, '.1f')} | **{spread(ratios, '.2f')}** | "
          f"{spread([100 * gap for gap in gaps], '.1f')} % |\n", flush=True)


def spread(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


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
    return best[1] if best[0] > 0 else 0


def overload(options, address, rate, bits, name):
    seen, stop = [0], threading.Event()
    poller = threading.Thread(target=most_queued, args=(options, address, stop, seen))
    poller.start()
    try:
        figures = open_load(options, address, name, rate, bits)
    finally:
        stop.set()
        poller.join()
    return figures, max(seen)


def ratio(value, base):
    return value / base if base > 0 else float("inf")


def overloads(options, address, best_rate):
    """Rounds of the best rate, ten times the peak, and that with auto: what the machine has to give changes."""
    print(f"## Overload: {OVERLOAD} times the peak, in {options.rounds} rounds\n\n"
          "| bits | requests/s | sent | ok | rejected | goodput/s | most queued (bound) | reject p50 ms | p99 ms | "
          "lateness p99 ms | tokens by bits |\n|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    of_peak, of_fixed = [], []
    for i in range(options.rounds):
        peak = good = None
        for name, bits in (("peak", "4"), ("overload", "4"), ("overload", "auto:2")):
            rate = best_rate if name == "peak" else OVERLOAD * (peak or best_rate)
            figures, queued = overload(options, address, rate, bits, f"{name}-{bits}-{i}".replace(":", "-"))
            before, good = good, figures["goodput"]["requests_per_s"]
            if name == "peak":
                peak = good
            elif bits == "4":
                of_peak.append(ratio(good, peak))
            else:
                of_fixed.append(ratio(good, before))
            print(f"| {bits} | {rate:.3g} | {figures['sent']} | {figures['ok']} | {figures['rejected']} | {good:.3f} | "
                  f"{queued} ({options.queue}) | {1000 * figures['reject_s']['p50']:.2f} | "
                  f"{1000 * figures['reject_s']['p99']:.2f} | {1000 * figures['lateness_s']['p99']:.2f} | "
                  f"{figures['tokens_by_bits']} |", flush=True)
    print(f"\nGoodput under {OVERLOAD} times the peak, over the peak of the same round: **{spread(of_peak, '.2f')}**; with "
          f"auto, over fixed 4 bits: **{spread(of_fixed, '.2f')}**.\n", flush=True)


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
    parser.add_argument("--numerics", choices=("exact", "int16", "int8"), default="int8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--running", type=int, default=8)
    parser.add_argument("--queue", type=int, default=2)
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
        best_rate = sweep(options, address)
        if best_rate == 0:
            sys.exit("no answer met the SLO at any rate: give wider bounds")
        overloads(options, address, best_rate)


if __name__ == "__main__":
    main()
