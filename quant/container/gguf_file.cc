#include "quant/container/gguf_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "quant/container/utf8.h"

namespace bitdial::quant {
namespace {

static_assert(std::endian::native == std::endian::little,
              "GGUF files are little-endian and read in place");

constexpr char kMagic[4] = {'G', 'G', 'U', 'F'};
constexpr size_t kFixedHeaderBytes = 24;  // magic, version, tensor count, value count
constexpr size_t kMaxNameBytes =
    65535;  // the specification's limit for keys; tensor names are shorter still
constexpr int kMaxArrayDepth = 4;  // no known file nests at all
// ggml's largest is a few hundred; a megabyte bounds what padding can waste.
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kDefaultAlignment = 32;

}  // namespace

// Reads the header front to back. Every count is checked against the bytes that are left before it
// is believed, so nothing is allocated that the file does not pay for.
class GgufParser {
 public:
  explicit GgufParser(GgufFile& gguf) : gguf_(gguf), bytes_(gguf.file_->bytes()) {}

  absl::Status Parse() {
    BITDIAL_RETURN_IF_ERROR(ReadFixedHeader());
    BITDIAL_RETURN_IF_ERROR(ReadValues());
    BITDIAL_ASSIGN_OR_RETURN(const uint64_t alignment, ReadAlignment());
    BITDIAL_RETURN_IF_ERROR(ReadTensorInfos());
    return PlaceTensors(alignment);
  }

 private:
  template <typename... Args>
  absl::Status Malformed(fmt::format_string<Args...> format, Args&&... args) const {
    return DataLoss("{}: at byte {}: {}", gguf_.path(), pos_,
                    fmt::format(format, std::forward<Args>(args)...));
  }

  uint64_t Remaining() const { return bytes_.size() - pos_; }

  // The next `count` bytes. `what` completes "truncated inside ...".
  absl::StatusOr<std::span<const std::byte>> Take(uint64_t count, const char* what) {
    if (count > Remaining()) {
      return Malformed("truncated inside {}: needs {} bytes, {} are left", what, count,
                       Remaining());
    }
    const auto taken = bytes_.subspan(pos_, static_cast<size_t>(count));
    pos_ += static_cast<size_t>(count);
    return taken;
  }

  template <typename T>
  absl::StatusOr<T> Read(const char* what) {
    BITDIAL_ASSIGN_OR_RETURN(const auto bytes, Take(sizeof(T), what));
    return Load<T>(bytes.data());
  }

  absl::StatusOr<std::span<const std::byte>> ReadStringBytes(const char* what) {
    BITDIAL_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(what));
    return Take(length, what);
  }

  // A key or a tensor name: not empty, bounded, UTF-8.
  absl::StatusOr<std::string_view> ReadName(const char* what) {
    BITDIAL_ASSIGN_OR_RETURN(const auto bytes, ReadStringBytes(what));
    if (bytes.empty() || bytes.size() > kMaxNameBytes) {
      return Malformed("{} of {} bytes, expected 1 to {}", what, bytes.size(), kMaxNameBytes);
    }
    if (!IsUtf8(AsText(bytes))) return Malformed("{} is not UTF-8", what);
    return AsText(bytes);
  }

  absl::StatusOr<GgufValueType> ReadValueType(std::string_view key) {
    BITDIAL_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>("a value type"));
    if (type >= kNumGgufValueTypes) {
      return Malformed("value type {} of key \"{}\", expected 0 to {}", type, key,
                       kNumGgufValueTypes - 1);
    }
    return static_cast<GgufValueType>(type);
  }

  absl::Status ReadFixedHeader() {
    if (!GgufFile::HasMagic(bytes_))
      return Malformed("not a GGUF file (it does not start with \"GGUF\")");
    pos_ = sizeof(kMagic);
    BITDIAL_ASSIGN_OR_RETURN(gguf_.version_, Read<uint32_t>("the version"));
    if (gguf_.version_ != 2 && gguf_.version_ != 3) {
      const bool is_big_endian = gguf_.version_ != 0 && (gguf_.version_ & 0xffff) == 0;
      return Unimplemented(
          "{}: {}, only little-endian versions 2 and 3 are read; convert the model again",
          gguf_.path(),
          is_big_endian ? std::string("this is a big-endian GGUF file")
                        : fmt::format("this is GGUF version {}", gguf_.version_));
    }
    BITDIAL_ASSIGN_OR_RETURN(num_tensors_, Read<uint64_t>("the tensor count"));
    BITDIAL_ASSIGN_OR_RETURN(num_values_, Read<uint64_t>("the metadata count"));
    // The smallest value takes 8 + 1 (key), 4 (type), 1 bytes; the smallest tensor 8 + 1, 4, 8,
    // 4, 8.
    constexpr uint64_t kMinValueBytes = 14;
    constexpr uint64_t kMinTensorBytes = 33;
    if (num_values_ > Remaining() / kMinValueBytes) {
      return Malformed("{} metadata values cannot fit into the {} bytes left", num_values_,
                       Remaining());
    }
    if (num_tensors_ > Remaining() / kMinTensorBytes) {
      return Malformed("{} tensors cannot fit into the {} bytes left", num_tensors_, Remaining());
    }
    return absl::OkStatus();
  }

  absl::Status ReadValues() {
    for (uint64_t i = 0; i < num_values_; ++i) {
      BITDIAL_ASSIGN_OR_RETURN(const std::string_view key, ReadName("a metadata key"));
      BITDIAL_ASSIGN_OR_RETURN(const GgufValueType type, ReadValueType(key));
      BITDIAL_ASSIGN_OR_RETURN(const GgufValue value, ReadValue(key, type, /*depth=*/0));
      if (!gguf_.values_.emplace(key, value).second)
        return Malformed("key \"{}\" is there twice", key);
    }
    gguf_.metadata_bytes_ = bytes_.subspan(kFixedHeaderBytes, pos_ - kFixedHeaderBytes);
    return absl::OkStatus();
  }

  absl::StatusOr<GgufValue> ReadValue(std::string_view key, GgufValueType type, int depth) {
    GgufValue value;
    value.type = type;
    if (type == GgufValueType::kArray) return ReadArray(key, depth + 1);
    if (type == GgufValueType::kString) {
      BITDIAL_ASSIGN_OR_RETURN(value.payload, ReadStringBytes("a string value"));
      return value;
    }
    BITDIAL_ASSIGN_OR_RETURN(value.payload, Take(SizeOf(type), "a value"));
    if (type == GgufValueType::kBool && Load<uint8_t>(value.payload.data()) > 1) {
      return Malformed("key \"{}\": a bool of {}, expected 0 or 1", key,
                       Load<uint8_t>(value.payload.data()));
    }
    return value;
  }

  absl::StatusOr<GgufValue> ReadArray(std::string_view key, int depth) {
    if (depth > kMaxArrayDepth) {
      return Malformed("key \"{}\": arrays nested more than {} deep", key, kMaxArrayDepth);
    }
    GgufValue value;
    value.type = GgufValueType::kArray;
    BITDIAL_ASSIGN_OR_RETURN(value.element_type, ReadValueType(key));
    BITDIAL_ASSIGN_OR_RETURN(value.count, Read<uint64_t>("an array length"));
    const bool is_array = value.element_type == GgufValueType::kArray;
    const size_t fixed_size = SizeOf(value.element_type);
    // What one element takes at least: a string its length, an inner array its type and length.
    const uint64_t min_size = fixed_size > 0 ? fixed_size : (is_array ? 12 : 8);
    if (value.count > Remaining() / min_size) {
      return Malformed("key \"{}\": {} elements of type {} cannot fit into the {} bytes left", key,
                       value.count, Name(value.element_type), Remaining());
    }
    const size_t begin = pos_;
    if (fixed_size > 0) {
      BITDIAL_RETURN_IF_ERROR(Take(value.count * fixed_size, "an array").status());
    } else {
      for (uint64_t i = 0; i < value.count; ++i) {
        BITDIAL_RETURN_IF_ERROR(ReadValue(key, value.element_type, depth).status());
      }
    }
    value.payload = bytes_.subspan(begin, pos_ - begin);
    return value;
  }

  absl::StatusOr<uint64_t> ReadAlignment() {
    if (!gguf_.Has("general.alignment")) return kDefaultAlignment;
    BITDIAL_ASSIGN_OR_RETURN(
        const int64_t alignment,
        gguf_.GetInt("general.alignment", 1, static_cast<int64_t>(kMaxAlignment)));
    if (!std::has_single_bit(static_cast<uint64_t>(alignment))) {
      return Malformed("general.alignment is {}, expected a power of two", alignment);
    }
    return static_cast<uint64_t>(alignment);
  }

  absl::Status ReadTensorInfos() {
    std::set<std::string_view> names;
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      BITDIAL_ASSIGN_OR_RETURN(const std::string_view name, ReadName("a tensor name"));
      if (!names.insert(name).second) return Malformed("tensor \"{}\" is there twice", name);
      BITDIAL_ASSIGN_OR_RETURN(GgufTensor tensor, ReadTensorInfo(std::string(name)));
      gguf_.tensors_.push_back(std::move(tensor));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<GgufTensor> ReadTensorInfo(std::string name) {
    BITDIAL_ASSIGN_OR_RETURN(const uint32_t rank, Read<uint32_t>("a tensor's dimensions"));
    GgufTensor tensor;
    if (rank < 1 || rank > tensor.shape.dims.size()) {
      return Malformed("tensor \"{}\": {} dimensions, expected 1 to {}", name, rank,
                       tensor.shape.dims.size());
    }
    tensor.shape.rank = static_cast<int>(rank);
    uint64_t num_values = 1;
    for (uint32_t axis = 0; axis < rank; ++axis) {  // innermost first in the file
      BITDIAL_ASSIGN_OR_RETURN(const uint64_t dim, Read<uint64_t>("a tensor's dimensions"));
      // Bounds any honest count, and keeps every product below inside 64 bits.
      if (dim == 0 || dim > kMaxGgmlValuesPerByte * bytes_.size() / num_values) {
        return Malformed("tensor \"{}\": dimension {} of {} does not fit into a file of {} bytes",
                         name, axis, dim, bytes_.size());
      }
      num_values *= dim;
      tensor.shape.dims[rank - 1 - axis] = static_cast<int64_t>(dim);
    }
    BITDIAL_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>("a tensor's type"));
    const GgmlTypeTraits* traits = FindGgmlType(type);
    if (traits == nullptr) {
      return Unimplemented(
          "{}: tensor \"{}\" has type {}, which is not read ({} are); use a file of these types, "
          "or "
          "the original Hugging Face folder",
          gguf_.path(), name, GgmlTypeName(type), GgmlTypesRead());
    }
    const int64_t row = tensor.shape[tensor.shape.rank - 1];
    if (row % traits->block_values != 0) {
      return Malformed("tensor \"{}\": rows of {} values, {} needs a multiple of {}", name, row,
                       traits->name, traits->block_values);
    }
    BITDIAL_ASSIGN_OR_RETURN(const uint64_t offset, Read<uint64_t>("a tensor's offset"));
    const uint64_t num_bytes = num_values / static_cast<uint64_t>(traits->block_values) *
                               static_cast<uint64_t>(traits->block_bytes);
    ranges_.push_back({offset, num_bytes});
    tensor.name = std::move(name);
    tensor.type = traits->type;
    return tensor;
  }

  // Turns offsets into views once the start of the data section is known.
  absl::Status PlaceTensors(uint64_t alignment) {
    if (gguf_.tensors_.empty()) return absl::OkStatus();
    const uint64_t data_begin = (pos_ + alignment - 1) / alignment * alignment;
    if (data_begin > bytes_.size()) return Malformed("truncated before the tensor data");
    const auto data = bytes_.subspan(static_cast<size_t>(data_begin));
    for (size_t i = 0; i < ranges_.size(); ++i) {
      GgufTensor& tensor = gguf_.tensors_[i];
      const auto [offset, num_bytes] = ranges_[i];
      if (offset % alignment != 0) {
        return Malformed("tensor \"{}\": offset {} is no multiple of the alignment {}", tensor.name,
                         offset, alignment);
      }
      if (offset > data.size() || num_bytes > data.size() - offset) {
        return Malformed(
            "tensor \"{}\": {} bytes at offset {} end beyond the {} bytes of tensor data "
            "(truncated file?)",
            tensor.name, num_bytes, offset, data.size());
      }
      tensor.data = data.subspan(static_cast<size_t>(offset), static_cast<size_t>(num_bytes));
    }
    return RefuseOverlaps();
  }

  absl::Status RefuseOverlaps() const {
    std::vector<const GgufTensor*> by_address;
    for (const GgufTensor& tensor : gguf_.tensors_) by_address.push_back(&tensor);
    std::sort(by_address.begin(), by_address.end(), [](const GgufTensor* a, const GgufTensor* b) {
      return a->data.data() < b->data.data();
    });
    for (size_t i = 1; i < by_address.size(); ++i) {
      const GgufTensor& before = *by_address[i - 1];
      if (before.data.data() + before.data.size() > by_address[i]->data.data()) {
        return Malformed("tensors \"{}\" and \"{}\" overlap", before.name, by_address[i]->name);
      }
    }
    return absl::OkStatus();
  }

  struct Range {
    uint64_t offset;  // from the start of the data section
    uint64_t num_bytes;
  };

  GgufFile& gguf_;
  std::span<const std::byte> bytes_;
  size_t pos_ = 0;
  uint64_t num_tensors_ = 0;
  uint64_t num_values_ = 0;
  std::vector<Range> ranges_;  // of gguf_.tensors_, in order
};

bool GgufFile::HasMagic(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof(kMagic) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  return Parse(std::move(file));
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Parse(std::unique_ptr<MappedFile> file) {
  std::unique_ptr<GgufFile> gguf(new GgufFile(std::move(file)));
  BITDIAL_RETURN_IF_ERROR(GgufParser(*gguf).Parse());
  return gguf;
}

}  // namespace bitdial::quant
