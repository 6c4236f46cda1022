#include "quant/container/safetensors_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "quant/container/json_reader.h"

namespace bitdial::quant {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors are little-endian and read in place");

// The reference allows 100 MB; the header of a 100,000-tensor checkpoint has 12 MB.
constexpr uint64_t kMaxHeaderBytes = 64u << 20;
constexpr int kMaxHeaderDepth = 4;      // {name: {"shape": [..]}} is 3
constexpr size_t kMaxNameBytes = 4096;  // names are quoted in messages
// No file reaches it, and sums of two offsets stay far inside 64 bits.
constexpr int64_t kMaxOffset = int64_t{1} << 60;

std::optional<DType> FindDType(const std::string& name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  if (name == "I32") return DType::kI32;
  if (name == "U8") return DType::kU8;
  return std::nullopt;
}

struct Placed {
  SafetensorsEntry entry;
  int64_t begin = 0;  // from the start of the data section
  int64_t end = 0;
};

absl::StatusOr<Shape> ReadShape(JsonObject& object) {
  if (const Json* shape = object.Find("shape"); shape == nullptr || !shape->is_array()) {
    return DataLoss("{}: \"shape\" is missing or no array", object.what());
  }
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<int64_t> dims,
                           object.GetIntListOr("shape", 0, kMaxOffset));
  Shape shape;
  if (dims.size() > shape.dims.size()) {
    return Unimplemented("{}: {} dimensions, at most {} are read", object.what(), dims.size(),
                         shape.dims.size());
  }
  for (const int64_t dim : dims) shape.dims[static_cast<size_t>(shape.rank++)] = dim;
  return shape;
}

// Bytes of a tensor, nullopt when the product leaves the range of any real file.
std::optional<int64_t> NumBytes(const Shape& shape, DType dtype) {
  int64_t num_bytes = static_cast<int64_t>(SizeOf(dtype));
  for (int axis = 0; axis < shape.rank; ++axis) {
    if (shape[axis] != 0 && num_bytes > kMaxOffset / shape[axis]) return std::nullopt;
    num_bytes *= shape[axis];
  }
  return num_bytes;
}

absl::StatusOr<Placed> ReadEntry(const std::string& name, const Json& json,
                                 const std::string& path) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return DataLoss("{}: a tensor name of {} bytes, expected 1 to {}", path, name.size(),
                    kMaxNameBytes);
  }
  BITDIAL_ASSIGN_OR_RETURN(JsonObject object,
                           JsonObject::Make(json, fmt::format("{}: tensor \"{}\"", path, name)));
  BITDIAL_ASSIGN_OR_RETURN(const std::string dtype_name, object.GetString("dtype"));
  constexpr size_t kMaxDTypeBytes = 16;  // the longest of the format is "F8_E4M3FNUZ"
  if (dtype_name.size() > kMaxDTypeBytes)
    return DataLoss("{}: \"dtype\" is no dtype", object.what());
  const std::optional<DType> dtype = FindDType(dtype_name);
  if (!dtype.has_value()) {
    return Unimplemented("{} has dtype {}, which is not read (F32, F16, BF16, I32 and U8 are)",
                         object.what(), dtype_name);
  }
  BITDIAL_ASSIGN_OR_RETURN(const Shape shape, ReadShape(object));
  BITDIAL_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets,
                           object.GetIntListOr("data_offsets", 0, kMaxOffset));
  BITDIAL_RETURN_IF_ERROR(object.RefuseUnknownKeys());
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return DataLoss("{}: \"data_offsets\" must be [begin, end] with begin <= end", object.what());
  }
  const std::optional<int64_t> num_bytes = NumBytes(shape, *dtype);
  if (!num_bytes.has_value() || offsets[1] - offsets[0] != *num_bytes) {
    return DataLoss(
        "{}: {} bytes of data, its shape and dtype {} need {}", object.what(),
        offsets[1] - offsets[0], dtype_name,
        num_bytes.has_value() ? fmt::format("{}", *num_bytes) : "more than any file has");
  }
  Placed placed;
  placed.entry.name = name;
  placed.entry.dtype = *dtype;
  placed.entry.shape = shape;
  placed.begin = offsets[0];
  placed.end = offsets[1];
  return placed;
}

// The data section must be covered exactly once, from its first to its last byte.
absl::Status CheckCoverage(std::vector<Placed>& placed, int64_t data_bytes,
                           const std::string& path) {
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  int64_t covered = 0;
  for (const Placed& tensor : placed) {
    if (tensor.end > data_bytes) {
      return DataLoss("{}: tensor \"{}\" ends at byte {} of the data, the file has {} (truncated?)",
                      path, tensor.entry.name, tensor.end, data_bytes);
    }
    if (tensor.begin != covered) {
      return DataLoss(
          "{}: tensor \"{}\" begins at byte {} of the data, the one before it ends at {} ({})",
          path, tensor.entry.name, tensor.begin, covered,
          tensor.begin < covered ? "they overlap" : "a gap");
    }
    covered = tensor.end;
  }
  if (covered != data_bytes) {
    return DataLoss("{}: {} bytes of data, the tensors use {}", path, data_bytes, covered);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  return Parse(std::move(file));
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Parse(
    std::unique_ptr<MappedFile> file) {
  std::unique_ptr<SafetensorsFile> safetensors(new SafetensorsFile(std::move(file)));
  absl::Status status = safetensors->ParseHeader();
  // A wrong type inside the header is a malformed file, whatever the JSON reader calls it.
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    status = absl::DataLossError(std::string(status.message()));
  }
  BITDIAL_RETURN_IF_ERROR(status);
  return safetensors;
}

absl::Status SafetensorsFile::ParseHeader() {
  const std::span<const std::byte> bytes = file_->bytes();
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    return DataLoss("{}: {} bytes are no safetensors file (the header length alone takes 8)",
                    path(), bytes.size());
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const uint64_t remaining = bytes.size() - sizeof(header_bytes);
  if (header_bytes > remaining || header_bytes > kMaxHeaderBytes) {
    return DataLoss(
        "{}: a header of {} bytes, {} bytes follow and at most {} are read (truncated, or no "
        "safetensors file)",
        path(), header_bytes, remaining, kMaxHeaderBytes);
  }
  const auto header = bytes.subspan(sizeof(header_bytes), static_cast<size_t>(header_bytes));
  const auto data = bytes.subspan(sizeof(header_bytes) + static_cast<size_t>(header_bytes));

  BITDIAL_ASSIGN_OR_RETURN(
      const Json json,
      ParseJson({reinterpret_cast<const char*>(header.data()), header.size()}, path() + ": header",
                {.max_bytes = kMaxHeaderBytes, .max_depth = kMaxHeaderDepth}));
  if (!json.is_object()) return DataLoss("{}: header: not a JSON object", path());
  std::vector<Placed> placed;
  placed.reserve(json.size());
  for (const auto& member : json.items()) {
    if (member.key() == "__metadata__") continue;  // free text of the writer
    BITDIAL_ASSIGN_OR_RETURN(Placed tensor, ReadEntry(member.key(), member.value(), path()));
    placed.push_back(std::move(tensor));
  }
  BITDIAL_RETURN_IF_ERROR(CheckCoverage(placed, static_cast<int64_t>(data.size()), path()));
  for (Placed& tensor : placed) {
    tensor.entry.data = data.subspan(static_cast<size_t>(tensor.begin),
                                     static_cast<size_t>(tensor.end - tensor.begin));
    entries_.push_back(std::move(tensor.entry));
  }
  std::sort(entries_.begin(), entries_.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return a.name < b.name; });
  return absl::OkStatus();
}

}  // namespace bitdial::quant
