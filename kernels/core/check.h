// BITDIAL_CHECK: our own bugs, never reachable from a request or a file (those return absl::Status).
#pragma once

#include <cstdio>
#include <cstdlib>

namespace bitdial::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::fflush(stderr);
  std::abort();
}

}  // namespace bitdial::internal

// Always on. Aborts with file, line and the condition.
#define BITDIAL_CHECK(condition) \
  ((condition) ? (void)0 : ::bitdial::internal::CheckFailed(__FILE__, __LINE__, #condition))

// On in debug builds only: for inner loops.
#ifdef NDEBUG
#define BITDIAL_DCHECK(condition) ((void)0)
#else
#define BITDIAL_DCHECK(condition) BITDIAL_CHECK(condition)
#endif
