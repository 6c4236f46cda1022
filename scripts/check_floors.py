#!/usr/bin/env python3
"""Holds the floors and include invariants of docs/architecture.md from the #include lines. Runs as a ctest.

    scripts/check_floors.py [ROOT]        exit 0: clean; 1: violations, each explained; 2: nothing to check

Floors, lowest first (a file includes its own floor and the floors it lists, never upwards):
    kernels/core < kernels < kvcache, quant/container < engine < server
    quant/methods stands beside the engine and sees it only through engine/calibration.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".inc"}
# Built or brought in, not ours to judge; hidden folders are skipped too.
SKIPPED_TOPS = {"build", "deps", "models", "third_party", "docs", "configs", "scripts", "cmake", "proto"}

# Floor -> what it may include. The longest prefix of a path decides which floor it is on.
ALLOWED = {
    "kernels/core": ["kernels/core"],
    "kernels": ["kernels"],
    "kvcache": ["kvcache", "kernels"],
    "quant/container": ["quant/container", "kernels"],
    "quant/methods": ["quant", "kernels", "engine/calibration"],
    "quant/calibration": ["quant", "kernels", "engine/calibration"],
    "engine": ["engine", "kvcache", "quant/container", "kernels"],
    "server": ["server", "engine", "kvcache", "quant", "kernels"],
    # Tests see their floor and what lies below, so that they build when what lies above is off.
    "tests/kernels": ["tests", "kernels"],
    "tests/kvcache": ["tests", "kvcache", "kernels"],
    "tests/quant": ["tests", "quant", "kernels", "engine/calibration"],
    "tests/engine": ["tests", "engine", "kvcache", "quant", "kernels"],
    "tests": ["tests", "server", "engine", "kvcache", "quant", "kernels"],
}

# Folders whose sources may see what protoc generates, and gRPC.
WIRE = ("server/", "tests/server/", "tests/e2e/", "tests/fuzz/")
WIRE_INCLUDE = re.compile(r"^(grpc|grpcpp|grpc\+\+|google/(protobuf|rpc)|bitdial/v\d+)(/|$)|\.pb\.h$|^(health|reflection).*\.grpc")
CUDA_INCLUDE = re.compile(r"^(cuda|cublas|cudnn|cusparse|curand|nvrtc|nvml|nccl|nvtx|cub/|thrust/|cooperative_groups|mma\.h"
                          r"|device_launch|vector_types\.h|vector_functions)")
# What a pure policy cannot want: bytes, devices, kernels, clocks.
SCHEDULER_INCLUDE = re.compile(
    r"^kernels/(?!core/(status|check)\.h$)|^quant/|^(chrono|ctime|time\.h|sys/time\.h|thread)$")
ISA_FILE = re.compile(r"_(sse\w*|avx\w*|amx\w*|neon\w*)\.(cc|inc)$")
# The second row is what kernels/core/view.h is made of; that nothing of it is emitted, the ctest isa_symbols shows (nm).
ISA_SYSTEM_HEADERS = {"cstdint", "cstddef", "immintrin.h", "arm_neon.h",
                      "array", "bit", "initializer_list", "type_traits"}


class Include(NamedTuple):
    line: int
    name: str
    is_quoted: bool


class Violation(NamedTuple):
    path: str
    line: int
    what: str
    why: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.what}\n    {self.why}"


INCLUDE_LINE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def read_includes(path):
    """Every #include line, also those in #if branches and in comments that start a line with #."""
    includes = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if match := INCLUDE_LINE.match(line):
            includes.append(Include(number, match[1] or match[2], match[1] is not None))
    return includes


def under(path, prefix):
    return path == prefix or path.startswith((prefix + "/", prefix + "."))


def floor_of(path):
    """The floor a repository path lies on, or None."""
    return max((floor for floor in ALLOWED if path.startswith(floor + "/")), key=len, default=None)


def source_files(root):
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        top = relative.parts[0]
        if top.startswith(".") or top in SKIPPED_TOPS or path.suffix not in SOURCE_SUFFIXES or not path.is_file():
            continue
        yield relative.as_posix(), path


def check_floor(path, include, tops):
    """Upward includes, and include forms that would hide one."""
    if ".." in Path(include.name).parts:
        return Violation(path, include.line, f"includes {include.name}", "write the path from the repository root")
    if include.name.split("/")[0] not in tops or "/" not in include.name:
        return None  # another library, a generated header or a neighbour in the same folder
    floor = floor_of(path)
    if any(under(include.name, allowed) for allowed in ALLOWED[floor]):
        return None
    return Violation(path, include.line, f"includes {include.name}",
                     f"{floor} may include only {', '.join(ALLOWED[floor])} (floors: docs/architecture.md)")


def check_wire(path, include):
    if path.startswith(WIRE) or not WIRE_INCLUDE.search(include.name):
        return None
    return Violation(path, include.line, f"includes {include.name}",
                     "only server/ sees protobuf, gRPC or what is generated from proto/ (invariant 1)")


def check_cuda(path, include):
    if path.endswith((".cu", ".cuh")) or path.startswith("kernels/backends/cuda/") or path.startswith("tests/simt/"):
        return None
    if not CUDA_INCLUDE.search(include.name):
        return None
    return Violation(path, include.line, f"includes {include.name}",
                     "CUDA headers appear only in .cu, .cuh and kernels/backends/cuda/ (invariant 4)")


def check_scheduler(path, include):
    if not path.startswith("engine/scheduler/") or not SCHEDULER_INCLUDE.search(include.name):
        return None
    return Violation(path, include.line, f"includes {include.name}",
                     "the scheduler is pure policy: no tensor, device or clock; time is an argument (invariant 3)")


def check_isa_file(root, path, includes):
    """An ISA-flagged file and every header of ours that it reaches include only ISA_SYSTEM_HEADERS."""
    if not path.startswith("kernels/") or not ISA_FILE.search(path):
        return
    pending, seen = [(path, None)], {path}
    while pending:
        current, entry = pending.pop()
        for include in includes[current]:
            target = include.name if include.name in includes else f"{Path(current).parent.as_posix()}/{include.name}"
            origin = entry or include
            if include.is_quoted and target in includes:
                if target not in seen:
                    seen.add(target)
                    pending.append((target, origin))
            elif include.name not in ISA_SYSTEM_HEADERS:
                via = "" if current == path else f" through {current}"
                yield Violation(path, origin.line, f"includes {include.name}{via}",
                                "files compiled with ISA flags include only intrinsics, <cstdint>, <cstddef> and our POD "
                                "headers (ISA_SYSTEM_HEADERS): an inline function compiled with AVX-512 may be the copy the linker keeps "
                                "(invariant 6)")


def check_tree(root):
    """Returns (violations, number of files, number of includes)."""
    files = dict(source_files(root))
    includes = {path: read_includes(full) for path, full in files.items()}
    tops = {floor.split("/")[0] for floor in ALLOWED}
    violations, spm_users = [], []
    for path, lines in includes.items():
        if floor_of(path) is None:
            violations.append(Violation(path, 1, "lies on no floor", "add its folder to ALLOWED in scripts/check_floors.py"))
            continue
        for include in lines:
            for check in (lambda p, i: check_floor(p, i, tops), check_wire, check_cuda, check_scheduler):
                if violation := check(path, include):
                    violations.append(violation)
                    break
            if include.name == "sentencepiece_processor.h":
                spm_users.append((path, include))
        violations.extend(check_isa_file(root, path, includes))
    for path, include in spm_users:
        if len(spm_users) > 1 or not path.startswith("server/tokenizer/"):
            violations.append(Violation(path, include.line, f"includes {include.name}",
                                        "it declares namespace absl: one source file of server/tokenizer includes it"))
    return violations, len(files), sum(map(len, includes.values()))


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent).resolve()
    violations, num_files, num_includes = check_tree(root)
    for violation in violations:
        print(violation)
    print(f"check_floors: {num_files} files, {num_includes} includes, {len(violations)} violations")
    if num_includes == 0:
        print(f"check_floors: no source files under {root}")
        return 2
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
