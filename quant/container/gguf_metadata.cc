// GgufFile's metadata, asked for by key. Lengths were checked when the file was opened.
#include <cstring>
#include <optional>

#include "quant/container/gguf_file.h"

namespace bitdial::quant {

std::vector<std::string_view> GgufFile::Keys() const {
  std::vector<std::string_view> keys;
  keys.reserve(values_.size());
  for (const auto& [key, value] : values_) keys.push_back(key);
  return keys;
}

absl::StatusOr<const GgufValue*> GgufFile::Find(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return NotFound("{}: metadata key \"{}\" is missing", path(), key);
  return &found->second;
}

absl::Status GgufFile::WrongType(std::string_view key, const GgufValue& value,
                                 const char* expected) const {
  const bool is_array = value.type == GgufValueType::kArray;
  return DataLoss("{}: metadata key \"{}\" is {}{}, expected {}", path(), key,
                  is_array ? "an array of " : "", Name(is_array ? value.element_type : value.type),
                  expected);
}

absl::StatusOr<std::string_view> GgufFile::GetString(std::string_view key) const {
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, Find(key));
  if (value->type != GgufValueType::kString) return WrongType(key, *value, "a string");
  return AsText(value->payload);
}

absl::StatusOr<std::string_view> GgufFile::GetStringOr(std::string_view key,
                                                       std::string_view fallback) const {
  if (!Has(key)) return fallback;
  return GetString(key);
}

absl::StatusOr<int64_t> GgufFile::GetInt(std::string_view key, int64_t min, int64_t max) const {
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, Find(key));
  const std::optional<int64_t> number = LoadInt(value->type, value->payload.data());
  if (!number.has_value()) return WrongType(key, *value, "an integer");
  if (*number < min || *number > max) {
    return DataLoss("{}: metadata key \"{}\" is {}, expected {} to {}", path(), key, *number, min,
                    max);
  }
  return *number;
}

absl::StatusOr<int64_t> GgufFile::GetIntOr(std::string_view key, int64_t fallback, int64_t min,
                                           int64_t max) const {
  if (!Has(key)) return fallback;
  return GetInt(key, min, max);
}

absl::StatusOr<double> GgufFile::GetFloat(std::string_view key) const {
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, Find(key));
  if (value->type == GgufValueType::kF32) return Load<float>(value->payload.data());
  if (value->type == GgufValueType::kF64) return Load<double>(value->payload.data());
  return WrongType(key, *value, "a float");
}

absl::StatusOr<double> GgufFile::GetFloatOr(std::string_view key, double fallback) const {
  if (!Has(key)) return fallback;
  return GetFloat(key);
}

absl::StatusOr<bool> GgufFile::GetBoolOr(std::string_view key, bool fallback) const {
  if (!Has(key)) return fallback;
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, Find(key));
  if (value->type != GgufValueType::kBool) return WrongType(key, *value, "a bool");
  return Load<uint8_t>(value->payload.data()) != 0;
}

bool GgufFile::IsArray(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.type == GgufValueType::kArray;
}

absl::StatusOr<const GgufValue*> GgufFile::FindArray(std::string_view key) const {
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, Find(key));
  if (value->type != GgufValueType::kArray) return WrongType(key, *value, "an array");
  return value;
}

absl::StatusOr<std::vector<std::string_view>> GgufFile::GetStrings(std::string_view key) const {
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, FindArray(key));
  if (value->element_type != GgufValueType::kString)
    return WrongType(key, *value, "an array of strings");
  std::vector<std::string_view> strings;
  strings.reserve(static_cast<size_t>(value->count));
  const std::string_view payload = AsText(value->payload);
  for (size_t pos = 0; pos < payload.size();) {  // lengths were checked when the file was opened
    const auto length = static_cast<size_t>(Load<uint64_t>(value->payload.data() + pos));
    strings.push_back(payload.substr(pos + sizeof(uint64_t), length));
    pos += sizeof(uint64_t) + length;
  }
  return strings;
}

absl::StatusOr<std::vector<int64_t>> GgufFile::GetInts(std::string_view key) const {
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, FindArray(key));
  const size_t size = SizeOf(value->element_type);
  std::vector<int64_t> numbers;
  if (size > 0) numbers.reserve(static_cast<size_t>(value->count));
  for (uint64_t i = 0; i < value->count; ++i) {
    const std::optional<int64_t> number =
        LoadInt(value->element_type, value->payload.data() + (size > 0 ? i * size : 0));
    if (!number.has_value()) return WrongType(key, *value, "an array of integers below 2^63");
    numbers.push_back(*number);
  }
  return numbers;
}

absl::StatusOr<std::vector<float>> GgufFile::GetFloats(std::string_view key) const {
  BITDIAL_ASSIGN_OR_RETURN(const GgufValue* value, FindArray(key));
  if (value->element_type != GgufValueType::kF32) return WrongType(key, *value, "an array of f32");
  std::vector<float> numbers(static_cast<size_t>(value->count));
  if (!numbers.empty()) std::memcpy(numbers.data(), value->payload.data(), value->payload.size());
  return numbers;
}

}  // namespace bitdial::quant
