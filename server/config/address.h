// "ADDR:PORT", where a server listens and a client asks.
#pragma once

#include <string>

#include "kernels/core/status.h"

namespace bitdial::server {

struct Address {
  std::string host;  // a name or an IP address, without the brackets of [::1]
  int port = 0;      // 0: any free one, for a server
  bool is_loopback = false;
};

// what: the key or flag, which the message begins with; min_port: 0 for a server, 1 for a client.
// Errors  INVALID_ARGUMENT.
absl::StatusOr<Address> ParseAddress(const std::string& text, const std::string& what,
                                     int min_port = 0);

// "unix:/PATH": a socket in the file system, for the admin service.
bool IsUnixAddress(const std::string& text);
// Errors  INVALID_ARGUMENT beginning with `what`: the path is not absolute, or longer than the
// system takes.
absl::Status CheckUnixAddress(const std::string& text, const std::string& what);
// Why a server cannot listen there, asked of the system: libraries only say that they could not.
std::string ExplainBindFailure(const Address& address);

}  // namespace bitdial::server
