// Any bytes as a safetensors file.
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "quant/container/safetensors_file.h"
#include "tests/testing/fuzz_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial::quant;
  const auto file =
      SafetensorsFile::Parse(MappedFile::CopyOf(bitdial::testing::AsBytes(data, size), "fuzz"));
  if (!file.ok()) return 0;
  for (const SafetensorsEntry& entry : (*file)->entries()) {
    // What a reader promises: a range inside the file, exactly as large as the shape says.
    const auto num_elements = static_cast<size_t>(entry.shape.NumElements());
    if (entry.data.size() != num_elements * bitdial::SizeOf(entry.dtype)) __builtin_trap();
    bitdial::testing::Touch(entry.data);
  }
  return 0;
}
