// Every block type of ggml against the `gguf` package (golden/make_gguf_golden.py), bit for bit.
#include "quant/container/ggml_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "quant/container/safetensors_file.h"
#include "tests/testing/status_matchers.h"

namespace bitdial::quant {
namespace {

using testing::IsOk;

const GgmlType kBlockTypes[] = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1,
                                GgmlType::kQ8_0, GgmlType::kQ2_K, GgmlType::kQ3_K, GgmlType::kQ4_K,
                                GgmlType::kQ5_K, GgmlType::kQ6_K};

// blocks.safetensors, by name.
class GgmlBlocksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = SafetensorsFile::Open(BITDIAL_SOURCE_DIR "/tests/golden/gguf/blocks.safetensors");
    ASSERT_THAT(file, IsOk());
    file_ = *std::move(file);
    for (const SafetensorsEntry& entry : file_->entries()) entries_[entry.name] = &entry;
  }
  const SafetensorsEntry& Entry(const std::string& name) { return *entries_.at(name); }

  std::map<std::string, const SafetensorsEntry*> entries_;

 private:
  std::unique_ptr<SafetensorsFile> file_;
};

TEST_F(GgmlBlocksTest, AnyBitsGiveTheReferencesValues) {
  for (const GgmlType type : kBlockTypes) {
    const GgmlTypeTraits& traits = Traits(type);
    SCOPED_TRACE(traits.name);
    const SafetensorsEntry& blocks = Entry(std::string(traits.name) + ".blocks");
    const SafetensorsEntry& expected = Entry(std::string(traits.name) + ".values");
    const int64_t num_blocks = blocks.shape[0];
    ASSERT_EQ(blocks.shape, (Shape{num_blocks, traits.block_bytes}));
    ASSERT_EQ(expected.shape, (Shape{num_blocks, traits.block_values}));
    std::vector<float> values(static_cast<size_t>(expected.shape.NumElements()));
    DequantizeGgml(type, blocks.data, expected.shape.NumElements(), values.data());
    int num_finite = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      float want = 0;
      std::memcpy(&want, expected.data.data() + i * sizeof(float), sizeof(float));
      num_finite += std::isfinite(want);
      if (std::isnan(want)) {  // which NaN is not defined
        ASSERT_TRUE(std::isnan(values[i])) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(want))
            << i << ": got " << values[i] << ", expected " << want;
      }
    }
    EXPECT_GT(num_finite, static_cast<int>(values.size()) / 2);
  }
  EXPECT_EQ(entries_.size(), 2 * std::size(kBlockTypes));  // the golden has no other type
}

// Blocks lie at any address of a file, and rows are dequantized one by one.
TEST_F(GgmlBlocksTest, NeitherAlignmentNorNeighboursMatter) {
  for (const GgmlType type : kBlockTypes) {
    const GgmlTypeTraits& traits = Traits(type);
    const SafetensorsEntry& blocks = Entry(std::string(traits.name) + ".blocks");
    const int64_t num_blocks = blocks.shape[0];
    std::vector<float> all(static_cast<size_t>(num_blocks * traits.block_values));
    DequantizeGgml(type, blocks.data, num_blocks * traits.block_values, all.data());
    for (int64_t b = 0; b < num_blocks; ++b) {
      const auto block = blocks.data.subspan(static_cast<size_t>(b * traits.block_bytes),
                                             static_cast<size_t>(traits.block_bytes));
      std::vector<std::byte> moved(block.size() + 1);
      std::copy(block.begin(), block.end(), moved.begin() + 1);
      std::vector<float> one(static_cast<size_t>(traits.block_values));
      DequantizeGgml(type, std::span(moved).subspan(1), traits.block_values, one.data());
      EXPECT_EQ(
          std::memcmp(one.data(), all.data() + b * traits.block_values, one.size() * sizeof(float)),
          0)
          << traits.name << " block " << b;
    }
  }
}

TEST(GgmlTypesTest, NamesEveryTypeItReads) {
  EXPECT_EQ(GgmlTypesRead(),
            "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K and Q6_K");
  EXPECT_EQ(GgmlTypeName(12), "Q4_K");
  EXPECT_EQ(GgmlTypeName(23), "IQ4_XS");
  EXPECT_EQ(GgmlTypeName(5), "type 5");  // ggml removed it
  EXPECT_EQ(GgmlTypeName(UINT32_MAX), "type 4294967295");
  for (uint32_t number = 0; number < 64; ++number) {
    const GgmlTypeTraits* traits = FindGgmlType(number);
    if (traits == nullptr) continue;
    EXPECT_EQ(GgmlTypeName(number), traits->name);
  }
}

}  // namespace
}  // namespace bitdial::quant
