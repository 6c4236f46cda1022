// The engine's own gate: whatever front a request came through, after this no step can trip over
// it.
#pragma once

#include "engine/engine.h"
#include "engine/request.h"

namespace bitdial::engine {

// Errors  INVALID_ARGUMENT  saying the field, what was found and what would do.
absl::Status ValidateRequest(const Request& request, const ModelInfo& model);

}  // namespace bitdial::engine
