#include "kernels/core/machine_limits.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <thread>

namespace bitdial {
namespace {

constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

// The number that `text` begins with, and what follows it.
std::optional<int64_t> TakeNumber(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value <= 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

// This process's cgroup below the root: the line "0::/path" of /proc/self/cgroup. Empty: none.
std::string CgroupPath() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return "";
}

}  // namespace

std::optional<int64_t> CoresOfCpuMax(std::string_view text) {
  const std::optional<int64_t> quota = TakeNumber(text);
  if (!quota || text.empty() || text.front() != ' ') return std::nullopt;
  text.remove_prefix(1);
  const std::optional<int64_t> period = TakeNumber(text);
  if (!period) return std::nullopt;
  return *quota / *period + (*quota % *period != 0 ? 1 : 0);
}

std::optional<int64_t> BytesOfMemoryMax(std::string_view text) { return TakeNumber(text); }

std::optional<int64_t> LeastLimit(const std::string& root, const std::string& path,
                                  const std::string& file,
                                  std::optional<int64_t> (*parse)(std::string_view)) {
  std::optional<int64_t> least;
  std::string folder = path == "/" ? "" : path;
  for (;;) {
    std::ifstream stream(root + folder + "/" + file);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const std::optional<int64_t> limit = parse(text);
    if (limit) least = std::min(*limit, least.value_or(*limit));
    const size_t slash = folder.rfind('/');
    if (slash == std::string::npos) return least;
    folder.resize(slash);
  }
}

int NumAvailableCores() {
  int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  const auto quota = LeastLimit(kCgroupRoot, CgroupPath(), "cpu.max", CoresOfCpuMax);
  return static_cast<int>(std::min(cores, quota.value_or(cores)));
}

int64_t AvailableMemoryBytes() {
  const int64_t physical = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  const auto limit = LeastLimit(kCgroupRoot, CgroupPath(), "memory.max", BytesOfMemoryMax);
  return std::min(physical, limit.value_or(physical));
}

}  // namespace bitdial
