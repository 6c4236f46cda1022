// Traces to replay: CSV files of when requests arrived and how long they were.
//
//   arrival_s,prompt_tokens,output_tokens,weight_bits
//   0,32,128,4
//   0.25,500,20,auto:2
//
// The header is needed, weight_bits may be left out. No quotes, no spaces, no empty lines; lines
// end with "\n" or "\r\n". Times do not decrease.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/cli/load/workload.h"

namespace bitdial::server {

struct Trace {
  std::vector<LoadRequest> rows;  // not empty
  bool has_bits = false;          // else every row's bits are BitsWish()
};

// what: the file's name, which messages begin with.
// Errors  INVALID_ARGUMENT: with the number of the line.
absl::StatusOr<Trace> ParseTrace(std::string_view text, const std::string& what);

// Errors  those of ParseTrace; NOT_FOUND, PERMISSION_DENIED: the file cannot be read.
//         INVALID_ARGUMENT: larger than 64 MiB.
absl::StatusOr<Trace> ReadTrace(const std::string& path);

}  // namespace bitdial::server
