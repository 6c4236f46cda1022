// bitdial doctor: what this machine and this build can run, and why.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/backends/cuda/device.h"
#include "kernels/core/cpu_features.h"
#include "kernels/core/machine_limits.h"
#include "kernels/kernel_table.h"
#include "server/cli/command.h"
#include "server/cli/json_text.h"
#include "server/cli/text_table.h"
#include "server/model/kernel_cache.h"
#include "server/version.h"

namespace bitdial::server {
namespace {

struct DoctorOptions {
  bool lists_kernels = false;
  bool is_json = false;
};

std::vector<std::pair<const char*, bool>> FeatureList(const CpuFeatures& features) {
  return {{"avx2+fma+f16c", features.avx2},
          {"avx512 f+bw+dq+vl", features.avx512},
          {"avx512_vbmi", features.avx512_vbmi},
          {"avx512_vnni", features.avx512_vnni},
          {"avx512_bf16", features.avx512_bf16},
          {"amx_int8", features.amx_int8}};
}

absl::Status Doctor(const DoctorOptions& options) {
  // The numerics that allow most, so that a forced row of any class is one to show.
  BITDIAL_ASSIGN_OR_RETURN(
      const kernels::KernelTable table,
      kernels::KernelTable::CreateFromEnvironment(kernels::Numerics::kInt8));
  const KernelCache cache = KernelCacheFromEnvironment();
  const auto features = FeatureList(DetectCpuFeatures());
  const std::vector<std::string> cuda = kernels::cuda::DescribeCudaDevices();
  if (options.is_json) {
    nlohmann::ordered_json json = {{"version", Version()},
                                   {"cpu", CpuModelName()},
                                   {"cores", NumAvailableCores()},
                                   {"memory_bytes", AvailableMemoryBytes()},
                                   {"backend", Name(table.backend())},
                                   {"cuda", cuda},
                                   {"kernel_choices",
                                    {{"measured", cache.is_on}, {"file", cache.path}}}};
    for (const auto& [name, is_present] : features) json["cpu_features"][name] = is_present;
    if (options.lists_kernels) {
      for (const kernels::KernelRow& row : table.rows()) {
        json["kernels"].push_back({{"name", row.name},
                                   {"op", Name(row.key.op)},
                                   {"backend", Name(row.backend)},
                                   {"numeric_class", row.numeric_class},
                                   {"runnable", table.IsRunnable(row)}});
      }
    }
    std::cout << JsonText(json, 2) << std::endl;
    return absl::OkStatus();
  }
  fmt::print("bitdial   {}\ncpu       {}, {} cores and {:.1f} GiB for this process\nbackend   {}\n",
             Version(), CpuModelName(), NumAvailableCores(),
             static_cast<double>(AvailableMemoryBytes()) / (1 << 30), Name(table.backend()));
  if (!table.SlowReason().empty()) fmt::print("          {}\n", table.SlowReason());
  for (const auto& [name, is_present] : features)
    fmt::print("  {:<20} {}\n", name, is_present ? "yes" : "no");
  for (const std::string& device : cuda) fmt::print("cuda      {}\n", device);
  fmt::print("kernels   {}\n", Describe(cache));
  if (!options.lists_kernels) return absl::OkStatus();
  TextTable kernels_table({"kernel", "role", "numeric class", "runs here"});
  for (const kernels::KernelRow& row : table.rows()) {
    kernels_table.AddRow(
        {row.name, Name(row.key.role), row.numeric_class, table.IsRunnable(row) ? "yes" : "no"});
  }
  fmt::print("\n{}", kernels_table.ToString());
  return absl::OkStatus();
}

}  // namespace

void AddDoctorCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command =
      app.add_subcommand("doctor", "Show what this machine and build can run, and why");
  command->footer(
      "Example: bitdial doctor --kernels\n"
      "BITDIAL_FORCE_BACKEND=cpu_avx2 bitdial doctor shows what a forced backend would do.");
  command->add_flag("--kernels", options->lists_kernels, "List every kernel row of this build");
  command->add_flag("--json", options->is_json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = Report(Doctor(*options)); });
}

}  // namespace bitdial::server
