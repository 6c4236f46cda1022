// Any bytes as the index of a checkpoint in shards, and after the first NUL as its second shard.
#include <set>
#include <string>

#include "kernels/core/check.h"
#include "quant/container/checkpoint.h"
#include "quant/container/safetensors_writer.h"
#include "tests/testing/fuzz_bytes.h"
#include "tests/testing/temp_dir.h"

namespace {

using namespace bitdial;
using namespace bitdial::quant;

void WriteShard(const std::string& path, const std::string& tensor) {
  const std::vector<TensorDeclaration> tensors = {{tensor, DType::kF32, {2}}};
  auto writer = SafetensorsWriter::Create(path, tensors);
  BITDIAL_CHECK(writer.ok());
  BITDIAL_CHECK((*writer)->Append(tensor, std::vector<std::byte>(8)).ok());
  BITDIAL_CHECK((*writer)->Finish().ok());
}

// A folder with config.json and two shards; index and second shard are the input's.
struct Folder : testing::TempDir {
  Folder() {
    Write("config.json", std::string_view(R"({"architectures": ["LlamaForCausalLM"]})"));
    WriteShard(*this / "a.safetensors", "a");
  }
  // True when there was a second shard in the input.
  void Fill(const testing::TwoTexts& input) const {
    Write("model.safetensors.index.json", input.first);
    Remove("b.safetensors");
    if (input.has_second) {
      Write("b.safetensors", input.second);
    } else {
      WriteShard(*this / "b.safetensors", "b");
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  const testing::TwoTexts input = testing::SplitAtNul(testing::AsText(data, size));
  folder.Fill(input);
  const auto checkpoint = Checkpoint::Open(folder.path());
  if (!checkpoint.ok()) return 0;
  std::set<std::string> names;
  for (const TensorInfo& info : (*checkpoint)->tensors()) {
    BITDIAL_CHECK(names.insert(info.name).second);
    const auto tensor = (*checkpoint)->ReadDense(info.name);
    BITDIAL_CHECK(tensor.ok());
    testing::Touch(std::span(tensor->view.data, tensor->view.NumBytes()));
  }
  // What the index names is there.
  const auto index = ParseJson(input.first, "fuzz");
  BITDIAL_CHECK(index.ok());
  for (const auto& member : (*index)["weight_map"].items()) {
    BITDIAL_CHECK(names.count(member.key()) == 1);
  }
  return 0;
}
