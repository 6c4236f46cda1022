// Any bytes as a GGUF file whose metadata make a tokenizer, byte-level BPE or SentencePiece.
#include "quant/container/gguf_file.h"
#include "server/tokenizer/chat_template.h"
#include "server/tokenizer/tokenizer_files.h"
#include "tests/server/tokenizer_fuzzing.h"
#include "tests/testing/fuzz_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial;
  const auto file =
      quant::GgufFile::Parse(quant::MappedFile::CopyOf(testing::AsBytes(data, size), "fuzz"));
  if (!file.ok()) return 0;
  const auto tokenizer = server::TokenizerFromGguf(**file);
  if (!tokenizer.ok()) return 0;
  server::testing::CheckTokenizer(**tokenizer);
  const auto form = server::ChatTemplate::Recognise(**tokenizer);
  (void)form.RenderToIds(**tokenizer, {{"system", "a"}, {"user", "b"}});
  return 0;
}
