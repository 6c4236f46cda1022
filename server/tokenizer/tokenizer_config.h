// tokenizer_config.json of a Hugging Face folder, and chat_template.jinja, special_tokens_map.json,
// added_tokens.json beside it: what the model's own file does not say.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "quant/container/json_reader.h"
#include "server/tokenizer/added_tokens.h"

namespace bitdial::server {

// Of a chat template, wherever it comes from. Real ones have a few KiB.
inline constexpr size_t kMaxChatTemplateBytes = 1 << 20;

// Errors  DATA_LOSS over that.
absl::Status CheckTemplateSize(size_t num_bytes, const std::string& what);

struct TokenizerConfig {
  std::optional<bool> add_bos, add_eos;     // when the file says
  std::string bos_token, eos_token;         // "" when it does not
  std::vector<std::string> special_tokens;  // bos, eos, unk, pad and more, as far as named
  std::string tokenizer_class;
  std::string chat_template;
  std::vector<AddedToken> added;  // added_tokens_decoder, or added_tokens.json
  bool add_prefix_space = false;

  // Absent files give the defaults. Errors  DATA_LOSS malformed.
  static absl::StatusOr<TokenizerConfig> Read(const std::string& folder);
};

// One entry of added_tokens or added_tokens_decoder. Errors  UNIMPLEMENTED single_word.
absl::StatusOr<AddedToken> ParseAddedToken(const Json& json, int64_t id, const std::string& what);

// The same status, a wrong type or range (INVALID_ARGUMENT of the JSON reader) turned into
// DATA_LOSS: here a file is wrong, not a caller.
absl::Status AsDataLoss(absl::Status status);

}  // namespace bitdial::server
