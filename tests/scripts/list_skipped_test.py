"""list_skipped.py finds what GoogleTest and unittest say they skipped, and nothing else."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import list_skipped  # noqa: E402

LOG = """\
1/2 Testing: bpe_test
1/2 Test: bpe_test
[ RUN      ] Bpe.Passes
[       OK ] Bpe.Passes (0 ms)
[ RUN      ] Bpe.Vectors
/some/bpe_test.cc:12: Skipped
SKIPPED: gpt2 vectors needs shared data

[  SKIPPED ] Bpe.Vectors (3 ms)
[  PASSED  ] 1 test.
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] Bpe.Vectors
2/2 Test: client_test
test_cancel (client_test.ClientTest.test_cancel) ... skipped 'no grpcio'
setUpClass (client_test.OtherTest) ... skipped 'SKIPPED: the other test needs a tool'
test_ok (client_test.ClientTest.test_ok) ... ok
SKIPPED: half of it, no GPU
"""


class ListSkippedTest(unittest.TestCase):
    def test_finds_all_three_forms(self):
        self.assertEqual(list(list_skipped.skipped_tests(LOG)), [
            ("Bpe.Vectors", "gpt2 vectors needs shared data"),
            ("client_test.ClientTest.test_cancel", "no grpcio"),
            ("client_test.OtherTest.setUpClass", "the other test needs a tool"),
            ("client_test", "half of it, no GPU")])


if __name__ == "__main__":
    unittest.main()
