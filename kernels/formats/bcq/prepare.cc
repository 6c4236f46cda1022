#include "kernels/formats/bcq/prepare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/core/dtype.h"

namespace bitdial::kernels {
namespace {

using bcq::kBlockInputs;
using bcq::kMaxBits;
using bcq::kTileLanes;
using bcq::Layout;

// Larger dimensions are damage, not models; with them every product below stays far inside 64 bits.
constexpr int64_t kMaxFeatures = int64_t{1} << 31;

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (int axis = 0; axis < shape.rank; ++axis)
    text += fmt::format("{}{}", axis > 0 ? ", " : "", shape[axis]);
  return text + "]";
}

absl::Status CheckCodes(const CanonicalBcq& canonical) {
  const TensorView& codes = canonical.codes;
  if (codes.data == nullptr || codes.dtype != DType::kI32 || codes.shape.rank != 3) {
    return InvalidArgument(
        "codes are {} {}, expected i32 [in_features / 32, max_bits, out_features]",
        Name(codes.dtype), ToString(codes.shape));
  }
  const int64_t num_blocks = codes.shape[0], max_bits = codes.shape[1],
                out_features = codes.shape[2];
  if (max_bits < 1 || max_bits > kMaxBits) {
    return InvalidArgument("codes {} hold {} planes, expected 1 to {}", ToString(codes.shape),
                           max_bits, kMaxBits);
  }
  if (num_blocks < 1 || num_blocks > kMaxFeatures / kBlockInputs || out_features < 1 ||
      out_features > kMaxFeatures) {
    return InvalidArgument("codes {}: in_features and out_features must be 1 to {}",
                           ToString(codes.shape), kMaxFeatures);
  }
  const int64_t in_features = num_blocks * kBlockInputs;
  if (canonical.group_size < kBlockInputs || canonical.group_size % kBlockInputs != 0 ||
      in_features % canonical.group_size != 0) {
    return InvalidArgument("group_size {} must be a multiple of 32 that divides in_features {}",
                           canonical.group_size, in_features);
  }
  return absl::OkStatus();
}

bool IsFloat(DType dtype) { return dtype == DType::kF16 || dtype == DType::kF32; }

// Element i of a scale tensor as the f16 the kernels read.
uint16_t HalfAt(const TensorView& tensor, int64_t i) {
  return tensor.dtype == DType::kF16 ? tensor.As<uint16_t>()[i] : F32ToF16(tensor.As<float>()[i]);
}

absl::Status CheckFinite(const TensorView& tensor, int bits, const char* name) {
  const int64_t count = tensor.shape.NumElements();
  for (int64_t i = 0; i < count; ++i) {
    if ((HalfAt(tensor, i) & 0x7c00u) == 0x7c00u) {
      return InvalidArgument(
          "{} of the {}-bit set is not a finite f16 at element {} of {}: the checkpoint is damaged",
          name, bits, i, ToString(tensor.shape));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckScales(const CanonicalBcq& canonical) {
  const int64_t max_bits = canonical.codes.shape[1], out_features = canonical.codes.shape[2];
  const int64_t num_groups = canonical.codes.shape[0] * kBlockInputs / canonical.group_size;
  if (canonical.scales.empty())
    return InvalidArgument("no alpha set: at least one of 1 to {} bits is needed", max_bits);
  int previous = 0;
  for (const CanonicalScales& set : canonical.scales) {
    if (set.bits <= previous || set.bits > max_bits) {
      return InvalidArgument(
          "alpha set of {} bits after {}: sets must ascend within 1 to {} (the planes stored)",
          set.bits, previous, max_bits);
    }
    previous = set.bits;
    const Shape alpha_shape = {num_groups, set.bits, out_features};
    if (set.alpha.data == nullptr || !IsFloat(set.alpha.dtype) || set.alpha.shape != alpha_shape) {
      return InvalidArgument("alpha of the {}-bit set is {} {}, expected f16 {}", set.bits,
                             Name(set.alpha.dtype), ToString(set.alpha.shape),
                             ToString(alpha_shape));
    }
    BITDIAL_RETURN_IF_ERROR(CheckFinite(set.alpha, set.bits, "alpha"));
    if (set.beta.data == nullptr) continue;
    const Shape beta_shape = {num_groups, out_features};
    if (!IsFloat(set.beta.dtype) || set.beta.shape != beta_shape) {
      return InvalidArgument("beta of the {}-bit set is {} {}, expected f16 {}", set.bits,
                             Name(set.beta.dtype), ToString(set.beta.shape), ToString(beta_shape));
    }
    BITDIAL_RETURN_IF_ERROR(CheckFinite(set.beta, set.bits, "beta"));
  }
  return absl::OkStatus();
}

bool IsAllZero(const TensorView& tensor) {
  const int64_t count = tensor.shape.NumElements();
  for (int64_t i = 0; i < count; ++i) {
    if ((HalfAt(tensor, i) & 0x7fffu) != 0) return false;
  }
  return true;
}

// [rows, out_features] -> [out_tile][rows][64] f16, zeros in the padded lanes.
absl::StatusOr<Buffer> TileScales(const TensorView& tensor, int64_t num_rows, int64_t out_features,
                                  ThreadPool& pool) {
  const int64_t num_tiles = (out_features + kTileLanes - 1) / kTileLanes;
  BITDIAL_ASSIGN_OR_RETURN(
      Buffer buffer,
      Buffer::Allocate(Device::kCpu, static_cast<size_t>(num_tiles * num_rows * kTileLanes) * 2));
  uint16_t* const out = buffer.As<uint16_t>();
  pool.ParallelFor(num_tiles, [&](int64_t tile) {
    const int64_t begin = tile * kTileLanes;
    const int64_t lanes = std::min(kTileLanes, out_features - begin);
    for (int64_t row = 0; row < num_rows; ++row) {
      uint16_t* const to = out + (tile * num_rows + row) * kTileLanes;
      for (int64_t lane = 0; lane < lanes; ++lane)
        to[lane] = HalfAt(tensor, row * out_features + begin + lane);
      std::fill(to + lanes, to + kTileLanes, uint16_t{0});
    }
  });
  return buffer;
}

absl::StatusOr<Buffer> TileCodes(const TensorView& codes, const Layout& layout, ThreadPool& pool) {
  const int64_t max_bits = codes.shape[1], out_features = codes.shape[2];
  BITDIAL_ASSIGN_OR_RETURN(
      Buffer buffer,
      Buffer::Allocate(Device::kCpu, static_cast<size_t>(layout.num_tiles * layout.tile_stride) *
                                         sizeof(uint32_t)));
  uint32_t* const out = buffer.As<uint32_t>();
  const uint32_t* const in = codes.As<uint32_t>();
  pool.ParallelFor(layout.num_tiles, [&](int64_t tile) {
    const int64_t begin = tile * kTileLanes;
    const int64_t lanes = std::min(kTileLanes, out_features - begin);
    if (lanes < kTileLanes) std::fill_n(out + tile * layout.tile_stride, layout.tile_stride, 0u);
    for (int64_t block = 0; block < layout.num_blocks; ++block) {
      for (int64_t plane = 0; plane < max_bits; ++plane) {
        std::memcpy(out + layout.CodeOffset(tile, plane, block),
                    in + (block * max_bits + plane) * out_features + begin,
                    static_cast<size_t>(lanes) * sizeof(uint32_t));
      }
    }
  });
  return buffer;
}

}  // namespace

absl::StatusOr<BcqWeight> PrepareBcq(const CanonicalBcq& canonical, ThreadPool& pool) {
  BITDIAL_RETURN_IF_ERROR(CheckCodes(canonical));
  BITDIAL_RETURN_IF_ERROR(CheckScales(canonical));

  BcqWeight weight;
  weight.in_features = canonical.codes.shape[0] * kBlockInputs;
  weight.max_bits = static_cast<int>(canonical.codes.shape[1]);
  weight.out_features = canonical.codes.shape[2];
  weight.group_size = canonical.group_size;
  const Layout layout = bcq::LayoutOf(weight);
  BITDIAL_ASSIGN_OR_RETURN(weight.codes, TileCodes(canonical.codes, layout, pool));
  for (const CanonicalScales& set : canonical.scales) {
    BcqScales scales;
    scales.bits = set.bits;
    BITDIAL_ASSIGN_OR_RETURN(scales.alpha, TileScales(set.alpha, layout.num_groups * set.bits,
                                                      weight.out_features, pool));
    if (set.beta.data != nullptr && !IsAllZero(set.beta)) {
      BITDIAL_ASSIGN_OR_RETURN(scales.beta,
                               TileScales(set.beta, layout.num_groups, weight.out_features, pool));
    }
    weight.scales.push_back(std::move(scales));
  }
  return weight;
}

}  // namespace bitdial::kernels
