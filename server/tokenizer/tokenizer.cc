#include "server/tokenizer/tokenizer.h"

#include <filesystem>
#include <set>
#include <system_error>

#include "quant/container/mapped_file.h"
#include "quant/container/path_exists.h"
#include "server/tokenizer/tokenizer_files.h"

namespace bitdial::server {
namespace {

using TokenizerOr = absl::StatusOr<std::unique_ptr<Tokenizer>>;

std::string_view TextOf(const quant::MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TokenizerOr LoadGguf(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(const auto file, quant::GgufFile::Open(path));
  return TokenizerFromGguf(*file);
}

TokenizerOr LoadJson(const std::string& path, const TokenizerConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
  return TokenizerFromJson(json, config, path);
}

TokenizerOr LoadSentencePiece(const std::string& path, const TokenizerConfig& config) {
  BITDIAL_ASSIGN_OR_RETURN(const auto file, quant::MappedFile::Open(path));
  return TokenizerFromSentencePiece(TextOf(*file), config, path);
}

// Those of the files a tokenizer may come in that are in the folder.
absl::StatusOr<std::set<std::string>> FindFiles(const std::string& folder) {
  std::set<std::string> found;
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "vocab.gguf", "vocab.json", "merges.txt"}) {
    BITDIAL_ASSIGN_OR_RETURN(const bool is_there, quant::PathExists(folder + "/" + name));
    if (is_there) found.insert(name);
  }
  return found;
}

TokenizerOr LoadFolder(const std::string& folder) {
  BITDIAL_ASSIGN_OR_RETURN(const TokenizerConfig config, TokenizerConfig::Read(folder));
  BITDIAL_ASSIGN_OR_RETURN(const std::set<std::string> files, FindFiles(folder));
  const auto has = [&](const char* name) { return files.contains(name); };
  if (has("tokenizer.json")) {
    TokenizerOr tokenizer = LoadJson(folder + "/tokenizer.json", config);
    // The same tokenizer in the form it was trained in, which needs none of the components we may
    // lack.
    const bool is_other_form =
        tokenizer.status().code() == absl::StatusCode::kUnimplemented && has("tokenizer.model");
    if (!is_other_form) return tokenizer;
  }
  if (has("tokenizer.model")) return LoadSentencePiece(folder + "/tokenizer.model", config);
  if (has("vocab.gguf")) return LoadGguf(folder + "/vocab.gguf");
  if (has("vocab.json") && has("merges.txt")) {
    BITDIAL_ASSIGN_OR_RETURN(const Json vocab, ReadJsonFile(folder + "/vocab.json"));
    BITDIAL_ASSIGN_OR_RETURN(const auto merges, quant::MappedFile::Open(folder + "/merges.txt"));
    return TokenizerFromVocabAndMerges(vocab, TextOf(*merges), config, folder);
  }
  return NotFound(
      "{}: no tokenizer: looked for tokenizer.json, tokenizer.model, vocab.gguf, vocab.json with "
      "merges.txt",
      folder);
}

TokenizerOr LoadAny(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(const bool is_there, quant::PathExists(path));
  if (!is_there) return NotFound("{}: no such file or folder", path);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return LoadFolder(path);
  if (path.ends_with(".json")) return LoadJson(path, {});
  if (path.ends_with(".model")) return LoadSentencePiece(path, {});
  return LoadGguf(path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& path) {
  TokenizerOr tokenizer = LoadAny(path);
  if (!tokenizer.ok()) return AsDataLoss(tokenizer.status());
  return tokenizer;
}

}  // namespace bitdial::server
