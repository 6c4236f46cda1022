#!/usr/bin/env python3
"""A checkpoint in the layout of the AnyBCQ release loads and serves as it is, and every command takes it.

tests/golden/make_anybcq_release.py wrote it without any code of ours, and computed in numpy what has to come out at 2, 3
and 4 bits. Run by ctest. Standard library only.
"""
import json
import pathlib
import unittest

import served

BITDIAL = served.bitdial_path()
MODEL = served.ANYBCQ_RELEASE
GOLDEN = served.anybcq_golden()
BITS = (2, 3, 4)
# Margins of the golden are 0.004 and more: far above the rounding of f32 keys and values, not above that of f16.
EXACT = ("--kv-format", "f32", "--numerics", "exact")


def run_json(*arguments):
    result = served.run(BITDIAL, *arguments, "--json")
    if result.returncode != 0:
        raise AssertionError(f"{arguments}: exit code {result.returncode}\n{result.stderr}")
    return json.loads(result.stdout)


def greedy(bits):
    return ("--prompt", GOLDEN["text"], "--bits", bits, "--max-tokens", 16, "--temperature", 0, "--ignore-eos")


class AnyBcqReleaseTest(unittest.TestCase):
    def expect_golden(self, answer, bits):
        self.assertEqual(answer["token_ids"], GOLDEN["greedy_ids"][str(bits)])
        self.assertEqual(answer["bits"], bits)

    def test_serves(self):
        server = served.Server(BITDIAL, MODEL, *EXACT, context=served.ANYBCQ_CONTEXT)
        self.addCleanup(server.stop)
        for bits in BITS:
            self.expect_golden(run_json("client", "--server", server.address, *greedy(bits)), bits)

    def test_generates(self):
        for bits in BITS:
            answer = run_json("generate", MODEL, *EXACT, *greedy(bits))
            self.expect_golden(answer, bits)
            self.assertEqual(answer["prompt_tokens"], len(GOLDEN["input_ids"]))

    def test_bits_default_to_all(self):
        everything = run_json("generate", MODEL, *EXACT, "--prompt", GOLDEN["text"], "--max-tokens", 16)
        until_eos = GOLDEN["greedy_ids"]["4"][: GOLDEN["greedy_ids"]["4"].index(2)]
        self.assertEqual((everything["bits"], everything["finish_reason"]), (4, "eos"))
        self.assertEqual([i for i in everything["token_ids"] if i != 2], until_eos)

    def test_evaluates(self):
        manifest = json.loads((MODEL / "MANIFEST.json").read_text())
        with served.temporary_folder() as folder:
            text = pathlib.Path(folder) / "text"
            text.write_bytes(GOLDEN["text"].encode())
            for bits in BITS:
                score = run_json("eval", MODEL, *EXACT, "--perplexity", text, "--window", 48, "--bits", bits)
                expected = GOLDEN["perplexity"][str(bits)]
                # A logit may be off by 1e-4 of the largest (llama_golden_test), a token's log-probability by twice that.
                tolerance = 2e-4 * manifest["max_abs_logit"][str(bits)] * expected
                print(f"{bits} bits: perplexity {score['perplexity']:.6f}, numpy {expected:.6f}, tolerance {tolerance:.3g}")
                self.assertEqual(score["tokens"], 23)
                self.assertLessEqual(abs(score["perplexity"] - expected), tolerance)

    def test_inspects(self):
        facts = run_json("inspect", MODEL)
        self.assertEqual(facts["quantization"], {"method": "anybcq", "min_bits": 2, "max_bits": 4, "group_size": 32})
        self.assertEqual(facts["tokenizer"]["vocab_size"], 96)

    def test_refuses_bits_it_lacks(self):
        for bits in (1, 5, "dense"):
            result = served.run(BITDIAL, "generate", MODEL, *greedy(bits))
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn("2, 3, 4", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
