#include "server/model/kernel_cache.h"

#include <fmt/format.h>

#include <cstdlib>

#include "kernels/core/cpu_features.h"
#include "server/version.h"

namespace bitdial::server {
namespace {

std::string TextOf(const char* value) { return value == nullptr ? "" : value; }

}  // namespace

KernelCache KernelCacheFromEnvironment() {
  const std::string asked = TextOf(std::getenv("BITDIAL_KERNEL_CACHE"));
  if (asked == "off") return {.is_on = false};
  if (!asked.empty()) return {.path = asked, .is_named = true};
  // Of the XDG specification: a path that is not absolute counts as none.
  const std::string cache = TextOf(std::getenv("XDG_CACHE_HOME")),
                    home = TextOf(std::getenv("HOME"));
  const char* const file = "bitdial/kernel-choices.json";
  if (cache.rfind('/', 0) == 0) return {.path = fmt::format("{}/{}", cache, file)};
  if (home.rfind('/', 0) == 0) return {.path = fmt::format("{}/.cache/{}", home, file)};
  return {};
}

std::string Describe(const KernelCache& cache) {
  if (!cache.is_on) return "not measured (BITDIAL_KERNEL_CACHE is off): the table's order decides";
  if (cache.path.empty()) return "measured at every start (neither HOME nor XDG_CACHE_HOME is set)";
  return "measured, kept in " + cache.path;
}

std::string KernelMachine() {
  const CpuFeatures features = DetectCpuFeatures();
  std::string text = CpuModelName();
  const auto add = [&text](bool has, const char* name) {
    if (has) text += std::string(" ") + name;
  };
  add(features.avx2, "avx2");
  add(features.avx512, "avx512");
  add(features.avx512_vbmi, "vbmi");
  add(features.avx512_vnni, "vnni");
  add(features.avx512_bf16, "bf16");
  add(features.amx_int8, "amx");
  return fmt::format("{}; bitdial {} {}", text, Version(), Commit());
}

}  // namespace bitdial::server
