// bitdial.v1.AdminService over gRPC's callback API.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>

#include "bitdial/v1/admin.grpc.pb.h"
#include "server/model/served_model.h"
#include "server/rpc/active_requests.h"
#include "server/security/key_store.h"

namespace bitdial::server {

// Every method as raw bytes: see byte_buffer.h.
using RawAdminService = v1::AdminService::WithRawCallbackMethod_GetStatus<
    v1::AdminService::WithRawCallbackMethod_CancelRequest<
        v1::AdminService::WithRawCallbackMethod_SetLogLevel<
            v1::AdminService::WithRawCallbackMethod_Drain<v1::AdminService::Service>>>>;

// Every method asks for the scope admin, where there are keys, and is logged with the key's name.
// Thread   methods run on gRPC's threads.
class AdminService final : public RawAdminService {
 public:
  // What it looks at and acts on; all of it outlives the service.
  struct Target {
    const KeyStore& keys;
    ActiveRequests& active;
    std::function<bool()> is_draining;
    std::function<void()> drain;  // begins to end the process; returns at once
  };
  explicit AdminService(Target target) : target_(std::move(target)) {}

  // The model is loaded. It outlives the service.
  void Serve(const ServedModel& model) { model_ = &model; }

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* CancelRequest(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* SetLogLevel(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;

 private:
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Answer(
      grpc::CallbackServerContext* context, const char* method, const grpc::ByteBuffer& raw,
      grpc::ByteBuffer* response, absl::StatusOr<Response> (AdminService::*answer)(const Request&));

  absl::StatusOr<v1::GetStatusResponse> AnswerStatus(const v1::GetStatusRequest& request);
  absl::StatusOr<v1::CancelRequestResponse> AnswerCancel(const v1::CancelRequestRequest& request);
  absl::StatusOr<v1::SetLogLevelResponse> AnswerLogLevel(const v1::SetLogLevelRequest& request);
  absl::StatusOr<v1::DrainResponse> AnswerDrain(const v1::DrainRequest& request);

  const Target target_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::atomic<const ServedModel*> model_{nullptr};
};

}  // namespace bitdial::server
