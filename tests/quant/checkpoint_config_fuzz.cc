// Any bytes as config.json (or, where they speak of a weight_map, as the index of shards) of a
// folder whose weights are one good AnyBCQ linear.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "quant/container/checkpoint.h"
#include "quant/container/leftovers.h"
#include "quant/container/safetensors_writer.h"
#include "tests/testing/temp_dir.h"

namespace {

using namespace bitdial;
using namespace bitdial::quant;

constexpr char kGoodConfig[] = R"({"architectures": ["LlamaForCausalLM"]})";

// Two folders: one with a single weight file, one with a shard "a.safetensors" and its index.
struct Folders {
  Folders() {
    WriteWeights(single / "model.safetensors");
    WriteWeights(sharded / "a.safetensors");
    sharded.Write("config.json", std::string_view(kGoodConfig));
  }

  static void WriteWeights(const std::string& path) {
    const std::vector<TensorDeclaration> tensors = {{"l.qweight", DType::kI32, {1, 2, 4}},
                                                    {"l.alpha_1", DType::kF16, {1, 1, 4}},
                                                    {"l.alpha_2", DType::kF16, {1, 2, 4}}};
    auto writer = SafetensorsWriter::Create(path, tensors);
    if (!writer.ok()) std::abort();
    for (const TensorDeclaration& tensor : tensors) {
      const std::vector<std::byte> zeros(static_cast<size_t>(tensor.shape.NumElements()) *
                                         SizeOf(tensor.dtype));
      if (!(*writer)->Append(tensor.name, zeros).ok()) std::abort();
    }
    if (!(*writer)->Finish().ok()) std::abort();
  }

  testing::TempDir single;
  testing::TempDir sharded;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folders folders;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool is_index = text.find("weight_map") != std::string_view::npos;
  if (is_index) {
    folders.sharded.Write("model.safetensors.index.json", text);
  } else {
    folders.single.Write("config.json", text);
  }
  const auto checkpoint =
      Checkpoint::Open(is_index ? folders.sharded.path() : folders.single.path());
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
