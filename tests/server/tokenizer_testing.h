// What the tokenizer tests share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "quant/container/json_reader.h"
#include "server/tokenizer/tokenizer.h"
#include "server/tokenizer/utf8.h"
#include "tests/testing/shared_data.h"

namespace bitdial::server {

// The real SmolLM2-135M-Instruct GGUF: BITDIAL_SMOLLM2, or where quickstart.sh puts it.
inline std::optional<std::string> SmolLm2() {
  const char* named = std::getenv("BITDIAL_SMOLLM2");
  const std::string path =
      named != nullptr ? named : BITDIAL_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

inline std::string GoldenPath(const std::string& name) {
  return BITDIAL_SOURCE_DIR "/tests/golden/" + name;
}

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline Json ReadGolden(const std::string& path) {
  auto json = ReadJsonFile(path);
  EXPECT_TRUE(json.ok()) << json.status();
  return json.ok() ? *json : Json();
}

inline std::unique_ptr<Tokenizer> LoadOrFail(const std::string& path) {
  auto tokenizer = Tokenizer::Load(path);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

inline std::vector<int32_t> Ids(const Tokenizer& tokenizer, const std::string& text,
                                const EncodeOptions& options) {
  auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.ok() ? *ids : std::vector<int32_t>();
}

inline constexpr EncodeOptions kNothingAdded = {.add_special_tokens = false,
                                                .parse_special_tokens = true};
inline constexpr EncodeOptions kPlainText = {.add_special_tokens = false,
                                             .parse_special_tokens = false};

// Random ids, also outside the vocabulary: every Push is UTF-8, and what comes out piece by piece
// is the whole.
inline void ExpectStreamsAsDecoded(const Tokenizer& tokenizer, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    const int64_t range = round % 2 == 0 ? 300 : tokenizer.vocab_size() + 4;
    std::vector<int32_t> ids(1 + random() % 60);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint64_t>(range)) - 2;
    Detokenizer detokenizer(tokenizer);
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string piece = detokenizer.Push(id);
      ASSERT_EQ(FindInvalidUtf8(piece), std::nullopt) << ::testing::PrintToString(ids);
      streamed += piece;
    }
    streamed += detokenizer.Flush();
    ASSERT_EQ(streamed, tokenizer.Decode(ids)) << ::testing::PrintToString(ids);
    EXPECT_EQ(detokenizer.Flush(), "");
  }
}

// A folder that goes when the test does.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "bitdial_tokenizer_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
  }
  void Copy(const std::string& from, const std::string& name) const {
    std::filesystem::copy_file(from, path_ + "/" + name);
  }

 private:
  std::string path_;
};

}  // namespace bitdial::server
