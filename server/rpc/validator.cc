#include "server/rpc/validator.h"

#include <algorithm>
#include <cmath>

#include "quant/container/utf8.h"
#include "server/rpc/rpc_status.h"

namespace bitdial::server {
namespace {

// A message of the stream carries at most this much echoed text: small beside the 4 MiB a client
// takes by default.
constexpr size_t kEchoPieceBytes = 64 << 10;
constexpr float kMaxLogitBias = 1000.0f;
constexpr size_t kMaxRequestNameBytes = 128;  // of a name that the client chose

std::string BitsList(const std::vector<int>& bits) {
  std::string list;
  for (int b : bits) list += (list.empty() ? "" : ", ") + std::to_string(b);
  return list;
}

// min <= value <= max; NaN is outside of every range.
void CheckRange(double value, double min, double max, const char* field,
                FieldViolations& violations) {
  if (!(value >= min && value <= max))
    violations.Add(field, fmt::format("{} is outside [{}, {}]", value, min, max));
}

// (0, max].
void CheckPositive(double value, double max, const char* field, FieldViolations& violations) {
  if (!(value > 0 && value <= max))
    violations.Add(field, fmt::format("{} is outside (0, {}]", value, max));
}

// field: of the list that holds the ids, "params.stopping.stop_token_ids".
template <typename Ids>
void CheckTokenIds(const Ids& ids, const char* field, const engine::ModelInfo& model,
                   FieldViolations& violations) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < model.vocab_size) continue;
    violations.Add(fmt::format("{}[{}]", field, i),
                   fmt::format("token id {} is outside [0, {}), the width of the logits", ids[i],
                               model.vocab_size));
  }
}

// False, with a violation, when there are more than `max`: then nobody should look at each of them.
bool CheckCount(int64_t count, int64_t max, const std::string& field, const char* what,
                const char* limit, FieldViolations& violations) {
  if (count <= max) return true;
  violations.Add(field, fmt::format("{} {}; at most {} ({})", count, what, max, limit));
  return false;
}

absl::Status CheckBuilt(const v1::RequestParams& params) {
  const char* field = nullptr;
  if (params.has_kv()) field = "params.kv";
  if (field == nullptr) return absl::OkStatus();
  return WithReason(Unimplemented("{}: not built in this version; leave the field out", field),
                    kReasonNotBuilt);
}

// "params.weight_bits: 5: this model has 2, 3, 4"
void CheckBits(int bits, const char* field, const engine::ModelInfo& model,
               FieldViolations& violations) {
  if (std::find(model.bits.begin(), model.bits.end(), bits) != model.bits.end()) return;
  violations.Add(field, fmt::format("{}: this model has {}", bits, BitsList(model.bits)));
}

// Milliseconds of a target; 0, which is none, when absent.
double ReadTarget(bool has_target, int32_t ms, const char* field, FieldViolations& violations) {
  if (!has_target) return 0;
  CheckRange(ms, 1, 3'600'000, field, violations);
  return ms / 1000.0;
}

engine::AutoBits ReadAutoBits(const v1::RequestParams& params, const RequestContext& context,
                              FieldViolations& violations) {
  const v1::AutoBits& wire = params.auto_bits();
  const engine::ModelInfo& model = context.model;
  if (params.has_weight_bits()) {
    violations.Add("params.auto_bits", "excludes params.weight_bits: set one of them");
  }
  engine::AutoBits wish;
  wish.min_bits = wire.has_min_bits() ? wire.min_bits() : model.bits.front();
  CheckBits(wish.min_bits, "params.auto_bits.min_bits", model, violations);
  wish.ttft_s =
      ReadTarget(wire.has_ttft_ms(), wire.ttft_ms(), "params.auto_bits.ttft_ms", violations);
  wish.tpot_s =
      ReadTarget(wire.has_tpot_ms(), wire.tpot_ms(), "params.auto_bits.tpot_ms", violations);
  if (wire.schedule().empty()) return wish;
  if (wire.has_min_bits() || wire.has_ttft_ms() || wire.has_tpot_ms()) {
    violations.Add("params.auto_bits.schedule", "excludes min_bits, ttft_ms and tpot_ms");
  }
  if (!CheckCount(wire.schedule_size(), model.max_context, "params.auto_bits.schedule", "entries",
                  "the context", violations)) {
    return wish;
  }
  for (const int32_t bits : wire.schedule()) {
    CheckBits(bits, "params.auto_bits.schedule", model, violations);
    wish.schedule.push_back(static_cast<uint8_t>(bits));
  }
  return wish;
}

std::vector<std::pair<int32_t, float>> ReadLogitBias(const v1::SamplingParams& wire,
                                                     const engine::ModelInfo& model,
                                                     FieldViolations& violations) {
  std::vector<std::pair<int32_t, float>> biases(wire.logit_bias().begin(), wire.logit_bias().end());
  // By id: a map has no order of its own, and violations should not change theirs from run to run.
  std::sort(biases.begin(), biases.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [id, bias] : biases) {
    const std::string field = fmt::format("params.sampling.logit_bias[{}]", id);
    CheckRange(bias, -kMaxLogitBias, kMaxLogitBias, field.c_str(), violations);
    if (id < 0 || id >= model.vocab_size) {
      violations.Add(field, fmt::format("the id is outside [0, {}), the width of the logits",
                                        model.vocab_size));
    }
  }
  return biases;
}

engine::SamplingParams ReadSampling(const v1::SamplingParams& wire, const RequestContext& context,
                                    uint64_t seed, FieldViolations& violations) {
  const SamplingDefaults& defaults = context.defaults;
  engine::SamplingParams sampling;
  sampling.temperature = wire.has_temperature() ? wire.temperature() : defaults.temperature;
  sampling.top_k =
      wire.has_top_k()
          ? wire.top_k()
          : static_cast<int32_t>(std::min<int64_t>(defaults.top_k, context.model.vocab_size));
  sampling.top_p = wire.has_top_p() ? wire.top_p() : defaults.top_p;
  sampling.min_p = wire.has_min_p() ? wire.min_p() : defaults.min_p;
  sampling.repetition_penalty =
      wire.has_repetition_penalty() ? wire.repetition_penalty() : defaults.repetition_penalty;
  sampling.presence_penalty = wire.presence_penalty();
  sampling.frequency_penalty = wire.frequency_penalty();
  sampling.seed = wire.has_seed() ? wire.seed() : seed;
  CheckRange(sampling.temperature, 0, 100, "params.sampling.temperature", violations);
  CheckRange(sampling.top_k, 0, static_cast<double>(context.model.vocab_size),
             "params.sampling.top_k", violations);
  CheckPositive(sampling.top_p, 1, "params.sampling.top_p", violations);
  CheckRange(sampling.min_p, 0, 1, "params.sampling.min_p", violations);
  CheckPositive(sampling.repetition_penalty, 100, "params.sampling.repetition_penalty", violations);
  CheckRange(sampling.presence_penalty, -100, 100, "params.sampling.presence_penalty", violations);
  CheckRange(sampling.frequency_penalty, -100, 100, "params.sampling.frequency_penalty",
             violations);

  if (CheckCount(wire.logit_bias_size(), context.limits.max_logit_bias,
                 "params.sampling.logit_bias", "entries", "max_logit_bias", violations)) {
    sampling.logit_bias = ReadLogitBias(wire, context.model, violations);
  }
  return sampling;
}

void CheckStopStrings(const v1::StoppingParams& wire, const RequestLimits& limits,
                      FieldViolations& violations) {
  for (int i = 0; i < wire.stop_size(); ++i) {
    const std::string& stop = wire.stop(i);
    const std::string field = fmt::format("params.stopping.stop[{}]", i);
    CheckCount(static_cast<int64_t>(stop.size()), limits.max_stop_bytes, field, "bytes",
               "max_stop_bytes", violations);
    if (stop.empty()) violations.Add(field, "is empty: it would end every output at once");
    if (!quant::IsUtf8(stop)) violations.Add(field, "is not UTF-8");
  }
}

void ReadStopping(const v1::StoppingParams& wire, const RequestContext& context,
                  ValidRequest& valid, FieldViolations& violations) {
  const RequestLimits& limits = context.limits;
  engine::Request& request = valid.request;
  if (wire.has_max_tokens() && wire.max_tokens() < 0) {
    violations.Add("params.stopping.max_tokens", fmt::format("{} is negative", wire.max_tokens()));
  }
  if (wire.min_tokens() < 0) {
    violations.Add("params.stopping.min_tokens", fmt::format("{} is negative", wire.min_tokens()));
  }
  request.min_tokens = wire.min_tokens();
  request.ignore_eos = wire.ignore_eos();
  if (CheckCount(wire.stop_size(), limits.max_stop_strings, "params.stopping.stop", "strings",
                 "max_stop_strings", violations)) {
    CheckStopStrings(wire, limits, violations);
  }
  if (CheckCount(wire.stop_token_ids_size(), limits.max_stop_token_ids,
                 "params.stopping.stop_token_ids", "ids", "max_stop_token_ids", violations)) {
    CheckTokenIds(wire.stop_token_ids(), "params.stopping.stop_token_ids", context.model,
                  violations);
  }
  request.stop_token_ids.assign(wire.stop_token_ids().begin(), wire.stop_token_ids().end());

  valid.text.stop.assign(wire.stop().begin(), wire.stop().end());
  valid.text.min_tokens = wire.min_tokens();
  valid.text.ending_ids = request.stop_token_ids;
  if (!request.ignore_eos) {
    valid.text.ending_ids.insert(valid.text.ending_ids.end(), context.model.eos_ids.begin(),
                                 context.model.eos_ids.end());
  }
}

void ReadOutput(const v1::OutputParams& wire, const RequestContext& context, ValidRequest& valid,
                FieldViolations& violations) {
  valid.text.wants_token_ids = !wire.has_token_ids() || wire.token_ids();
  valid.text.wants_logprobs = wire.logprobs();
  CheckRange(
      wire.top_logprobs(), 0,
      static_cast<double>(std::min(context.limits.max_top_logprobs, context.model.vocab_size)),
      "params.output.top_logprobs", violations);
  if (wire.top_logprobs() > 0 && !wire.logprobs()) {
    violations.Add("params.output.top_logprobs", "needs params.output.logprobs = true");
  }
  if (wire.logprobs()) {
    valid.request.num_top_logprobs = wire.top_logprobs();
    if (wire.echo()) valid.request.prompt_logprobs_from = 1;
  }
}

void CheckRequestName(const std::string& name, const char* field, FieldViolations& violations) {
  const bool is_printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (name.empty() || name.size() > kMaxRequestNameBytes || !is_printable) {
    violations.Add(field, fmt::format("{} bytes; expected 1 to {} printable ASCII characters",
                                      name.size(), kMaxRequestNameBytes));
  }
}

absl::StatusOr<ValidRequest> ReadParams(const v1::RequestParams& params,
                                        const RequestContext& context, uint64_t seed,
                                        FieldViolations& violations) {
  BITDIAL_RETURN_IF_ERROR(CheckModelName(params.has_model(), params.model(), context));
  BITDIAL_RETURN_IF_ERROR(CheckBuilt(params));
  ValidRequest valid;
  engine::Request& request = valid.request;
  request.weight_bits =
      params.has_weight_bits() ? params.weight_bits() : context.model.default_bits;
  CheckBits(request.weight_bits, "params.weight_bits", context.model, violations);
  if (params.has_auto_bits()) request.auto_bits = ReadAutoBits(params, context, violations);
  request.num_choices = params.has_n() ? params.n() : 1;
  CheckRange(request.num_choices, 1, static_cast<double>(context.limits.max_choices), "params.n",
             violations);
  request.priority = params.priority();
  CheckRange(request.priority, -engine::kMaxPriority, engine::kMaxPriority, "params.priority",
             violations);
  request.uses_prefix_cache = !params.has_prefix_cache() || params.prefix_cache();
  valid.request.sampling = ReadSampling(params.sampling(), context, seed, violations);
  ReadStopping(params.stopping(), context, valid, violations);
  ReadOutput(params.output(), context, valid, violations);
  if (params.has_request_id()) {
    CheckRequestName(params.request_id(), "params.request_id", violations);
    valid.client_request_id = params.request_id();
  }
  return valid;
}

// prompt, max_tokens and min_tokens against the context and each other.
void FitContext(const v1::StoppingParams& stopping, const RequestContext& context,
                const char* prompt_field, engine::Request& request, FieldViolations& violations) {
  const int64_t num_prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
  const int64_t room = context.model.max_context - num_prompt_tokens;
  if (num_prompt_tokens == 0) {
    violations.Add(prompt_field,
                   "the prompt has no token, and nothing was added to it; give at least one");
    return;
  }
  if (room < 0 || (room == 0 && !stopping.has_max_tokens())) {
    violations.Add(prompt_field, fmt::format("the prompt has {} tokens; the context takes {}{}",
                                             num_prompt_tokens, context.model.max_context,
                                             room == 0 ? ", which leaves none for output" : ""));
    return;
  }
  // A default is never what makes a request too large for the KV cache.
  const int64_t kv_token_bytes = context.model.kv_bytes_per_token;
  const int64_t kv_room =
      kv_token_bytes == 0
          ? room
          : std::max<int64_t>(context.model.kv_cache_bytes / kv_token_bytes - num_prompt_tokens + 1,
                              1);
  const int64_t max_tokens = stopping.has_max_tokens()
                                 ? stopping.max_tokens()
                                 : std::min({room, kv_room, context.limits.default_max_tokens});
  if (max_tokens > room) {
    violations.Add(
        "params.stopping.max_tokens",
        fmt::format("{} prompt tokens and {} more pass the context of {}; at most {} fit",
                    num_prompt_tokens, max_tokens, context.model.max_context, room));
  }
  if (request.min_tokens > max_tokens) {
    violations.Add("params.stopping.min_tokens",
                   fmt::format("{} is more than max_tokens, which is {}{}", request.min_tokens,
                               max_tokens, stopping.has_max_tokens() ? "" : " by default"));
  }
  request.max_tokens = static_cast<int32_t>(max_tokens);
}

// Cuts valid UTF-8 into pieces of at most kEchoPieceBytes, between characters.
std::vector<std::string> CutIntoPieces(const std::string& text) {
  std::vector<std::string> pieces;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(begin + kEchoPieceBytes, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

bool HasText(const std::vector<int32_t>& ids, const Tokenizer& tokenizer) {
  return std::any_of(ids.begin(), ids.end(), [&](int32_t id) {
    return !tokenizer.TokenBytes(id, /*show_special=*/false).empty();
  });
}

void ReadPrompt(const v1::GenerateRequest& wire, const RequestContext& context, ValidRequest& valid,
                FieldViolations& violations) {
  std::vector<int32_t>& ids = valid.request.prompt_ids;
  if (wire.prompt_case() == v1::GenerateRequest::PROMPT_NOT_SET) {
    violations.Add("prompt", "neither text nor token_ids is set");
    return;
  }
  if (wire.has_text()) {
    absl::StatusOr<std::vector<int32_t>> encoded = context.tokenizer.Encode(wire.text(), {});
    if (!encoded.ok()) {
      violations.Add("text", std::string(encoded.status().message()));
      return;
    }
    ids = *std::move(encoded);
  } else {
    const auto& wire_ids = wire.token_ids().ids();
    if (wire_ids.size() >
        context.model.max_context) {  // before copying and checking millions of them
      violations.Add("token_ids", fmt::format("the prompt has {} tokens; the context takes {}",
                                              wire_ids.size(), context.model.max_context));
      return;
    }
    CheckTokenIds(wire_ids, "token_ids.ids", context.model, violations);
    ids.assign(wire_ids.begin(), wire_ids.end());
  }
  valid.text.continues_prompt = HasText(ids, context.tokenizer);
  if (wire.params().output().echo() && violations.empty()) {
    valid.text.echo = CutIntoPieces(wire.has_text() ? wire.text() : context.tokenizer.Decode(ids));
  }
}

void ReadMessages(const v1::ChatRequest& wire, const RequestContext& context,
                  std::vector<ChatMessage>& messages, FieldViolations& violations) {
  if (wire.messages_size() == 0) violations.Add("messages", "is empty");
  if (!CheckCount(wire.messages_size(), context.limits.max_chat_messages, "messages", "messages",
                  "max_chat_messages", violations)) {
    return;
  }
  for (int i = 0; i < wire.messages_size(); ++i) {
    const v1::ChatMessage& message = wire.messages(i);
    const char* role = nullptr;
    if (message.role() == v1::ChatMessage::ROLE_SYSTEM) role = "system";
    if (message.role() == v1::ChatMessage::ROLE_USER) role = "user";
    if (message.role() == v1::ChatMessage::ROLE_ASSISTANT) role = "assistant";
    if (role == nullptr) {
      violations.Add(fmt::format("messages[{}].role", i),
                     fmt::format("{} is none of ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT",
                                 static_cast<int>(message.role())));
      continue;
    }
    if (!quant::IsUtf8(message.content()))
      violations.Add(fmt::format("messages[{}].content", i), "is not UTF-8");
    messages.push_back({role, message.content()});
  }
}

}  // namespace

absl::Status CheckModelName(bool has_model, const std::string& model,
                            const RequestContext& context) {
  if (!has_model || model == context.model_name) return absl::OkStatus();
  const std::string asked = TruncateUtf8(model, 100);
  const absl::Status status = NotFound("model \"{}\" is not served here; this server has \"{}\"",
                                       asked, context.model_name);
  return WithResource(WithReason(status, kReasonUnknownModel), "model", asked);
}

absl::StatusOr<ValidRequest> ValidateGenerate(const v1::GenerateRequest& request,
                                              const RequestContext& context, uint64_t seed) {
  FieldViolations violations;
  BITDIAL_ASSIGN_OR_RETURN(ValidRequest valid,
                           ReadParams(request.params(), context, seed, violations));
  // The dear part, tokenizing, is for requests that are right so far.
  if (violations.empty()) ReadPrompt(request, context, valid, violations);
  if (violations.empty()) {
    FitContext(request.params().stopping(), context, request.has_text() ? "text" : "token_ids",
               valid.request, violations);
  }
  BITDIAL_RETURN_IF_ERROR(violations.ToStatus());
  return valid;
}

absl::StatusOr<ValidRequest> ValidateChat(const v1::ChatRequest& request,
                                          const RequestContext& context, uint64_t seed) {
  FieldViolations violations;
  BITDIAL_ASSIGN_OR_RETURN(ValidRequest valid,
                           ReadParams(request.params(), context, seed, violations));
  if (request.params().output().echo())
    violations.Add("params.output.echo", "is for Generate; a chat has no prompt text");
  std::vector<ChatMessage> messages;
  ReadMessages(request, context, messages, violations);
  if (violations.empty()) {
    absl::StatusOr<std::vector<int32_t>> ids =
        context.chat_template.RenderToIds(context.tokenizer, messages);
    if (ids.ok()) {
      valid.request.prompt_ids = *std::move(ids);
      FitContext(request.params().stopping(), context, "messages", valid.request, violations);
    } else if (ids.status().code() == absl::StatusCode::kInvalidArgument) {
      violations.Add("messages", std::string(ids.status().message()));
    } else {
      return WithReason(ids.status(), kReasonNoChatTemplate);
    }
  }
  BITDIAL_RETURN_IF_ERROR(violations.ToStatus());
  return valid;
}

absl::Status ValidateCancel(const std::string& request_id) {
  FieldViolations violations;
  CheckRequestName(request_id, "request_id", violations);
  return violations.ToStatus();
}

absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request,
                                const RequestContext& context) {
  FieldViolations violations;
  if (CheckCount(request.token_ids_size(), context.limits.max_detokenize_ids, "token_ids", "ids",
                 "max_detokenize_ids", violations)) {
    CheckTokenIds(request.token_ids(), "token_ids", context.model, violations);
  }
  return violations.ToStatus();
}

}  // namespace bitdial::server
