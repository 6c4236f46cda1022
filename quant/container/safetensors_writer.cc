#include "quant/container/safetensors_writer.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "kernels/core/check.h"
#include "quant/container/file_writer.h"
#include "quant/container/json_reader.h"

namespace bitdial::quant {
namespace {

const char* FormatName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI32:
      return "I32";
    case DType::kU8:
      return "U8";
  }
  return "";
}

struct PlacedTensor {
  TensorDeclaration declaration;
  uint64_t begin = 0;  // from the start of the data section
  uint64_t num_bytes = 0;
};

// Gives every tensor its place, wide types first: the format allows no padding, so this is what
// keeps each tensor aligned for its type (the reference writer does the same).
std::vector<PlacedTensor> Place(std::vector<TensorDeclaration> declarations, uint64_t* data_bytes) {
  std::vector<PlacedTensor> placed;
  std::set<std::string> names;
  for (TensorDeclaration& declaration : declarations) {
    BITDIAL_CHECK(names.insert(declaration.name).second);
    const auto num_elements = static_cast<uint64_t>(declaration.shape.NumElements());
    const uint64_t num_bytes = num_elements * SizeOf(declaration.dtype);
    placed.push_back({std::move(declaration), 0, num_bytes});
  }
  std::vector<size_t> order(placed.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return SizeOf(placed[a].declaration.dtype) > SizeOf(placed[b].declaration.dtype);
  });
  *data_bytes = 0;
  for (const size_t i : order) {
    placed[i].begin = *data_bytes;
    *data_bytes += placed[i].num_bytes;
  }
  return placed;
}

// The 8 bytes of length and the JSON, padded with spaces so that the data begins at a multiple
// of 8.
std::string MakeHeader(const std::vector<PlacedTensor>& placed) {
  Json json = {{"__metadata__", {{"format", "pt"}}}};  // transformers reads no file without it
  for (const PlacedTensor& tensor : placed) {
    const Shape& shape = tensor.declaration.shape;
    Json entry;
    entry["dtype"] = FormatName(tensor.declaration.dtype);
    entry["shape"] = std::vector<int64_t>(shape.dims.begin(), shape.dims.begin() + shape.rank);
    entry["data_offsets"] = {tensor.begin, tensor.begin + tensor.num_bytes};
    json[tensor.declaration.name] = std::move(entry);
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

class StreamedWriter final : public SafetensorsWriter {
 public:
  StreamedWriter(std::unique_ptr<FileWriter> file, std::vector<PlacedTensor> placed,
                 uint64_t data_begin)
      : file_(std::move(file)), placed_(std::move(placed)), data_begin_(data_begin) {}

  absl::Status Append(const std::string& name, std::span<const std::byte> bytes) override {
    BITDIAL_CHECK(next_ < placed_.size());
    const PlacedTensor& tensor = placed_[next_];
    BITDIAL_CHECK(tensor.declaration.name == name && tensor.num_bytes == bytes.size());
    ++next_;
    return Annotate(file_->WriteAt(data_begin_ + tensor.begin, bytes), "tensor \"" + name + "\"");
  }

  absl::Status Finish() override {
    BITDIAL_CHECK(next_ == placed_.size());
    return file_->Finish();
  }

 private:
  std::unique_ptr<FileWriter> file_;
  std::vector<PlacedTensor> placed_;  // in declared order
  uint64_t data_begin_;
  size_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, std::vector<TensorDeclaration> declarations) {
  uint64_t data_bytes = 0;
  std::vector<PlacedTensor> placed = Place(std::move(declarations), &data_bytes);
  const std::string header = MakeHeader(placed);
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<FileWriter> file,
                           FileWriter::Create(path, header.size() + data_bytes));
  BITDIAL_RETURN_IF_ERROR(file->WriteAt(0, std::as_bytes(std::span(header.data(), header.size()))));
  return std::make_unique<StreamedWriter>(std::move(file), std::move(placed), header.size());
}

}  // namespace bitdial::quant
