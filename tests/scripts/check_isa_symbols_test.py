"""check_isa_symbols.py finds an inline function that was emitted, and passes an object without one."""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_isa_symbols.py"
INLINE = "inline int Twice(int x) { return 2 * x; } int (*Take())(int) { return &Twice; }\n"
CLEAN = "namespace { inline int Twice(int x) { return 2 * x; } } int (*Take())(int) { return &Twice; }\n"


@unittest.skipIf(shutil.which("c++") is None, "needs c++")
class CheckIsaSymbolsTest(unittest.TestCase):
    def run_on(self, name, text):
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / name, Path(folder) / f"{name}.o"
            source.write_text(text)
            subprocess.run(["c++", "-c", source, "-o", target], check=True)
            return subprocess.run([sys.executable, SCRIPT, target], capture_output=True, text=True)

    def test_an_emitted_inline_function_is_caught(self):
        result = self.run_on("dot_avx512.cc", INLINE)
        self.assertEqual(result.returncode, 1)
        self.assertIn("weak symbol Twice(int)", result.stdout)

    def test_a_local_one_passes(self):
        result = self.run_on("dot_avx2.cc", CLEAN)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_other_objects_are_not_looked_at(self):
        self.assertEqual(self.run_on("dot.cc", INLINE).returncode, 2)


if __name__ == "__main__":
    unittest.main()
