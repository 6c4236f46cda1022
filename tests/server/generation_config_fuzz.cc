// Any JSON as generation_config.json: sampling defaults that the engine takes, whatever it says.
#include <cmath>

#include "kernels/core/check.h"
#include "server/model/sampling_defaults.h"
#include "tests/testing/fuzz_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitdial;
  const auto json = ParseJson(testing::AsText(data, size), "fuzz", {.max_bytes = 1 << 20});
  if (!json.ok()) return 0;
  const auto defaults = server::ParseSamplingDefaults(*json, "fuzz");
  if (!defaults.ok()) return 0;
  BITDIAL_CHECK(defaults->temperature >= 0 && std::isfinite(defaults->temperature));
  BITDIAL_CHECK(defaults->top_k >= 0);
  BITDIAL_CHECK(defaults->top_p > 0 && defaults->top_p <= 1);
  BITDIAL_CHECK(defaults->min_p >= 0 && defaults->min_p <= 1);
  BITDIAL_CHECK(defaults->repetition_penalty > 0 && std::isfinite(defaults->repetition_penalty));
  return 0;
}
