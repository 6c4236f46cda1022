// bitdial bench engine: prompt and decode tokens per second of a model, alone and with several
// requests at once.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

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

struct EngineBenchOptions {
  EngineFlags engine;
  BenchModel model;
  int32_t prompt_tokens = 128;
  int32_t tokens = 64;
  std::vector<int> requests = {1};
  int num_samples = 5;
  bool is_json = false;
};

// Totals over the requests of one round.
struct Round {
  double prompt_tokens_per_s = 0;  // all prompt tokens over the longest prefill
  double decode_tokens_per_s =
      0;  // all tokens after each first one, over the time from last first to last token
  double ttft_s = 0;  // of the slowest request
};

// Random ids below `limit`: text does not matter for speed.
std::vector<int32_t> RandomIds(int32_t count, int64_t limit, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint64_t>(limit));
  return ids;
}

absl::StatusOr<Round> RunRound(engine::Engine& engine, const EngineBenchOptions& options, int bits,
                               int num_requests, uint64_t seed) {
  std::vector<std::shared_ptr<EventQueue>> queues;
  for (int i = 0; i < num_requests; ++i) {
    engine::Request request;
    request.prompt_ids = RandomIds(options.prompt_tokens, engine.model().vocab_size,
                                   seed + static_cast<uint64_t>(i));
    request.weight_bits = bits;
    request.max_tokens = options.tokens;
    request.sampling.temperature = 0;
    request.ignore_eos = true;
    queues.push_back(std::make_shared<EventQueue>());
    BITDIAL_RETURN_IF_ERROR(engine.Submit(std::move(request), queues.back()).status());
  }
  double ttft_s = 0, end_s = 0;
  int64_t num_prompt = 0, num_decoded = 0;
  for (const auto& queue : queues) {
    for (;;) {
      const EventQueue::Event event = queue->Pop();
      const auto* finish = std::get_if<engine::FinishEvent>(&event);
      if (finish == nullptr) continue;
      BITDIAL_RETURN_IF_ERROR(finish->status);
      ttft_s = std::max(ttft_s, finish->queue_s + finish->prefill_s);
      end_s = std::max(end_s, finish->queue_s + finish->prefill_s + finish->decode_s);
      num_prompt += finish->num_prompt_tokens;
      num_decoded += finish->num_generated_tokens - 1;
      break;
    }
  }
  return Round{.prompt_tokens_per_s = static_cast<double>(num_prompt) / ttft_s,
               .decode_tokens_per_s =
                   end_s > ttft_s ? static_cast<double>(num_decoded) / (end_s - ttft_s) : 0,
               .ttft_s = ttft_s};
}

absl::Status BenchEngine(EngineBenchOptions& options) {
  BITDIAL_ASSIGN_OR_RETURN(options.engine.model, options.model.Prepare(options.engine.model));
  BITDIAL_ASSIGN_OR_RETURN(engine::EngineOptions engine_options, options.engine.ToOptions());
  const int max_requests = *std::max_element(options.requests.begin(), options.requests.end());
  engine_options.max_context = options.prompt_tokens + options.tokens;
  engine_options.kv_cache_bytes = kRoomForAll;
  engine_options.prefix_cache = false;  // the same prompt every time, and all of it is to be timed
  engine_options.max_running_requests = max_requests;
  engine_options.max_queued_requests = max_requests;
  BITDIAL_ASSIGN_OR_RETURN(ServedModel model, LoadServedModel(options.engine.model, engine_options,
                                                              NumericsOf(options.engine.numerics)));
  const engine::ModelInfo& info = model.engine->model();
  BITDIAL_ASSIGN_OR_RETURN(const int bits, ResolveBits(options.engine.bits, info));
  TextTable text(
      {"bits", "requests", "prompt tokens/s", "decode tokens/s", "(min..max)", "TTFT s"});
  nlohmann::ordered_json json = {{"model", model.name},
                                 {"backend", info.backend},
                                 {"numerics", info.numerics},
                                 {"prompt_tokens", options.prompt_tokens},
                                 {"tokens", options.tokens},
                                 {"weight_bytes", info.weight_bytes},
                                 {"resident_bytes", ResidentBytes()}};
  for (int num_requests : options.requests) {
    std::vector<double> prompt, decode, ttft;
    for (int sample = -1; sample < options.num_samples; ++sample) {  // the first is a warm-up
      BITDIAL_ASSIGN_OR_RETURN(
          const Round round,
          RunRound(*model.engine, options, bits, num_requests, static_cast<uint64_t>(sample + 1)));
      if (sample < 0) continue;
      prompt.push_back(round.prompt_tokens_per_s);
      decode.push_back(round.decode_tokens_per_s);
      ttft.push_back(round.ttft_s);
    }
    const Spread decode_spread = MakeSpread(decode);
    text.AddRow({BitsText(bits), std::to_string(num_requests),
                 fmt::format("{:.1f}", MakeSpread(prompt).median),
                 fmt::format("{:.1f}", decode_spread.median),
                 fmt::format("({:.1f}..{:.1f})", decode_spread.min, decode_spread.max),
                 fmt::format("{:.3f}", MakeSpread(ttft).median)});
    json["results"].push_back({{"bits", bits},
                               {"requests", num_requests},
                               {"prompt_tokens_per_s", MakeSpread(prompt).median},
                               {"decode_tokens_per_s", decode_spread.median},
                               {"decode_min", decode_spread.min},
                               {"decode_max", decode_spread.max},
                               {"ttft_s", MakeSpread(ttft).median}});
  }
  if (options.is_json) {
    std::cout << JsonText(json, 2) << std::endl;
  } else {
    fmt::print("{} on {}: prompt {}, generate {}, {} samples\n{}weights {}, process {}\n",
               model.name, info.backend, options.prompt_tokens, options.tokens, options.num_samples,
               text.ToString(), HumanBytes(info.weight_bytes), HumanBytes(ResidentBytes()));
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchEngineCommand(CLI::App& bench, int& exit_code) {
  auto options = std::make_shared<EngineBenchOptions>();
  CLI::App* command =
      bench.add_subcommand("engine", "Prompt and decode tokens per second of a model");
  command->footer(
      "Examples:\n"
      "  bitdial bench engine models/SmolLM2-bitdial --bits 3 --requests 1,4,8\n"
      "  bitdial bench engine --shape llama-1.1b --bits 2 --numerics int8");
  AddEngineFlags(*command, options->engine);
  options->model.AddFlags(*command);
  command->add_option("--prompt-tokens", options->prompt_tokens, "Per request")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--tokens", options->tokens, "Made per request")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--requests", options->requests, "At once; comma-separated list")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--samples", options->num_samples, "Rounds of each, after one warm-up")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_flag("--json", options->is_json, "Print JSON");
  command->callback([options, &exit_code] { exit_code = Report(BenchEngine(*options)); });
}

}  // namespace bitdial::server
