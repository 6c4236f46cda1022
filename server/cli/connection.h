// How the commands that speak to a server reach it: address, TLS, API key.
#pragma once

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "kernels/core/status.h"

namespace bitdial::server {

struct ConnectionOptions {
  std::string server = "127.0.0.1:50051";
  bool has_server = false;  // said on the command line
  bool has_tls = false;     // TLS, with the system's authorities unless tls_ca says others
  std::string tls_ca;
  std::string tls_cert, tls_key;  // the client's own, for servers that want one
  std::string api_key_file;
};

// --server, --tls, --tls-ca, --tls-cert, --tls-key, --api-key-file. The options outlive the
// command.
void AddConnectionFlags(CLI::App& command, ConnectionOptions& options);

struct Connection {
  std::shared_ptr<grpc::Channel> channel;
  std::string api_key;  // empty: none

  // Shows the key with the call.
  void Prepare(grpc::ClientContext& context) const;
};

// --server, else BITDIAL_SERVER, else the default; the key is that of --api-key-file, else of
// BITDIAL_API_KEY: never an argument, which every user of the machine can see. Sends nothing yet.
// Errors  INVALID_ARGUMENT a wrong address, flags that do not go together; those of reading the
// files.
// arguments: of the channel.
absl::StatusOr<Connection> Connect(ConnectionOptions& options,
                                   const grpc::ChannelArguments& arguments = {});

}  // namespace bitdial::server
