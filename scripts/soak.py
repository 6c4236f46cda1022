#!/usr/bin/env python3
"""A server under good and bad clients for a long time: does it stay right, alive and of one size?

    scripts/soak.py --minutes 20 > soak.md             behind HAProxy with configs/haproxy.cfg
    scripts/soak.py --minutes 20 --direct > direct.md  without it: gRPC meets the strangers itself
    scripts/soak.py --minutes 1                        a smoke test

`bitdial serve` serves demo/llama with configs/production.json, optimistic admission and a KV cache so small that requests are
preempted. Good clients ask greedy questions and hold every answer, token ids and log-probabilities bit for bit, to what an
idle server gave to the question alone. Neighbours ask anything and cancel half of it. Hostile clients crash, do not read, sit
idle, reset streams, send giant metadata, floods and garbage (scripts/soak_clients/hostile.py).

Prints a Markdown report; progress goes to stderr. Needs the packages of tests/e2e/requirements.txt (BITDIAL_PYTHON, or
.cache/venv as scripts/test.sh makes it), and haproxy and openssl unless --direct.
Exit codes: 0 all answers were right and the server lived; 1 a wrong answer, a dead server, or something left behind; 2 usage.
"""
import argparse
import collections
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))
VENV = ROOT / ".cache/venv/bin/python"
if "--help" not in sys.argv and "-h" not in sys.argv and VENV.exists():
    os.environ.setdefault("BITDIAL_PYTHON", str(VENV))

NUM_QUESTIONS = 200
NUM_GOOD = 4
NUM_NEIGHBOURS = 3
SAMPLE_S = 1
PROGRESS_S = 30
LEAVE_S = 60  # for what hostile clients leave behind them: the proxy's longest limit on them is 30 s
SERVER_FLAGS = ("--config", ROOT / "configs/production.json", "--kv-admission", "optimistic", "--kv-cache-bytes", 2 << 20,
                "--max-unread-tokens", 256)


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--direct", action="store_true", help="no proxy, no TLS")
    parser.add_argument("--no-hostile", action="store_true", help="good clients and neighbours alone, to compare with")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="these hostile clients alone, by their names in hostile.py")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bitdial", type=pathlib.Path, default=ROOT / "build/release/bitdial")
    parser.add_argument("--samples", type=pathlib.Path, help="write every sample here, as JSON lines")
    return parser


class Samples:
    """What the server's process holds, every second. The proxy's memory beside it."""

    def __init__(self, process, proxy_process):
        self._process, self._proxy = process, proxy_process
        self._began = time.monotonic()
        self.all = []  # (seconds, Footprint, resident KiB of the proxy)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(SAMPLE_S):
            try:
                proxy = served.footprint(self._proxy.pid).resident_kib if self._proxy else 0
                self.all.append((time.monotonic() - self._began, served.footprint(self._process.pid), proxy))
            except (OSError, StopIteration):
                return  # it has ended; who started it says so

    def stop(self):
        self._stop.set()
        self._thread.join()

    def series(self, name):
        read = {"resident_mib": lambda of: of.resident_kib / 1024, "threads": lambda of: of.threads.total(),
                "descriptors": lambda of: of.descriptors}[name]
        return [(seconds, read(footprint)) for seconds, footprint, _ in self.all]


class GoodClients:
    """Ask, compare, time."""

    def __init__(self, stubs, questions, alone, seed):
        self._questions, self._alone = questions, alone
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self.num_right, self.wrong = 0, []
        self.statuses = collections.Counter()  # (code, first words) of calls that gave no answer
        self.first_tokens = []                 # (seconds since the start, seconds to the first token)
        self.usage = collections.Counter()
        self._threads = [threading.Thread(target=self._run, args=(stub, f"{seed}/{number}"))
                         for number, stub in enumerate(stubs)]
        for thread in self._threads:
            thread.start()

    def _run(self, stub, seed):
        choose = random.Random(seed)
        while not self._stop.is_set():
            number = choose.randrange(len(self._questions))
            try:
                self._ask(stub, number, choose)
            except grpc.RpcError as error:
                with self._lock:
                    self.statuses[error.code().name, error.details()[:80]] += 1
                self._stop.wait(0.5)  # a refusal says: later

    def _ask(self, stub, number, choose):
        answer, began, first = Answer(), time.monotonic(), None
        request = self._questions[number].request(priority=choose.randint(-1, 1), prefix_cache=choose.random() < 0.8)
        for message in stub.Generate(request, timeout=CALL_TIMEOUT_S):
            if first is None and message.delta.token_ids:
                first = time.monotonic() - began
            answer.take(message)
        trouble = answer.difference(self._alone[number], True)
        with self._lock:
            if trouble:
                self.wrong.append(f"question {number} ({self._questions[number]}): {trouble}")
                return
            self.num_right += 1
            self.first_tokens.append((began - self._began, first))
            self.usage.update(preempted=answer.usage.preemptions > 0, cached=answer.usage.cached_prompt_tokens > 0)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Soak:
    """One run. failures says why its exit code is 1."""

    def __init__(self, options, folder):
        self.options, self.folder = options, pathlib.Path(folder)
        self.pb, self.pb_grpc = grpc_python.make_stubs(folder)
        self.admin_pb, self.admin_grpc = grpc_python.make_stubs(folder, "admin")
        self.failures, self.hostile, self.proxy = [], {}, None
        say("quantizing demo/llama")
        self.model = served.make_demo(options.bitdial, folder)
        self._ask_alone()
        self.admin_socket = f"unix:{folder}/admin.sock"
        self.server = served.Server(options.bitdial, self.model, *map(str, SERVER_FLAGS), "--admin-listen",
                                    self.admin_socket, context=None)
        if not options.direct:
            proxied.make_certificate(folder)
            self.proxy = proxied.Proxy(folder, self.server.address)

    def _ask_alone(self):
        """What an idle server with nothing cached says."""
        say(f"asking {NUM_QUESTIONS} questions alone")
        server = served.Server(self.options.bitdial, self.model, "--prefix-cache", "false", context=None)
        with grpc.insecure_channel(server.address) as channel:
            stub = self.pb_grpc.InferenceServiceStub(channel)
            text = (ROOT / "demo/story.txt").read_text()
            self.story = list(stub.Tokenize(self.pb.TokenizeRequest(text=text)).token_ids)
            self.questions = [Question(self.pb, self.story, number) for number in range(NUM_QUESTIONS)]
            self.alone = [ask(stub, question.request(prefix_cache=False))[0] for question in self.questions]
        server.stop()

    def port(self):
        return self.proxy.port if self.proxy else int(self.server.address.rsplit(":", 1)[1])

    def channel(self):
        if self.proxy:
            return self.proxy.channel()
        return grpc.insecure_channel(self.server.address, options=[("grpc.use_local_subchannel_pool", 1)])

    def wait_for_the_proxy(self):
        """It asks the server's health first."""
        with self.channel() as channel:
            stub = self.pb_grpc.InferenceServiceStub(channel)

            def is_served():
                try:
                    stub.ListModels(self.pb.ListModelsRequest(), timeout=10)
                    return True
                except grpc.RpcError:
                    return False

            if not served.wait_until(is_served, 60):
                raise RuntimeError("nothing is served through the proxy:\n" + "\n".join(self.proxy.log))

    def start_hostile(self):
        command = [sys.executable, ROOT / "scripts/soak_clients/hostile.py", "--port", self.port(), "--seconds",
                   self.options.minutes * 60, "--seed", self.options.seed, "--folder", self.folder, "--bitdial",
                   self.options.bitdial]
        if self.proxy:
            command += ["--certificate", self.folder / "cert.pem"]
        if self.options.kinds:
            command += ["--kinds", *self.options.kinds]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)

    def run(self):
        self.wait_for_the_proxy()
        self.before = served.footprint(self.server.process.pid)
        self.samples = Samples(self.server.process, self.proxy.process if self.proxy else None)
        channels = [self.channel() for _ in range(NUM_GOOD)]
        self.good = GoodClients([self.pb_grpc.InferenceServiceStub(channel) for channel in channels], self.questions,
                                self.alone, self.options.seed)
        self.neighbours = Neighbours(self.pb, self.pb_grpc, self.channel, self.story, NUM_NEIGHBOURS)
        hostile = None if self.options.no_hostile else self.start_hostile()
        self._wait()
        if hostile:
            self._collect(hostile)
        self.good.stop()
        self.neighbours.stop()
        self.samples.stop()
        for channel in channels:
            channel.close()
        self._look_at_what_is_left()
        self._stop_servers()
        self._judge()

    def _wait(self):
        """Until the time is over or the server is dead."""
        end = time.monotonic() + self.options.minutes * 60
        next_progress = time.monotonic() + PROGRESS_S
        while (now := time.monotonic()) < end and self.server.process.poll() is None:
            if now > next_progress:
                next_progress += PROGRESS_S
                say(f"{(end - now) / 60:.1f} minutes left, {self.good.num_right} answers right, {len(self.good.wrong)} wrong, "
                    f"{sum(self.good.statuses.values())} refused")
            time.sleep(0.2)

    def _collect(self, hostile):
        if self.server.process.poll() is not None:
            hostile.terminate()  # nobody is there for it
        found = hostile.communicate()[0]
        if hostile.returncode == 0:
            self.hostile = json.loads(found)
        elif self.server.process.poll() is None:
            self.failures.append(f"the hostile clients themselves failed with {hostile.returncode}")

    def _look_at_what_is_left(self):
        self.left = self.after = None
        if self.server.process.poll() is not None:
            return
        with grpc.insecure_channel(self.admin_socket) as channel:
            admin = self.admin_grpc.AdminServiceStub(channel)

            def is_idle():
                self.left = admin.GetStatus(self.admin_pb.GetStatusRequest())
                engine = self.left.engine
                return not (engine.num_running or engine.num_queued or engine.kv_blocks_used or self.left.num_active)

            if not served.wait_until(is_idle, LEAVE_S):
                self.failures.append(f"requests or blocks are left {LEAVE_S} s after the last client")
        self.after = served.footprint(self.server.process.pid)

    def _stop_servers(self):
        if self.proxy:
            try:
                self.proxy.stop()
            except AssertionError as error:
                self.failures.append(str(error)[:500])
        code = self.server.stop()
        if code != 0:
            self.failures.append(f"the server ended with {code}: " + " / ".join(self.server.log[-5:]))

    def _judge(self):
        if self.good.wrong:
            self.failures.append(f"{len(self.good.wrong)} wrong answers, the first: " + "; ".join(self.good.wrong[:3]))
        if not self.good.num_right:
            self.failures.append("no answer was checked")


def say(text):
    print(f"   {text}", file=sys.stderr, flush=True)


def percentiles(values):
    if len(values) < 2:
        return "-", "-"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{cuts[49] * 1000:.0f} ms", f"{cuts[98] * 1000:.0f} ms"


def thirds(series):
    """Of (seconds, value): the values of the first, the middle and the last third of the time."""
    if not series:
        return [], [], []
    end = max(seconds for seconds, _ in series) or 1
    parts = [], [], []
    for seconds, value in series:
        parts[min(2, int(3 * seconds / end))].append(value)
    return parts


def slope_per_hour(series):
    """Least squares over the last two thirds: caches and pools fill in the first."""
    last = max((seconds for seconds, _ in series), default=0)
    points = [(seconds, value) for seconds, value in series if seconds >= last / 3]
    return statistics.linear_regression(*zip(*points)).slope * 3600 if len(points) > 2 else 0.0


def report_header(soak):
    commit = served.run("git", "-C", ROOT, "rev-parse", "--short", "HEAD").stdout.strip() or "?"
    processor = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    version = served.run(soak.options.bitdial, "--version").stdout.split("\n")[0]
    where = "directly" if soak.options.direct else "through HAProxy with configs/haproxy.cfg"
    print(f"# Soak of {soak.options.minutes:g} minutes, {where}\n\n"
          f"{processor}, {os.cpu_count()} cores; {version}, scripts of commit {commit}; {time.strftime('%Y-%m-%d %H:%M')}\n\n"
          f"`scripts/soak.py {' '.join(sys.argv[1:])}`\n\n"
          f"**{'failed' if soak.failures else 'passed'}**" + "".join(f"\n- {failure}" for failure in soak.failures) + "\n")


def report_good(soak):
    good = soak.good
    print(f"## Good clients\n\n| | |\n|---|---|\n| answers checked | {good.num_right + len(good.wrong)} |\n"
          f"| wrong | {len(good.wrong)} |\n| preempted, of them | {good.usage['preempted']} |\n"
          f"| with a cached prefix | {good.usage['cached']} |")
    for (code, details), count in sorted(good.statuses.items()):
        print(f"| {code}: {details} | {count} |")
    for status, count in sorted(soak.neighbours.num_ended.items()):
        print(f"| neighbours: {status} | {count} |")
    print("\n| time to first token | p50 | p99 |\n|---|---|---|")
    for name, part in zip(("first third", "middle third", "last third"), thirds(good.first_tokens)):
        print(f"| {name} | {' | '.join(percentiles(part))} |")
    print(f"| all | {' | '.join(percentiles([first for _, first in good.first_tokens]))} |\n")


def report_server(soak):
    print("## The server's process\n\n| | before | first third, median | last third, median | most | after all had left |\n"
          "|---|---|---|---|---|---|")
    for name, title, form in (("resident_mib", "resident memory, MiB", ".2f"), ("threads", "threads", ".0f"),
                              ("descriptors", "descriptors", ".0f")):
        series = soak.samples.series(name)
        first, _, last = thirds(series)
        values = [read(soak.before, name), statistics.median(first or [0]), statistics.median(last or [0]),
                  max((value for _, value in series), default=0), read(soak.after, name) if soak.after else 0]
        print(f"| {title} | " + " | ".join(format(value, form) for value in values) + " |")
    slope = slope_per_hour(soak.samples.series("resident_mib"))
    print(f"\nSlope of the resident memory over the last two thirds: {slope:+.2f} MiB/h, from {len(soak.samples.all)} samples"
          + (" (minutes say little of hours)" if soak.options.minutes < 10 else "") + ".")
    if soak.proxy:
        most = max((proxy for *_, proxy in soak.samples.all), default=0) / 1024
        print(f"The proxy's resident memory was at most {most:.0f} MiB.")
    if soak.left:
        engine = soak.left.engine
        print(f"Left at the end: {engine.num_running} running, {engine.num_queued} queued, {engine.kv_blocks_used} blocks "
              f"used, {engine.kv_blocks_cached} of {engine.kv_blocks_total} cached; {engine.num_preemptions} preemptions in all.")


def read(footprint, name):
    return {"resident_mib": footprint.resident_kib / 1024, "threads": footprint.threads.total(),
            "descriptors": footprint.descriptors}[name]


def report_hostile(soak):
    print("\n## Hostile clients\n\n| what they did | how it ended |\n|---|---|")
    for what, outcomes in soak.hostile.items():
        print(f"| {what} | " + "; ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) + " |")
    print("\n## Requests by the server's log\n\n| status | choices |\n|---|---|")
    statuses = collections.Counter(line.split("ended: status=", 1)[1].split(" ", 1)[0] for line in soak.server.log
                                   if "ended: status=" in line)
    for status, count in sorted(statuses.items()):
        print(f"| {status} | {count} |")


def main():
    parser = make_parser()
    options = parser.parse_args()
    if options.minutes <= 0:
        parser.error("--minutes: more than 0")
    if not options.bitdial.is_file():
        parser.error(f"--bitdial: no such file: {options.bitdial}; build it, or scripts/quickstart.sh does")
    import_clients()
    if not options.direct and (tool := proxied.missing_tool()):
        parser.error(f"the proxy needs {tool}; --direct does without")
    with tempfile.TemporaryDirectory(prefix="bitdial_soak_") as folder:
        soak = Soak(options, folder)
        soak.run()
        for part in (report_header, report_good, report_server, report_hostile):
            part(soak)
        if options.samples:
            write_samples(soak, options.samples)
    sys.exit(1 if soak.failures else 0)


def import_clients():
    """Late, so that --help and a wrong flag are answered without the packages. It may change the interpreter."""
    global grpc_python, grpc, proxied, served, Answer, Neighbours, Question, ask, CALL_TIMEOUT_S
    import grpc_python
    import grpc
    import proxied
    import served
    from questions import CALL_TIMEOUT_S, Answer, Neighbours, Question, ask


def write_samples(soak, path):
    with path.open("w") as file:
        for seconds, footprint, proxy in soak.samples.all:
            file.write(json.dumps({"s": round(seconds, 2), "resident_kib": footprint.resident_kib, "proxy_kib": proxy,
                                   "threads": footprint.threads.total(), "descriptors": footprint.descriptors}) + "\n")


if __name__ == "__main__":
    main()
