// bitdial.v1.InferenceService over gRPC's callback API.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>

#include "bitdial/v1/inference.grpc.pb.h"
#include "server/config/config.h"
#include "server/metrics/metrics.h"
#include "server/model/served_model.h"
#include "server/rpc/active_requests.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/validator.h"
#include "server/rpc/writer_thread.h"
#include "server/security/key_store.h"
#include "server/security/rate_limiter.h"

namespace bitdial::server {

// Every method as raw bytes: see byte_buffer.h.
using RawInferenceService = v1::InferenceService::WithRawCallbackMethod_Generate<
    v1::InferenceService::WithRawCallbackMethod_Chat<
        v1::InferenceService::WithRawCallbackMethod_Tokenize<
            v1::InferenceService::WithRawCallbackMethod_Detokenize<
                v1::InferenceService::WithRawCallbackMethod_ListModels<
                    v1::InferenceService::WithRawCallbackMethod_GetModel<
                        v1::InferenceService::WithRawCallbackMethod_Cancel<
                            v1::InferenceService::Service>>>>>>>;

// Every method asks for an API key first, where there are keys, and takes one from the caller's
// rate. Answers UNAVAILABLE until Serve, and again (for Generate and Chat) after BeginDrain. Thread
// methods run on gRPC's threads. They tokenize there: the text is bounded by max_message_bytes.
class InferenceService final : public RawInferenceService {
 public:
  // keys and metrics outlive the service.
  InferenceService(const ServerConfig& config, const KeyStore& keys, Metrics& metrics);

  // Begins to answer. Called once; the model outlives the service.
  void Serve(const ServedModel& model);
  void BeginDrain() { is_draining_ = true; }
  bool is_draining() const { return is_draining_; }
  ActiveRequests& active() { return active_; }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Chat(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;

 private:
  // A model and what requests to it are held against.
  struct Serving {
    Serving(const ServedModel& served, const RequestLimits& limits, WriterThread& writer,
            ActiveRequests& active, Metrics& metrics, const SlowReaderLimits& slow_reader);
    const ServedModel& model;
    const RequestContext context;
    const StreamCall::Server call_server;
  };

  absl::StatusOr<const Serving*> Find() const;
  template <typename Request>
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Stream(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer& raw, Method method,
      absl::StatusOr<ValidRequest> (*validate)(const Request&, const RequestContext&,
                                               uint64_t seed));
  // The caller, who has the scope and has not asked too often.
  absl::StatusOr<Principal> Admit(const grpc::CallbackServerContext& context, Scope scope);
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Answer(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer& raw, grpc::ByteBuffer* response,
      Scope scope, absl::StatusOr<Response> (*answer)(const Request&, const Serving&));
  std::string MakeRequestId();

  static absl::StatusOr<v1::TokenizeResponse> AnswerTokenize(const v1::TokenizeRequest& request,
                                                             const Serving& serving);
  static absl::StatusOr<v1::DetokenizeResponse> AnswerDetokenize(
      const v1::DetokenizeRequest& request, const Serving& serving);
  static absl::StatusOr<v1::ListModelsResponse> AnswerListModels(
      const v1::ListModelsRequest& request, const Serving& serving);
  static absl::StatusOr<v1::GetModelResponse> AnswerGetModel(const v1::GetModelRequest& request,
                                                             const Serving& serving);

  const KeyStore& keys_;
  Metrics& metrics_;
  const RequestLimits limits_;
  const bool shares_prefixes_;  // callers' prompts may share K/V with each other's
  const SlowReaderLimits slow_reader_;
  const std::string process_tag_;  // keeps request ids of different runs apart in logs
  std::atomic<uint64_t> num_requests_{0};
  std::atomic<bool> is_draining_{false};
  RateLimiter rates_;
  ActiveRequests active_;
  std::unique_ptr<const Serving> serving_owner_;
  std::atomic<const Serving*> serving_{nullptr};
  WriterThread writer_;
};

}  // namespace bitdial::server
