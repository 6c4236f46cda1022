// bitdial bench's own subcommands.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <vector>

namespace bitdial::server {

void AddBenchLinearCommand(CLI::App& bench, int& exit_code);
void AddBenchEngineCommand(CLI::App& bench, int& exit_code);
void AddBenchServeCommand(CLI::App& bench, int& exit_code);
void AddBenchShapeCommand(CLI::App& bench, int& exit_code);
void AddBenchStepCommand(CLI::App& bench, int& exit_code);

// EngineOptions::kv_cache_bytes for a bench: the engine takes what its running requests can use.
inline constexpr int64_t kRoomForAll = int64_t{1} << 50;

// Median and extremes of repeated measurements.
struct Spread {
  double median = 0, min = 0, max = 0;
};
Spread MakeSpread(std::vector<double> samples);  // at least one sample

}  // namespace bitdial::server
