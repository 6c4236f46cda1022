#!/usr/bin/env python3
"""scripts/train_demo.py where PyTorch and the rest are not installed: it says what it is and what it needs."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "train_demo.py"


def run(*arguments):
    # -I -S: the standard library alone, whatever this machine has.
    return subprocess.run([sys.executable, "-I", "-S", "-B", "-c",
                           f"import runpy, sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); sys.argv[0] = {str(SCRIPT)!r}; "
                           f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')", *map(str, arguments)],
                          capture_output=True, text=True, timeout=60)


class TrainDemoUsageTest(unittest.TestCase):
    def test_help(self):
        result = run("--help")
        self.assertEqual(result.returncode, 0, result.stderr)
        for word in ("Trains the demo models", "--held-out-text", "Exit codes"):
            self.assertIn(word, result.stdout)

    def test_a_wrong_flag(self):
        result = run("-o", "x", "--device", "tpu")
        self.assertEqual(result.returncode, 2)
        self.assertIn("invalid choice", result.stderr)

    def test_what_is_missing_is_said_in_one_line(self):
        with tempfile.TemporaryDirectory(prefix="bitdial_train_") as folder:
            out = pathlib.Path(folder) / "out"
            result = run("--smoke", "-o", out)
            self.assertEqual(result.returncode, 1)
            self.assertFalse(out.exists())
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        for word in ("No module named", "PyTorch", "scripts/demo/requirements.txt", "demo/README.md"):
            self.assertIn(word, result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
