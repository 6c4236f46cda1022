// A run as a picture: how TTFT and inter-token latency are distributed, by bits, and what went
// through over time.
#pragma once

#include <string>

#include "server/cli/load/outcome.h"
#include "server/cli/load/summary.h"

namespace bitdial::server {

// subtitle: what was measured, one line.
std::string LoadPlotSvg(const LoadResult& result, const Slo& slo, const std::string& subtitle);

}  // namespace bitdial::server
