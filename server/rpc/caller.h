// Who makes this call, and whether he may.
#pragma once

#include <grpcpp/server_context.h>

#include "server/security/key_store.h"

namespace bitdial::server {

// The one check under every method of every service of ours, with TLS and without.
// Errors  UNAUTHENTICATED no key or none of ours; PERMISSION_DENIED a key without this scope.
absl::StatusOr<Principal> Authorize(const KeyStore& keys,
                                    const grpc::CallbackServerContext& context, Scope scope);

}  // namespace bitdial::server
