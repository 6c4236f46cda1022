#!/usr/bin/env python3
"""Object files compiled with ISA flags export no weak symbol. Runs as a ctest (isa_symbols).

    scripts/check_isa_symbols.py OBJECT...      exit 0: clean; 1: a weak symbol; 2: no object of an ISA file was given

A weak symbol (an inline function or a template that was emitted) may be the copy the linker keeps for the whole program;
compiled with AVX-512, it faults on a processor without. Only objects named like an ISA file (dot_avx2.cc.o) are looked at.
"""

import re
import subprocess
import sys

ISA_OBJECT = re.compile(r"_(sse\w*|avx\w*|amx\w*|neon\w*)\.cc\.o$")
# W, w: weak; V, v: weak object; u: unique global. DW.ref.* are exception tables' references, data that no code runs.
WEAK = re.compile(r"^\S*\s+([WwVvu])\s+(?!DW\.ref\.)(.*)$")


def weak_symbols(nm_output):
    return [match[2] for line in nm_output.splitlines() if (match := WEAK.match(line))]


def main():
    objects = [name for name in sys.argv[1:] if ISA_OBJECT.search(name)]
    if not objects:
        print("isa_symbols: no object of an ISA file among the arguments")
        return 2
    failed = False
    for name in objects:
        output = subprocess.run(["nm", "--demangle", "--defined-only", name], check=True, capture_output=True, text=True)
        for symbol in weak_symbols(output.stdout):
            failed = True
            print(f"{name}: weak symbol {symbol}\n    use an anonymous namespace, or mark the inline function always_inline")
    print(f"isa_symbols: {len(objects)} objects{'' if failed else ', no weak symbol'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
