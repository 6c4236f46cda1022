// tokenizer.model from any bytes.
#include <cstdint>
#include <string_view>

#include "server/tokenizer/tokenizer_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial::server;
  const auto tokenizer =
      TokenizerFromSentencePiece({reinterpret_cast<const char*>(data), size}, {}, "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("The server reads\n 123 <sep> 你好 ﬁ … AAA\xC2\xA0", {});
  if (ids.ok()) (*tokenizer)->Decode(*ids);
  (*tokenizer)->Decode({0, 1, 2, 255, 256, -1, 1 << 30});
  return 0;
}
