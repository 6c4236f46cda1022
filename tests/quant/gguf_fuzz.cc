// Any bytes as a GGUF file: parsed, every value asked for in every type, then opened as a model and
// dequantized.
#include <cstddef>
#include <cstdint>

#include "quant/container/gguf_checkpoint.h"
#include "quant/container/gguf_file.h"
#include "tests/testing/fuzz_bytes.h"

namespace {

using namespace bitdial::quant;
using bitdial::testing::Touch;

void AskForEverything(const GgufFile& gguf) {
  for (const std::string_view key : gguf.Keys()) {
    Touch(key);
    if (const auto text = gguf.GetString(key); text.ok()) Touch(*text);
    (void)gguf.GetInt(key, 0, 100);
    (void)gguf.GetFloat(key);
    (void)gguf.GetBoolOr(key, false);
    if (const auto strings = gguf.GetStrings(key); strings.ok()) {
      for (const std::string_view text : *strings) Touch(text);
    }
    (void)gguf.GetInts(key);
    (void)gguf.GetFloats(key);
  }
  for (const GgufTensor& tensor : gguf.tensors()) Touch(tensor.data);
  Touch(gguf.metadata_bytes());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto gguf = GgufFile::Parse(MappedFile::CopyOf(bitdial::testing::AsBytes(data, size), "fuzz"));
  if (!gguf.ok()) return 0;
  AskForEverything(**gguf);
  const auto checkpoint = GgufCheckpoint::FromFile(*std::move(gguf));
  if (!checkpoint.ok()) return 0;
  (void)(*checkpoint)->config().dump();  // throws on text that is not UTF-8
  for (const TensorInfo& info : (*checkpoint)->tensors()) {
    const auto tensor = (*checkpoint)->ReadDense(info.name);
    if (!tensor.ok())
      __builtin_trap();  // listed tensors are there and memory for a fuzz input is too
    Touch(std::span(tensor->view.data, tensor->view.NumBytes()));
  }
  return 0;
}
