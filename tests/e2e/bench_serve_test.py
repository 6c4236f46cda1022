#!/usr/bin/env python3
"""`bitdial bench serve` against a real `bitdial serve` of demo/llama: every kind of arrivals, mixed bits, overload, a
server that goes away, Ctrl-C, and flags that are wrong.

Run by ctest; BITDIAL names the executable. Standard library only. No figure is checked, only what adds up.
"""
import csv
import json
import pathlib
import signal
import subprocess
import unittest
import xml.dom.minidom

import served
from served import Server, run

BITDIAL = served.bitdial_path()
COUNTS = ("ok", "rejected", "failed", "unfinished")


def setUpModule():
    global FOLDER, MODEL
    FOLDER = served.temporary_folder()
    MODEL = f"{FOLDER.name}/demo"
    run(BITDIAL, "quantize", served.SOURCE / "demo/llama", "-o", MODEL, "--bits", "2-4", "--group-size", "64", check=True)


def tearDownModule():
    FOLDER.cleanup()


def start(*flags):
    return Server(BITDIAL, MODEL, *flags, context=None)


def bench(server, *flags):
    address = server if isinstance(server, str) else server.address
    return run(BITDIAL, "bench", "serve", "--server", address, *flags)


class WithServer(unittest.TestCase):
    """One server for all; none of these tests ends it."""

    @classmethod
    def setUpClass(cls):
        cls.server = start()

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0, cls.server.log

    def figures(self, *flags):
        done = bench(self.server, *flags, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        figures = json.loads(done.stdout)
        self.assertEqual(figures["sent"], sum(figures[name] for name in COUNTS))
        return figures

    def test_every_kind_of_arrivals_with_mixed_bits(self):
        for flags in (("--rate", 50), ("--arrivals", "burst", "--rate", 50, "--burst", 8),
                      ("--arrivals", "constant", "--rate", 50), ("--arrivals", "closed", "--concurrency", 4)):
            figures = self.figures(*flags, "--requests", 24, "--warmup", 4, "--bits", "4:0.5,2:0.5", "--prompt-tokens",
                                   "4:16", "--output-tokens", 8, "--slo-ttft-ms", 60000, "--slo-tpot-ms", 60000)
            self.assertEqual(figures["ok"], 24)
            self.assertEqual(figures["output_tokens"], 24 * 8)
            self.assertEqual(figures["goodput"]["good"], 24)
            self.assertEqual([group["bits"] for group in figures["by_bits"]], ["2", "4"])
            self.assertEqual(sum(group["ok"] for group in figures["by_bits"]), 24)
            self.assertEqual(figures["tokens_by_bits"],
                             {group["bits"]: 8 * group["ok"] for group in figures["by_bits"]})
            # Tokens that came beside the first one have no gap of their own.
            self.assertLessEqual(figures["all"]["inter_token_s"]["count"], 24 * 7)

    def test_duration_ends_open_and_closed_loads(self):
        for flags in (("--rate", 20), ("--arrivals", "closed")):
            figures = self.figures(*flags, "--duration", 1, "--output-tokens", 4)
            self.assertGreater(figures["ok"], 0)
            self.assertAlmostEqual(figures["window_s"], 1)

    def test_trace_timeline_and_plot(self):
        folder = pathlib.Path(FOLDER.name)
        (folder / "trace.csv").write_text("arrival_s,prompt_tokens,output_tokens,weight_bits\n"
                                          "0,5,3,4\n0,6,4,2\n0.1,7,5,3\n")
        flags = ("--trace", folder / "trace.csv", "--timeline", folder / "t.csv", "--plot", folder / "p.svg")
        figures = self.figures(*flags)
        self.assertEqual((figures["ok"], figures["prompt_tokens"], figures["output_tokens"]), (3, 18, 12))
        with open(folder / "t.csv") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([(row["weight_bits"], row["prompt_tokens"], row["output_tokens"], row["ending"]) for row in rows],
                         [("4", "5", "3", "ok"), ("2", "6", "4", "ok"), ("3", "7", "5", "ok")])
        self.assertGreaterEqual(float(rows[2]["sent_s"]), 0.1)
        xml.dom.minidom.parse(str(folder / "p.svg"))

    def test_tables_for_people(self):
        done = bench(self.server, "--requests", 5, "--rate", 50, "--output-tokens", 4, "--slo-ttft-ms", 60000)
        self.assertEqual(done.returncode, 0, done.stderr)
        for part in ("poisson 50/s", "100.0%", "TTFT", "inter-token", "message gap", "lateness", "output tokens/s",
                     "goodput"):
            self.assertIn(part, done.stdout)
        self.assertEqual(done.stderr, "")  # progress is for terminals

    def test_auto_bits_are_asked_for(self):
        figures = self.figures("--bits", "auto:2", "--requests", 3, "--rate", 50, "--output-tokens", 4)
        self.assertEqual((figures["ok"], figures["troubles"]), (3, []))
        self.assertEqual([group["bits"] for group in figures["by_bits"]], ["auto:2"])
        self.assertLessEqual(set(figures["tokens_by_bits"]), {"2", "3", "4"})  # what each was made with
        self.assertEqual(sum(figures["tokens_by_bits"].values()), 3 * 4)

    def test_deadlines_fail(self):
        done = bench(self.server, "--requests", 2, "--output-tokens", 400, "--deadline-ms", 1, "--rate", 50, "--json")
        self.assertEqual(done.returncode, 10)
        self.assertEqual(json.loads(done.stdout)["troubles"][0]["code"], "DEADLINE_EXCEEDED")

    def test_interrupt_prints_what_was_measured(self):
        process = subprocess.Popen(
            [BITDIAL, "bench", "serve", "--server", self.server.address, "--rate", "50", "--duration", "600", "--json",
             "--timeline", f"{FOLDER.name}/interrupted.csv", "--output-tokens", "4"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.wait_for_requests()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        figures = json.loads(out)
        self.assertTrue(figures["interrupted"])
        self.assertEqual(figures["sent"], sum(figures[name] for name in COUNTS))
        self.assertTrue(pathlib.Path(FOLDER.name, "interrupted.csv").read_text().startswith("index,"))

    def wait_for_requests(self):
        before = len(self.server.log)
        self.assertTrue(served.wait_until(lambda: len(self.server.log) > before + 5))

    def wrong(self, code, message, *flags):
        done = bench(self.server, *flags)
        self.assertEqual(done.returncode, code, f"{flags}: {done.stderr}")
        self.assertIn(message, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_wrong_flags(self):
        for flags, message in (
                (("--rate", 0), "--rate: got \"0\""), (("--rate", "nan"), "--rate"), (("--rate", -1), "--rate"),
                (("--arrivals", "sometimes"), "--arrivals"), (("--duration", 0), "--duration"),
                (("--requests", 0), "--requests"), (("--concurrency", 2), "--arrivals closed"),
                (("--burst", 2), "--arrivals burst"), (("--arrivals", "closed", "--rate", 2), "--concurrency"),
                (("--requests", 2, "--duration", 2), "give one"), (("--prompt-tokens", "9:8"), "MIN:MAX"),
                (("--output-tokens", 0), "--output-tokens"), (("--bits", "4:0"), "--bits"),
                (("--bits", "4,4"), "named twice"), (("--bits", 7), "has 2, 3, 4"), (("--bits", "dense"), "has 2, 3, 4"),
                (("--prompt-tokens", 5000), "max_context"), (("--rate", 100000, "--duration", 86400), "lower --rate"),
                (("--slo-ttft-ms", 0), "--slo-ttft-ms"), (("--deadline-ms", 0), "--deadline-ms"),
                (("--seed", -1), "--seed")):
            self.wrong(2, message, *flags)
        self.wrong(3, "/nowhere/p.svg", "--plot", "/nowhere/p.svg")
        self.wrong(3, "/nowhere.csv", "--trace", "/nowhere.csv")

    def test_wrong_traces(self):
        path = f"{FOLDER.name}/wrong.csv"
        header = "arrival_s,prompt_tokens,output_tokens"
        for text, message in (("", "line 1"), ("0,1,1\n", "expected the header"), (f"{header}\n", "no requests"),
                              (f"{header}\n0,1,1\n0,0,1\n", "line 3: prompt_tokens"),
                              (f"{header}\n1,1,1\n0,1,1\n", "sort the trace"),
                              (f"{header},weight_bits\n0,1,1,9\n", "bits 9")):
            with open(path, "w") as file:
                file.write(text)
            self.wrong(2, message, "--trace", path)
        with open(path, "w") as file:
            file.write(f"{header},weight_bits\n0,1,1,4\n")
        self.wrong(2, "column weight_bits", "--trace", path, "--bits", 4)
        self.wrong(2, "--rate", "--trace", path, "--rate", 4)
        self.wrong(2, "at least one has to count", "--trace", path, "--warmup", 1)


class Overload(unittest.TestCase):
    def test_rejects_are_counted_with_their_reason(self):
        server = start("--max-queued-requests", "2", "--max-running-requests", "1")
        done = bench(server, "--arrivals", "burst", "--burst", 40, "--rate", 1000, "--requests", 40, "--output-tokens",
                     200, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        figures = json.loads(done.stdout)
        self.assertGreater(figures["ok"], 0)
        self.assertGreater(figures["rejected"], 0)
        self.assertEqual(figures["ok"] + figures["rejected"], 40)
        self.assertEqual([(trouble["code"], trouble["reason"], trouble["count"]) for trouble in figures["troubles"]],
                         [("RESOURCE_EXHAUSTED", "QUEUE_FULL", figures["rejected"])])
        self.assertEqual(figures["reject_s"]["count"], figures["rejected"])
        self.assertEqual(server.stop(), 0)


class ServerGoes(unittest.TestCase):
    def test_in_the_middle(self):
        server = start()
        process = subprocess.Popen([BITDIAL, "bench", "serve", "--server", server.address, "--rate", "40", "--requests",
                                    "120", "--output-tokens", "4", "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        before = len(server.log)
        self.assertTrue(served.wait_until(lambda: len(server.log) > before + 5))
        server.signal(signal.SIGKILL)
        server.wait()
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        figures = json.loads(out)
        self.assertEqual(figures["sent"], 120)
        self.assertGreater(figures["ok"], 0)
        self.assertGreater(figures["failed"], 0)
        self.assertEqual(figures["troubles"][0]["code"], "UNAVAILABLE")

    def test_before_the_first_request(self):
        server = start()
        address = server.address
        self.assertEqual(server.stop(), 0)
        done = bench(address, "--requests", 1)
        self.assertEqual(done.returncode, 8)
        self.assertIn(f"cannot reach a server at {address}", done.stderr)


class Keys(unittest.TestCase):
    def test_a_key_is_shown_with_every_call(self):
        folder = pathlib.Path(FOLDER.name)
        made = json.loads(run(BITDIAL, "keys", "new", "load", "--json", check=True).stdout)
        (folder / "keys.jsonl").write_text(made["line"] + "\n")
        (folder / "key").write_text(made["key"] + "\n")
        server = start("--keys-file", str(folder / "keys.jsonl"))
        flags = ("--arrivals", "closed", "--requests", 3, "--output-tokens", 4)
        self.assertEqual(bench(server, *flags).returncode, 2)
        done = bench(server, *flags, "--api-key-file", folder / "key")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(server.stop(), 0)


class Shape(unittest.TestCase):
    def test_writes_a_model_that_can_be_served(self):
        path = f"{FOLDER.name}/shape"
        made = run(BITDIAL, "bench", "shape", "llama-1.1b:1", "-o", path, "--bits", 2)
        self.assertEqual(made.returncode, 0, made.stderr)
        server = Server(BITDIAL, path, context=None)
        done = bench(server, "--arrivals", "closed", "--requests", 2, "--output-tokens", 4)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(server.stop(), 0)
        again = run(BITDIAL, "bench", "shape", "llama-1.1b:1", "-o", path)
        self.assertEqual(again.returncode, 6)
        unknown = run(BITDIAL, "bench", "shape", "llama-7b", "-o", f"{path}2")
        self.assertEqual(unknown.returncode, 2)
        self.assertIn("llama-1.1b", unknown.stderr)


if __name__ == "__main__":
    unittest.main()
