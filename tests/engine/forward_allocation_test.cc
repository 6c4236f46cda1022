// Forward and Logits allocate nothing after warm-up: operator new counts.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/step_loop.h"
#include "quant/methods/quantize_job.h"
#include "tests/testing/loaded_model.h"
#include "tests/testing/temp_dir.h"

namespace {
std::atomic<int64_t> g_num_allocations{0};

void* Allocate(size_t num_bytes, size_t alignment) {
  ++g_num_allocations;
  void* memory = nullptr;
  return ::posix_memalign(&memory, alignment, num_bytes) == 0 ? memory : nullptr;
}
void* AllocateOrThrow(size_t num_bytes, size_t alignment) {
  void* memory = Allocate(num_bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
constexpr size_t kDefault = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
}  // namespace

// Every form that the standard library's defaults do not route through one of these.
void* operator new(size_t n) { return AllocateOrThrow(n, kDefault); }
void* operator new(size_t n, std::align_val_t a) {
  return AllocateOrThrow(n, static_cast<size_t>(a));
}
void* operator new(size_t n, const std::nothrow_t&) noexcept { return Allocate(n, kDefault); }
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return Allocate(n, static_cast<size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }

namespace bitdial::engine {
namespace {

// Forwards to a model and counts what is allocated inside.
class CountingModel final : public DecoderModel {
 public:
  explicit CountingModel(const DecoderModel& model) : model_(model) {}
  const ModelInfo& info() const override { return model_.info(); }
  const kvcache::KvShape& kv_shape() const override { return model_.kv_shape(); }
  int64_t WorkspaceFloats(int64_t max_tokens, int64_t max_logits_rows) const override {
    return model_.WorkspaceFloats(max_tokens, max_logits_rows);
  }
  Matrix<float> Forward(const Batch& batch, const kvcache::KvStore& kv,
                        StepContext& step) const override {
    const int64_t before = g_num_allocations;
    const Matrix<float> hidden = model_.Forward(batch, kv, step);
    num_allocations += g_num_allocations - before;
    return hidden;
  }
  Matrix<float> Logits(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                       const uint8_t* row_bits, kernels::Role role,
                       StepContext& step) const override {
    const int64_t before = g_num_allocations;
    const Matrix<float> logits = model_.Logits(hidden, wanted, row_bits, role, step);
    num_allocations += g_num_allocations - before;
    return logits;
  }
  mutable int64_t num_allocations = 0;

 private:
  const DecoderModel& model_;
};

class ForwardAllocation : public ::testing::TestWithParam<const char*> {};

// A loop of mixed lengths and bits on `path`.
void ExpectNoAllocations(const std::string& path, const char* backend,
                         const ModelOptions& options = {}) {
  testing::LoadedModel loaded(path, options, backend);
  const CountingModel model(*loaded.model);
  auto loop =
      StepLoop::Create(model, loaded.pool,
                       {.limits = {.max_step_tokens = 40, .max_running = 8}, .num_kv_blocks = 32})
          .value();
  loop->WarmUp();
  model.num_allocations = 0;
  const std::vector<int>& bits = loaded.model->info().bits;
  for (int i = 0; i < 12; ++i) {
    Request request;
    // 12 more tokens, within a context that learned positions may keep short.
    const int64_t longest = loaded.model->info().max_context - 12;
    request.prompt_ids.assign(static_cast<size_t>(std::min<int64_t>(1 + 9 * i, longest)), 5);
    request.weight_bits = bits[static_cast<size_t>(i) % bits.size()];
    request.max_tokens = 12;
    request.ignore_eos = true;
    if (i % 3 == 0) request.prompt_logprobs_from = 1;
    loop->Add(std::make_unique<Sequence>(static_cast<RequestId>(i), std::move(request),
                                         std::make_shared<testing::NullSink>(), Clock::now()));
  }
  while (loop->Step()) {
  }
  EXPECT_GT(loop->stats().num_steps, 20);
  EXPECT_EQ(model.num_allocations, 0) << path << " on " << loaded.model->info().backend;
}

TEST_P(ForwardAllocation, NothingAfterWarmUp) {
  for (const char* backend : {"", "cpu_ref"}) {
    ExpectNoAllocations(testing::GoldenPath(GetParam()), backend);
  }
}

// No prompt fills a step, several together do.
TEST(ForwardAllocation, NothingAfterWarmUpWhenTheContextIsShort) {
  ExpectNoAllocations(testing::GoldenPath("llama/gqa_bias_f32"), "", {.max_context = 24});
}

// The first layer needs no scratch memory here, the second does.
TEST(ForwardAllocation, NothingAfterWarmUpWhenLayersDiffer) {
  testing::TempDir dir;
  ThreadPool pool(1);
  const auto source = quant::Checkpoint::Open(testing::GoldenPath("llama/gqa_bias_f32"));
  ASSERT_TRUE(source.ok()) << source.status();
  quant::QuantizeOptions options{.output = dir / "out"};
  options.overrides.push_back(*quant::ParseTensorOverride("model.layers.0.*=dense"));
  ASSERT_TRUE(quant::Quantize(**source, options, pool).ok());
  ExpectNoAllocations(dir / "out", "");
}

INSTANTIATE_TEST_SUITE_P(Models, ForwardAllocation,
                         ::testing::Values("anybcq_release", "llama/gqa_bias_f32",
                                           "llama/gqa_tied_f16", "opt/planes_f16",
                                           "opt/pre_norm_proj_bf16", "opt/plain_gelu_f32"));

}  // namespace
}  // namespace bitdial::engine
