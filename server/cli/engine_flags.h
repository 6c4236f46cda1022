// The flags every command that runs an engine in its own process shares.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "engine/engine.h"

namespace bitdial::server {

struct EngineFlags {
  std::string model;                   // path
  std::string bits;                    // "", "dense" or a number
  std::optional<int64_t> num_threads;  // absent: what BITDIAL_THREADS says, else every core
  std::string kv_format = "f16";
  std::string numerics = "int8";
  int64_t max_context = 0;

  // Errors  the environment's fault (kExitBadConfig): BITDIAL_THREADS.
  absl::StatusOr<engine::EngineOptions> ToOptions() const;
};

// MODEL --bits --threads --kv-format --numerics
void AddEngineFlags(CLI::App& command, EngineFlags& flags);

}  // namespace bitdial::server
