// Every metric the server has, in one table. docs/operations.md is held to it by a test.
#pragma once

#include <prometheus/metric_type.h>

#include <vector>

namespace bitdial::server {

// The words of a `weight_bits` label: "dense" and "1" to "8"; "auto" for requests that left the
// bits to the server.
struct MetricInfo {
  const char* name;  // unit last; "_total" ends counters and nothing else
  prometheus::MetricType type;
  const char* labels;  // in docs/operations.md, "" for none
  const char* help;    // one sentence
};

const std::vector<MetricInfo>& MetricTable();

}  // namespace bitdial::server
