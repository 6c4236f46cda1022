// Any JSON as config.json of a Llama, and after the first NUL as generation_config.json.
#include <cmath>

#include "engine/models/llama/config.h"
#include "kernels/core/check.h"
#include "tests/testing/fuzz_bytes.h"

namespace {

using namespace bitdial;
using engine::LlamaConfig;

void Check(const LlamaConfig& config) {
  for (const int64_t size :
       {config.vocab_size, config.hidden_size, config.intermediate_size, config.num_layers,
        config.num_heads, config.num_kv_heads, config.head_dim, config.max_positions}) {
    BITDIAL_CHECK(size > 0 && size <= INT32_MAX);  // so that a product of two fits into 64 bits
  }
  BITDIAL_CHECK(config.num_heads % config.num_kv_heads == 0 && config.head_dim % 2 == 0);
  BITDIAL_CHECK(config.rms_norm_eps >= 0 && std::isfinite(config.rms_norm_eps));
  for (const int32_t id : config.eos_ids) BITDIAL_CHECK(id >= 0 && id < config.vocab_size);
  for (const double frequency : engine::RopeInverseFrequencies(config.rope, config.head_dim)) {
    BITDIAL_CHECK(frequency >= 0 && frequency <= 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto [text, generation_text, has_generation] =
      testing::SplitAtNul(testing::AsText(data, size));
  const auto json = ParseJson(text, "fuzz", {.max_bytes = 1 << 20});
  const auto generation = ParseJson(has_generation ? generation_text : "{}", "fuzz");
  if (!json.ok() || !generation.ok()) return 0;
  const auto config = engine::ParseLlamaConfig(*json, *generation, "fuzz");
  if (config.ok()) Check(*config);
  return 0;
}
