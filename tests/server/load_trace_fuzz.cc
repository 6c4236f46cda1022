// Any bytes as a trace to replay, and as what the flags of `bitdial bench serve` spell.
#include <string>

#include "kernels/core/check.h"
#include "server/cli/load/bits_mix.h"
#include "server/cli/load/trace.h"
#include "tests/testing/fuzz_bytes.h"

namespace {

using namespace bitdial::server;

// What the parser takes keeps its promises, and can be replayed.
void CheckTrace(std::string_view text) {
  auto trace = ParseTrace(text, "fuzz");
  if (!trace.ok()) {
    BITDIAL_CHECK(trace.status().message().size() < 512);
    return;
  }
  BITDIAL_CHECK(!trace->rows.empty());
  double last_s = 0;
  int64_t index = 0;
  for (const LoadRequest& row : trace->rows) {
    BITDIAL_CHECK(row.index == index++);
    BITDIAL_CHECK(row.arrival_s >= last_s && row.arrival_s <= kMaxLoadSeconds);
    BITDIAL_CHECK(row.prompt_tokens >= 1 && row.prompt_tokens <= kMaxRequestTokens);
    BITDIAL_CHECK(row.output_tokens >= 1 && row.output_tokens <= kMaxRequestTokens);
    BITDIAL_CHECK(trace->has_bits == (row.bits.kind != BitsWish::Kind::kDefault));
    last_s = row.arrival_s;
  }
  const auto load = Workload::Replay(trace->rows, 0, 0);
  BITDIAL_CHECK(!load.ok() || load->size() == index);
}

void CheckFlags(std::string_view text) {
  if (const auto mix = BitsMix::Parse(text); mix.ok()) {
    double sum = 0;
    for (const BitsMix::Part& part : mix->parts()) {
      BITDIAL_CHECK(part.share > 0 && part.share <= 1);
      BITDIAL_CHECK(ParseBitsWish(ToText(part.wish)).value() == part.wish);
      sum += part.share;
    }
    BITDIAL_CHECK(sum > 0.999 && sum < 1.001);
  }
  if (const auto range = ParseTokenRange(text); range.ok()) {
    BITDIAL_CHECK(range->min >= 1 && range->min <= range->max && range->max <= kMaxRequestTokens);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = bitdial::testing::AsText(data, size);
  CheckTrace(text);
  CheckFlags(text);
  return 0;
}
