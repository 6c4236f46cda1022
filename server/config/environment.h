// The BITDIAL_* variables: a misspelt one must not be ignored, and a stranger's must not stop us.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernels/core/status.h"

namespace bitdial::server {

using Environment = std::map<std::string, std::string>;  // name -> value

// The variables of this process whose names begin with BITDIAL_.
Environment ReadEnvironment();

// A variable that is no configuration key.
struct OtherVariable {
  const char* name;
  const char* meaning;
};
const std::vector<OtherVariable>& OtherVariables();

// Every name must be a configuration key's, one of OtherVariables(), or Kubernetes': for a Service
// called "bitdial" or "bitdial-..." it gives each container X_SERVICE_HOST, X_SERVICE_PORT... and
// X_PORT..., where X is the Service's name in capitals. So where X_SERVICE_HOST is there, names
// that begin with X_SERVICE_ or X_PORT are taken for its own. Errors  INVALID_ARGUMENT naming the
// first other variable, and the known ones nearest to it.
absl::Status RefuseUnknownVariables(const Environment& environment);

}  // namespace bitdial::server
