// bitdial admin: what an operator asks of a running server, over its admin_listen.
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>

#include "bitdial/v1/admin.grpc.pb.h"
#include "server/cli/command.h"
#include "server/cli/connection.h"
#include "server/rpc/byte_buffer.h"

namespace bitdial::server {
namespace {

constexpr std::chrono::seconds kTimeout(30);

struct AdminOptions {
  ConnectionOptions connection;
  std::string request_id;  // of cancel
  std::string level;       // of log-level
};

// Every answer is printed as JSON, with the names of the proto.
void Print(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (google::protobuf::util::MessageToJsonString(message, &text, options).ok())
    std::cout << text << std::flush;
}

absl::Status ToStatus(const grpc::Status& status, const std::string& server) {
  if (status.ok()) return absl::OkStatus();
  if (status.error_details().empty()) {
    return Unavailable(
        "cannot reach an admin service at {}: {}; is it the admin_listen of a "
        "running `bitdial serve`?",
        server, status.error_message());
  }
  const bool is_key = status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
                      status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
  const auto code = is_key ? absl::StatusCode::kInvalidArgument
                           : static_cast<absl::StatusCode>(status.error_code());
  return MakeStatus(code, "{}: {}", server, status.error_message());
}

template <typename Request, typename Response>
int Ask(AdminOptions& options, const Request& request,
        grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                       Response*)) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // errors come back as statuses
  SilenceProtobuf();
  const absl::StatusOr<Connection> connection = Connect(options.connection);
  if (!connection.ok()) return Report(connection.status());
  const auto stub = v1::AdminService::NewStub(connection->channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  connection->Prepare(context);
  Response response;
  const grpc::Status status = (stub.get()->*method)(&context, request, &response);
  if (status.ok()) Print(response);
  return Report(ToStatus(status, options.connection.server));
}

}  // namespace

void AddAdminCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<AdminOptions>();
  using Stub = v1::AdminService::Stub;
  CLI::App* command = app.add_subcommand(
      "admin",
      "Run a server by its admin service (admin_listen); answers are JSON. Examples:\n\n"
      "  bitdial admin --server unix:/run/bitdial/admin.sock status\n"
      "  bitdial admin --server 127.0.0.1:50052 cancel 8f3a01c2-17");
  command->require_subcommand(1);
  AddConnectionFlags(*command, options->connection);
  command->add_subcommand("status", "What the server does now")->callback([options, &exit_code] {
    exit_code = Ask(*options, v1::GetStatusRequest(), &Stub::GetStatus);
  });
  CLI::App* cancel = command->add_subcommand("cancel", "End a request, whoever's it is");
  cancel->add_option("ID", options->request_id, "The server's id of it, or the client's")
      ->required();
  cancel->callback([options, &exit_code] {
    v1::CancelRequestRequest request;
    request.set_request_id(options->request_id);
    exit_code = Ask(*options, request, &Stub::CancelRequest);
  });
  CLI::App* level = command->add_subcommand("log-level", "Change the log level until a restart");
  level->add_option("LEVEL", options->level, "trace, debug, info, warn, error or off")->required();
  level->callback([options, &exit_code] {
    v1::SetLogLevelRequest request;
    request.set_level(options->level);
    exit_code = Ask(*options, request, &Stub::SetLogLevel);
  });
  command->add_subcommand("drain", "End the server as SIGTERM does: refuse, finish, exit")
      ->callback(
          [options, &exit_code] { exit_code = Ask(*options, v1::DrainRequest(), &Stub::Drain); });
}

}  // namespace bitdial::server
