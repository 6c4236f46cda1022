// W3C Trace Context: which trace a request belongs to, as its client says in the metadata.
#pragma once

#include <string>

namespace bitdial::server {

// The 32 lower-case hex digits of the trace in a `traceparent` value; "" when the value is not one
// to the letter: the standard says to go on as if there were none. A later version's value may have
// more at its end.
std::string TraceIdOf(const std::string& traceparent);

}  // namespace bitdial::server
