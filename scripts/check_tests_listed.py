#!/usr/bin/env python3
"""Nothing is forgotten: what is in the tree is in a list. Runs as a ctest.

    scripts/check_tests_listed.py [ROOT]      exit 0: clean; 1: something is in no list; 2: nothing to check

1. Every tests/**/*_test.cc, *_fuzz.cc and *_test.py is named in a CMakeLists.txt of its folder or above: a test that
   nobody builds cannot fail.
2. Every source file of the floors is named likewise.
3. Every folder of a family that grows by one folder (a weight format, a KV format, a method, a model, a backend, a
   policy) is included by the explicit list of that family.
"""

import functools
import re
import sys
from pathlib import Path

FLOORS = ("kernels", "kvcache", "quant", "engine", "server")
TEST_FILE = re.compile(r"_(test\.cc|fuzz\.cc|test\.cu|test\.py)$")
SOURCE_FILE = re.compile(r"\.(cc|cu)$")

# Family folder -> the files of which one must include (or, for CMake, name) each member folder.
FAMILIES = {
    "kernels/formats": ("kernels/*.cc", "kernels/*.h"),
    "kernels/kv_formats": ("kernels/*.cc", "kernels/*.h"),
    "kernels/backends": ("kernels/*.cc", "kernels/*.h", "kernels/CMakeLists.txt"),
    "kernels/ops": ("kernels/kernel_table.h",),
    "kvcache/policies": ("kvcache/*.cc", "kvcache/CMakeLists.txt"),
    "quant/methods": ("quant/methods/*.cc", "quant/methods/CMakeLists.txt"),
    "engine/models": ("engine/models/*.cc", "engine/*.cc"),
}



@functools.cache
def cmake_words(path):
    """The words of a CMakeLists.txt outside comments."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return set(re.split(r'[\s()";]+', "\n".join(line.split("#", 1)[0] for line in lines)))


def is_listed(root, path):
    """True when a CMakeLists.txt of the file's folder or above names it by its path from there."""
    for folder in path.parents:
        name = path.relative_to(folder).as_posix()
        words = cmake_words(folder / "CMakeLists.txt")
        if any(word == name or word.endswith(("}/" + name, "}" + name)) for word in words):
            return True
        if folder == root:
            return False
    return False


def unlisted_files(root, top, pattern):
    """Yields (path, is listed) of the files under top that match."""
    for path in sorted((root / top).rglob("*")):
        if path.is_file() and pattern.search(path.name):
            yield path, is_listed(root, path)


def member_is_listed(root, folder, lists):
    """True when one of the list files names something of the member folder in an include or a CMake word."""
    relative = folder.relative_to(root).as_posix()
    for pattern in lists:
        for path in root.glob(pattern):
            if path.name == "CMakeLists.txt":
                inside = folder.relative_to(path.parent).as_posix()
                if any(word == inside or word.startswith(inside + "/") for word in cmake_words(path)):
                    return True
            elif re.search(rf'^\s*#\s*include\s*"{re.escape(relative)}/', path.read_text(), re.MULTILINE):
                return True
    return False


def check_tree(root):
    """Returns (complaints, number of files and folders looked at)."""
    complaints, seen = [], 0
    for top, pattern in [("tests", TEST_FILE)] + [(floor, SOURCE_FILE) for floor in FLOORS]:
        for path, listed in unlisted_files(root, top, pattern):
            seen += 1
            if not listed:
                complaints.append(f"{path.relative_to(root)}: named in no CMakeLists.txt, so it is never built or run")
    for family, lists in FAMILIES.items():
        for folder in sorted((root / family).glob("*/")):
            if not folder.is_dir() or not any(SOURCE_FILE.search(p.name) or p.suffix == ".h" for p in folder.rglob("*")):
                continue
            seen += 1
            if not member_is_listed(root, folder, lists):
                complaints.append(f"{folder.relative_to(root)}/: no header of it is included by {' or '.join(lists)}, so it "
                                  f"cannot be reached")
    return complaints, seen


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent).resolve()
    complaints, seen = check_tree(root)
    for complaint in complaints:
        print(complaint)
    print(f"check_tests_listed: {seen} files and folders, {len(complaints)} in no list")
    if seen == 0:
        print(f"check_tests_listed: nothing to check under {root}")
        return 2
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
