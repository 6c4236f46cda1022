#include "server/cli/load/workload.h"

#include <algorithm>

#include "server/cli/load/number_text.h"

namespace bitdial::server {
namespace {

constexpr uint64_t kPromptStreams = uint64_t{1} << 40;  // apart from the streams of sizes

}  // namespace

absl::StatusOr<TokenRange> ParseTokenRange(std::string_view text) {
  const size_t colon = text.find(':');
  const auto min = WholeNumber(text.substr(0, colon), 1, kMaxRequestTokens);
  const auto max = colon == std::string_view::npos
                       ? min
                       : WholeNumber(text.substr(colon + 1), 1, kMaxRequestTokens);
  if (!min || !max || *min > *max) {
    return InvalidArgument("got \"{}\", expected N or MIN:MAX, tokens in [1, {}]", text,
                           kMaxRequestTokens);
  }
  return TokenRange{static_cast<int32_t>(*min), static_cast<int32_t>(*max)};
}

absl::StatusOr<Workload> Workload::Make(const WorkloadOptions& options) {
  Workload load(options);
  load.is_closed_ = options.arrivals == ArrivalKind::kClosed;
  if (load.is_closed_) {
    BITDIAL_RETURN_IF_ERROR(load.CheckTotals());
    return load;
  }
  Arrivals arrivals(options.arrivals, options.rate, options.burst, options.seed);
  double first_counted_s = 0;
  for (int64_t index = 0;; ++index) {
    LoadRequest request = load.DrawRequest(index);
    request.arrival_s = arrivals.Next();
    if (index <= options.warmup) first_counted_s = request.arrival_s;
    const bool is_past_number =
        options.num_requests && index >= options.warmup + *options.num_requests;
    const bool is_past_time =
        options.duration_s && request.arrival_s >= first_counted_s + *options.duration_s;
    // Of warm-up requests only the number counts.
    if (is_past_number || (is_past_time && index >= options.warmup)) break;
    load.requests_.push_back(request);
    if (index >= kMaxLoadRequests || request.arrival_s > kMaxLoadSeconds) break;
  }
  BITDIAL_RETURN_IF_ERROR(load.CheckTotals());
  return load;
}

absl::StatusOr<Workload> Workload::Replay(std::vector<LoadRequest> rows, int64_t warmup,
                                          uint64_t seed) {
  if (warmup >= static_cast<int64_t>(rows.size())) {
    return InvalidArgument("--warmup {}: the trace has {} requests; at least one has to count",
                           warmup, rows.size());
  }
  WorkloadOptions options;
  options.warmup = warmup;
  options.seed = seed;
  options.num_requests = static_cast<int64_t>(rows.size()) - warmup;
  Workload load(options);
  load.requests_ = std::move(rows);
  BITDIAL_RETURN_IF_ERROR(load.CheckTotals());
  return load;
}

absl::Status Workload::CheckTotals() const {
  int64_t tokens = 0;
  for (const LoadRequest& request : requests_) tokens += request.output_tokens;
  if (is_closed_) tokens = size() * options_.output_tokens.max;
  const int64_t requests = std::max(size(), static_cast<int64_t>(requests_.size()));
  if (requests > kMaxLoadRequests || tokens > kMaxLoadTokens ||
      last_arrival_s() > kMaxLoadSeconds) {
    return InvalidArgument(
        "a run asks for at most {} requests, {} output tokens and {} days; give a lower --rate, "
        "fewer --requests or a shorter --duration",
        kMaxLoadRequests, kMaxLoadTokens, kMaxLoadSeconds / (24 * 3600));
  }
  return absl::OkStatus();
}

LoadRequest Workload::DrawRequest(int64_t index) const {
  Draw draw(options_.seed, static_cast<uint64_t>(index));
  const TokenRange prompt = options_.prompt_tokens, output = options_.output_tokens;
  LoadRequest request;
  request.index = index;
  request.prompt_tokens = static_cast<int32_t>(draw.In(prompt.min, prompt.max));
  request.output_tokens = static_cast<int32_t>(draw.In(output.min, output.max));
  request.bits = options_.bits.Pick(draw.Unit());
  return request;
}

std::optional<LoadRequest> Workload::At(int64_t index) const {
  if (index >= kMaxLoadRequests) return std::nullopt;
  if (is_closed_) {
    if (size() > 0 && index >= size()) return std::nullopt;
    return DrawRequest(index);
  }
  if (index >= static_cast<int64_t>(requests_.size())) return std::nullopt;
  return requests_[static_cast<size_t>(index)];
}

std::vector<int32_t> Workload::PromptIds(const LoadRequest& request, int64_t vocab_size) const {
  Draw draw(options_.seed, kPromptStreams + static_cast<uint64_t>(request.index));
  std::vector<int32_t> ids(static_cast<size_t>(request.prompt_tokens));
  for (int32_t& id : ids) id = static_cast<int32_t>(draw.In(0, vocab_size - 1));
  return ids;
}

int64_t Workload::size() const {
  if (!is_closed_) return static_cast<int64_t>(requests_.size());
  return options_.num_requests ? options_.warmup + *options_.num_requests : 0;
}

LoadRequest Workload::Largest() const {
  if (is_closed_) {
    LoadRequest request;
    request.prompt_tokens = options_.prompt_tokens.max;
    request.output_tokens = options_.output_tokens.max;
    return request;
  }
  return *std::max_element(requests_.begin(), requests_.end(), [](const auto& a, const auto& b) {
    return a.prompt_tokens + a.output_tokens < b.prompt_tokens + b.output_tokens;
  });
}

std::vector<BitsWish> Workload::Wishes() const {
  std::vector<BitsWish> wishes;
  const auto add = [&wishes](BitsWish wish) {
    if (std::find(wishes.begin(), wishes.end(), wish) == wishes.end()) wishes.push_back(wish);
  };
  if (is_closed_) {
    for (const BitsMix::Part& part : options_.bits.parts()) add(part.wish);
  }
  for (const LoadRequest& request : requests_) add(request.bits);
  return wishes;
}

}  // namespace bitdial::server
