// What the server counts, and how a scrape sees it.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "server/metrics/histogram.h"
#include "server/model/served_model.h"

namespace bitdial::server {

// A value of the `weight_bits` label: 0 for dense, 1 to 8, or kAutoBits.
inline constexpr int kAutoBits = 9;
inline constexpr int kNumBitsLabels = 10;

// What is counted for one value of `weight_bits`. Written by the engine thread: atomics alone.
struct BitsMetrics {
  std::atomic<int64_t> num_prompt_tokens{0};
  std::atomic<int64_t> num_output_tokens{0};
  SecondsHistogram first_token, inter_token, whole_request, queue;
};

// Engine figures are asked of Engine::stats() when somebody scrapes; the rest is counted here.
// Thread   any. Everything but CountEnd and CountRejected is free of locks.
class Metrics final : public prometheus::Collectable {
 public:
  // A model is loaded. Called once; the model outlives every Collect.
  void Serve(const ServedModel& model);
  // What health answers.
  void SetServing(bool is_serving) { is_serving_ = is_serving; }

  BitsMetrics& ForBits(int bits);  // outside [0, kAutoBits]: dense
  // An accepted request has ended. status: a gRPC code's name; reason: a FinishReason's name.
  void CountEnd(int bits, const std::string& status, const std::string& reason);
  // reason: of the status's ErrorInfo; a word of our own source, never of a request.
  void CountRejected(const std::string& reason);

  // MetricTable()'s families, in its order. Those of the model are absent before Serve.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  using EndLabels = std::tuple<int, std::string, std::string>;

  std::array<BitsMetrics, kNumBitsLabels> by_bits_;
  std::atomic<bool> is_serving_{false};
  std::vector<int> shown_bits_;  // labels with series; written before model_
  std::atomic<const ServedModel*> model_{nullptr};

  mutable std::mutex mutex_;
  std::map<EndLabels, int64_t> ends_;
  std::map<std::string, int64_t> rejected_;
};

}  // namespace bitdial::server
