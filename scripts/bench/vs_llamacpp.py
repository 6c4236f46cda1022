#!/usr/bin/env python3
"""Runs Bitdial and llama.cpp in turns and writes table, plot and JSON. Called by scripts/bench_vs_llamacpp.sh."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess

import matplotlib
import shapes

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

PAIRS = {2: "Q2_K", 3: "Q3_K_S", 4: "Q4_0"}
PROMPT, GENERATE, LONG_PROMPT = 128, 64, 512
REQUESTS = (1, 8)
FIGURES = ("decode 1", "decode 8", "prompt 512")


def run(command, environment=None):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr[-2000:]}")
    return result


def ours(options, bits, prompt, tokens, requests):
    out = json.loads(run([options.bitdial, "bench", "engine", "--shape", options.shape, "--bits", bits, "--threads",
                          options.threads, "--numerics", options.numerics, "--prompt-tokens", prompt, "--tokens", tokens,
                          "--requests", ",".join(map(str, requests)), "--samples", 1, "--json"],
                         options.environment).stdout)
    return out


def peer(options, kind, flash, prompt, tokens, requests):
    result = run([options.peer / "llama-batched-bench", "-m", options.models / f"{kind}.gguf", "-t", options.threads,
                  "-tb", options.threads, "-npp", prompt, "-ntg", tokens, "-npl", ",".join(map(str, requests)), "-c",
                  (prompt + tokens) * max(requests), "-b", 2048, "-ub", 512, "-fa", flash, "--output-format", "jsonl"])
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def measure_round(options, samples):
    def add(engine, bits, figure, value):
        samples.setdefault((engine, bits, figure), []).append(value)

    for bits, kind in PAIRS.items():
        out = ours(options, bits, PROMPT, GENERATE, REQUESTS)
        options.backend, options.resident = out["backend"], out["resident_bytes"]
        for result in out["results"]:
            add("bitdial", bits, f"decode {result['requests']}", result["decode_tokens_per_s"])
        for flash in ("off", "on"):
            for result in peer(options, kind, flash, PROMPT, GENERATE, REQUESTS):
                add(flash, bits, f"decode {result['pl']}", result["speed_tg"])
        add("bitdial", bits, "prompt 512", ours(options, bits, LONG_PROMPT, 2, [1])["results"][0]["prompt_tokens_per_s"])
        for flash in ("off", "on"):
            add(flash, bits, "prompt 512", peer(options, kind, flash, LONG_PROMPT, 1, [1])[0]["speed_pp"])
        linear = json.loads(run([options.bitdial, "bench", "linear", "--shape", "4096x4096", "--bits", bits, "--rows", 1,
                                 "--threads", options.threads, "--numerics", options.numerics, "--samples", 5, "--json"],
                                options.environment).stdout)["results"][0]
        add("read", bits, "GB/s", linear["read_gb_per_s"])
        add("linear", bits, "share", linear["share_of_read"])


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}..{max(values):.1f})"


def summarize(options, samples):
    shape, rows = shapes.parse(options.shape), []
    for bits, kind in PAIRS.items():
        bound = statistics.median(samples["read", bits, "GB/s"]) * 1e9 / shape.bytes_a_token(bits)
        for figure in FIGURES:
            mine = samples["bitdial", bits, figure]
            flash = max(("off", "on"), key=lambda f: statistics.median(samples[f, bits, figure]))
            theirs = samples[flash, bits, figure]
            ratio = statistics.median(mine) / statistics.median(theirs)
            rows.append({"bits": bits, "peer": kind, "figure": figure, "bitdial": mine, "llama.cpp": theirs,
                         "flash_attention": flash, "ratio": ratio,
                         "share_of_bound": statistics.median(mine) / bound if figure == "decode 1" else None})
    return rows


def write_table(options, samples, rows):
    lines = [f"# Bitdial beside llama.cpp, {options.shape}, {options.threads} threads, {options.isa}", "",
             f"{datetime.date.today()}, {cpu_name()}, commit {options.commit}, {options.rounds} rounds in turns, "
             f"`--numerics {options.numerics}`, kernels {options.backend}. Random weights: speed only; quality is in "
             f"other tables.", "",
             f"Decode: prompt {PROMPT}, generate {GENERATE}, tokens/s of all requests, with 1 request and with 8 at once. "
             f"Bound: the read bandwidth of the same round over the bytes a token reads.", "",
             "| bits | peer | figure | Bitdial tokens/s | llama.cpp tokens/s | flash attn. | ratio | of bound |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        share = f"{row['share_of_bound']:.0%}" if row["share_of_bound"] else ""
        lines.append(f"| {row['bits']} | {row['peer']} | {row['figure']} | {spread(row['bitdial'])} | "
                     f"{spread(row['llama.cpp'])} | {row['flash_attention']} | **{row['ratio']:.2f}** | {share} |")
    lines += ["", "| bits | read GB/s | one linear 4096x4096, share of read |", "|---|---|---|"]
    for bits in PAIRS:
        lines.append(f"| {bits} | {spread(samples['read', bits, 'GB/s'])} | "
                     f"{statistics.median(samples['linear', bits, 'share']):.0%} |")
    lines += ["", f"Resident after load: {options.resident / 1e6:.0f} MB (planes of 2 to 4 bits). llama.cpp: "
              f"`{options.system_info}`", "",
              f"`./scripts/bench_vs_llamacpp.sh --shape {options.shape} --threads {options.threads} --rounds "
              f"{options.rounds} --isa {options.isa} --numerics {options.numerics}`", "",
              f"![plot]({options.out.name}.svg)", ""]
    options.out.with_name(options.out.name + ".md").write_text("\n".join(lines))
    print("\n".join(lines[6:-4]), flush=True)


def write_plot(options, rows):
    figure, axes = pyplot.subplots(1, len(FIGURES), figsize=(11, 3.4))
    for axis, name in zip(axes, FIGURES):
        chosen = [row for row in rows if row["figure"] == name]
        for offset, engine, color in ((-0.2, "bitdial", "#1f6f8b"), (0.2, "llama.cpp", "#c9c9c9")):
            medians = [statistics.median(row[engine]) for row in chosen]
            errors = [[m - min(row[engine]) for m, row in zip(medians, chosen)],
                      [max(row[engine]) - m for m, row in zip(medians, chosen)]]
            axis.bar([i + offset for i in range(len(chosen))], medians, 0.38, yerr=errors, label=engine, color=color)
        axis.set_xticks(range(len(chosen)), [f"{row['bits']} bits\n{row['peer']}" for row in chosen])
        axis.set_title(f"{name}, tokens/s", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(options.out.with_name(options.out.name + ".svg"))


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("bitdial", pathlib.Path), ("peer", pathlib.Path), ("models", pathlib.Path), ("shape", str),
                       ("threads", int), ("rounds", int), ("isa", str), ("numerics", str), ("commit", str),
                       ("out", pathlib.Path)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    options = parser.parse_args()
    options.environment = dict(os.environ)
    if options.isa == "avx2":
        options.environment["BITDIAL_FORCE_BACKEND"] = "cpu_avx2"
    options.system_info, samples = run([options.peer / "system_info"]).stdout.strip(), {}
    for number in range(options.rounds):
        print(f"   round {number + 1} of {options.rounds}", flush=True)
        measure_round(options, samples)
    rows = summarize(options, samples)
    facts = {"shape": options.shape, "threads": options.threads, "isa": options.isa, "numerics": options.numerics,
             "commit": options.commit, "cpu": cpu_name(), "system_info": options.system_info, "rows": rows,
             "samples": {" ".join(map(str, key)): values for key, values in samples.items()}}
    options.out.with_name(options.out.name + ".json").write_text(json.dumps(facts, indent=1) + "\n")
    write_table(options, samples, rows)
    write_plot(options, rows)


if __name__ == "__main__":
    main()
