// Any bytes as tokenizer.model.
#include "server/tokenizer/tokenizer_files.h"
#include "tests/server/tokenizer_fuzzing.h"
#include "tests/testing/fuzz_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial;
  const auto tokenizer =
      server::TokenizerFromSentencePiece(testing::AsText(data, size), {}, "fuzz");
  if (tokenizer.ok()) server::testing::CheckTokenizer(**tokenizer);
  return 0;
}
