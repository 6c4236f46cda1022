// What a load asks of the server: every request's time, sizes and bits, settled before it begins.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "server/cli/load/arrivals.h"
#include "server/cli/load/bits_mix.h"

namespace bitdial::server {

inline constexpr int64_t kMaxLoadRequests = 1'000'000;      // of one run
inline constexpr int64_t kMaxLoadTokens = 50'000'000;       // asked for by one run, outputs
inline constexpr int32_t kMaxRequestTokens = 1 << 20;       // of one prompt, of one output
inline constexpr double kMaxLoadSeconds = 7.0 * 24 * 3600;  // of one run

struct LoadRequest {
  int64_t index = 0;
  double arrival_s = 0;  // after the start of the load; closed: set when it is sent
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;
  BitsWish bits;
};

struct TokenRange {
  int32_t min = 1, max = 1;
};
// "32" or "16:64" (uniform, both ends included).
// Errors  INVALID_ARGUMENT, without saying which flag.
absl::StatusOr<TokenRange> ParseTokenRange(std::string_view text);

struct WorkloadOptions {
  ArrivalKind arrivals = ArrivalKind::kPoisson;
  double rate = 1;                      // requests/s; not closed
  int64_t burst = 8;                    // requests; burst
  int64_t concurrency = 1;              // clients; closed
  int64_t warmup = 0;                   // requests sent first and not counted
  std::optional<double> duration_s;     // counted requests arrive within; or
  std::optional<int64_t> num_requests;  // so many are counted; one of the two is set
  TokenRange prompt_tokens, output_tokens;
  BitsMix bits;
  uint64_t seed = 0;
};

class Workload {
 public:
  // Errors  INVALID_ARGUMENT: more requests or tokens than one run may ask for.
  static absl::StatusOr<Workload> Make(const WorkloadOptions& options);
  // The rows of a trace (load/trace.h), not empty, in order of arrival.
  static absl::StatusOr<Workload> Replay(std::vector<LoadRequest> rows, int64_t warmup,
                                         uint64_t seed);

  // The request of this index; absent past the last. A closed load with a duration has no last.
  std::optional<LoadRequest> At(int64_t index) const;
  // Ids in [0, vocab_size); they follow from the seed and the index.
  std::vector<int32_t> PromptIds(const LoadRequest& request, int64_t vocab_size) const;

  bool is_closed() const { return is_closed_; }
  int64_t concurrency() const { return options_.concurrency; }
  int64_t warmup() const { return options_.warmup; }
  std::optional<double> duration_s() const { return options_.duration_s; }
  // Requests, warm-up included; 0 when only the clock ends it.
  int64_t size() const;
  double last_arrival_s() const { return requests_.empty() ? 0 : requests_.back().arrival_s; }
  // One with the most prompt and output tokens together.
  LoadRequest Largest() const;
  // Every wish that occurs, in order.
  std::vector<BitsWish> Wishes() const;

 private:
  explicit Workload(WorkloadOptions options) : options_(std::move(options)) {}
  LoadRequest DrawRequest(int64_t index) const;
  absl::Status CheckTotals() const;

  WorkloadOptions options_;
  bool is_closed_ = false;
  std::vector<LoadRequest> requests_;  // open loads
};

}  // namespace bitdial::server
