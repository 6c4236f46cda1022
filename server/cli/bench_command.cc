// bitdial bench: measurements anyone can repeat.
#include "server/cli/bench_command.h"

#include <algorithm>

#include "server/cli/command.h"

namespace bitdial::server {

Spread MakeSpread(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const size_t middle = samples.size() / 2;
  const double median =
      samples.size() % 2 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
  return {median, samples.front(), samples.back()};
}

void AddBenchCommand(CLI::App& app, int& exit_code) {
  CLI::App* bench = app.add_subcommand("bench", "Measure kernels, the engine and a running server");
  bench->require_subcommand(1);
  bench->footer(
      "Examples:\n"
      "  bitdial bench linear --shape 4096x4096 --bits 2,3,4 --rows 1,8 --threads 1\n"
      "  bitdial bench engine models/SmolLM2-bitdial --prompt-tokens 128 --tokens 64 --requests 8 "
      "--bits 4\n"
      "  bitdial bench step --shape llama-1.1b --bits 2\n"
      "  bitdial bench serve --arrivals poisson --rate 2 --duration 60 --bits 4:0.5,2:0.5\n"
      "Run alone: a build beside it changes every figure.");
  AddBenchLinearCommand(*bench, exit_code);
  AddBenchEngineCommand(*bench, exit_code);
  AddBenchServeCommand(*bench, exit_code);
  AddBenchShapeCommand(*bench, exit_code);
  AddBenchStepCommand(*bench, exit_code);
}

}  // namespace bitdial::server
