// bitdial bench step: where the time of a decode step goes, kernel by kernel.
//
// Two rounds that differ by a number of decode steps run with every kernel timed; their difference
// is what those steps took. What no kernel accounts for is sampling, scheduling and waiting.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/core/call_times.h"
#include "server/cli/bench_command.h"
#include "server/cli/bench_model.h"
#include "server/cli/command.h"
#include "server/cli/engine_flags.h"
#include "server/cli/json_text.h"
#include "server/cli/text_table.h"
#include "server/model/event_queue.h"
#include "server/model/served_model.h"

namespace bitdial::server {
namespace {

struct StepOptions {
  EngineFlags engine;
  BenchModel model;
  int32_t context = 128;  // tokens before the first step that counts
  int32_t steps = 64;
  int32_t rows = 1;
  bool is_json = false;
};

using Entries = std::map<std::string, CallTimes::Entry>;

struct Round {
  double seconds = 0;
  int64_t num_steps = 0;
  Entries entries;
};

// `rows` requests at once, each `tokens` long.
absl::StatusOr<Round> RunRound(engine::Engine& engine, CallTimes& call_times,
                               const StepOptions& options, int bits, int32_t tokens) {
  call_times.Clear();
  const int64_t steps_before = engine.stats().num_steps;
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<EventQueue>> queues;
  for (int32_t i = 0; i < options.rows; ++i) {
    engine::Request request;
    request.prompt_ids.assign(static_cast<size_t>(options.context), 1 + i);
    request.weight_bits = bits;
    request.max_tokens = tokens;
    request.sampling.temperature = 0;
    request.ignore_eos = true;
    queues.push_back(std::make_shared<EventQueue>());
    BITDIAL_RETURN_IF_ERROR(engine.Submit(std::move(request), queues.back()).status());
  }
  for (const auto& queue : queues) {
    for (bool is_done = false; !is_done;) {
      const EventQueue::Event event = queue->Pop();
      const auto* finish = std::get_if<engine::FinishEvent>(&event);
      if (finish == nullptr) continue;
      BITDIAL_RETURN_IF_ERROR(finish->status);
      is_done = true;
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return Round{took.count(), engine.stats().num_steps - steps_before, call_times.entries()};
}

struct Line {
  std::string what;
  double calls = 0;  // a step
  double us = 0;     // a step
  std::vector<std::string> kernels = {};  // the rows that ran
};

std::vector<Line> Difference(const Round& longer, const Round& shorter, double steps) {
  std::vector<Line> lines;
  for (const auto& [what, entry] : longer.entries) {
    CallTimes::Entry before;
    if (const auto it = shorter.entries.find(what); it != shorter.entries.end()) before = it->second;
    const double calls = static_cast<double>(entry.num_calls - before.num_calls) / steps;
    if (calls <= 0) continue;
    lines.push_back({what, calls, 1e6 * (entry.seconds - before.seconds) / steps});
    for (const auto& [kernel, num_calls] : entry.calls_by_kernel) {
      if (num_calls > before.calls_by_kernel[kernel]) lines.back().kernels.push_back(kernel);
    }
  }
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.us > b.us; });
  return lines;
}

absl::Status BenchStep(StepOptions& options) {
  BITDIAL_ASSIGN_OR_RETURN(options.engine.model, options.model.Prepare(options.engine.model));
  BITDIAL_ASSIGN_OR_RETURN(engine::EngineOptions engine_options, options.engine.ToOptions());
  CallTimes call_times;
  engine_options.call_times = &call_times;
  engine_options.max_context = options.context + options.steps + 2;
  engine_options.max_running_requests = options.rows;
  engine_options.kv_cache_bytes = kRoomForAll;
  engine_options.prefix_cache = false;  // the same prompt every time, and all of it is to be timed
  BITDIAL_ASSIGN_OR_RETURN(ServedModel model, LoadServedModel(options.engine.model, engine_options,
                                                              NumericsOf(options.engine.numerics)));
  const engine::ModelInfo& info = model.engine->model();
  BITDIAL_ASSIGN_OR_RETURN(const int bits, ResolveBits(options.engine.bits, info));
  for (int warm_up = 0; warm_up < 2; ++warm_up) {
    BITDIAL_RETURN_IF_ERROR(RunRound(*model.engine, call_times, options, bits, 4).status());
  }
  BITDIAL_ASSIGN_OR_RETURN(const Round shorter, RunRound(*model.engine, call_times, options, bits, 2));
  BITDIAL_ASSIGN_OR_RETURN(const Round longer, RunRound(*model.engine, call_times, options, bits,
                                                        2 + options.steps));
  const auto steps = static_cast<double>(longer.num_steps - shorter.num_steps);
  const double step_us = 1e6 * (longer.seconds - shorter.seconds) / steps;
  std::vector<Line> lines = Difference(longer, shorter, steps);
  double kernels_us = 0;
  for (const Line& line : lines) kernels_us += line.us;
  lines.push_back({"between kernels", 0, step_us - kernels_us});

  TextTable text({"what", "calls", "us a step", "share", "kernel rows"});
  nlohmann::ordered_json json = {{"model", model.name}, {"backend", info.backend},
                                 {"numerics", info.numerics}, {"bits", bits},
                                 {"rows", options.rows}, {"step_us", step_us}};
  for (const Line& line : lines) {
    text.AddRow({line.what, line.calls > 0 ? fmt::format("{:.0f}", line.calls) : "",
                 fmt::format("{:.1f}", line.us), fmt::format("{:.1f}%", 100 * line.us / step_us),
                 fmt::format("{}", fmt::join(line.kernels, ", "))});
    json["kernels"].push_back({{"what", line.what},
                               {"calls", line.calls},
                               {"us", line.us},
                               {"share", line.us / step_us},
                               {"rows", line.kernels}});
  }
  if (options.is_json) {
    std::cout << JsonText(json, 2) << std::endl;
  } else {
    fmt::print("{} on {}, {} bits, {} rows, context {}: {:.0f} us a step, {:.1f} tokens/s\n{}",
               model.name, info.backend, BitsText(bits), options.rows, options.context, step_us,
               1e6 * options.rows / step_us, text.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchStepCommand(CLI::App& bench, int& exit_code) {
  auto options = std::make_shared<StepOptions>();
  CLI::App* command =
      bench.add_subcommand("step", "Where the time of a decode step goes, kernel by kernel");
  command->footer(
      "Examples:\n"
      "  bitdial bench step models/SmolLM2-bitdial --bits 3\n"
      "  bitdial bench step --shape llama-1.1b --bits 2 --rows 8");
  AddEngineFlags(*command, options->engine);
  options->model.AddFlags(*command);
  command->add_option("--context", options->context, "Tokens before the first step that counts")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--steps", options->steps, "Steps that count")
      ->check(CLI::Range(8, 1 << 20))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "Requests at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_flag("--json", options->is_json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = Report(BenchStep(*options)); });
}

}  // namespace bitdial::server
