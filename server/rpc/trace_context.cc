#include "server/rpc/trace_context.h"

#include <algorithm>

namespace bitdial::server {
namespace {

// "VV-TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT-PPPPPPPPPPPPPPPP-FF": version, trace, parent, flags.
constexpr size_t kSize = 55;
constexpr size_t kTraceAt = 3, kTraceSize = 32;
constexpr size_t kParentAt = 36, kParentSize = 16;
constexpr size_t kFlagsAt = 53;

bool IsLowerHex(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(const std::string& text) {
  return IsLowerHex(text) && text.find_first_not_of('0') != std::string::npos;
}

}  // namespace

std::string TraceIdOf(const std::string& traceparent) {
  if (traceparent.size() < kSize) return "";
  const std::string version = traceparent.substr(0, 2);
  const std::string trace_id = traceparent.substr(kTraceAt, kTraceSize);
  const bool is_separated = traceparent[kTraceAt - 1] == '-' && traceparent[kParentAt - 1] == '-' &&
                            traceparent[kFlagsAt - 1] == '-';
  const bool is_ended =
      traceparent.size() == kSize || (version != "00" && traceparent[kSize] == '-');
  const bool is_good = is_separated && is_ended && IsLowerHex(version) && version != "ff" &&
                       IsId(trace_id) && IsId(traceparent.substr(kParentAt, kParentSize)) &&
                       IsLowerHex(traceparent.substr(kFlagsAt, 2));
  return is_good ? trace_id : "";
}

}  // namespace bitdial::server
