// The tokenizer.ggml.* metadata of any bytes that are a GGUF file.
#include <cstdint>

#include "server/tokenizer/chat_template.h"
#include "server/tokenizer/tokenizer_files.h"
#include "tests/testing/fuzz_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial;
  const auto file =
      quant::GgufFile::Parse(quant::MappedFile::CopyOf(testing::AsBytes(data, size), "fuzz"));
  if (!file.ok()) return 0;
  const auto tokenizer = server::TokenizerFromGguf(**file);
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("The server reads\n 123 </s> 你好 ab  ba\xC2\xA0", {});
  if (ids.ok()) (*tokenizer)->Decode(*ids);
  (*tokenizer)->Decode({0, 1, 2, 255, 256, -1, 1 << 30});
  const server::ChatTemplate form = server::ChatTemplate::Recognise(**tokenizer);
  (void)form.RenderToIds(**tokenizer, {{"system", "a"}, {"user", "b"}});
  return 0;
}
