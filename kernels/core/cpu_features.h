// What the processor and the operating system offer, read once.
#pragma once

#include <string>

namespace bitdial {

// A feature is true when CPUID reports it and the OS has enabled its register state (XCR0).
struct CpuFeatures {
  bool avx2 = false;  // avx2 + fma + f16c, what the avx2 rows are compiled with
  bool avx512 = false;  // avx512 f + bw + dq + vl, what the avx512 rows are compiled with, and all of avx2
  bool avx512_vbmi = false;
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx_int8 = false;  // amx tile + int8, and the process may use them
};

// On Linux a process asks before it uses AMX's registers; this asks.
CpuFeatures DetectCpuFeatures();

// The model string of /proc/cpuinfo, "unknown" when there is none.
std::string CpuModelName();

}  // namespace bitdial
