// The figures of a run.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/cli/load/distribution.h"
#include "server/cli/load/outcome.h"

namespace bitdial::server {

// What makes an answer a good one; absent: anything does.
struct Slo {
  std::optional<double> ttft_s;
  std::optional<double> tpot_s;

  bool any() const { return ttft_s || tpot_s; }
};
// Answered in full, and within every bound of the SLO.
bool IsGood(const Outcome& outcome, const Slo& slo);

// Latencies of the requests that were answered in full, in seconds.
struct Latencies {
  Distribution ttft;         // due to first token
  Distribution inter_token;  // per token after the first message: the gap before its message over
                             // the message's tokens
  Distribution message_gap;  // between messages with tokens
  Distribution tpot;         // per request: mean time of the tokens after the first
  Distribution end_to_end;   // due to end of stream
};

struct Group {
  std::string name;  // "all", or the bits asked for
  int64_t sent = 0, ok = 0, good = 0;
  Latencies latencies;
};

// Requests that were not answered in full and ended alike.
struct Trouble {
  Ending ending;
  std::string code, reason;
  int64_t count = 0;
  std::string message;  // the first one's
};

struct Summary {
  double window_s = 0;
  bool is_interrupted = false;
  int64_t max_in_flight = 0;
  std::array<int64_t, 4> endings = {};  // by Ending
  std::vector<Trouble> troubles;        // most frequent first
  Group all;
  std::vector<Group> by_bits;  // by what was asked for, in order of name
  Distribution reject;         // sent to refused
  Distribution lateness;       // due to sent: this client's own delay
  // Inside the window.
  double requests_per_s = 0;       // answered in full
  double prompt_tokens_per_s = 0;  // of requests whose first token came
  double output_tokens_per_s = 0;
  double goodput_per_s = 0;  // answers within the SLO
  // Of the requests that count.
  int64_t prompt_tokens = 0, cached_prompt_tokens = 0, output_tokens = 0, preemptions = 0;
  std::map<int32_t, int64_t> tokens_by_bits;  // by the bits that were used

  int64_t sent() const { return all.sent; }
  int64_t count(Ending ending) const { return endings[static_cast<size_t>(ending)]; }
};

Summary Summarize(const LoadResult& result, const Slo& slo);

const char* Name(Ending ending);  // "ok", "rejected", "failed", "unfinished"

}  // namespace bitdial::server
