// Any JSON as config.json of an OPT, and after the first NUL as generation_config.json.
#include <cstdint>
#include <string_view>

#include "engine/models/opt/config.h"
#include "kernels/core/check.h"

namespace {

using namespace bitdial;

void Check(const engine::OptConfig& config) {
  for (const int64_t size :
       {config.vocab_size, config.hidden_size, config.embed_size, config.ffn_size,
        config.num_layers, config.num_heads, config.head_dim, config.max_positions}) {
    BITDIAL_CHECK(size > 0 && size <= INT32_MAX);  // so that a product of two fits into 64 bits
  }
  BITDIAL_CHECK(config.num_heads * config.head_dim == config.hidden_size);
  BITDIAL_CHECK(config.norm_before || !config.has_final_norm);
  for (const int32_t id : config.eos_ids) BITDIAL_CHECK(id >= 0 && id < config.vocab_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size), generation_text = "{}";
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    generation_text = text.substr(nul + 1);
    text = text.substr(0, nul);
  }
  const auto json = ParseJson(text, "fuzz", {.max_bytes = 1 << 20});
  const auto generation = ParseJson(generation_text, "fuzz");
  if (!json.ok() || !generation.ok()) return 0;
  const auto config = engine::ParseOptConfig(*json, *generation, "fuzz");
  if (config.ok()) Check(*config);
  return 0;
}
