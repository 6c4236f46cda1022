// bitdial generate: one prompt, in this process, without a server.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "server/cli/command.h"
#include "server/cli/engine_flags.h"
#include "server/cli/json_text.h"
#include "server/model/event_queue.h"
#include "server/model/served_model.h"

namespace bitdial::server {
namespace {

struct GenerateOptions {
  EngineFlags engine;
  std::string prompt;
  bool is_chat = false;
  bool is_json = false;
  bool ignore_eos = false;
  int32_t max_tokens = 128;
  engine::SamplingParams sampling;

  GenerateOptions() { sampling.temperature = 0; }
};

struct Generation {
  std::string text;
  std::vector<int32_t> token_ids;
  engine::FinishEvent finish;
};

absl::StatusOr<std::vector<int32_t>> PromptIds(const ServedModel& model,
                                               const GenerateOptions& options) {
  if (options.is_chat)
    return model.chat_template.RenderToIds(*model.tokenizer, {{"user", options.prompt}});
  BITDIAL_ASSIGN_OR_RETURN(std::vector<int32_t> ids, model.tokenizer->Encode(options.prompt, {}));
  if (ids.empty())
    return InvalidArgument(
        "--prompt: an empty prompt needs a model with a begin-of-sequence token");
  return ids;
}

// Prints text as it comes unless --json.
absl::StatusOr<Generation> RunToEnd(ServedModel& model, engine::Request request,
                                    const GenerateOptions& options) {
  auto events = std::make_shared<EventQueue>();
  BITDIAL_RETURN_IF_ERROR(model.engine->Submit(std::move(request), events).status());
  Generation generation;
  Detokenizer detokenizer(*model.tokenizer);
  // An answer, and a text begun by nothing, start afresh; what continues a prompt keeps its space.
  if (!options.is_chat && !options.prompt.empty()) detokenizer.ContinueAfterPrompt();
  const auto emit = [&](const std::string& piece) {
    generation.text += piece;
    if (!options.is_json) std::cout << piece << std::flush;
  };
  for (;;) {
    const EventQueue::Event event = events->Pop();
    if (const auto* token = std::get_if<engine::TokenEvent>(&event)) {
      generation.token_ids.push_back(token->token_id);
      emit(detokenizer.Push(token->token_id));
    } else if (const auto* finish = std::get_if<engine::FinishEvent>(&event)) {
      emit(detokenizer.Flush());
      generation.finish = *finish;
      return generation;
    }
  }
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 && count > 0 ? static_cast<double>(count) / seconds : 0.0;
}

void Print(const Generation& generation, int bits, const std::string& numerics, bool is_json) {
  const engine::FinishEvent& finish = generation.finish;
  const double prompt_rate = PerSecond(finish.num_prompt_tokens, finish.prefill_s);
  // The first token comes with the prefill; decode_s runs from there to the last.
  const double decode_rate = PerSecond(finish.num_generated_tokens - 1, finish.decode_s);
  if (!is_json) {
    std::cout << std::endl;
    fmt::print(stderr,
               "[{} bits, {} prompt tokens at {:.1f}/s, {} tokens at {:.1f}/s, ended by {}]\n",
               BitsText(bits), finish.num_prompt_tokens, prompt_rate, finish.num_generated_tokens,
               decode_rate, Name(finish.reason));
    return;
  }
  nlohmann::ordered_json json = {{"text", generation.text},
                                 {"token_ids", generation.token_ids},
                                 {"bits", bits},
                                 {"numerics", numerics},
                                 {"prompt_tokens", finish.num_prompt_tokens},
                                 {"prompt_tokens_per_s", prompt_rate},
                                 {"decode_tokens_per_s", decode_rate},
                                 {"finish_reason", Name(finish.reason)}};
  if (bits == 0) json["bits"] = "dense";
  std::cout << JsonText(json) << std::endl;
}

// One request, and steps no longer than its prompt can be: the warm-up fills one, which takes as long as
// a prompt of that length.
void FitToPrompt(const std::string& prompt, engine::EngineOptions& options) {
  constexpr int64_t kTemplateTokens = 64;  // around the prompt; if there are more, it takes two steps
  const int64_t most = static_cast<int64_t>(prompt.size()) + kTemplateTokens;  // a byte a token
  const int64_t chunk = options.prompt_chunk;
  options.max_running_requests = 1;
  options.max_step_tokens = static_cast<int32_t>(
      std::min<int64_t>(options.max_step_tokens, (most + chunk - 1) / chunk * chunk));
}

absl::Status Generate(const GenerateOptions& options) {
  BITDIAL_ASSIGN_OR_RETURN(engine::EngineOptions engine_options, options.engine.ToOptions());
  FitToPrompt(options.prompt, engine_options);
  BITDIAL_ASSIGN_OR_RETURN(ServedModel model, LoadServedModel(options.engine.model, engine_options,
                                                              NumericsOf(options.engine.numerics)));
  if (!model.slow_reason.empty()) fmt::print(stderr, "note: {}\n", model.slow_reason);
  for (const std::string& note : model.kernel_notes) fmt::print(stderr, "note: {}\n", note);
  const engine::ModelInfo& info = model.engine->model();
  engine::Request request;
  BITDIAL_ASSIGN_OR_RETURN(request.weight_bits, ResolveBits(options.engine.bits, info));
  BITDIAL_ASSIGN_OR_RETURN(request.prompt_ids, PromptIds(model, options));
  const int64_t room = info.max_context - static_cast<int64_t>(request.prompt_ids.size());
  request.max_tokens = static_cast<int32_t>(std::clamp<int64_t>(room, 0, options.max_tokens));
  request.sampling = options.sampling;
  request.ignore_eos = options.ignore_eos;
  const int bits = request.weight_bits;
  BITDIAL_ASSIGN_OR_RETURN(const Generation generation,
                           RunToEnd(model, std::move(request), options));
  BITDIAL_RETURN_IF_ERROR(generation.finish.status);
  Print(generation, bits, model.engine->model().numerics, options.is_json);
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command =
      app.add_subcommand("generate", "Continue one prompt in this process, without a server");
  command->footer(
      "Example: bitdial generate models/SmolLM2-bitdial --chat --prompt \"What is a bit?\" --bits "
      "3\n"
      "The default is greedy (temperature 0). With --json, stdout is one object: text, token_ids, "
      "bits,\n"
      "prompt_tokens, prompt_tokens_per_s, decode_tokens_per_s, finish_reason.");
  AddEngineFlags(*command, options->engine);
  command
      ->add_option("--max-context", options->engine.max_context,
                   "Tokens of prompt and output; 0: the model's own, at most 8192")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  command->add_option("--prompt", options->prompt, "The text to continue")->required();
  command->add_flag("--chat", options->is_chat,
                    "Lay the prompt out as a user's turn by the model's chat template");
  command->add_option("--max-tokens", options->max_tokens, "Tokens to make at most")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  engine::SamplingParams& sampling = options->sampling;
  command->add_option("--temperature", sampling.temperature, "0 is greedy")
      ->check(NumberIn(0, 100))
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Keep the k most likely tokens; 0: off")
      ->check(CLI::Range(0, 1 << 30));
  command->add_option("--top-p", sampling.top_p, "Keep the smallest set with this probability")
      ->check(NumberIn(1e-6, 1));
  command
      ->add_option("--min-p", sampling.min_p,
                   "Keep tokens at least this times as likely as the best")
      ->check(NumberIn(0, 1));
  command->add_option("--repetition-penalty", sampling.repetition_penalty, "1: none")
      ->check(NumberIn(1e-6, 100));
  command->add_option("--seed", sampling.seed, "Same seed, same request: same output")
      ->check(IsSeed())
      ->capture_default_str();
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on after the end-of-sequence token");
  command->add_flag("--json", options->is_json, "Print one JSON object instead of text");
  command->callback([options, &exit_code] { exit_code = Report(Generate(*options)); });
}

}  // namespace bitdial::server
