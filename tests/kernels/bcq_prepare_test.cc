// The canonical form and its kernel layout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/formats/bcq/prepare.h"
#include "tests/kernels/bcq_random.h"

namespace bitdial::kernels {
namespace {

using bcq::kTileLanes;
using bcq::Layout;
using ::testing::HasSubstr;

TEST(BcqCanonical, BitTOfWordJIsElement32JPlusT) {
  const std::vector<uint8_t> signs = {
      // output 0: only element 0 is +1; output 1: only elements 31 and 33
      1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  //
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  //
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,  //
      0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  std::vector<int32_t> words(2 * 3 * 2, -7);
  PackPlane(MakeMatrix(signs.data(), 2, 64), 1, 3, words.data());
  // [block][plane][output]: planes 0 and 2 are untouched.
  const int32_t top = std::numeric_limits<int32_t>::min();
  EXPECT_THAT(words, ::testing::ElementsAre(-7, -7, 1, top, -7, -7, -7, -7, 0, 2, -7, -7));
}

TEST(BcqCanonical, PackAndUnpackAreInverse) {
  std::mt19937 random(3);
  std::vector<uint8_t> signs(37 * 96), back(signs.size());
  for (uint8_t& sign : signs) sign = random() & 1;
  std::vector<int32_t> words(3 * 4 * 37);
  PackPlane(MakeMatrix<const uint8_t>(signs.data(), 37, 96), 2, 4, words.data());
  UnpackPlane(words.data(), 2, 4, MakeMatrix(back.data(), 37, 96));
  EXPECT_EQ(signs, back);
}

TEST(BcqCanonical, DequantizeRowIsTheFormula) {
  // One group, two planes: weights are +-0.5 +-0.25 + 1.
  std::vector<int32_t> codes = {0b0011, 0b0101};
  std::vector<uint16_t> alpha = {F32ToF16(0.5f), F32ToF16(0.25f)}, beta = {F32ToF16(1.0f)};
  CanonicalBcq canonical;
  canonical.codes = {reinterpret_cast<std::byte*>(codes.data()), DType::kI32, {1, 2, 1}};
  canonical.group_size = 32;
  CanonicalScales& set = canonical.scales.emplace_back();
  set.bits = 2;
  set.alpha = {reinterpret_cast<std::byte*>(alpha.data()), DType::kF16, {1, 2, 1}};
  set.beta = {reinterpret_cast<std::byte*>(beta.data()), DType::kF16, {1, 1}};
  std::vector<float> weights(32);
  DequantizeRow(canonical, 2, 0, weights);
  EXPECT_EQ(weights[0], 1.75f);
  EXPECT_EQ(weights[1], 1.25f);
  EXPECT_EQ(weights[2], 0.75f);
  EXPECT_EQ(weights[3], 0.25f);
}

TEST(BcqPrepare, EveryWordAndScaleHasItsPlace) {
  ThreadPool pool(2);
  const RandomBcqOptions shapes[] = {
      {.in_features = 32, .out_features = 1, .group_size = 32, .max_bits = 1},
      {.in_features = 192, .out_features = 64, .group_size = 96, .max_bits = 3, .sets = {2, 3}},
      {.in_features = 256, .out_features = 131, .group_size = 128, .max_bits = 8},
  };
  for (const RandomBcqOptions& shape : shapes) {
    const RandomBcq random(shape);
    const absl::StatusOr<BcqWeight> weight = PrepareBcq(random.canonical, pool);
    ASSERT_TRUE(weight.ok()) << weight.status();
    const Layout layout = bcq::LayoutOf(*weight);
    for (int64_t out = 0; out < layout.num_tiles * kTileLanes; ++out) {
      const bool exists = out < shape.out_features;
      const int64_t tile = out / kTileLanes, lane = out % kTileLanes;
      for (int64_t block = 0; block < shape.in_features / 32; ++block) {
        for (int plane = 0; plane < shape.max_bits; ++plane) {
          const int64_t from = (block * shape.max_bits + plane) * shape.out_features + out;
          ASSERT_EQ(weight->codes.As<int32_t>()[layout.CodeOffset(tile, plane, block) + lane],
                    exists ? random.codes[from] : 0);
        }
      }
      for (size_t s = 0; s < weight->scales.size(); ++s) {
        const BcqScales& set = weight->scales[s];
        for (int64_t group = 0; group < layout.num_groups; ++group) {
          for (int plane = 0; plane < set.bits; ++plane) {
            const int64_t from = (group * set.bits + plane) * shape.out_features + out;
            const int64_t to =
                layout.AlphaOffset(tile, group, set.bits) + plane * kTileLanes + lane;
            ASSERT_EQ(set.alpha.As<uint16_t>()[to], exists ? random.alphas[s][from] : 0);
          }
          ASSERT_EQ(set.beta.As<uint16_t>()[layout.BetaOffset(tile, group) + lane],
                    exists ? random.betas[s][group * shape.out_features + out] : 0);
        }
      }
    }
  }
}

TEST(BcqPrepare, ScalesForTakesTheLargestSetThatIsNotLarger) {
  ThreadPool pool(1);
  const RandomBcq random({.max_bits = 6, .sets = {2, 4, 6}});
  const absl::StatusOr<BcqWeight> weight = PrepareBcq(random.canonical, pool);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ(weight->ScalesFor(1).bits, 2);
  EXPECT_EQ(weight->ScalesFor(3).bits, 2);
  EXPECT_EQ(weight->ScalesFor(4).bits, 4);
  EXPECT_EQ(weight->ScalesFor(5).bits, 4);
  EXPECT_EQ(weight->ScalesFor(8).bits, 6);
}

TEST(BcqPrepare, BetaOfZerosIsDroppedAndF32ScalesAreRounded) {
  ThreadPool pool(1);
  RandomBcq random({.sets = {4}});
  std::fill(random.betas[0].begin(), random.betas[0].end(), uint16_t{0x8000});  // -0
  std::vector<float> alpha;
  for (uint16_t half : random.alphas[0]) alpha.push_back(F16ToF32(half) * (1 + 0x1p-13f));
  random.canonical.scales[0].alpha.data = reinterpret_cast<std::byte*>(alpha.data());
  random.canonical.scales[0].alpha.dtype = DType::kF32;
  const absl::StatusOr<BcqWeight> weight = PrepareBcq(random.canonical, pool);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ(weight->scales[0].beta.num_bytes(), 0u);
  // [out_tile 1][group 2][plane 4][64]: one tile is the canonical order.
  for (size_t i = 0; i < alpha.size(); ++i) {
    EXPECT_EQ(weight->scales[0].alpha.As<uint16_t>()[i], random.alphas[0][i]);
  }
}

TEST(BcqPrepare, CountsItsBytes) {
  ThreadPool pool(1);
  const RandomBcq random({.in_features = 128, .out_features = 100, .max_bits = 3, .sets = {2, 3}});
  const absl::StatusOr<BcqWeight> weight = PrepareBcq(random.canonical, pool);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ(weight->CodeBytes(), 2 * 3 * 4 * 64 * 4);  // tiles, planes, blocks, lanes
  EXPECT_EQ(weight->ScaleBytes(),
            2 * 4 * ((2 + 1) + (3 + 1)) * 64 * 2);  // tiles, groups, alphas + beta, lanes
}

TEST(BcqPrepare, RefusesWhatDoesNotFitTogether) {
  ThreadPool pool(1);
  const auto message = [&](auto change) {
    RandomBcq random({.in_features = 96, .out_features = 5, .group_size = 32, .max_bits = 2});
    change(random);
    const absl::Status status = PrepareBcq(random.canonical, pool).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](RandomBcq& r) { r.canonical.group_size = 64; }),
              HasSubstr("group_size 64 must be a multiple of 32 that divides in_features 96"));
  EXPECT_THAT(message([](RandomBcq& r) { r.canonical.group_size = 16; }),
              HasSubstr("group_size 16"));
  EXPECT_THAT(message([](RandomBcq& r) { r.canonical.group_size = -1; }),
              HasSubstr("group_size -1"));
  EXPECT_THAT(message([](RandomBcq& r) { r.canonical.codes.dtype = DType::kF32; }),
              HasSubstr("codes are f32"));
  EXPECT_THAT(message([](RandomBcq& r) {
                r.canonical.codes.shape = {3, 10};
              }),
              HasSubstr("[3, 10]"));
  EXPECT_THAT(message([](RandomBcq& r) {
                r.canonical.codes.shape = {3, 9, 5};
              }),
              HasSubstr("9 planes"));
  EXPECT_THAT(message([](RandomBcq& r) {
                r.canonical.codes.shape = {0, 2, 5};
              }),
              HasSubstr("[0, 2, 5]"));
  EXPECT_THAT(message([](RandomBcq& r) {
                r.canonical.codes.shape = {int64_t{1} << 60, 2, 5};
              }),
              HasSubstr("in_features"));
  EXPECT_THAT(message([](RandomBcq& r) { r.canonical.scales.clear(); }), HasSubstr("no alpha set"));
  EXPECT_THAT(
      message([](RandomBcq& r) { std::swap(r.canonical.scales[0], r.canonical.scales[1]); }),
      HasSubstr("ascend"));
  EXPECT_THAT(message([](RandomBcq& r) { r.canonical.scales[1].bits = 3; }),
              HasSubstr("set of 3 bits"));
  EXPECT_THAT(message([](RandomBcq& r) {
                r.canonical.scales[1].alpha.shape = {3, 1, 5};
              }),
              HasSubstr("alpha of the 2-bit set is f16 [3, 1, 5], expected f16 [3, 2, 5]"));
  EXPECT_THAT(message([](RandomBcq& r) {
                r.canonical.scales[0].beta.shape = {5, 3};
              }),
              HasSubstr("beta of the 1-bit set"));
  EXPECT_THAT(message([](RandomBcq& r) { r.alphas[1][7] = 0x7e00; }), HasSubstr("element 7"));
  EXPECT_THAT(message([](RandomBcq& r) { r.betas[0][2] = 0xfc00; }),
              HasSubstr("not a finite f16 at element 2"));
}

}  // namespace
}  // namespace bitdial::kernels
