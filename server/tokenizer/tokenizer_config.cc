#include "server/tokenizer/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "quant/container/mapped_file.h"
#include "quant/container/path_exists.h"
#include "server/tokenizer/utf8.h"

namespace bitdial::server {
namespace {

constexpr int64_t kMaxId = (1 << 21) - 1;

// "<s>", or {"content": "<s>", ...}.
absl::StatusOr<std::string> TokenText(const Json& token, const std::string& what) {
  if (token.is_string()) return token.get<std::string>();
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, JsonObject::Make(token, what));
  return object.GetString("content");
}

// "" where the key is absent or null.
absl::StatusOr<std::string> TokenText(JsonObject& config, const std::string& key) {
  const Json* token = config.Find(key);
  if (token == nullptr || token->is_null()) return std::string();
  return TokenText(*token, config.what() + ": " + key);
}

constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
using NamedTokens = std::array<std::string, std::size(kNames)>;  // "" where no file names one

// Those that `json` names; the others stay.
absl::Status ReadNamedTokens(JsonObject& json, NamedTokens& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    BITDIAL_ASSIGN_OR_RETURN(std::string token, TokenText(json, kNames[i]));
    if (!token.empty()) tokens[i] = std::move(token);
  }
  return absl::OkStatus();
}

void AddSpecial(std::string token, TokenizerConfig& config) {
  const bool is_known = std::find(config.special_tokens.begin(), config.special_tokens.end(),
                                  token) != config.special_tokens.end();
  if (!token.empty() && !is_known) config.special_tokens.push_back(std::move(token));
}

void SetNamedTokens(const NamedTokens& tokens, TokenizerConfig& config) {
  config.bos_token = tokens[0];
  config.eos_token = tokens[1];
  config.special_tokens.clear();
  for (const std::string& token : tokens) AddSpecial(token, config);
}

// A string, or a list of named templates of which "default" counts.
absl::StatusOr<std::string> TemplateText(JsonObject& config) {
  const Json* chat_template = config.Find("chat_template");
  if (chat_template == nullptr || chat_template->is_null()) return std::string();
  if (chat_template->is_string()) return chat_template->get<std::string>();
  if (chat_template->is_array()) {
    for (const Json& entry : *chat_template) {
      BITDIAL_ASSIGN_OR_RETURN(JsonObject object,
                               JsonObject::Make(entry, config.what() + ": chat_template"));
      BITDIAL_ASSIGN_OR_RETURN(const std::string name, object.GetString("name"));
      if (name == "default") return object.GetString("template");
    }
    return std::string();
  }
  return DataLoss("{}: chat_template is a {}; expected a string or a list", config.what(),
                  chat_template->type_name());
}

absl::StatusOr<std::vector<AddedToken>> AddedTokensOf(JsonObject& config) {
  std::vector<AddedToken> added;
  const Json* entries = config.Find("added_tokens_decoder");
  if (entries == nullptr || entries->is_null()) return added;
  if (!entries->is_object())
    return DataLoss("{}: added_tokens_decoder is no object", config.what());
  for (const auto& [key, value] : entries->items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > kMaxId) {
      return DataLoss("{}: added_tokens_decoder has the key \"{}\"; expected an id", config.what(),
                      key);
    }
    BITDIAL_ASSIGN_OR_RETURN(
        AddedToken token,
        ParseAddedToken(value, id, config.what() + ": added_tokens_decoder." + key));
    added.push_back(std::move(token));
  }
  std::sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return added;
}

// added_tokens.json: the id of each content. Which of them are special is said elsewhere.
absl::StatusOr<std::vector<AddedToken>> ParseAddedTokensFile(const Json& json,
                                                             const std::string& path,
                                                             const TokenizerConfig& config) {
  if (!json.is_object()) return DataLoss("{}: expected an object of ids", path);
  std::vector<AddedToken> added;
  for (const auto& [content, id] : json.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxId)) {
      return DataLoss("{}: token \"{}\" has id {}; expected 0 to {}", path, content, id.dump(),
                      kMaxId);
    }
    const bool is_special = std::find(config.special_tokens.begin(), config.special_tokens.end(),
                                      content) != config.special_tokens.end();
    added.push_back({.id = id.get<int32_t>(),
                     .content = content,
                     .special = is_special,
                     .normalized = !is_special});
  }
  return added;
}

// What folders of before "added_tokens_decoder" say in two files of their own, which win over
// tokenizer_config.json as in transformers.
absl::Status ReadOldFiles(const std::string& folder, NamedTokens& tokens, TokenizerConfig& config) {
  const std::string map_path = folder + "/special_tokens_map.json";
  BITDIAL_ASSIGN_OR_RETURN(const bool has_map, quant::PathExists(map_path));
  if (has_map) {
    BITDIAL_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(map_path));
    BITDIAL_ASSIGN_OR_RETURN(JsonObject map, JsonObject::Make(json, map_path));
    BITDIAL_RETURN_IF_ERROR(ReadNamedTokens(map, tokens));
    SetNamedTokens(tokens, config);
    const Json* more = map.Find("additional_special_tokens");
    for (const Json& token : more != nullptr && more->is_array() ? *more : Json::array()) {
      BITDIAL_ASSIGN_OR_RETURN(std::string text,
                               TokenText(token, map_path + ": additional_special_tokens"));
      AddSpecial(std::move(text), config);
    }
  }
  const std::string added_path = folder + "/added_tokens.json";
  BITDIAL_ASSIGN_OR_RETURN(const bool has_added, quant::PathExists(added_path));
  if (!has_added) return absl::OkStatus();
  BITDIAL_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(added_path));
  BITDIAL_ASSIGN_OR_RETURN(config.added, ParseAddedTokensFile(json, added_path, config));
  return absl::OkStatus();
}

absl::StatusOr<TokenizerConfig> Parse(JsonObject& json, NamedTokens& tokens) {
  TokenizerConfig config;
  if (json.Has("add_bos_token")) {
    BITDIAL_ASSIGN_OR_RETURN(config.add_bos, json.GetBoolOr("add_bos_token", false));
  }
  if (json.Has("add_eos_token")) {
    BITDIAL_ASSIGN_OR_RETURN(config.add_eos, json.GetBoolOr("add_eos_token", false));
  }
  BITDIAL_ASSIGN_OR_RETURN(config.add_prefix_space, json.GetBoolOr("add_prefix_space", false));
  BITDIAL_RETURN_IF_ERROR(ReadNamedTokens(json, tokens));
  SetNamedTokens(tokens, config);
  BITDIAL_ASSIGN_OR_RETURN(config.tokenizer_class, json.GetStringOr("tokenizer_class", ""));
  BITDIAL_ASSIGN_OR_RETURN(config.chat_template, TemplateText(json));
  BITDIAL_ASSIGN_OR_RETURN(config.added, AddedTokensOf(json));
  return config;
}

}  // namespace

absl::Status CheckTemplateSize(size_t num_bytes, const std::string& what) {
  if (num_bytes <= kMaxChatTemplateBytes) return absl::OkStatus();
  return DataLoss("{}: a chat template of {} bytes; at most {}", what, num_bytes,
                  kMaxChatTemplateBytes);
}

absl::StatusOr<TokenizerConfig> TokenizerConfig::Read(const std::string& folder) {
  TokenizerConfig config;
  NamedTokens tokens;
  const std::string path = folder + "/tokenizer_config.json";
  BITDIAL_ASSIGN_OR_RETURN(const bool has_config, quant::PathExists(path));
  if (has_config) {
    BITDIAL_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
    BITDIAL_ASSIGN_OR_RETURN(JsonObject object, JsonObject::Make(json, path));
    BITDIAL_ASSIGN_OR_RETURN(config, Parse(object, tokens));
    BITDIAL_RETURN_IF_ERROR(CheckTemplateSize(config.chat_template.size(), path));
  }
  if (config.added.empty()) BITDIAL_RETURN_IF_ERROR(ReadOldFiles(folder, tokens, config));
  const std::string template_path = folder + "/chat_template.jinja";
  BITDIAL_ASSIGN_OR_RETURN(const bool has_template, quant::PathExists(template_path));
  if (has_template) {
    BITDIAL_ASSIGN_OR_RETURN(const auto file, quant::MappedFile::Open(template_path));
    const auto bytes = file->bytes();
    BITDIAL_RETURN_IF_ERROR(CheckTemplateSize(bytes.size(), template_path));
    config.chat_template.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (FindInvalidUtf8(config.chat_template)) return DataLoss("{}: not UTF-8", template_path);
  }
  return config;
}

absl::StatusOr<AddedToken> ParseAddedToken(const Json& json, int64_t id, const std::string& what) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, JsonObject::Make(json, what));
  AddedToken token;
  token.id = static_cast<int32_t>(id);
  BITDIAL_ASSIGN_OR_RETURN(token.content, object.GetString("content"));
  BITDIAL_ASSIGN_OR_RETURN(token.special, object.GetBoolOr("special", false));
  BITDIAL_ASSIGN_OR_RETURN(token.lstrip, object.GetBoolOr("lstrip", false));
  BITDIAL_ASSIGN_OR_RETURN(token.rstrip, object.GetBoolOr("rstrip", false));
  BITDIAL_ASSIGN_OR_RETURN(token.normalized, object.GetBoolOr("normalized", false));
  BITDIAL_ASSIGN_OR_RETURN(const bool single_word, object.GetBoolOr("single_word", false));
  if (single_word)
    return Unimplemented("{}: added token \"{}\" has single_word, which we do not have", what,
                         token.content);
  return token;
}

absl::Status AsDataLoss(absl::Status status) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  return absl::DataLossError(status.message());
}

}  // namespace bitdial::server
