// Any bytes as config.json of a folder whose weights are one good AnyBCQ linear.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "quant/container/checkpoint.h"
#include "quant/container/leftovers.h"
#include "quant/container/safetensors_writer.h"
#include "tests/testing/fuzz_bytes.h"
#include "tests/testing/temp_dir.h"

namespace {

using namespace bitdial;
using namespace bitdial::quant;

struct Folder : testing::TempDir {
  Folder() {
    const std::vector<TensorDeclaration> tensors = {{"l.qweight", DType::kI32, {1, 2, 4}},
                                                    {"l.alpha_1", DType::kF16, {1, 1, 4}},
                                                    {"l.alpha_2", DType::kF16, {1, 2, 4}}};
    auto writer = SafetensorsWriter::Create(*this / "model.safetensors", tensors);
    if (!writer.ok()) std::abort();
    for (const TensorDeclaration& tensor : tensors) {
      const std::vector<std::byte> zeros(static_cast<size_t>(tensor.shape.NumElements()) *
                                         SizeOf(tensor.dtype));
      if (!(*writer)->Append(tensor.name, zeros).ok()) std::abort();
    }
    if (!(*writer)->Finish().ok()) std::abort();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  folder.Write("config.json", testing::AsText(data, size));
  const auto checkpoint = Checkpoint::Open(folder.path());
  if (!checkpoint.ok()) return 0;
  for (const TensorInfo& info : (*checkpoint)->tensors()) (void)(*checkpoint)->ReadDense(info.name);
  (void)(*checkpoint)->ReadBcq("l");
  (void)FindLeftovers(**checkpoint);
  if (const QuantizationInfo* info = (*checkpoint)->quantization(); info != nullptr) {
    if (info->min_bits < 1 || info->max_bits > 8 || info->min_bits > info->max_bits)
      __builtin_trap();
  }
  return 0;
}
