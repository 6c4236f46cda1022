#include "server/version.h"

#include <fmt/format.h>

#include "kernels/kernel_table.h"

namespace bitdial::server {

const char* Version() { return BITDIAL_VERSION; }

std::string VersionText() {
  const auto table = kernels::KernelTable::CreateFromEnvironment();
  return fmt::format("bitdial {}\ncompiler   {}\nbuild      {}\nbackend    {}", BITDIAL_VERSION, BITDIAL_COMPILER,
                     BITDIAL_BUILD_TYPE, table.ok() ? Name(table->backend()) : std::string(table.status().message()));
}

}  // namespace bitdial::server
