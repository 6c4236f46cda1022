// What the machine, and the container around this process, let it use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bitdial {

// Cores this process may keep busy, at least 1: its affinity mask, and the CPU quotas of its
// cgroups (version 2), rounded up. A container of 2 CPUs on 64 cores should not run 64 threads.
int NumAvailableCores();

// Bytes this process may use: the machine's memory, or the least limit of its cgroups.
int64_t AvailableMemoryBytes();

// Contents of a cgroup's cpu.max, "200000 100000" or "max 100000": cores, rounded up. nullopt: no
// limit, or not such a text.
std::optional<int64_t> CoresOfCpuMax(std::string_view text);

// Contents of a cgroup's memory.max, a number of bytes or "max".
std::optional<int64_t> BytesOfMemoryMax(std::string_view text);

// The least limit that `file` sets in the cgroup at `path` and those it lies in; root: where the
// cgroup file system is mounted. Both are arguments for tests.
std::optional<int64_t> LeastLimit(const std::string& root, const std::string& path,
                                  const std::string& file,
                                  std::optional<int64_t> (*parse)(std::string_view));

}  // namespace bitdial
