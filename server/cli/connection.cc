#include "server/cli/connection.h"

#include <cstdlib>

#include "server/cli/command.h"
#include "server/config/address.h"
#include "server/security/small_file.h"

namespace bitdial::server {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

absl::Status ChooseServer(ConnectionOptions& options) {
  const char* variable = options.has_server ? nullptr : std::getenv("BITDIAL_SERVER");
  if (variable != nullptr) options.server = variable;
  const std::string what = variable == nullptr ? "--server" : "environment variable BITDIAL_SERVER";
  const absl::Status status = IsUnixAddress(options.server)
                                  ? CheckUnixAddress(options.server, what)
                                  : ParseAddress(options.server, what, /*min_port=*/1).status();
  return variable != nullptr && !status.ok() ? BlameConfig(status) : status;
}

absl::StatusOr<std::string> ReadFlag(const char* flag, const std::string& path) {
  if (path.empty()) return "";
  absl::StatusOr<std::string> text = ReadSmallFile(path, kMaxFileBytes);
  if (!text.ok()) return Annotate(text.status(), flag);
  return text;
}

absl::StatusOr<std::string> ReadKey(const std::string& path) {
  const char* variable = path.empty() ? std::getenv("BITDIAL_API_KEY") : nullptr;
  BITDIAL_ASSIGN_OR_RETURN(std::string key, ReadFlag("--api-key-file", path));
  if (variable != nullptr) key = variable;
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r')) key.pop_back();
  for (const char c : key) {
    if (c > ' ' && c <= '~') continue;
    return InvalidArgument("{}: is no API key; expected one line as `bitdial keys new` shows it",
                           variable == nullptr ? "--api-key-file" : "BITDIAL_API_KEY");
  }
  if (!path.empty() && key.empty()) return InvalidArgument("--api-key-file {}: is empty", path);
  return key;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(
    const ConnectionOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty())
    return InvalidArgument("--tls-cert and --tls-key go together; give both or none");
  const bool has_tls = options.has_tls || !options.tls_ca.empty() || !options.tls_cert.empty();
  if (!has_tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  BITDIAL_ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadFlag("--tls-ca", options.tls_ca));
  BITDIAL_ASSIGN_OR_RETURN(ssl.pem_cert_chain, ReadFlag("--tls-cert", options.tls_cert));
  BITDIAL_ASSIGN_OR_RETURN(ssl.pem_private_key, ReadFlag("--tls-key", options.tls_key));
  return grpc::SslCredentials(ssl);
}

}  // namespace

void AddConnectionFlags(CLI::App& command, ConnectionOptions& options) {
  // No envname(): CLI11 reads the variables of every subcommand, also of those that are not run.
  command
      .add_option_function<std::string>(
          "--server",
          [&options](const std::string& value) {
            options.server = value;
            options.has_server = true;
          },
          "ADDR:PORT of the server, or unix:/PATH [BITDIAL_SERVER]")
      ->default_str(options.server);
  command.add_flag("--tls", options.has_tls, "Encrypt, and trust the system's authorities");
  command.add_option("--tls-ca", options.tls_ca, "Encrypt, and trust the authorities of this file")
      ->type_name("PEM");
  command.add_option("--tls-cert", options.tls_cert, "Certificate to show (with --tls-key)")
      ->type_name("PEM");
  command.add_option("--tls-key", options.tls_key, "Its private key")->type_name("PEM");
  command
      .add_option("--api-key-file", options.api_key_file,
                  "File that holds the API key alone [BITDIAL_API_KEY: the key itself]")
      ->type_name("FILE");
}

void Connection::Prepare(grpc::ClientContext& context) const {
  if (!api_key.empty()) context.AddMetadata("authorization", "Bearer " + api_key);
}

absl::StatusOr<Connection> Connect(ConnectionOptions& options,
                                   const grpc::ChannelArguments& arguments) {
  BITDIAL_RETURN_IF_ERROR(ChooseServer(options));
  Connection connection;
  BITDIAL_ASSIGN_OR_RETURN(connection.api_key, ReadKey(options.api_key_file));
  BITDIAL_ASSIGN_OR_RETURN(const auto credentials, MakeCredentials(options));
  connection.channel = grpc::CreateCustomChannel(options.server, credentials, arguments);
  return connection;
}

}  // namespace bitdial::server
