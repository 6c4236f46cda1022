#include "kernels/formats/bcq/concatenate.h"

#include <algorithm>
#include <cstring>

#include "kernels/core/check.h"
#include "kernels/formats/bcq/prepare.h"

namespace bitdial::kernels {
namespace {

bool HasSameForm(const BcqWeight& a, const BcqWeight& b) {
  return a.in_features == b.in_features && a.group_size == b.group_size &&
         a.max_bits == b.max_bits &&
         std::equal(a.scales.begin(), a.scales.end(), b.scales.begin(), b.scales.end(),
                    [](const BcqScales& x, const BcqScales& y) { return x.bits == y.bits; });
}

// The buffers one after the other, or nothing when all are empty. sizes: what an empty one stands
// for, in zeros.
absl::StatusOr<Buffer> Join(std::span<const Buffer* const> buffers, std::span<const size_t> sizes) {
  const bool is_nothing = std::all_of(buffers.begin(), buffers.end(),
                                      [](const Buffer* b) { return b->num_bytes() == 0; });
  if (is_nothing) return Buffer();
  size_t total = 0;
  for (const size_t size : sizes) total += size;
  BITDIAL_ASSIGN_OR_RETURN(Buffer joined, Buffer::Allocate(Device::kCpu, total));
  std::byte* to = joined.As<std::byte>();
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i]->num_bytes() == 0) {
      std::memset(to, 0, sizes[i]);
    } else {
      BITDIAL_CHECK(buffers[i]->num_bytes() == sizes[i]);
      std::memcpy(to, buffers[i]->As<std::byte>(), sizes[i]);
    }
    to += sizes[i];
  }
  return joined;
}

}  // namespace

bool CanConcatenate(std::span<const BcqWeight* const> parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!HasSameForm(*parts[i], *parts[0])) return false;
    if (i + 1 < parts.size() && parts[i]->out_features % bcq::kTileLanes != 0) return false;
  }
  return !parts.empty();
}

absl::StatusOr<BcqWeight> Concatenate(std::span<const BcqWeight* const> parts) {
  BITDIAL_CHECK(CanConcatenate(parts));
  const auto join = [&](auto&& buffer_of, auto&& size_of) {
    std::vector<const Buffer*> buffers;
    std::vector<size_t> sizes;
    for (const BcqWeight* part : parts) {
      buffers.push_back(buffer_of(*part));
      sizes.push_back(size_of(*part));
    }
    return Join(buffers, sizes);
  };
  // Values of 16 bits, `rows` rows a group, in whole tiles.
  const auto scale_bytes = [](const BcqWeight& part, int64_t rows) {
    const bcq::Layout layout = bcq::LayoutOf(part);
    return static_cast<size_t>(layout.num_tiles * layout.num_groups * rows * bcq::kTileLanes) * 2;
  };
  BcqWeight whole;
  whole.in_features = parts[0]->in_features;
  whole.group_size = parts[0]->group_size;
  whole.max_bits = parts[0]->max_bits;
  for (const BcqWeight* part : parts) whole.out_features += part->out_features;
  BITDIAL_ASSIGN_OR_RETURN(whole.codes,
                           join([](const BcqWeight& part) { return &part.codes; },
                                [](const BcqWeight& part) { return part.codes.num_bytes(); }));
  for (size_t i = 0; i < parts[0]->scales.size(); ++i) {
    BcqScales set;
    set.bits = parts[0]->scales[i].bits;
    BITDIAL_ASSIGN_OR_RETURN(
        set.alpha, join([&](const BcqWeight& part) { return &part.scales[i].alpha; },
                        [&](const BcqWeight& part) { return scale_bytes(part, set.bits); }));
    BITDIAL_ASSIGN_OR_RETURN(set.beta,
                             join([&](const BcqWeight& part) { return &part.scales[i].beta; },
                                  [&](const BcqWeight& part) { return scale_bytes(part, 1); }));
    BITDIAL_ASSIGN_OR_RETURN(
        set.alpha_i8, join([&](const BcqWeight& part) { return &part.scales[i].alpha_i8; },
                           [&](const BcqWeight& part) { return scale_bytes(part, set.bits) / 2; }));
    BITDIAL_ASSIGN_OR_RETURN(set.unit,
                             join([&](const BcqWeight& part) { return &part.scales[i].unit; },
                                  [&](const BcqWeight& part) { return scale_bytes(part, 1); }));
    whole.scales.push_back(std::move(set));
  }
  return whole;
}

}  // namespace bitdial::kernels
