#!/usr/bin/env python3
"""Lists the tests that were skipped, by reason, from the logs that ctest leaves.

    scripts/list_skipped.py LOG...        LOG: Testing/Temporary/LastTest.log or a copy; a log that is absent is ignored

Knows what GoogleTest, unittest and ctest write, and lines that begin with "SKIPPED: ".
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

GTEST_SKIP = re.compile(r"^\[  SKIPPED \] (\S+) \(\d+ ms\)")
GTEST_WHERE = re.compile(r"^\S+:\d+: Skipped$")
UNITTEST_SKIP = re.compile(r"^(\w+) \(([\w.]+)\).* \.\.\. skipped ['\"](.*)['\"]$")
CTEST_NAME = re.compile(r"^\d+/\d+ Test(?:ing)?: (\S+)")


def skipped_tests(text):
    """Yields (test, reason)."""
    test, reason, in_reason, in_case = "?", [], False, False
    for line in text.splitlines():
        if match := CTEST_NAME.match(line):
            test, reason, in_reason, in_case = match[1], [], False, False
        elif line.startswith("[ RUN      ]"):
            reason, in_reason, in_case = [], False, True
        elif match := GTEST_SKIP.match(line):
            yield match[1], " ".join(reason) or "no reason given"
            reason, in_reason, in_case = [], False, False
        elif line.startswith(("[       OK ]", "[  FAILED  ]")):
            in_reason = in_case = False
        elif GTEST_WHERE.match(line):
            in_reason = True
        elif match := UNITTEST_SKIP.match(line):
            # Python 3.11 writes the method into the parentheses, earlier ones do not.
            yield match[2] if match[2].endswith(match[1]) else f"{match[2]}.{match[1]}", match[3].removeprefix("SKIPPED: ")
        elif in_reason and line.strip():
            reason.append(line.strip().removeprefix("SKIPPED: "))
        elif line.startswith("SKIPPED: ") and not in_case:
            yield test, line.removeprefix("SKIPPED: ")


def main():
    by_reason = defaultdict(list)
    for name in sys.argv[1:]:
        path = Path(name)
        if path.is_file():
            for test, reason in skipped_tests(path.read_text(errors="replace")):
                if test not in by_reason[reason]:
                    by_reason[reason].append(test)
    for reason, tests in sorted(by_reason.items()):
        names = ", ".join(tests[:4]) + (f" and {len(tests) - 4} more" if len(tests) > 4 else "")
        print(f"   {len(tests)} skipped: {reason}\n      {names}")
    if not by_reason:
        print("   no test was skipped")


if __name__ == "__main__":
    main()
