#include "server/metrics/request_metrics.h"

#include <algorithm>

namespace bitdial::server {
namespace {

double SecondsBetween(engine::Clock::time_point begin, engine::Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

RequestMetrics::RequestMetrics(Metrics& metrics, const engine::Request& request)
    : metrics_(metrics),
      bits_(request.auto_bits.has_value() ? kAutoBits : request.weight_bits),
      last_token_(static_cast<size_t>(std::max(request.num_choices, 1))) {}

void RequestMetrics::OnToken(const engine::TokenEvent& token) {
  const engine::Clock::time_point now = engine::Clock::now();
  BitsMetrics& of_token = metrics_.ForBits(token.bits);
  of_token.num_output_tokens.fetch_add(1, std::memory_order_relaxed);
  if (!has_token_) metrics_.ForBits(bits_).first_token.Observe(SecondsBetween(accepted_, now));
  has_token_ = true;
  engine::Clock::time_point& last = last_token_.at(static_cast<size_t>(token.choice));
  if (last != engine::Clock::time_point()) of_token.inter_token.Observe(SecondsBetween(last, now));
  last = now;
}

void RequestMetrics::OnFinish(const engine::FinishEvent& finish) {
  if (finish.choice != 0) return;  // the prompt and its wait are shared
  metrics_.ForBits(bits_ == kAutoBits ? finish.prompt_bits : bits_)
      .num_prompt_tokens.fetch_add(finish.num_prompt_tokens, std::memory_order_relaxed);
  metrics_.ForBits(bits_).queue.Observe(finish.queue_s);
}

void RequestMetrics::OnEnd(const std::string& status, const std::string& reason) {
  metrics_.ForBits(bits_).whole_request.Observe(SecondsBetween(accepted_, engine::Clock::now()));
  metrics_.CountEnd(bits_, status, reason);
}

}  // namespace bitdial::server
