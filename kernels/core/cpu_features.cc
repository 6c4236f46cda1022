#include "kernels/core/cpu_features.h"

#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace bitdial {
namespace {

// clang 14 does not know the two names.
bool HasAmxInt8() {
#if defined(__x86_64__)
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;  // of leaf 7
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kTile) != 0 &&
         (edx & kInt8) != 0;
#else
  return false;
#endif
}

// Whether the system has the registers, and lets this process use them: from now on it may, as may its
// threads and its children. Linux has no header for the two numbers that user programs may rely on
// (its documentation: arch/x86/xstate).
bool MayUseAmx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

// __builtin_cpu_supports checks XCR0 as well as CPUID. This file is compiled without ISA flags.
CpuFeatures DetectCpuFeatures() {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  // F16C has no name in gcc 12's list; every processor with AVX2 has it (Haswell and Zen on).
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  features.avx512_vbmi = features.avx512 && __builtin_cpu_supports("avx512vbmi");
  features.avx512_vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
  features.amx_int8 = features.avx512 && HasAmxInt8() && MayUseAmx();
#endif
  return features;
}

std::string CpuModelName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace bitdial
