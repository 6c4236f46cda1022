#include "server/cli/server_flag.h"

#include <cstdlib>

#include "server/cli/command.h"
#include "server/config/address.h"

namespace bitdial::server {

absl::Status ChooseServer(bool has_flag, std::string& server) {
  const char* const variable = has_flag ? nullptr : std::getenv("BITDIAL_SERVER");
  if (variable != nullptr) server = variable;
  const absl::Status status =
      ParseAddress(server, variable == nullptr ? "--server" : "environment variable BITDIAL_SERVER",
                   /*min_port=*/1)
          .status();
  return variable != nullptr && !status.ok() ? BlameConfig(status) : status;
}

}  // namespace bitdial::server
