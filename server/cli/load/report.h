// A run's figures as people, programs and spreadsheets read them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "server/cli/load/summary.h"

namespace bitdial::server {

// Tables and notes, for a terminal. Milliseconds.
std::string ToText(const Summary& summary, const Slo& slo);

// The same figures and no rounding. Seconds.
nlohmann::ordered_json ToJson(const Summary& summary, const Slo& slo);

// CSV, a line for each request of the run, warm-up included, in order of index. Empty cells: there
// is no such time.
std::string TimelineCsv(const LoadResult& result, const Slo& slo);

}  // namespace bitdial::server
