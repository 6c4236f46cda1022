#!/usr/bin/env python3
"""scripts/train_demo.py --smoke: a minute's training, and what comes out of it loads, scores alike and can be quantized.

Run by ctest; BITDIAL names the executable, BITDIAL_TORCH_PYTHON an interpreter with torch, tokenizers and safetensors.
"""
import json
import os
import pathlib
import sys
import tempfile
import unittest

import served
from served import run

BITDIAL = served.bitdial_path()
SCRIPT = served.SOURCE / "scripts/train_demo.py"
PYTHON = os.environ.get("BITDIAL_TORCH_PYTHON", "")
UNTRAINED = 512  # the perplexity of a model that knows nothing: the rows of its vocabulary


def train(*arguments):
    return run(PYTHON, SCRIPT, *arguments, timeout=600)


class TrainDemoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="bitdial_train_")
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.held_out = cls.folder / "held_out.txt"
        result = train("--smoke", "-o", cls.folder, "--held-out-text", cls.held_out, "--json")
        assert result.returncode == 0, result.stderr
        cls.facts = {fact["family"]: fact for fact in json.loads(result.stdout)}

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_both_families_load_and_score_as_in_pytorch(self):
        self.assertEqual(set(self.facts), {"llama", "opt"})
        for family, fact in self.facts.items():
            with self.subTest(family):
                result = run(BITDIAL, "eval", self.folder / family, "--perplexity", self.held_out, "--window", 128, "--json")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertAlmostEqual(json.loads(result.stdout)["perplexity"] / fact["held_out_perplexity"], 1, delta=1e-3)
                self.assertLess(fact["held_out_perplexity"], UNTRAINED / 2)

    def test_they_can_be_quantized_and_go_on_with_a_text(self):
        for family in self.facts:
            with self.subTest(family):
                bits = self.folder / f"{family}-bits"
                made = run(BITDIAL, "quantize", self.folder / family, "-o", bits, "--group-size", 32)
                self.assertEqual(made.returncode, 0, made.stderr)
                result = run(BITDIAL, "generate", bits, "--prompt", "A test", "--max-tokens", 4, "--json")
                self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_card_says_what_it_is(self):
        for family in self.facts:
            card = (self.folder / family / "README.md").read_text()
            for part in ("## Recipe", "## Samples", "held-out perplexity", "10. >"):
                self.assertIn(part, card)

    def test_what_is_refused(self):
        empty = self.folder / "short.txt"
        empty.write_text("One line.\n")
        not_text = self.folder / "not_text.txt"
        not_text.write_bytes(b"\xff\xfe\x00")
        out = self.folder / "other"
        for code, words, arguments in [
            (2, "--text is needed", ["-o", out]),
            (2, "no such file", ["--text", self.folder / "absent", "-o", out]),
            (2, "exists; move it away", ["--smoke", "-o", self.folder]),
            (1, "not UTF-8", ["--text", not_text, "-o", out]),
            (1, "at least 2 are needed", ["--text", empty, "-o", out]),
            (2, "not a number above 0", ["--smoke", "-o", out, "--minutes", "0"]),
            (2, "not a number above 0", ["--smoke", "-o", out, "--minutes", "nan"]),
            (2, "not a number above 0", ["--smoke", "-o", out, "--seed", "-1"]),
            (2, "invalid choice", ["--smoke", "-o", out, "--device", "tpu"]),
            (2, "cannot be written", ["--smoke", "-o", "/proc/out"]),
            (2, "cannot be written", ["--smoke", "-o", out, "--held-out-text", self.folder / "no/where.txt"]),
        ]:
            with self.subTest(words):
                result = train(*arguments)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertIn(words, result.stderr)
                self.assertNotIn("Traceback", result.stderr)
        self.assertEqual(list(out.iterdir()) if out.exists() else [], [])


if __name__ == "__main__":
    if not PYTHON:
        print("SKIPPED: train_demo.py needs PyTorch: BITDIAL_TORCH_PYTHON names no interpreter that has it")
        sys.exit(77)
    unittest.main(verbosity=2)
