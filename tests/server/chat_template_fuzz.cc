// Any text as a model's chat template, and after the first NUL as what a user says.
#include <algorithm>
#include <string>

#include "kernels/core/check.h"
#include "server/tokenizer/byte_alphabet.h"
#include "server/tokenizer/chat_template.h"
#include "server/tokenizer/tokenizer_files.h"
#include "server/tokenizer/utf8.h"
#include "tests/testing/fuzz_bytes.h"

namespace {

using namespace bitdial;
using namespace bitdial::server;

// 256 bytes and the markers of every form.
Json MakeTokenizerJson() {
  Json vocab = Json::object(), added = Json::array();
  for (int byte = 0; byte < 256; ++byte) vocab[ByteCharacter(static_cast<uint8_t>(byte))] = byte;
  for (const char* marker : {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>",
                             "<|end_header_id|>", "<|eot_id|>"}) {
    added.push_back({{"id", 256 + added.size()}, {"content", marker}, {"special", true}});
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"added_tokens", added},
          {"pre_tokenizer", byte_level},
          {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
}

std::unique_ptr<Tokenizer> MakeTokenizer(std::string_view chat_template) {
  static const Json json = MakeTokenizerJson();
  TokenizerConfig config;
  config.bos_token = "<s>";
  config.eos_token = "</s>";
  config.chat_template = chat_template;
  auto tokenizer = TokenizerFromJson(json, config, "the target's own");
  BITDIAL_CHECK(tokenizer.ok());
  return *std::move(tokenizer);
}

std::vector<int32_t> RenderToIds(const ChatTemplate& form, const Tokenizer& tokenizer,
                                 const std::string& said) {
  const std::vector<ChatMessage> messages = {{"user", said}, {"assistant", said}, {"user", said}};
  const auto ids = form.RenderToIds(tokenizer, messages);
  const auto text = form.Render(messages);
  BITDIAL_CHECK(ids.ok() && text.ok());
  std::string written;  // nothing is lost between the two
  for (const int32_t id : *ids) written += tokenizer.TokenBytes(id, /*show_special=*/true);
  BITDIAL_CHECK(written == *text);
  return *ids;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto [source, said, has_said] =
      bitdial::testing::SplitAtNul(bitdial::testing::AsText(data, size));
  if (FindInvalidUtf8(source) || FindInvalidUtf8(said)) return 0;  // readers refuse such a template
  const auto tokenizer = MakeTokenizer(source);
  const ChatTemplate form = ChatTemplate::Recognise(*tokenizer);
  if (form.form() == ChatForm::kNone) {
    const absl::Status status = form.Render({{"user", "a"}}).status();
    BITDIAL_CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
    BITDIAL_CHECK(!FindInvalidUtf8(std::string(status.message())));  // it goes to a client
    return 0;
  }
  // Words never become markers: there are as many of these as in a harmless chat.
  const auto count_markers = [&](const std::vector<int32_t>& ids) {
    return std::count_if(ids.begin(), ids.end(),
                         [&](int32_t id) { return tokenizer->IsSpecial(id); });
  };
  BITDIAL_CHECK(count_markers(RenderToIds(form, *tokenizer, std::string(said))) ==
                count_markers(RenderToIds(form, *tokenizer, "a")));
  return 0;
}
