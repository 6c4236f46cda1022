// The reference rows against cases small enough to work out by hand, and the vector exponential
// against libm. Every other row is held against these references by tests/conformance.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/kernel_table.h"
#include "kernels/ops/elementwise/elementwise_kernels.h"
#include "tests/testing/worst_cell.h"

namespace bitdial::kernels {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;

class ReferenceTest : public ::testing::Test {
 protected:
  template <typename Fn>
  Fn Find(const KernelKey& key, const KernelShape& shape = {}) {
    return table_.FindFn<Fn>(key, shape).value();
  }
  KernelTable table_ = KernelTable::Create(CpuFeatures{}, "cpu_ref").value();
  ThreadPool pool_{1};
  Stream stream_{pool_};
};

template <typename T, size_t n>
DenseWeight WeightOf(const T (&values)[n], DType dtype, int64_t out, int64_t in) {
  DenseWeight weight;
  weight.w = {reinterpret_cast<const std::byte*>(values), dtype, {out, in}};
  return weight;
}

TEST_F(ReferenceTest, DenseLinear) {
  const float w32[] = {1, 2, 3, -1, 0.5f, 0};
  const uint16_t w16[] = {0x3c00, 0x4000, 0x4200, 0xbc00, 0x3800, 0};   // the same in f16
  const uint16_t wb16[] = {0x3f80, 0x4000, 0x4040, 0xbf80, 0x3f00, 0};  // and in bf16
  const float x[] = {1, 10, 100, /*gap*/ -9, 2, 0, -1};
  const float bias[] = {0.25f, -4};
  for (const DenseWeight& weight :
       {WeightOf(w32, DType::kF32, 2, 3), WeightOf(w16, DType::kF16, 2, 3),
        WeightOf(wb16, DType::kBF16, 2, 3)}) {
    float y[4] = {};
    LinearArgs args;
    args.dense = &weight;
    args.x = {x, 2, 3, 4};
    args.y = MakeMatrix(y, 2, 2);
    args.bias = bias;
    const KernelShape shape = {.in_features = 3, .out_features = 2, .weight_dtype = weight.w.dtype};
    Find<LinearFn>({.op = Op::kLinear, .weight_format = WeightFormat::kDense}, shape)(args,
                                                                                      stream_);
    EXPECT_THAT(y, ElementsAre(321.25f, 0, -0.75f, -6));
  }
}

TEST_F(ReferenceTest, DenseLinearSumsInDouble) {
  const float w[] = {1, 1, 1};
  const float x[] = {1e8f, 1, -1e8f};
  const DenseWeight weight = WeightOf(w, DType::kF32, 1, 3);
  float y = 0;
  LinearArgs args;
  args.dense = &weight;
  args.x = MakeMatrix(x, 1, 3);
  args.y = MakeMatrix(&y, 1, 1);
  Find<LinearFn>({.op = Op::kLinear, .weight_format = WeightFormat::kDense},
                 {.in_features = 3, .out_features = 1})(args, stream_);
  EXPECT_EQ(y, 1.0f);  // 0 in f32
}

TEST_F(ReferenceTest, DenseEmbedding) {
  const uint16_t w[] = {0x3c00, 0x4000, 0x4200, 0x4400};
  const DenseWeight weight = WeightOf(w, DType::kF16, 2, 2);
  const int32_t ids[] = {1, 0, 1};
  float out[6] = {};
  EmbeddingArgs args;
  args.dense = &weight;
  args.token_ids = ids;
  args.out = MakeMatrix(out, 3, 2);
  Find<EmbeddingFn>({.op = Op::kEmbedding, .weight_format = WeightFormat::kDense},
                    {.in_features = 2, .out_features = 2, .weight_dtype = DType::kF16})(args,
                                                                                        stream_);
  EXPECT_THAT(out, ElementsAre(3, 4, 1, 2, 3, 4));
}

TEST_F(ReferenceTest, RmsNorm) {
  float x[] = {3, 4, 3, -4};  // mean of squares 12.5; in place
  const float weight[] = {1, 2, 0, -1};
  Find<RmsNormFn>({.op = Op::kRmsNorm})(
      {MakeMatrix<const float>(x, 1, 4), MakeMatrix(x, 1, 4), weight, 3.5f}, stream_);
  EXPECT_THAT(x, ElementsAre(0.75f, 2.0f, 0.0f, 1.0f));  // root of 12.5 + 3.5 is 4
}

TEST_F(ReferenceTest, RopeTurnsPairsOfHalves) {
  // Two heads of four channels; position 1 turns channel pair 0 by 90 degrees and pair 1 by 180.
  float x[] = {1, 2, 3, 4, 5, 6, 7, 8};
  const float cos[] = {1, 1, 0, -1};
  const float sin[] = {0, 0, 1, 0};
  const int32_t positions[] = {1};
  Find<RopeFn>({.op = Op::kRope}, {.head_dim = 4})({MakeMatrix(x, 1, 8), 2, 4, cos, sin, positions},
                                                   stream_);
  EXPECT_THAT(x, ElementsAre(-3, -2, 1, -4, -7, -6, 5, -8));
}

TEST_F(ReferenceTest, SiluMulAndAdd) {
  const float gate[] = {0, 1, -1, 100};
  const float up[] = {5, 2, 2, 0.5f};
  float out[4] = {};
  Find<SiluMulFn>({.op = Op::kSiluMul})(
      {MakeMatrix(gate, 1, 4), MakeMatrix(up, 1, 4), MakeMatrix(out, 1, 4)}, stream_);
  EXPECT_THAT(out, ElementsAre(0, FloatEq(1.46211716f), FloatEq(-0.53788284f), 50));
  Find<AddFn>({.op = Op::kAdd})({MakeMatrix(up, 1, 4), MakeMatrix(out, 1, 4)}, stream_);
  EXPECT_THAT(out, ElementsAre(5, FloatEq(3.46211716f), FloatEq(1.46211716f), 50.5f));
}

// Mean 3, variance 8 / 3 (of the population); in place.
TEST_F(ReferenceTest, LayerNorm) {
  float x[] = {1, 5, 3, /*a row without spread*/ 7, 7, 7};
  const float weight[] = {1, 1, 2}, bias[] = {0, 10, -1};
  Find<LayerNormFn>({.op = Op::kLayerNorm})(
      {MakeMatrix(x, 2, 3), MakeMatrix(x, 2, 3), weight, bias, 1.0f / 3}, stream_);
  const float unit = 1.1547005f;  // 2 / sqrt(8 / 3 + 1 / 3)
  EXPECT_THAT(x, ElementsAre(FloatEq(-unit), FloatEq(10 + unit), -1, 0, 10, -1));
}

TEST_F(ReferenceTest, ReluAndGelu) {
  const float nan = std::nanf("");
  const float x[] = {-2, -0.0f, 3, nan, -1, 10, -10};
  float out[7] = {};
  Find<ReluFn>({.op = Op::kRelu})({MakeMatrix(x, 1, 7), MakeMatrix(out, 1, 7)}, stream_);
  EXPECT_THAT(out, ElementsAre(0, 0, 3, ::testing::IsNan(), 0, 10, 0));
  Find<GeluFn>({.op = Op::kGelu})({MakeMatrix(x, 1, 7), MakeMatrix(out, 1, 7)}, stream_);
  EXPECT_THAT(out, ElementsAre(FloatEq(-0.04550026f), 0, FloatEq(2.9959503f), ::testing::IsNan(),
                               FloatEq(-0.15865525f), 10, FloatEq(-7.6198530e-23f)));
}

// Two sequences, one KV head for two query heads, blocks of two tokens out of order.
TEST_F(ReferenceTest, AppendThenAttend) {
  for (KvFormat format : {KvFormat::kF32, KvFormat::kF16}) {
    const KernelShape shape = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 2};
    const int64_t element = format == KvFormat::kF32 ? 4 : 2;
    // A block: K [1, 2, 2], V [1, 2, 2]. Sequence 0 has blocks 2 and 0, sequence 1 block 1.
    std::vector<std::byte> blocks(3 * 8 * element);
    const int32_t tables[] = {2, 0, 1, -1};
    const KvSegment segment = {blocks.data(), 8 * element, 2, tables, 2, 1, 2};

    const float k[] = {0, 0, 0, 0, 0, 0, 7, 7};
    const float v[] = {1, 2, 3, 4, 8, 0, -5, 5};
    const int32_t seq_idx[] = {0, 0, 0, 1};
    const int32_t positions[] = {0, 1, 2, 0};
    Find<KvAppendFn>({.op = Op::kKvAppend, .kv_format = format}, shape)(
        {MakeMatrix(k, 4, 2), MakeMatrix(v, 4, 2), seq_idx, positions, segment}, stream_);

    // Keys of zero weigh every token alike, and causally.
    const float q[] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
    float out[16] = {};
    Find<AttentionFn>({.op = Op::kAttention, .kv_format = format}, shape)(
        {MakeMatrix(q, 4, 4), MakeMatrix(out, 4, 4), 2, 0.5f, seq_idx, positions, segment},
        stream_);
    EXPECT_THAT(out, ElementsAre(1, 2, 1, 2, 2, 3, 2, 3, 4, 2, 4, 2, -5, 5, -5, 5)) << Name(format);
  }
}

TEST_F(ReferenceTest, AttentionIsASoftmax) {
  const KernelShape shape = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 1};
  float block[] = {1, 2, /*V*/ 10, 20};
  const int32_t table[] = {0};
  const int32_t seq_idx[] = {0}, positions[] = {1};
  const float q[] = {2};
  float out[1] = {};
  Find<AttentionFn>({.op = Op::kAttention, .kv_format = KvFormat::kF32}, shape)(
      {MakeMatrix(q, 1, 1),
       MakeMatrix(out, 1, 1),
       1,
       0.5f,
       seq_idx,
       positions,
       {reinterpret_cast<std::byte*>(block), sizeof(block), 2, table, 1, 1, 1}},
      stream_);
  EXPECT_FLOAT_EQ(out[0], 17.310586f);  // weights 1 : e
}

// The bound that x16_common.h states, in units of the last place of the exact value.
TEST(VectorExp, StaysWithinTwoUnitsOfTheLastPlace) {
  const CpuFeatures features = DetectCpuFeatures();
  if (!features.avx2) GTEST_SKIP() << "SKIPPED: this processor has no AVX2";
  std::vector<float> x;
  for (int i = -8733000; i <= 8872000; i += 7) x.push_back(static_cast<float>(i) * 1e-5f);
  std::vector<float> got(x.size()), wide(x.size());
  cpu::avx2::ExpRun(x.data(), got.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  float worst_x = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    const double error = testing::ErrorOf(got[i], exact) / ulp;
    if (error > worst) worst = error, worst_x = x[i];
  }
  std::printf("e^x: %zu values, worst %.3f ulp at x = %.9g\n", x.size(), worst, worst_x);
  EXPECT_LE(worst, 2.0);
  if (features.avx512) {
    cpu::avx512::ExpRun(x.data(), wide.data(), static_cast<int64_t>(x.size()));
    EXPECT_EQ(std::memcmp(got.data(), wide.data(), x.size() * sizeof(float)), 0)
        << "the two ISAs differ";
  }
}

TEST(VectorExp, HasTheLimits) {
  if (!DetectCpuFeatures().avx2) GTEST_SKIP() << "SKIPPED: this processor has no AVX2";
  const float inf = std::numeric_limits<float>::infinity();
  const float x[] = {0, -0.0f, -inf, inf, -87.4f, -1e30f, 88.73f, 1e30f, std::nanf("")};
  float y[9];
  cpu::avx2::ExpRun(x, y, 9);
  for (int i : {0, 1}) EXPECT_EQ(y[i], 1.0f);
  for (int i : {2, 4, 5}) EXPECT_EQ(y[i], 0.0f);
  for (int i : {3, 6, 7}) EXPECT_EQ(y[i], inf) << x[i];
  EXPECT_TRUE(std::isnan(y[8]));
}

}  // namespace
}  // namespace bitdial::kernels
