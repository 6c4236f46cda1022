// One question to a running server, as `bitdial client` asks it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bitdial/v1/inference.grpc.pb.h"
#include "kernels/core/status.h"
#include "server/cli/connection.h"

namespace bitdial::server {

// What is absent is left to the server.
struct ClientOptions {
  ConnectionOptions connection;
  std::string prompt;
  std::string bits;  // "", "dense" or a number
  bool is_chat = false;
  std::string system;
  std::optional<int32_t> max_tokens;
  std::optional<float> temperature;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  std::optional<double> timeout_s;
  bool is_json = false;
};

// Results go to stdout, figures to stderr. One call of one method; the options must outlive it.
// Errors  UNAVAILABLE       no server there, or it is not serving
//         DEADLINE_EXCEEDED timeout_s has passed
//         CANCELLED         Cancel
//         else the server's own, INVALID_ARGUMENT in place of NOT_FOUND (which here means a file)
// Thread  one; Cancel: any.
class Client {
 public:
  Client(const ClientOptions& options, const Connection& connection);

  absl::Status CheckHealth();
  absl::Status ShowModel();
  absl::Status Ask();
  void Cancel();

 private:
  struct Answer;

  absl::StatusOr<v1::RequestParams> MakeParams() const;
  template <typename Response>
  grpc::Status ReadAll(grpc::ClientReader<Response>& reader, Answer& answer);
  void PrintAnswer(const Answer& answer) const;
  absl::Status ToStatus(const grpc::Status& status) const;

  const ClientOptions& options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
  grpc::ClientContext context_;
  std::atomic<bool> is_cancelled_{false};
};

}  // namespace bitdial::server
