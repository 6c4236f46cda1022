// Any bytes as tokenizer_config.json, and after the first NUL as chat_template.jinja, beside good
// models of the three forms that read them.
#include <bit>
#include <string>

#include "server/tokenizer/tokenizer_files.h"
#include "tests/server/tokenizer_fuzzing.h"
#include "tests/testing/fuzz_bytes.h"
#include "tests/testing/temp_dir.h"

namespace {

using namespace bitdial;
using namespace bitdial::server;

Json Parse(std::string_view text) {
  auto json = ParseJson(text, "the target's own");
  BITDIAL_CHECK(json.ok());
  return *std::move(json);
}

const Json& Vocabulary() {
  static const Json vocabulary =
      Parse(R"({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5, "Ġ": 6})");
  return vocabulary;
}

const Json& TokenizerJson() {
  static const Json tokenizer = [] {
    Json json = Parse(R"({"added_tokens": [{"id": 1, "content": "<s>", "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "merges": ["a b"]}})");
    json["model"]["vocab"] = Vocabulary();
    return json;
  }();
  return tokenizer;
}

// A ModelProto of a few pieces: field 1, {1: text, 2: score, 3: type}.
std::string TokenizerModel() {
  auto piece = [score = 0.0f](std::string_view text, char type) mutable {
    const auto bits = std::bit_cast<uint32_t>(score -= 1.0f);
    std::string body = {'\x0a', static_cast<char>(text.size())};
    body.append(text) += '\x15';
    for (int shift = 0; shift < 32; shift += 8) body += static_cast<char>(bits >> shift);
    body += {'\x18', type};
    return std::string{'\x0a', static_cast<char>(body.size())} + body;
  };
  return piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("a", 1) + piece("b", 1) +
         piece("ab", 1) + piece("\xE2\x96\x81", 1);
}

void CheckIfTaken(const absl::StatusOr<std::unique_ptr<Tokenizer>>& tokenizer) {
  if (tokenizer.ok()) server::testing::CheckTokenizer(**tokenizer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bitdial::testing::TempDir folder;
  static const std::string model = TokenizerModel();
  const auto [text, jinja, has_jinja] =
      bitdial::testing::SplitAtNul(bitdial::testing::AsText(data, size));
  folder.Write("tokenizer_config.json", text);
  if (has_jinja) {
    folder.Write("chat_template.jinja", jinja);
  } else {
    folder.Remove("chat_template.jinja");
  }
  const auto config = TokenizerConfig::Read(folder.path());
  if (!config.ok()) return 0;
  BITDIAL_CHECK(!FindInvalidUtf8(config->chat_template));
  CheckIfTaken(TokenizerFromJson(TokenizerJson(), *config, "tokenizer.json"));
  CheckIfTaken(TokenizerFromVocabAndMerges(Vocabulary(), "a b\n", *config, "folder"));
  CheckIfTaken(TokenizerFromSentencePiece(model, *config, "tokenizer.model"));
  return 0;
}
