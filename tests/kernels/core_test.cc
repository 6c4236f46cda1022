// kernels/core: half-precision conversions, memory, threads.
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "kernels/backends/cpu/convert_kernels.h"
#include "kernels/core/buffer.h"
#include "kernels/core/cpu_features.h"
#include "kernels/core/dtype.h"
#include "kernels/core/machine_limits.h"
#include "kernels/core/stream.h"
#include "kernels/core/thread_pool.h"
#include "tests/testing/temp_dir.h"
#include "tests/testing/worst_cell.h"

namespace bitdial {
namespace {

bool IsNanHalf(uint32_t half) { return (half & 0x7c00u) == 0x7c00u && (half & 0x3ffu) != 0; }

TEST(Dtype, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t half = 0; half < 0x10000u; ++half) {
    const float value = F16ToF32(static_cast<uint16_t>(half));
    if (IsNanHalf(half)) {
      EXPECT_TRUE(std::isnan(value)) << half;
      EXPECT_TRUE(IsNanHalf(F32ToF16(value))) << half;
    } else {
      ASSERT_EQ(F32ToF16(value), half);
    }
  }
}

TEST(Dtype, HalvesHaveTheirValue) {
  EXPECT_EQ(F16ToF32(0x3c00), 1.0f);
  EXPECT_EQ(F16ToF32(0xc000), -2.0f);
  EXPECT_EQ(F16ToF32(0x7bff), 65504.0f);
  EXPECT_EQ(F16ToF32(0x0001), 0x1p-24f);
  EXPECT_EQ(F16ToF32(0x0400), 0x1p-14f);
  EXPECT_EQ(F16ToF32(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::signbit(F16ToF32(0x8000)));
  EXPECT_EQ(BF16ToF32(0x3f80), 1.0f);
  EXPECT_EQ(BF16ToF32(0xc2c8), -100.0f);
}

// Between neighbours h and h + 1: below the midpoint to h, above to h + 1, the midpoint itself to
// the even one.
TEST(Dtype, RoundsToTheNearestHalfTiesToEven) {
  for (uint32_t half = 0; half < 0x7bffu; ++half) {
    const float low = F16ToF32(static_cast<uint16_t>(half));
    const float high = F16ToF32(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;  // exact: one more bit than a half has
    const uint32_t even = half % 2 == 0 ? half : half + 1;
    ASSERT_EQ(F32ToF16(std::nextafter(middle, low)), half);
    ASSERT_EQ(F32ToF16(middle), even);
    ASSERT_EQ(F32ToF16(std::nextafter(middle, high)), half + 1);
    ASSERT_EQ(F32ToF16(-middle), even | 0x8000u);
  }
  EXPECT_EQ(F32ToF16(65519.996f), 0x7bff);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);
  EXPECT_EQ(F32ToF16(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(F32ToF16(std::numeric_limits<float>::denorm_min()), 0);
}

// The processor's own conversions: all halves, and floats of every exponent and sign.
TEST(Dtype, AgreesWithTheProcessor) {
  if (!DetectCpuFeatures().avx2) GTEST_SKIP() << "SKIPPED: this processor has no F16C";
  std::vector<uint16_t> halves(0x10000);
  std::iota(halves.begin(), halves.end(), uint16_t{0});
  std::vector<float> widened(halves.size());
  kernels::cpu::avx2::WidenF16(halves.data(), widened.data(), static_cast<int64_t>(halves.size()));
  for (uint16_t half : halves) {
    if (IsNanHalf(half)) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(widened[half]), std::bit_cast<uint32_t>(F16ToF32(half)))
        << half;
  }
  constexpr uint32_t kStep = 997;  // odd: 4.3 million floats with every low bit pattern
  std::vector<float> floats;
  for (uint64_t bits = 0; bits <= 0xffffffffu; bits += kStep) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (!std::isnan(value)) floats.push_back(value);
  }
  std::vector<uint16_t> narrowed(floats.size());
  kernels::cpu::avx2::NarrowF16(floats.data(), narrowed.data(),
                                static_cast<int64_t>(floats.size()));
  for (size_t i = 0; i < floats.size(); ++i)
    ASSERT_EQ(narrowed[i], F32ToF16(floats[i])) << floats[i];
}

TEST(Buffer, IsAlignedMovableAndHonestAboutMemory) {
  for (size_t num_bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{1000}}) {
    Buffer buffer = Buffer::Allocate(Device::kCpu, num_bytes).value();
    EXPECT_EQ(buffer.num_bytes(), num_bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    std::memset(buffer.data(), 1, num_bytes);
    const std::byte* data = buffer.data();
    const Buffer moved = std::move(buffer);
    EXPECT_EQ(moved.data(), data);
  }
  EXPECT_EQ(Buffer::Allocate(Device::kCuda, 1).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(Buffer, SaysWhenThereIsNoMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "SKIPPED: a sanitizer's allocator ends the process instead";
#else
  const auto huge = Buffer::Allocate(Device::kCpu, size_t{1} << 62);
  EXPECT_EQ(huge.status().code(), absl::StatusCode::kResourceExhausted);
#endif
}

TEST(Stream, ScratchIsKeptUntilItMustGrow) {
  ThreadPool pool(1);
  Stream stream(pool);
  std::byte* first = stream.Scratch(1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  EXPECT_EQ(stream.Scratch(10), first);
  EXPECT_EQ(stream.Scratch(1000), first);
  std::memset(stream.Scratch(100000), 1, 100000);
}

TEST(ThreadPool, RunsEveryTaskOnceOnAnyNumberOfThreads) {
  for (int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    EXPECT_EQ(pool.num_threads(), num_threads);
    for (int64_t num_tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(num_tasks);
      pool.ParallelFor(num_tasks, [&](int64_t task) { ++runs[task]; });
      for (int64_t task = 0; task < num_tasks; ++task) ASSERT_EQ(runs[task], 1) << task;
    }
  }
}

// What a region wrote is there for the caller and for the next region, without a lock of theirs.
TEST(ThreadPool, RegionsFollowOneAnother) {
  ThreadPool pool(3);
  std::vector<int64_t> values(64, 0);
  for (int region = 0; region < 2000; ++region) {
    pool.ParallelFor(64, [&](int64_t task) { values[task] += task; });
  }
  for (int64_t task = 0; task < 64; ++task) EXPECT_EQ(values[task], 2000 * task);
}

// Pauses long enough for workers, and tasks long enough for the owner, to fall asleep in between;
// more threads than cores, so that some lose theirs at any point.
TEST(ThreadPool, SleepersAreWokenAndLateWorkersDoNoHarm) {
  using std::chrono::milliseconds;
  ThreadPool pool(2 * NumAvailableCores() + 1);
  std::mt19937 random(3);
  for (int region = 0; region < 400; ++region) {
    const auto num_tasks = static_cast<int64_t>(2 + random() % 20);
    const int64_t slow_task = region % 10 == 0 ? static_cast<int64_t>(random() % num_tasks) : -1;
    std::vector<int> runs(num_tasks, 0);
    pool.ParallelFor(num_tasks, [&](int64_t task) {
      if (task == slow_task) std::this_thread::sleep_for(milliseconds(5));
      ++runs[task];
    });
    ASSERT_EQ(runs, std::vector<int>(num_tasks, 1)) << "region " << region;
    if (region % 10 == 5) std::this_thread::sleep_for(milliseconds(5));
  }
}

// What golden tests compare with: a NaN is as wrong as can be, wherever it stands.
TEST(Compare, NotANumberIsTheWorstCell) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const testing::Worst worst = testing::Compare({1, nan, 3, 4}, {1, 2, 3, 4.5f});
  EXPECT_EQ(worst.error, std::numeric_limits<double>::infinity());
  EXPECT_EQ(worst.cell, 1u);
  EXPECT_EQ(testing::Compare({1, 2}, {1, 2.5f}).error, 0.5);
}

TEST(MachineLimits, CgroupTextsAreRead) {
  EXPECT_EQ(CoresOfCpuMax("200000 100000\n"), 2);
  EXPECT_EQ(CoresOfCpuMax("150000 100000\n"), 2);
  EXPECT_EQ(CoresOfCpuMax("1 100000"), 1);
  for (const char* text : {"max 100000\n", "", "100000", "0 100000", "-1 5", "5 0", "5 max", "5  5",
                           "99999999999999999999 1"}) {
    EXPECT_EQ(CoresOfCpuMax(text), std::nullopt) << text;
  }
  EXPECT_EQ(BytesOfMemoryMax("536870912\n"), 536870912);
  EXPECT_EQ(BytesOfMemoryMax("max\n"), std::nullopt);
}

TEST(MachineLimits, TheLeastLimitOnTheWayUpCounts) {
  const testing::TempDir root;
  std::filesystem::create_directories(root / "a/b");
  root.Write("cpu.max", "800000 100000\n");
  root.Write("a/cpu.max", "300000 100000\n");
  root.Write("a/b/cpu.max", "max 100000\n");
  const auto limit = [&](const char* path) {
    return LeastLimit(root.path(), path, "cpu.max", CoresOfCpuMax);
  };
  EXPECT_EQ(limit("/a/b"), 3);
  EXPECT_EQ(limit("/a"), 3);
  EXPECT_EQ(limit("/"), 8);
  EXPECT_EQ(limit("/gone/deeper"), 8);
  EXPECT_EQ(limit(""), 8);
  EXPECT_EQ(LeastLimit(root.path(), "/a", "memory.max", BytesOfMemoryMax), std::nullopt);
  EXPECT_GE(AvailableMemoryBytes(), 1 << 20);
}

TEST(ThreadPool, ZeroMeansTheCoresOfThisProcess) {
  EXPECT_GE(NumAvailableCores(), 1);
  EXPECT_EQ(ThreadPool(0).num_threads(), NumAvailableCores());
}

}  // namespace
}  // namespace bitdial
