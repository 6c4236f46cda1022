// bitdial eval: perplexity of a text, as llama.cpp's tool defines it, so that figures can be
// compared.
//
// The text is tokenized whole and cut into windows that do not overlap (a rest shorter than a
// window is dropped). A window starts with BOS in place of its first token when the model uses one.
// Tokens of the second half of each window are scored given everything before them in the window.
#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "server/cli/command.h"
#include "server/cli/engine_flags.h"
#include "server/cli/json_text.h"
#include "server/cli/progress.h"
#include "server/model/event_queue.h"
#include "server/model/served_model.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

struct EvalOptions {
  EngineFlags engine;
  std::string file;
  int64_t window = 512;
  int64_t max_windows = 0;
  bool uses_decode_kernels = false;
  bool is_json = false;
};

struct Score {
  double negative_log_likelihood = 0;  // sum over scored tokens, nats
  double sum_of_squares = 0;           // of the same, for the standard error
  int64_t num_tokens = 0;

  void Add(double nll) {
    negative_log_likelihood += nll;
    sum_of_squares += nll * nll;
    ++num_tokens;
  }
  double Mean() const { return negative_log_likelihood / static_cast<double>(num_tokens); }
  double Perplexity() const { return std::exp(Mean()); }
  // Of the perplexity, to first order, tokens taken as independent.
  double StandardError() const {
    const double n = static_cast<double>(num_tokens);
    const double variance = std::max(0.0, sum_of_squares / n - Mean() * Mean());
    return Perplexity() * std::sqrt(variance / n);
  }
};

// Not mapped: a pipe will do.
absl::StatusOr<std::string> ReadText(const std::string& path) {
  constexpr size_t kMaxBytes = size_t{1} << 30;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::vector<char> part(1 << 20);
  while (file && text.size() <= kMaxBytes) {
    file.read(part.data(), static_cast<std::streamsize>(part.size()));
    text.append(part.data(), static_cast<size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) {
    std::error_code error;
    return NotFound("{}: cannot be read{}; --perplexity takes a UTF-8 text file", path,
                    std::filesystem::is_directory(path, error) ? ", it is a folder" : "");
  }
  if (text.size() > kMaxBytes) {
    return InvalidArgument("{}: is longer than {} bytes; score a part of it", path, kMaxBytes);
  }
  if (const std::optional<size_t> offset = FindInvalidUtf8(text)) {
    return DataLoss(
        "{}: byte {} (0x{:02x}) is not UTF-8; --perplexity takes a UTF-8 text file, convert this "
        "one (iconv does)",
        path, *offset, static_cast<uint8_t>(text[*offset]));
  }
  return text;
}

std::vector<std::vector<int32_t>> CutWindows(const std::vector<int32_t>& ids, int64_t window,
                                             std::optional<int32_t> bos) {
  std::vector<std::vector<int32_t>> windows;
  const int64_t length = std::min<int64_t>(window, static_cast<int64_t>(ids.size()));
  for (int64_t begin = 0; begin + length <= static_cast<int64_t>(ids.size()); begin += length) {
    windows.emplace_back(ids.begin() + begin, ids.begin() + begin + length);
    if (bos) windows.back().front() = *bos;
  }
  return windows;
}

// Adds the scores of one window's request to `score`.
absl::Status Collect(EventQueue& events, Score& score) {
  for (;;) {
    const EventQueue::Event event = events.Pop();
    if (const auto* logprobs = std::get_if<std::vector<engine::PromptLogprob>>(&event)) {
      for (const engine::PromptLogprob& entry : *logprobs)
        score.Add(-static_cast<double>(entry.token.logprob));
    } else if (const auto* finish = std::get_if<engine::FinishEvent>(&event)) {
      return finish->status;
    }
  }
}

absl::StatusOr<Score> ScoreWindows(engine::Engine& engine,
                                   const std::vector<std::vector<int32_t>>& windows, int bits,
                                   bool is_quiet) {
  constexpr size_t kWindowsInFlight = 4;  // what the default KV cache has room for
  Progress progress("perplexity", is_quiet);
  Score score;
  std::deque<std::shared_ptr<EventQueue>> in_flight;
  size_t num_submitted = 0, num_done = 0;
  while (num_done < windows.size()) {
    while (num_submitted < windows.size() && in_flight.size() < kWindowsInFlight) {
      engine::Request request;
      request.prompt_ids = windows[num_submitted++];
      request.weight_bits = bits;
      request.max_tokens = 0;
      request.prompt_logprobs_from = static_cast<int32_t>(request.prompt_ids.size() / 2 + 1);
      in_flight.push_back(std::make_shared<EventQueue>());
      BITDIAL_RETURN_IF_ERROR(engine.Submit(std::move(request), in_flight.back()).status());
    }
    BITDIAL_RETURN_IF_ERROR(Collect(*in_flight.front(), score));
    in_flight.pop_front();
    ++num_done;
    progress.Update(static_cast<int64_t>(num_done), static_cast<int64_t>(windows.size()),
                    fmt::format("perplexity so far {:.3f}", score.Perplexity()));
  }
  return score;
}

absl::Status Eval(const EvalOptions& options) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string text, ReadText(options.file));
  BITDIAL_ASSIGN_OR_RETURN(engine::EngineOptions engine_options, options.engine.ToOptions());
  engine_options.max_context = options.window;
  engine_options.prompts_as_decode = options.uses_decode_kernels;
  absl::StatusOr<ServedModel> loaded =
      LoadServedModel(options.engine.model, engine_options, NumericsOf(options.engine.numerics));
  if (absl::IsInvalidArgument(loaded.status()) &&
      std::string(loaded.status().message()).rfind("max_context", 0) == 0) {
    return Annotate(loaded.status(), "--window");
  }
  BITDIAL_ASSIGN_OR_RETURN(const ServedModel model, std::move(loaded));
  BITDIAL_ASSIGN_OR_RETURN(const int bits, ResolveBits(options.engine.bits, model.engine->model()));
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                           model.tokenizer->Encode(text, {.parse_special_tokens = false}));
  if (ids.size() < 4)
    return InvalidArgument("{}: {} tokens; perplexity needs at least 4", options.file, ids.size());

  const bool uses_bos = model.tokenizer->bos_id() && ids.front() == *model.tokenizer->bos_id();
  auto windows =
      CutWindows(ids, options.window, uses_bos ? model.tokenizer->bos_id() : std::nullopt);
  if (options.max_windows > 0 && static_cast<int64_t>(windows.size()) > options.max_windows) {
    windows.resize(static_cast<size_t>(options.max_windows));
  }
  const auto start = std::chrono::steady_clock::now();
  BITDIAL_ASSIGN_OR_RETURN(const Score score,
                           ScoreWindows(*model.engine, windows, bits, options.is_json));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double rate = static_cast<double>(windows.size() * windows.front().size()) / seconds;

  if (options.is_json) {
    nlohmann::ordered_json json = {
        {"perplexity", score.Perplexity()},
        {"tokens", score.num_tokens},
        {"standard_error", score.StandardError()},
        {"bits", bits},
        {"numerics", model.engine->model().numerics},
        {"kernels", engine_options.prompts_as_decode ? "decode" : "prompt"},
        {"window", windows.front().size()},
        {"windows", windows.size()},
        {"prompt_tokens_per_s", rate}};
    if (bits == 0) json["bits"] = "dense";
    std::cout << JsonText(json) << std::endl;
  } else {
    fmt::print(
        "perplexity {:.4f} +/- {:.4f} at {} bits ({} tokens scored, {} windows of {}, {:.0f} "
        "tokens/s)\n",
        score.Perplexity(), score.StandardError(), BitsText(bits), score.num_tokens, windows.size(),
        windows.front().size(), rate);
  }
  return absl::OkStatus();
}

}  // namespace

void AddEvalCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command =
      app.add_subcommand("eval", "Measure the quality of a model at a number of bits");
  command->footer(
      "Example: bitdial eval models/SmolLM2-bitdial --perplexity wiki.test.raw --bits 3\n"
      "Windows of 512 tokens, second half scored, as llama.cpp does. Lower is better.");
  AddEngineFlags(*command, options->engine);
  command->add_option("--perplexity", options->file, "UTF-8 text file to score")->required();
  command->add_option("--window", options->window, "Tokens per window")
      ->check(CLI::Range(4, 1 << 20))
      ->capture_default_str();
  command->add_option("--max-windows", options->max_windows, "Score only the first windows; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command->add_flag("--decode-kernels", options->uses_decode_kernels,
                    "Score with the kernels of decoded tokens instead of the prompt's (slow)");
  command->add_flag("--json", options->is_json,
                    "Print one JSON object: perplexity, tokens, standard_error, bits, ...");
  command->callback([options, &exit_code] { exit_code = Report(Eval(*options)); });
}

}  // namespace bitdial::server
