// Numbers out of flags and CSV cells, strictly: the whole text is the number, or there is none.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bitdial::server {

inline std::optional<int64_t> WholeNumber(std::string_view text, int64_t min, int64_t max) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (!is_number || value < min || value > max) return std::nullopt;
  return value;
}

// Neither NaN nor infinite.
inline std::optional<double> FiniteNumber(std::string_view text, double min, double max) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (!is_number || !(value >= min && value <= max)) return std::nullopt;
  return value;
}

}  // namespace bitdial::server
