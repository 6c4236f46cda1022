// Which bits the requests of a load ask for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial::server {

// What one request asks for.
struct BitsWish {
  enum class Kind { kDefault, kFixed, kAuto };
  Kind kind = Kind::kDefault;  // kDefault: the server's
  int32_t bits = 0;            // kFixed: 0 is dense; kAuto: the floor, 0 is none

  bool operator==(const BitsWish&) const = default;
};

// "default", "dense", "4", "auto", "auto:2".
std::string ToText(BitsWish wish);
// The same words but "default".
// Errors  INVALID_ARGUMENT, without saying where the text stands.
absl::StatusOr<BitsWish> ParseBitsWish(std::string_view text);

// Wishes and how often each is drawn.
class BitsMix {
 public:
  struct Part {
    BitsWish wish;
    double share = 1;  // of 1, in sum over the parts
  };

  BitsMix() : parts_{{}} {}  // the server's default alone
  // "2,3,4" (equal shares), "4:0.7,2:0.3" (weights, of any sum), "auto", "auto:2", "dense".
  // Errors  INVALID_ARGUMENT.
  static absl::StatusOr<BitsMix> Parse(std::string_view text);

  const std::vector<Part>& parts() const { return parts_; }
  // unit: in [0, 1).
  BitsWish Pick(double unit) const;

 private:
  std::vector<Part> parts_;
};

}  // namespace bitdial::server
