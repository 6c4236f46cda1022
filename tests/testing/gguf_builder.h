// GGUF files made in a test, right or wrong in one place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bitdial::testing {

class GgufBuilder {
 public:
  // What the header says instead of the truth, when set.
  uint32_t version = 3;
  int64_t claimed_values = -1;
  int64_t claimed_tensors = -1;
  uint64_t alignment = 32;  // of the data; written as a key only by AddU32("general.alignment", ..)

  template <typename T>
  static std::string Bytes(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static std::string String(std::string_view text) {
    return Bytes<uint64_t>(text.size()) + std::string(text);
  }

  // Type numbers are the format's: 0 u8, 4 u32, 5 i32, 6 f32, 7 bool, 8 string, 9 array, 10 u64, 12
  // f64.
  GgufBuilder& Add(std::string_view key, uint32_t type, const std::string& payload) {
    values_ += String(key) + Bytes(type) + payload;
    ++num_values_;
    return *this;
  }
  GgufBuilder& AddU32(std::string_view key, uint32_t value) { return Add(key, 4, Bytes(value)); }
  GgufBuilder& AddF32(std::string_view key, float value) { return Add(key, 6, Bytes(value)); }
  GgufBuilder& AddBool(std::string_view key, uint8_t value) { return Add(key, 7, Bytes(value)); }
  GgufBuilder& AddString(std::string_view key, std::string_view value) {
    return Add(key, 8, String(value));
  }
  GgufBuilder& AddArray(std::string_view key, uint32_t element_type, uint64_t count,
                        const std::string& elements) {
    return Add(key, 9, Bytes(element_type) + Bytes(count) + elements);
  }

  // dims innermost first, as in the file. The data follows the tensors before it, aligned.
  GgufBuilder& AddTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                         const std::string& data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    AddTensorInfo(name, dims, type, data_.size());
    data_ += data;
    return *this;
  }
  GgufBuilder& AddTensorInfo(std::string_view name, const std::vector<uint64_t>& dims,
                             uint32_t type, uint64_t offset) {
    infos_ += String(name) + Bytes(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) infos_ += Bytes(dim);
    infos_ += Bytes(type) + Bytes(offset);
    ++num_tensors_;
    return *this;
  }
  GgufBuilder& AddData(const std::string& data) {
    data_ += data;
    return *this;
  }

  std::string Build() const {
    std::string file = "GGUF" + Bytes(version);
    file += Bytes(claimed_tensors >= 0 ? static_cast<uint64_t>(claimed_tensors) : num_tensors_);
    file += Bytes(claimed_values >= 0 ? static_cast<uint64_t>(claimed_values) : num_values_);
    file += values_ + infos_;
    if (num_tensors_ > 0) file.resize((file.size() + alignment - 1) / alignment * alignment, '\0');
    return file + data_;
  }

 private:
  std::string values_;
  std::string infos_;
  std::string data_;
  uint64_t num_values_ = 0;
  uint64_t num_tensors_ = 0;
};

}  // namespace bitdial::testing
