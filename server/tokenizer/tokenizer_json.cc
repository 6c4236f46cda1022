// tokenizer.json, and vocab.json with merges.txt.
#include <algorithm>
#include <set>

#include "server/tokenizer/bpe_tokenizer.h"
#include "server/tokenizer/merges_text.h"
#include "server/tokenizer/tokenizer_files.h"

namespace bitdial::server {
namespace {

constexpr int64_t kMaxId = (1 << 21) - 1;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

absl::StatusOr<JsonObject> MakeTyped(const Json& json, const std::string& what, std::string* type) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, JsonObject::Make(json, what));
  BITDIAL_ASSIGN_OR_RETURN(*type, object.GetString("type"));
  return object;
}

absl::StatusOr<std::vector<std::string>> ParseVocab(const Json& vocab, const std::string& what) {
  if (!vocab.is_object())
    return DataLoss("{}: vocab is a {}; expected an object", what, vocab.type_name());
  std::vector<std::string> tokens;
  for (const auto& [token, id] : vocab.items()) {
    if (!id.is_number_integer() || id.get<double>() < 0 ||
        id.get<double>() > static_cast<double>(kMaxId)) {
      return DataLoss("{}: vocab: token \"{}\" has id {}; expected 0 to {}", what, token, id.dump(),
                      kMaxId);
    }
    if (token.empty()) return DataLoss("{}: vocab: id {} has an empty token", what, id.dump());
    const size_t index = id.get<size_t>();
    if (tokens.size() <= index) tokens.resize(index + 1);
    if (!tokens[index].empty()) {
      return DataLoss("{}: vocab: \"{}\" and \"{}\" have one id, {}", what, tokens[index], token,
                      index);
    }
    tokens[index] = token;
  }
  return tokens;
}

// "a b" or ["a", "b"].
absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(const Json& merge,
                                                               const std::string& what) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const std::string text = merge.get<std::string>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return DataLoss("{}: merge {}: expected two tokens", what, merge.dump().substr(0, 80));
}

absl::Status RefuseNonEmpty(JsonObject& model, const char* key) {
  const Json* value = model.Find(key);
  if (value == nullptr || value->is_null() || *value == "" || *value == 0.0)
    return absl::OkStatus();
  return Unimplemented("{}: {} is {}, which we do not have", model.what(), key,
                       value->dump().substr(0, 80));
}

absl::Status ParseModel(const Json& json, const std::string& what, BpeSpec* spec) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject model, JsonObject::Make(json, what));
  BITDIAL_ASSIGN_OR_RETURN(const std::string type,
                           model.GetStringOr("type", "BPE"));  // old files leave it out
  if (type != "BPE") return Unimplemented("{}: model type \"{}\"; we have BPE", what, type);
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    BITDIAL_RETURN_IF_ERROR(RefuseNonEmpty(model, key));
  }
  BITDIAL_ASSIGN_OR_RETURN(spec->fuse_unknown, model.GetBoolOr("fuse_unk", false));
  BITDIAL_ASSIGN_OR_RETURN(spec->byte_fallback, model.GetBoolOr("byte_fallback", false));
  BITDIAL_ASSIGN_OR_RETURN(spec->ignore_merges, model.GetBoolOr("ignore_merges", false));
  const Json *vocab = model.Find("vocab"), *merges = model.Find("merges");
  if (vocab == nullptr || merges == nullptr || !merges->is_array()) {
    return DataLoss("{}: expected vocab (an object) and merges (a list)", what);
  }
  BITDIAL_ASSIGN_OR_RETURN(spec->tokens, ParseVocab(*vocab, what));
  spec->merges.reserve(merges->size());
  for (const Json& merge : *merges) {
    BITDIAL_ASSIGN_OR_RETURN(auto pair, ParseMerge(merge, what));
    spec->merges.push_back(std::move(pair));
  }
  BITDIAL_ASSIGN_OR_RETURN(const std::string unknown, model.GetStringOr("unk_token", ""));
  const auto it = std::find(spec->tokens.begin(), spec->tokens.end(), unknown);
  if (!unknown.empty() && it != spec->tokens.end()) {
    spec->unknown_id = static_cast<int32_t>(it - spec->tokens.begin());
  }
  return absl::OkStatus();
}

// What the chain of pre-tokenizers amounts to.
struct PreTokenizerParts {
  std::vector<std::string> patterns;
  bool is_byte_level = false;
  bool add_prefix_space = false;
};

absl::Status ParseSplit(JsonObject& object, PreTokenizerParts* parts) {
  BITDIAL_ASSIGN_OR_RETURN(const std::string behavior, object.GetString("behavior"));
  BITDIAL_ASSIGN_OR_RETURN(const bool invert, object.GetBoolOr("invert", false));
  if (behavior != "Isolated" || invert) {
    return Unimplemented("{}: Split with behavior \"{}\"{}; we have \"Isolated\"", object.what(),
                         behavior, invert ? ", inverted" : "");
  }
  BITDIAL_ASSIGN_OR_RETURN(std::optional<JsonObject> pattern, object.GetObject("pattern"));
  if (!pattern || !pattern->Has("Regex"))
    return Unimplemented("{}: Split without a Regex", object.what());
  BITDIAL_ASSIGN_OR_RETURN(const std::string regex, pattern->GetString("Regex"));
  const SplitPattern* known = FindPatternByText(regex);
  if (known == nullptr) {
    return Unimplemented("{}: Split pattern {} is not one of ours (GPT-2, Llama 3, Qwen 2)",
                         object.what(), regex.substr(0, 200));
  }
  parts->patterns.push_back(known->name);
  return absl::OkStatus();
}

absl::Status ParsePreTokenizer(const Json& json, const std::string& what, int depth,
                               PreTokenizerParts* parts) {
  std::string type;
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, MakeTyped(json, what, &type));
  if (parts->is_byte_level) return Unimplemented("{}: {} after ByteLevel", what, type);
  if (type == "Sequence" && depth == 0) {
    const Json* members = object.Find("pretokenizers");
    if (members == nullptr || !members->is_array())
      return DataLoss("{}: Sequence without pretokenizers", what);
    for (const Json& member : *members) {
      BITDIAL_RETURN_IF_ERROR(ParsePreTokenizer(member, what, depth + 1, parts));
    }
    return absl::OkStatus();
  }
  if (type == "Split") return ParseSplit(object, parts);
  if (type == "Digits") {
    BITDIAL_ASSIGN_OR_RETURN(const bool individual, object.GetBoolOr("individual_digits", false));
    parts->patterns.push_back(individual ? "digits" : "digit_runs");
    return absl::OkStatus();
  }
  if (type == "ByteLevel") {
    parts->is_byte_level = true;
    BITDIAL_ASSIGN_OR_RETURN(parts->add_prefix_space, object.GetBoolOr("add_prefix_space", true));
    if (parts->add_prefix_space && !parts->patterns.empty()) {
      return Unimplemented("{}: ByteLevel with add_prefix_space after another pre-tokenizer", what);
    }
    BITDIAL_ASSIGN_OR_RETURN(const bool use_regex, object.GetBoolOr("use_regex", true));
    if (use_regex) parts->patterns.push_back("gpt2");
    return absl::OkStatus();
  }
  return Unimplemented("{}: pre-tokenizer \"{}\"; we have ByteLevel, Split, Digits and Sequence",
                       what, type);
}

// SentencePiece as JSON: [Prepend U+2581,] Replace " " by U+2581.
absl::Status ParseSpaceNormalizer(const Json& json, const std::string& what, BpeSpec* spec) {
  std::string type;
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, MakeTyped(json, what, &type));
  if (type == "Sequence") {
    const Json* members = object.Find("normalizers");
    if (members == nullptr || !members->is_array())
      return DataLoss("{}: Sequence without normalizers", what);
    for (const Json& member : *members) {
      std::string member_type;
      BITDIAL_RETURN_IF_ERROR(MakeTyped(member, what, &member_type).status());
      if (member_type == "Sequence") return Unimplemented("{}: Sequence inside Sequence", what);
      BITDIAL_RETURN_IF_ERROR(ParseSpaceNormalizer(member, what, spec));
    }
    return absl::OkStatus();
  }
  if (type == "Prepend") {
    BITDIAL_ASSIGN_OR_RETURN(const std::string prepend, object.GetString("prepend"));
    if (prepend == kSpaceMark) {
      spec->space_prefix = true;
      return absl::OkStatus();
    }
  }
  if (type == "Replace") {
    BITDIAL_ASSIGN_OR_RETURN(std::optional<JsonObject> pattern, object.GetObject("pattern"));
    BITDIAL_ASSIGN_OR_RETURN(const std::string content, object.GetString("content"));
    if (pattern && pattern->Has("String")) {
      BITDIAL_ASSIGN_OR_RETURN(const std::string from, pattern->GetString("String"));
      if (from == " " && content == kSpaceMark) return absl::OkStatus();
    }
  }
  return Unimplemented(
      "{}: normalizer \"{}\"; we have Prepend and Replace of the space mark U+2581", what, type);
}

// Special tokens around the text: TemplateProcessing's "single".
absl::Status ParseTemplate(JsonObject& object, TokenizerFrame* frame, bool* has_template) {
  *has_template = true;
  const Json *single = object.Find("single"), *special = object.Find("special_tokens");
  if (single == nullptr || !single->is_array())
    return DataLoss("{}: TemplateProcessing without single", object.what());
  bool is_after = false;
  for (const Json& entry : *single) {
    if (entry.is_object() && entry.contains("Sequence")) {
      if (is_after) return Unimplemented("{}: a template with two sequences", object.what());
      is_after = true;
      continue;
    }
    const Json::json_pointer id_path("/SpecialToken/id");
    if (!entry.is_object() || !entry.contains(id_path) || !entry.at(id_path).is_string() ||
        special == nullptr || !special->is_object() ||
        !special->contains(entry.at(id_path).get<std::string>())) {
      return DataLoss("{}: single: {} names no special token", object.what(),
                      entry.dump().substr(0, 80));
    }
    const std::string name = entry.at(id_path).get<std::string>();
    BITDIAL_ASSIGN_OR_RETURN(JsonObject token,
                             JsonObject::Make(special->at(name), object.what() + ": " + name));
    BITDIAL_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, token.GetIntListOr("ids", 0, kMaxId));
    for (const int64_t id : ids)
      (is_after ? frame->suffix : frame->prefix).push_back(static_cast<int32_t>(id));
  }
  if (!is_after) return DataLoss("{}: single has no Sequence", object.what());
  return absl::OkStatus();
}

absl::Status ParsePostProcessor(const Json& json, const std::string& what, TokenizerFrame* frame,
                                bool* has_template) {
  std::string type;
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, MakeTyped(json, what, &type));
  if (type == "ByteLevel") return absl::OkStatus();  // moves offsets only
  if (type == "TemplateProcessing") return ParseTemplate(object, frame, has_template);
  if (type == "Sequence") {
    const Json* members = object.Find("processors");
    if (members == nullptr || !members->is_array())
      return DataLoss("{}: Sequence without processors", what);
    for (const Json& member : *members) {
      std::string member_type;
      BITDIAL_RETURN_IF_ERROR(MakeTyped(member, what, &member_type).status());
      if (member_type == "Sequence" || *has_template)
        return Unimplemented("{}: {} in a Sequence", what, member_type);
      BITDIAL_RETURN_IF_ERROR(ParsePostProcessor(member, what, frame, has_template));
    }
    return absl::OkStatus();
  }
  return Unimplemented(
      "{}: post-processor \"{}\"; we have ByteLevel, TemplateProcessing and Sequence", what, type);
}

absl::Status CheckDecoder(const Json* json, const std::string& what, BpeSpec::Alphabet alphabet) {
  const bool is_bytes = alphabet == BpeSpec::Alphabet::kBytes;
  if (json == nullptr || json->is_null()) return Unimplemented("{}: there is none", what);
  std::string type;
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object, MakeTyped(*json, what, &type));
  if (type == "Sequence") {
    const Json* members = object.Find("decoders");
    if (members == nullptr || !members->is_array())
      return DataLoss("{}: Sequence without decoders", what);
    for (const Json& member : *members) {
      std::string member_type;
      BITDIAL_RETURN_IF_ERROR(MakeTyped(member, what, &member_type).status());
      if (member_type == "Sequence") return Unimplemented("{}: Sequence inside Sequence", what);
      BITDIAL_RETURN_IF_ERROR(CheckDecoder(&member, what, alphabet));
    }
    return absl::OkStatus();
  }
  const bool is_known =
      is_bytes ? type == "ByteLevel"
               : type == "Replace" || type == "ByteFallback" || type == "Fuse" || type == "Strip";
  if (is_known) return absl::OkStatus();
  return Unimplemented("{}: decoder \"{}\" beside a {} model", what, type,
                       is_bytes ? "byte-level" : "SentencePiece-like");
}

std::optional<int32_t> FindId(const BpeSpec& spec, const std::string& token) {
  if (token.empty()) return std::nullopt;
  for (const AddedToken& added : spec.added) {
    if (added.content == token) return added.id;
  }
  const auto it = std::find(spec.tokens.begin(), spec.tokens.end(), token);
  if (it == spec.tokens.end()) return std::nullopt;
  return static_cast<int32_t>(it - spec.tokens.begin());
}

// BOS, EOS and chat template of tokenizer_config.json. A template in tokenizer.json is the law on
// what goes around a text, except for the class LlamaTokenizer, which rebuilds it from
// add_bos_token.
absl::Status ApplyConfig(const TokenizerConfig& config, bool has_template, BpeSpec* spec) {
  std::set<int32_t> known;
  for (const AddedToken& token : spec->added) known.insert(token.id);
  for (const AddedToken& token : config.added) {
    if (known.insert(token.id).second) spec->added.push_back(token);
  }
  TokenizerFrame& frame = spec->frame;
  frame.chat_template = config.chat_template;
  frame.bos = FindId(*spec, config.bos_token);
  if (const auto eos = FindId(*spec, config.eos_token)) frame.eos = {*eos};
  const bool is_llama = config.tokenizer_class.starts_with("LlamaTokenizer");
  if (config.add_bos && (!has_template || is_llama)) {
    frame.prefix.clear();
    if (*config.add_bos && !frame.bos)
      return DataLoss("add_bos_token is true, but there is no bos_token");
    if (*config.add_bos) frame.prefix = {*frame.bos};
  }
  if (config.add_eos && (!has_template || is_llama)) {
    frame.suffix.clear();
    if (*config.add_eos && frame.eos.empty())
      return DataLoss("add_eos_token is true, but there is no eos_token");
    if (*config.add_eos) frame.suffix = {frame.eos.front()};
  }
  if (!frame.bos && !frame.prefix.empty()) frame.bos = frame.prefix.front();
  return absl::OkStatus();
}

// fairseq's dictionaries begin with these four, and so does OPT's vocabulary.
bool IsFairseqVocab(const std::vector<std::string>& tokens) {
  constexpr std::string_view kFirst[] = {"<s>", "<pad>", "</s>", "<unk>"};
  return tokens.size() >= std::size(kFirst) &&
         std::equal(std::begin(kFirst), std::end(kFirst), tokens.begin());
}

// What OPT was trained with, as far as no file says: a text begins with </s>, which also ends it.
void SetFairseqDefaults(TokenizerConfig* config) {
  if (config->bos_token.empty()) config->bos_token = "</s>";
  if (config->eos_token.empty()) config->eos_token = "</s>";
  if (config->special_tokens.empty()) config->special_tokens = {"</s>", "<pad>"};
  if (!config->add_bos) config->add_bos = true;
}

absl::StatusOr<BpeSpec> ParseTokenizerJson(const Json& json, const TokenizerConfig& config,
                                           const std::string& what) {
  BITDIAL_ASSIGN_OR_RETURN(JsonObject root, JsonObject::Make(json, what));
  const auto present = [&](const char* key) {
    const Json* value = root.Find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  };
  BpeSpec spec;
  const Json* model = present("model");
  if (model == nullptr) return DataLoss("{}: no model", what);
  BITDIAL_RETURN_IF_ERROR(ParseModel(*model, what + ": model", &spec));

  PreTokenizerParts parts;
  if (const Json* pre = present("pre_tokenizer")) {
    BITDIAL_RETURN_IF_ERROR(ParsePreTokenizer(*pre, what + ": pre_tokenizer", 0, &parts));
  }
  spec.alphabet = parts.is_byte_level ? BpeSpec::Alphabet::kBytes : BpeSpec::Alphabet::kCharacters;
  spec.pre_tokenizer = parts.patterns;
  spec.space_prefix = parts.add_prefix_space;
  const Json* normalizer = present("normalizer");
  if (parts.is_byte_level && normalizer != nullptr) {
    return Unimplemented("{}: normalizer {} before byte-level BPE", what,
                         normalizer->dump().substr(0, 80));
  }
  if (!parts.is_byte_level && normalizer == nullptr) {
    return Unimplemented("{}: BPE over characters without U+2581 for spaces", what);
  }
  if (normalizer != nullptr) {
    BITDIAL_RETURN_IF_ERROR(ParseSpaceNormalizer(*normalizer, what + ": normalizer", &spec));
  }
  BITDIAL_RETURN_IF_ERROR(CheckDecoder(root.Find("decoder"), what + ": decoder", spec.alphabet));

  if (const Json* added = present("added_tokens")) {
    if (!added->is_array()) return DataLoss("{}: added_tokens is no list", what);
    for (const Json& entry : *added) {
      BITDIAL_ASSIGN_OR_RETURN(JsonObject object, JsonObject::Make(entry, what + ": added_tokens"));
      BITDIAL_ASSIGN_OR_RETURN(const int64_t id, object.GetInt("id", 0, kMaxId));
      BITDIAL_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(entry, id, object.what()));
      spec.added.push_back(std::move(token));
    }
  }
  bool has_template = false;
  if (const Json* post = present("post_processor")) {
    BITDIAL_RETURN_IF_ERROR(
        ParsePostProcessor(*post, what + ": post_processor", &spec.frame, &has_template));
  }
  BITDIAL_RETURN_IF_ERROR(ApplyConfig(config, has_template, &spec));
  return spec;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromJson(const Json& json,
                                                             const TokenizerConfig& config,
                                                             const std::string& what) {
  absl::StatusOr<BpeSpec> spec = ParseTokenizerJson(json, config, what);
  if (!spec.ok()) return AsDataLoss(spec.status());
  auto tokenizer = BpeTokenizer::Make(*std::move(spec));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), what);
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromVocabAndMerges(const Json& vocab,
                                                                       std::string_view merges,
                                                                       const TokenizerConfig& said,
                                                                       const std::string& folder) {
  const std::string vocab_path = folder + "/vocab.json", merges_path = folder + "/merges.txt";
  BpeSpec spec;
  BITDIAL_ASSIGN_OR_RETURN(spec.tokens, ParseVocab(vocab, vocab_path));
  BITDIAL_ASSIGN_OR_RETURN(spec.merges, ParseMergesText(merges, merges_path));
  TokenizerConfig config = said;
  if (IsFairseqVocab(spec.tokens)) SetFairseqDefaults(&config);
  spec.pre_tokenizer = {"gpt2"};
  spec.space_prefix = config.add_prefix_space;
  spec.added = config.added;
  for (const std::string& token : config.special_tokens) {
    const auto is_same = [&](const AddedToken& added) { return added.content == token; };
    if (std::any_of(spec.added.begin(), spec.added.end(), is_same)) continue;
    if (const auto id = FindId(spec, token)) spec.added.push_back({.id = *id, .content = token});
  }
  BITDIAL_RETURN_IF_ERROR(ApplyConfig(config, /*has_template=*/false, &spec));
  const absl::Status is_whole =
      CheckMergesMakeVocab(spec.merges, spec.tokens, spec.added, merges_path);
  auto tokenizer = BpeTokenizer::Make(std::move(spec));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), vocab_path);
  BITDIAL_RETURN_IF_ERROR(is_whole);  // after what names a line of the file
  return tokenizer;
}

}  // namespace bitdial::server
