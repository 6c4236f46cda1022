#include "server/version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/kernel_table.h"
#include "server/cli/json_text.h"

namespace bitdial::server {
namespace {

// Backends that this build has kernels for, whatever the machine.
std::vector<std::string> BackendsBuilt() {
  std::vector<std::string> names;
  const auto table = kernels::KernelTable::Create(CpuFeatures{}, "").value();  // cpu_ref always is
  for (const kernels::KernelRow& row : table.rows()) {
    if (std::find(names.begin(), names.end(), Name(row.backend)) == names.end())
      names.push_back(Name(row.backend));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// With the numerics that allow most: the backend is the same, and a forced row of any class is known.
absl::StatusOr<kernels::KernelTable> Table() {
  return kernels::KernelTable::CreateFromEnvironment(kernels::Numerics::kInt8);
}

}  // namespace

const char* Version() { return BITDIAL_VERSION; }

std::string VersionText() {
  const auto table = Table();
  return fmt::format(
      "bitdial {}\n"
      "commit     {}\n"
      "compiler   {}\n"
      "build      {}\n"
      "backends   {}\n"
      "backend    {}",
      Version(), Commit(), BITDIAL_COMPILER, BITDIAL_BUILD_TYPE, fmt::join(BackendsBuilt(), ", "),
      table.ok() ? Name(table->backend()) : std::string(table.status().message()));
}

std::string VersionJson() {
  const auto table = Table();
  nlohmann::ordered_json json = {{"version", Version()},         {"commit", Commit()},
                                 {"compiler", BITDIAL_COMPILER}, {"build_type", BITDIAL_BUILD_TYPE},
                                 {"backends", BackendsBuilt()},  {"backend", nullptr}};
  if (table.ok()) {
    json["backend"] = Name(table->backend());
  } else {
    json["backend_error"] = std::string(table.status().message());
  }
  return JsonText(json);
}

}  // namespace bitdial::server
