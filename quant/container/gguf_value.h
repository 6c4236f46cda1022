// One metadata value of a GGUF file, as it lies there. Little-endian, and at any address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace bitdial::quant {

// The numbers are the file format's.
enum class GgufValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
inline constexpr uint32_t kNumGgufValueTypes = 13;

const char* Name(GgufValueType type);
// Bytes of a value of fixed size; 0 for strings and arrays.
size_t SizeOf(GgufValueType type);

struct GgufValue {
  GgufValueType type = GgufValueType::kU8;
  GgufValueType element_type = GgufValueType::kU8;  // arrays: of their elements
  uint64_t count = 1;                               // arrays: number of elements
  std::span<const std::byte> payload;  // scalar, string bytes, or the array's elements as stored
};

template <typename T>
T Load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}
// The integer of `type` at `data`; nullopt when `type` is no integer type or the value is above
// int64.
std::optional<int64_t> LoadInt(GgufValueType type, const std::byte* data);

inline std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace bitdial::quant
