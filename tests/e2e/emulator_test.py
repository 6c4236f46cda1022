#!/usr/bin/env python3
"""No instruction that a processor lacks: the executable on emulated ones, with and without AVX2, none with AVX-512.

Run by ctest; BITDIAL names the executable. Standard library only; needs qemu-x86_64 (Debian's qemu-user).
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import served
from served import run

BITDIAL = served.bitdial_path()
DEMO = served.SOURCE / "demo"
QEMU = shutil.which("qemu-x86_64")
PROCESSORS = {"Haswell": "cpu_avx2", "Nehalem": "cpu_ref"}  # the backend each should take


def emulated(processor, *arguments):
    return run(QEMU, "-cpu", processor, BITDIAL, *arguments, timeout=600)


class EmulatedProcessors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="bitdial_emulator_")
        cls.quantized = {}
        for family in ("llama", "opt"):
            cls.quantized[family] = pathlib.Path(cls.temporary.name) / family
            result = run(BITDIAL, "quantize", DEMO / family, "-o", cls.quantized[family], "--bits", "2-4", "--group-size", 64)
            assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_the_backend_is_what_the_processor_has(self):
        for processor, backend in PROCESSORS.items():
            result = emulated(processor, "doctor", "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            out = json.loads(result.stdout)
            self.assertEqual(out["backend"], backend)
            self.assertFalse(out["cpu_features"]["avx512 f+bw+dq+vl"])

    def test_answers_are_those_of_the_same_kernels_here(self):
        # Emulation is slow: each family and each numerics once on each side of AVX2 would be minutes.
        for processor, family, numerics in (("Haswell", "llama", "exact"), ("Haswell", "opt", "int8"),
                                            ("Nehalem", "llama", "int8")):
            with self.subTest(processor=processor, family=family, numerics=numerics):
                backend = PROCESSORS[processor]
                ask = ["generate", self.quantized[family], "--prompt", "The old king", "--bits", 3, "--max-tokens", 4,
                       "--threads", 1, "--numerics", numerics, "--json"]
                there = emulated(processor, *ask)
                self.assertEqual(there.returncode, 0, there.stderr)
                here = run(BITDIAL, *ask, env=dict(os.environ, BITDIAL_FORCE_BACKEND=backend))
                self.assertEqual(here.returncode, 0, here.stderr)
                self.assertEqual(json.loads(there.stdout)["token_ids"], json.loads(here.stdout)["token_ids"])
                self.assertEqual("note: this processor lacks AVX2" in there.stderr, backend == "cpu_ref", there.stderr)
                self.assertNotIn("note:", here.stderr)

    def test_a_backend_that_the_processor_lacks_is_refused(self):
        result = run(QEMU, "-cpu", "Haswell", BITDIAL, "doctor", env=dict(os.environ, BITDIAL_FORCE_BACKEND="cpu_avx512"))
        self.assertEqual(result.returncode, 5, result.stderr)
        self.assertIn("forced backend cpu_avx512: this processor lacks AVX-512", result.stderr)


if __name__ == "__main__":
    if QEMU is None:
        print("SKIPPED: qemu-x86_64 is not installed (Debian package qemu-user)")
        sys.exit(77)
    unittest.main(verbosity=2)
