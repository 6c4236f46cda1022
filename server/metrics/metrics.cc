#include "server/metrics/metrics.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "server/metrics/metric_table.h"
#include "server/version.h"

namespace bitdial::server {
namespace {

using prometheus::ClientMetric;
using Labels = std::vector<ClientMetric::Label>;

// Far above the reasons there are: a bound, should one ever be made from what a client sent.
constexpr size_t kMaxReasons = 64;

std::string BitsLabel(int bits) { return bits == kAutoBits ? "auto" : BitsText(bits); }

// The families of the table, filled by name.
class Page {
 public:
  Page() {
    for (const MetricInfo& info : MetricTable()) {
      families_.push_back({info.name, info.help, info.type, {}});
    }
  }
  void Add(const std::string& name, double value, Labels labels = {}) {
    ClientMetric metric;
    (Find(name).type == prometheus::MetricType::Gauge ? metric.gauge.value : metric.counter.value) =
        value;
    Add(name, std::move(metric), std::move(labels));
  }
  void Add(const std::string& name, ClientMetric metric, Labels labels) {
    metric.label = std::move(labels);
    Find(name).metric.push_back(std::move(metric));
  }
  // Those that have samples.
  std::vector<prometheus::MetricFamily> Take() {
    families_.erase(std::remove_if(families_.begin(), families_.end(),
                                   [](const auto& family) { return family.metric.empty(); }),
                    families_.end());
    return std::move(families_);
  }

 private:
  prometheus::MetricFamily& Find(const std::string& name) {
    for (prometheus::MetricFamily& family : families_) {
      if (family.name == name) return family;
    }
    BITDIAL_CHECK(!"a metric that is not in MetricTable()");
  }
  std::vector<prometheus::MetricFamily> families_;
};

void AddModel(const ServedModel& model, Page& page) {
  const engine::ModelInfo& info = model.engine->model();
  page.Add("bitdial_model_info", 1,
           {{"model", model.name}, {"backend", info.backend}, {"numerics", info.numerics}});
  page.Add("bitdial_weight_bytes", static_cast<double>(info.weight_bytes));
  page.Add("bitdial_kv_cache_bytes", static_cast<double>(info.kv_cache_bytes));
}

void AddEngine(const engine::EngineStats& stats, Page& page) {
  const auto add = [&](const char* name, auto value) {
    page.Add(name, static_cast<double>(value));
  };
  add("bitdial_requests_running", stats.num_running);
  add("bitdial_requests_queued", stats.num_queued);
  add("bitdial_queued_tokens", stats.num_queued_tokens);
  add("bitdial_auto_planes", stats.auto_bits);
  add("bitdial_seconds_without_progress", stats.seconds_without_progress);
  add("bitdial_steps_total", stats.num_steps);
  add("bitdial_step_seconds_total", stats.step_seconds);
  add("bitdial_host_gap_seconds_total", stats.host_gap_seconds);
  add("bitdial_computed_tokens_total", stats.num_tokens_computed);
  add("bitdial_preemptions_total", stats.num_preemptions);
  add("bitdial_prefix_cache_queried_tokens_total", stats.num_prefix_tokens_asked);
  add("bitdial_prefix_cache_hit_tokens_total", stats.num_prefix_tokens_hit);

  const auto used = static_cast<double>(stats.kv_blocks_used);
  const auto cached = static_cast<double>(stats.kv_blocks_cached);
  const auto total = static_cast<double>(stats.kv_blocks_total);
  page.Add("bitdial_kv_blocks", used, {{"state", "used"}});
  page.Add("bitdial_kv_blocks", cached, {{"state", "cached"}});
  page.Add("bitdial_kv_blocks", total - used - cached, {{"state", "free"}});
  add("bitdial_kv_cache_usage_ratio", total > 0 ? used / total : 0.0);
}

void AddBits(int bits, const BitsMetrics& metrics, Page& page) {
  const Labels labels = {{"weight_bits", BitsLabel(bits)}};
  page.Add("bitdial_time_to_first_token_seconds", metrics.first_token.Collect(), labels);
  page.Add("bitdial_e2e_request_latency_seconds", metrics.whole_request.Collect(), labels);
  page.Add("bitdial_request_queue_time_seconds", metrics.queue.Collect(), labels);
  if (bits == kAutoBits) return;  // a token is always made at some bits
  page.Add("bitdial_prompt_tokens_total", static_cast<double>(metrics.num_prompt_tokens), labels);
  page.Add("bitdial_generation_tokens_total", static_cast<double>(metrics.num_output_tokens),
           labels);
  page.Add("bitdial_inter_token_latency_seconds", metrics.inter_token.Collect(), labels);
}

}  // namespace

void Metrics::Serve(const ServedModel& model) {
  shown_bits_ = model.engine->model().bits;
  if (shown_bits_.size() > 1) shown_bits_.push_back(kAutoBits);
  {
    // A series that begins at 1 has no rate: those that every server will have begin at 0.
    const std::lock_guard<std::mutex> lock(mutex_);
    for (int bits : shown_bits_) {
      for (const char* reason : {"eos", "length", "stop"}) ends_[{bits, "OK", reason}] += 0;
      ends_[{bits, "INTERNAL", "error"}] += 0;
    }
    for (const char* reason : {"INVALID_FIELD", "QUEUE_FULL"}) rejected_[reason] += 0;
  }
  model_.store(&model, std::memory_order_release);
}

BitsMetrics& Metrics::ForBits(int bits) {
  return by_bits_[static_cast<size_t>(bits < 0 || bits > kAutoBits ? 0 : bits)];
}

void Metrics::CountEnd(int bits, const std::string& status, const std::string& reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++ends_[{bits, status, reason}];
}

void Metrics::CountRejected(const std::string& reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool has_room = rejected_.size() < kMaxReasons || rejected_.count(reason) > 0;
  ++rejected_[has_room ? reason : "OTHER"];
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  Page page;
  page.Add("bitdial_build_info", 1, {{"version", Version()}, {"commit", Commit()}});
  page.Add("bitdial_serving", is_serving_ ? 1 : 0);
  page.Add("bitdial_process_resident_memory_bytes", static_cast<double>(ResidentBytes()));
  if (const ServedModel* model = model_.load(std::memory_order_acquire)) {
    AddModel(*model, page);
    AddEngine(model->engine->stats(), page);
    for (int bits : shown_bits_) AddBits(bits, by_bits_[static_cast<size_t>(bits)], page);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [labels, count] : ends_) {
    const auto& [bits, status, reason] = labels;
    page.Add("bitdial_requests_total", static_cast<double>(count),
             {{"weight_bits", BitsLabel(bits)}, {"status", status}, {"reason", reason}});
  }
  for (const auto& [reason, count] : rejected_) {
    page.Add("bitdial_requests_rejected_total", static_cast<double>(count), {{"reason", reason}});
  }
  return page.Take();
}

}  // namespace bitdial::server
