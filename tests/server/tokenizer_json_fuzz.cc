// Any bytes as tokenizer.json, and after the first NUL as the model's chat template.
#include "server/tokenizer/chat_template.h"
#include "server/tokenizer/tokenizer_files.h"
#include "tests/server/tokenizer_fuzzing.h"
#include "tests/testing/fuzz_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial;
  const auto [text, chat_template, has_template] = testing::SplitAtNul(testing::AsText(data, size));
  server::TokenizerConfig config;
  if (has_template && !server::FindInvalidUtf8(chat_template)) {
    config.chat_template = chat_template;
  }
  const auto json = ParseJson(text, "fuzz", {.max_bytes = 1 << 20});
  if (!json.ok()) return 0;
  const auto tokenizer = server::TokenizerFromJson(*json, config, "fuzz");
  if (!tokenizer.ok()) return 0;
  server::testing::CheckTokenizer(**tokenizer);
  const auto form = server::ChatTemplate::Recognise(**tokenizer);
  (void)form.RenderToIds(**tokenizer, {{"system", "a"}, {"user", "b"}});
  return 0;
}
