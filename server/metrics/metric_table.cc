#include "server/metrics/metric_table.h"

namespace bitdial::server {

// One metric a row, so that the table reads as one.
// clang-format off
const std::vector<MetricInfo>& MetricTable() {
  constexpr auto kGauge = prometheus::MetricType::Gauge;
  constexpr auto kCounter = prometheus::MetricType::Counter;
  constexpr auto kHistogram = prometheus::MetricType::Histogram;
  static const std::vector<MetricInfo> table = {
      {"bitdial_build_info", kGauge, "version, commit",
       "Always 1; its labels say which build this is."},
      {"bitdial_model_info", kGauge, "model, backend, numerics",
       "Always 1 from the moment a model is loaded; its labels say which."},
      {"bitdial_serving", kGauge, "",
       "1 while health answers SERVING, 0 while the model loads, the engine stalls or the server drains."},
      {"bitdial_process_resident_memory_bytes", kGauge, "",
       "Physical memory of the process."},
      {"bitdial_weight_bytes", kGauge, "",
       "Memory of the weights, mapped file bytes included."},

      {"bitdial_requests_running", kGauge, "",
       "Requests that advance, each of their n choices counted."},
      {"bitdial_requests_queued", kGauge, "",
       "Requests that wait for room; choices after the first are not counted."},
      {"bitdial_queued_tokens", kGauge, "",
       "Prompt tokens of the requests that wait."},
      {"bitdial_kv_blocks", kGauge, "state",
       "Blocks of the KV cache: used by requests, cached for prompts to come, or free."},
      {"bitdial_kv_cache_usage_ratio", kGauge, "",
       "Used blocks over all blocks, 0 to 1; cached ones count as free, for they are taken when needed."},
      {"bitdial_kv_cache_bytes", kGauge, "",
       "Memory of the KV cache, all of it allocated at the start."},
      {"bitdial_auto_planes", kGauge, "",
       "Bit-planes that a request with auto_bits and no floor reads now, one a bit; 0 while unknown."},
      {"bitdial_seconds_without_progress", kGauge, "",
       "Time since the last step ended while there is work; 0 when idle."},
      {"bitdial_steps_total", kCounter, "",
       "Steps of the engine."},
      {"bitdial_step_seconds_total", kCounter, "",
       "Time spent in steps."},
      {"bitdial_host_gap_seconds_total", kCounter, "",
       "Of the time in steps, what passed outside the model: plan, batch, sampling, answers."},
      {"bitdial_computed_tokens_total", kCounter, "",
       "Rows of all steps: prompt and output tokens, recomputed ones too."},
      {"bitdial_preemptions_total", kCounter, "",
       "Times a running request lost its KV blocks to another and had to recompute them."},
      {"bitdial_prefix_cache_queried_tokens_total", kCounter, "",
       "Prompt tokens that were looked up in the prefix cache."},
      {"bitdial_prefix_cache_hit_tokens_total", kCounter, "",
       "Prompt tokens whose keys and values were found there."},

      {"bitdial_requests_total", kCounter, "weight_bits, status, reason",
       "Requests that were accepted and have ended, by gRPC status and by what ended them."},
      {"bitdial_requests_rejected_total", kCounter, "reason",
       "Requests refused before any computing, by the reason of their ErrorInfo."},
      {"bitdial_prompt_tokens_total", kCounter, "weight_bits",
       "Prompt tokens of ended requests, by the bits their prompt was read with."},
      {"bitdial_generation_tokens_total", kCounter, "weight_bits",
       "Output tokens, by the bits each was made with."},
      {"bitdial_time_to_first_token_seconds", kHistogram, "weight_bits",
       "From accepting a request to its first token, by the bits asked for."},
      {"bitdial_inter_token_latency_seconds", kHistogram, "weight_bits",
       "From a token to the next of the same answer, by the bits the latter was made with."},
      {"bitdial_e2e_request_latency_seconds", kHistogram, "weight_bits",
       "From accepting a request to its last message, by the bits asked for."},
      {"bitdial_request_queue_time_seconds", kHistogram, "weight_bits",
       "From accepting a request to the first step that works on it, by the bits asked for."},
  };
  return table;
}
// clang-format on

}  // namespace bitdial::server
