#include "engine/validate_request.h"

#include <algorithm>

namespace bitdial::engine {
namespace {

// false for NaN too.
bool IsWithin(float value, float min, float max) { return value >= min && value <= max; }

absl::Status CheckIds(const std::vector<int32_t>& ids, const char* field, int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return InvalidArgument("{}[{}] is {}, the model's ids are 0 to {}", field, i, ids[i],
                             vocab_size - 1);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const SamplingParams& sampling, int64_t vocab_size) {
  const auto check = [](const char* field, float value, float min, float max) {
    if (IsWithin(value, min, max)) return absl::OkStatus();
    return InvalidArgument("{} is {}, expected {} to {}", field, value, min, max);
  };
  BITDIAL_RETURN_IF_ERROR(check("temperature", sampling.temperature, 0, 100));
  BITDIAL_RETURN_IF_ERROR(check("min_p", sampling.min_p, 0, 1));
  BITDIAL_RETURN_IF_ERROR(check("presence_penalty", sampling.presence_penalty, -100, 100));
  BITDIAL_RETURN_IF_ERROR(check("frequency_penalty", sampling.frequency_penalty, -100, 100));
  BITDIAL_RETURN_IF_ERROR(check("top_p", sampling.top_p, 0, 1));
  BITDIAL_RETURN_IF_ERROR(check("repetition_penalty", sampling.repetition_penalty, 0, 100));
  if (sampling.top_p == 0) return InvalidArgument("top_p is 0, expected more than 0 and at most 1");
  if (sampling.repetition_penalty == 0) {
    return InvalidArgument("repetition_penalty is 0, expected more than 0 and at most 100");
  }
  if (sampling.top_k < 0)
    return InvalidArgument("top_k is {}, expected 0 (off) or more", sampling.top_k);
  for (const auto& [id, bias] : sampling.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return InvalidArgument("logit_bias names id {}, the model's ids are 0 to {}", id,
                             vocab_size - 1);
    }
    if (!IsWithin(bias, -1e6f, 1e6f)) {
      return InvalidArgument("logit_bias of id {} is {}, expected -1e6 to 1e6", id, bias);
    }
  }
  return absl::OkStatus();
}

bool HasBits(const ModelInfo& model, int bits) {
  return std::find(model.bits.begin(), model.bits.end(), bits) != model.bits.end();
}

absl::Status CheckBits(const Request& request, const ModelInfo& model) {
  const auto check = [&](const char* field, int bits) {
    if (HasBits(model, bits)) return absl::OkStatus();
    return InvalidArgument("{} is {}, this model has {}", field, bits,
                           fmt::join(model.bits, ", "));
  };
  if (!request.auto_bits.has_value()) return check("weight_bits", request.weight_bits);
  const AutoBits& wish = *request.auto_bits;
  if (!(wish.ttft_s >= 0) || !(wish.tpot_s >= 0)) {
    return InvalidArgument("auto_bits has targets of {} and {} s, expected 0 (none) or more",
                           wish.ttft_s, wish.tpot_s);
  }
  for (const uint8_t bits : wish.schedule) {
    BITDIAL_RETURN_IF_ERROR(check("auto_bits.schedule", bits));
  }
  return wish.schedule.empty() ? check("auto_bits.min_bits", wish.min_bits) : absl::OkStatus();
}

absl::Status CheckLengths(const Request& request, int64_t max_context) {
  const auto prompt = static_cast<int64_t>(request.prompt_ids.size());
  if (request.max_tokens < 0)
    return InvalidArgument("max_tokens is {}, expected 0 or more", request.max_tokens);
  if (request.min_tokens < 0 || request.min_tokens > request.max_tokens) {
    return InvalidArgument("min_tokens is {}, expected 0 to max_tokens = {}", request.min_tokens,
                           request.max_tokens);
  }
  if (prompt > max_context) {
    return InvalidArgument("the prompt has {} tokens, the context holds {}", prompt, max_context);
  }
  if (prompt + request.max_tokens > max_context) {
    return InvalidArgument(
        "prompt of {} tokens + max_tokens {} = {} is over the context of {}; max_tokens up to {} "
        "would do",
        prompt, request.max_tokens, prompt + request.max_tokens, max_context, max_context - prompt);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRequest(const Request& request, const ModelInfo& model) {
  if (request.prompt_ids.empty())
    return InvalidArgument("the prompt is empty, expected at least one id");
  BITDIAL_RETURN_IF_ERROR(CheckLengths(request, model.max_context));
  BITDIAL_RETURN_IF_ERROR(CheckIds(request.prompt_ids, "prompt_ids", model.vocab_size));
  BITDIAL_RETURN_IF_ERROR(CheckIds(request.stop_token_ids, "stop_token_ids", model.vocab_size));
  BITDIAL_RETURN_IF_ERROR(CheckSampling(request.sampling, model.vocab_size));
  BITDIAL_RETURN_IF_ERROR(CheckBits(request, model));
  if (request.num_choices < 1 || request.num_choices > kMaxChoices) {
    return InvalidArgument("num_choices is {}, expected 1 to {}", request.num_choices, kMaxChoices);
  }
  if (request.priority < -kMaxPriority || request.priority > kMaxPriority) {
    return InvalidArgument("priority is {}, expected {} to {}", request.priority, -kMaxPriority,
                           kMaxPriority);
  }
  if (request.num_top_logprobs < -1 || request.num_top_logprobs > model.vocab_size) {
    return InvalidArgument("num_top_logprobs is {}, expected -1 (none) to {}",
                           request.num_top_logprobs, model.vocab_size);
  }
  if (request.prompt_logprobs_from.has_value() && *request.prompt_logprobs_from < 1) {
    return InvalidArgument(
        "prompt_logprobs_from is {}, expected 1 or more (the first token has no predecessor)",
        *request.prompt_logprobs_from);
  }
  return absl::OkStatus();
}

}  // namespace bitdial::engine
