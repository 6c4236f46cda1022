"""check_tests_listed.py catches a file or folder that no list names."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import check_tests_listed  # noqa: E402

CLEAN = {
    "tests/CMakeLists.txt": "add_subdirectory(kernels)\nadd_test(NAME x COMMAND ${Python3} ${CMAKE_CURRENT_SOURCE_DIR}/s/x_test.py)\n",
    "tests/s/x_test.py": "",
    "tests/kernels/CMakeLists.txt": "bitdial_test(dot_test SOURCES dot_test.cc formats/bcq_test.cc)\n",
    "tests/kernels/dot_test.cc": "",
    "tests/kernels/formats/bcq_test.cc": "",
    "kernels/CMakeLists.txt": "add_library(k formats/bcq/bcq.cc kernel_table.cc)\n",
    "kernels/kernel_table.cc": '#include "kernels/formats/bcq/bcq.h"\n',
    "kernels/formats/bcq/bcq.cc": "",
    "kernels/formats/bcq/bcq.h": "",
}


class CheckTestsListedTest(unittest.TestCase):
    def complaints(self, changes):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**CLEAN, **changes}.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_tests_listed.check_tree(Path(folder))[0]

    def test_clean_tree_passes(self):
        self.assertEqual(self.complaints({}), [])

    def test_unlisted_files_are_caught(self):
        for path in ("tests/kernels/new_test.cc", "tests/quant/new_fuzz.cc", "tests/s/y_test.py", "kernels/new.cc",
                     "kernels/formats/bcq/dot_test.cc"):  # a name listed in another folder does not count
            with self.subTest(path=path):
                complaints = self.complaints({path: ""})
                self.assertEqual(len(complaints), 1, complaints)
                self.assertIn(path, complaints[0])

    def test_a_commented_out_test_is_caught(self):
        listed = CLEAN["tests/kernels/CMakeLists.txt"].replace("dot_test.cc", "\n# dot_test.cc\n")
        self.assertEqual(len(self.complaints({"tests/kernels/CMakeLists.txt": listed})), 1)

    def test_an_unlisted_family_member_is_caught(self):
        complaints = self.complaints({"kernels/formats/lut/lut.h": ""})
        self.assertEqual(len(complaints), 1, complaints)
        self.assertIn("kernels/formats/lut/", complaints[0])


if __name__ == "__main__":
    unittest.main()
