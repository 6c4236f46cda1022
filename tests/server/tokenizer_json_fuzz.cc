// tokenizer.json (and, split off by its first NUL, tokenizer_config.json's chat template) from any
// bytes.
#include <cstdint>
#include <string_view>

#include "server/tokenizer/chat_template.h"
#include "server/tokenizer/tokenizer_files.h"
#include "server/tokenizer/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial;
  using namespace bitdial::server;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  TokenizerConfig config;
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    config.chat_template = text.substr(nul + 1);
    if (FindInvalidUtf8(config.chat_template)) config.chat_template.clear();
    text = text.substr(0, nul);
  }
  const auto json = ParseJson(text, "fuzz", {.max_bytes = 1 << 20});
  if (!json.ok()) return 0;
  const auto tokenizer = TokenizerFromJson(*json, config, "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("The server reads\n 123 <|im_end|> 你好 '", {});
  if (ids.ok()) (*tokenizer)->Decode(*ids);
  (*tokenizer)->Decode({0, 1, 2, 255, 256, -1, 1 << 30});
  const ChatTemplate form = ChatTemplate::Recognise(**tokenizer);
  (void)form.RenderToIds(**tokenizer, {{"system", "a"}, {"user", "b"}});
  return 0;
}
