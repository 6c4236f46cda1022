#include "quant/container/gguf_value.h"

#include <array>
#include <limits>

namespace bitdial::quant {

const char* Name(GgufValueType type) {
  static constexpr std::array<const char*, kNumGgufValueTypes> kNames = {
      "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
      "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<size_t>(type)];
}

size_t SizeOf(GgufValueType type) {
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kI8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kU16:
    case GgufValueType::kI16:
      return 2;
    case GgufValueType::kU32:
    case GgufValueType::kI32:
    case GgufValueType::kF32:
      return 4;
    case GgufValueType::kU64:
    case GgufValueType::kI64:
    case GgufValueType::kF64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      return 0;
  }
  return 0;
}

std::optional<int64_t> LoadInt(GgufValueType type, const std::byte* data) {
  switch (type) {
    case GgufValueType::kU8:
      return Load<uint8_t>(data);
    case GgufValueType::kI8:
      return Load<int8_t>(data);
    case GgufValueType::kU16:
      return Load<uint16_t>(data);
    case GgufValueType::kI16:
      return Load<int16_t>(data);
    case GgufValueType::kU32:
      return Load<uint32_t>(data);
    case GgufValueType::kI32:
      return Load<int32_t>(data);
    case GgufValueType::kI64:
      return Load<int64_t>(data);
    case GgufValueType::kU64: {
      const auto value = Load<uint64_t>(data);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

}  // namespace bitdial::quant
