// The model that a bench runs: one on disk, or a random one of a named shape.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "kernels/core/status.h"
#include "server/cli/signals.h"

namespace bitdial::server {

// Owns the temporary folder of a random model; it goes with this object, or with SIGINT and SIGTERM.
class BenchModel {
 public:
  BenchModel() = default;
  ~BenchModel();
  BenchModel(const BenchModel&) = delete;
  BenchModel& operator=(const BenchModel&) = delete;

  // --shape and --shape-bits; MODEL, added before, is no longer required.
  void AddFlags(CLI::App& command);

  // The path to load: `model`, or that of a random model, written now. Call before any thread exists.
  // Errors  INVALID_ARGUMENT both or neither are given, or the shape is unknown; RESOURCE_EXHAUSTED.
  absl::StatusOr<std::string> Prepare(const std::string& model);

 private:
  std::string shape_;
  std::string shape_bits_ = "2-4";
  CLI::Option* shape_bits_option_ = nullptr;
  std::string folder_;
  std::optional<SignalThread> signals_;
};

}  // namespace bitdial::server
