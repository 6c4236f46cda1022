#include "server/rpc/caller.h"

#include <string>

#include "server/rpc/rpc_status.h"

namespace bitdial::server {

absl::StatusOr<Principal> Authorize(const KeyStore& keys,
                                    const grpc::CallbackServerContext& context, Scope scope) {
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  std::optional<std::string> authorization;
  if (begin != end && std::next(begin) == end)
    authorization.emplace(begin->second.data(), begin->second.size());
  absl::StatusOr<Principal> principal = keys.Authenticate(authorization);
  if (!principal.ok()) return WithReason(principal.status(), kReasonBadApiKey);
  if (principal->Has(scope)) return principal;
  return WithReason(MakeStatus(absl::StatusCode::kPermissionDenied,
                               "the API key \"{}\" has not the scope {} that this call needs",
                               principal->name, Name(scope)),
                    kReasonWrongScope);
}

}  // namespace bitdial::server
