#include "server/cli/load/bits_mix.h"

#include "server/cli/load/number_text.h"

namespace bitdial::server {
namespace {

constexpr int32_t kMaxBits = 16;  // more than any model has; the server knows which it has
constexpr size_t kMaxParts = 16;
constexpr double kMinWeight = 1e-6, kMaxWeight = 1e6;

absl::StatusOr<BitsMix::Part> ParsePart(std::string_view text) {
  const size_t colon = text.find(':');
  BITDIAL_ASSIGN_OR_RETURN(const BitsWish wish, ParseBitsWish(text.substr(0, colon)));
  if (colon == std::string_view::npos) return BitsMix::Part{wish, 1};
  const auto weight = FiniteNumber(text.substr(colon + 1), kMinWeight, kMaxWeight);
  if (!weight) {
    return InvalidArgument("weight \"{}\": expected a number in [{}, {}], as in 4:0.5,2:0.5",
                           text.substr(colon + 1), kMinWeight, kMaxWeight);
  }
  return BitsMix::Part{wish, *weight};
}

}  // namespace

std::string ToText(BitsWish wish) {
  switch (wish.kind) {
    case BitsWish::Kind::kDefault:
      return "default";
    case BitsWish::Kind::kFixed:
      return wish.bits == 0 ? "dense" : std::to_string(wish.bits);
    case BitsWish::Kind::kAuto:
      return wish.bits == 0 ? "auto" : fmt::format("auto:{}", wish.bits);
  }
  return "";
}

absl::StatusOr<BitsWish> ParseBitsWish(std::string_view text) {
  using Kind = BitsWish::Kind;
  if (text == "dense") return BitsWish{Kind::kFixed, 0};
  if (text == "auto") return BitsWish{Kind::kAuto, 0};
  const bool is_auto = text.starts_with("auto:");
  const auto bits = WholeNumber(is_auto ? text.substr(5) : text, 1, kMaxBits);
  if (!bits) {
    return InvalidArgument("bits \"{}\": expected a number in [1, {}], dense, auto or auto:FLOOR",
                           text, kMaxBits);
  }
  return BitsWish{is_auto ? Kind::kAuto : Kind::kFixed, static_cast<int32_t>(*bits)};
}

absl::StatusOr<BitsMix> BitsMix::Parse(std::string_view text) {
  BitsMix mix;
  mix.parts_.clear();
  if (text.starts_with("auto")) {
    BITDIAL_ASSIGN_OR_RETURN(const BitsWish wish, ParseBitsWish(text));
    mix.parts_ = {{wish, 1}};
    return mix;
  }
  double sum = 0;
  for (std::string_view rest = text; mix.parts_.size() <= kMaxParts;) {
    const size_t comma = rest.find(',');
    BITDIAL_ASSIGN_OR_RETURN(const Part part, ParsePart(rest.substr(0, comma)));
    for (const Part& other : mix.parts_) {
      if (other.wish == part.wish) {
        return InvalidArgument("bits {} are named twice; give them one weight", ToText(part.wish));
      }
    }
    mix.parts_.push_back(part);
    sum += part.share;
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (mix.parts_.size() > kMaxParts) return InvalidArgument("more than {} bits", kMaxParts);
  for (Part& part : mix.parts_) part.share /= sum;
  return mix;
}

BitsWish BitsMix::Pick(double unit) const {
  for (const Part& part : parts_) {
    if (unit < part.share) return part.wish;
    unit -= part.share;
  }
  return parts_.back().wish;  // shares may add up to a rounding less than 1
}

}  // namespace bitdial::server
