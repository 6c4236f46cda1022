// What became of one request, with the times at which its messages came.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/cli/load/workload.h"

namespace bitdial::server {

enum class Ending {
  kOk,          // answered in full
  kRejected,    // refused by the server, with a reason, before any token
  kFailed,      // any other error, also one of the connection; an answer shorter than asked for
  kUnfinished,  // still running when the run was over: cancelled by this client
};

// A message of the stream with `num_tokens` output tokens, > 0.
struct TokenMessage {
  double at_s = 0;
  int32_t num_tokens = 0;
};

// Seconds count from the start of the load.
struct Outcome {
  LoadRequest request;
  double sent_s = 0;
  double end_s = 0;
  Ending ending = Ending::kUnfinished;
  std::string code = "OK";  // of gRPC: "RESOURCE_EXHAUSTED"
  std::string reason;       // ErrorInfo.reason: "QUEUE_FULL"; empty: none
  std::string explanation;  // of the status
  std::vector<TokenMessage> messages;
  int32_t cached_prompt_tokens = 0;
  int32_t preemptions = 0;
  std::map<int32_t, int64_t> tokens_by_bits;  // output tokens by the bits that were used

  int64_t NumTokens() const {
    int64_t tokens = 0;
    for (const TokenMessage& message : messages) tokens += message.num_tokens;
    return tokens;
  }
  // Times to the user count from when the request was due, so that a late client hides no wait.
  double TtftS() const { return messages.front().at_s - request.arrival_s; }  // needs a token
  double EndToEndS() const { return end_s - request.arrival_s; }
  // Mean time of the tokens after the first; 0 when there is one token. Needs a token.
  double TpotS() const {
    const int64_t tokens = NumTokens();
    return tokens > 1
               ? (messages.back().at_s - messages.front().at_s) / static_cast<double>(tokens - 1)
               : 0;
  }
};

// What one run gave. Rates count what happened inside the window; counts and latencies are of the
// requests from index `first_counted` on.
struct LoadResult {
  std::vector<Outcome> outcomes;  // in order of index
  int64_t first_counted = 0;
  double window_begin_s = 0, window_end_s = 0;
  int64_t max_in_flight = 0;
  bool is_interrupted = false;
};

}  // namespace bitdial::server
