// API keys, scopes, limits, Cancel and the admin service over a real socket, with a scripted
// engine.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <future>
#include <thread>

#include "bitdial/v1/admin.grpc.pb.h"
#include "bitdial/v1/inference.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/server.h"
#include "server/security/key_file.h"
#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using namespace std::chrono_literals;
using testing::FakeEngine;
using ::testing::HasSubstr;

template <typename Detail>
std::optional<Detail> Find(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  Detail detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

std::string ReasonOf(const grpc::Status& status) {
  const auto info = Find<google::rpc::ErrorInfo>(status);
  return info.has_value() ? info->reason() : "";
}

bool WaitUntil(const std::function<bool()>& is_true) {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!is_true()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

v1::GenerateRequest Hello(const std::string& request_id = "", int32_t max_tokens = 4000) {
  v1::GenerateRequest request;
  request.set_text("hello");
  if (!request_id.empty()) request.mutable_params()->set_request_id(request_id);
  request.mutable_params()->mutable_stopping()->set_max_tokens(max_tokens);
  request.mutable_params()->mutable_stopping()->set_ignore_eos(true);
  return request;
}

class ServiceSecurityTest : public ::testing::Test {
 protected:
  using Stub = v1::InferenceService::Stub;

  // A key in the file that StartServer will use.
  std::string AddKey(const std::string& name, std::vector<Scope> scopes,
                     int64_t max_concurrent_requests = 0, int64_t max_requests_per_minute = 0) {
    KeyRecord record;
    record.principal = {.name = name,
                        .scopes = std::move(scopes),
                        .max_concurrent_requests = max_concurrent_requests,
                        .max_requests_per_minute = max_requests_per_minute};
    const std::string key = *MakeApiKey();
    record.id = *IdOfApiKey(key);
    record.salt = *MakeKeySalt();
    record.hash = HashApiKey(record.salt, key);
    key_lines_ += ToLine(record) + "\n";
    return key;
  }

  void StartServer(ServerConfig config = {}) {
    model_ = testing::MakeServedModel({.script = "abc", .repeats = true, .token_time = 500us});
    config.listen = "127.0.0.1:0";
    if (!key_lines_.empty()) {
      config.keys_file = ::testing::TempDir() + "/service_security_test.jsonl";
      std::ofstream(config.keys_file) << key_lines_;
    }
    auto server = RpcServer::Start(config, [this] { ++num_drains_; });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::InferenceService::NewStub(channel_);
    server_->Serve(model_);
    if (server_->admin_address().empty()) return;
    admin_ = v1::AdminService::NewStub(
        grpc::CreateChannel(server_->admin_address(), grpc::InsecureChannelCredentials()));
  }
  FakeEngine& engine() { return static_cast<FakeEngine&>(*model_.engine); }
  bool WaitUntilIdle() {
    return WaitUntil([this] { return engine().stats().num_running == 0; });
  }

  // One call of a unary method with a key ("": none).
  template <typename Service, typename Request, typename Response>
  static grpc::Status Call(Service& stub,
                           grpc::Status (Service::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                           const std::string& key, const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 20s);
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    return (stub.*method)(&context, request, &response);
  }
  int32_t Cancel(const std::string& key, const std::string& id) {
    v1::CancelRequest request;
    request.set_request_id(id);
    v1::CancelResponse response;
    const grpc::Status status = Call(*stub_, &Stub::Cancel, key, request, response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.num_cancelled();
  }

  // A Generate that goes on until it is told otherwise.
  struct Running {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
    std::string id;  // from the initial metadata

    grpc::Status End() {
      v1::GenerateResponse message;
      while (reader->Read(&message)) {
      }
      return reader->Finish();
    }
  };
  std::unique_ptr<Running> Start(const std::string& key, const v1::GenerateRequest& request) {
    auto running = std::make_unique<Running>();
    if (!key.empty()) running->context.AddMetadata("authorization", "Bearer " + key);
    running->context.set_deadline(std::chrono::system_clock::now() + 60s);
    running->reader = stub_->Generate(&running->context, request);
    running->reader->WaitForInitialMetadata();
    const auto& metadata = running->context.GetServerInitialMetadata();
    const auto found = metadata.find("bitdial-request-id");
    if (found != metadata.end()) running->id.assign(found->second.data(), found->second.size());
    return running;
  }
  grpc::Status Generate(const std::string& key, const v1::GenerateRequest& request) {
    return Start(key, request)->End();
  }

  std::string key_lines_;
  std::atomic<int> num_drains_{0};
  ServedModel model_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Stub> stub_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

// CVE-2026-24206, -24207, -47481 and vLLM's gRPC front: a front or a method that does not ask for
// the key. A key that one method does not ask for is no key: each is tried without one, with a
// wrong one, and with one of the wrong scope. On plaintext loopback too: the check is not TLS's.
TEST_F(ServiceSecurityTest, Cve202624206EveryMethodAsksForAKeyAndItsScope) {
  const std::string inference = AddKey("inference", {Scope::kInference});
  const std::string models = AddKey("models", {Scope::kModels});
  const std::string admin = AddKey("admin", {Scope::kAdmin});
  StartServer({.admin_listen = "127.0.0.1:0"});
  const auto unary = [&](auto& stub, auto method, auto request, auto response) {
    return [&stub, method, request, response](const std::string& key) mutable {
      return Call(stub, method, key, request, response);
    };
  };
  v1::CancelRequest cancel;
  cancel.set_request_id("x");
  v1::CancelRequestRequest admin_cancel;
  admin_cancel.set_request_id("x");
  v1::SetLogLevelRequest level;
  level.set_level("info");
  using Admin = v1::AdminService::Stub;
  const auto generate = [&](const std::string& key) { return Generate(key, Hello("", 1)); };
  const auto chat = [&](const std::string& key) {
    v1::ChatRequest request;
    v1::ChatMessage& message = *request.add_messages();
    message.set_role(v1::ChatMessage::ROLE_USER);
    message.set_content("hi");
    request.mutable_params()->mutable_stopping()->set_max_tokens(1);
    grpc::ClientContext context;
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    auto reader = stub_->Chat(&context, request);
    v1::ChatResponse response;
    while (reader->Read(&response)) {
    }
    return reader->Finish();
  };
  struct Case {
    const char* method;
    std::string key;
    std::function<grpc::Status(const std::string&)> call;
  };
  const Case cases[] = {
      {"Generate", inference, generate},
      {"Chat", inference, chat},
      {"Cancel", inference, unary(*stub_, &Stub::Cancel, cancel, v1::CancelResponse())},
      {"Tokenize", inference,
       unary(*stub_, &Stub::Tokenize, v1::TokenizeRequest(), v1::TokenizeResponse())},
      {"Detokenize", inference,
       unary(*stub_, &Stub::Detokenize, v1::DetokenizeRequest(), v1::DetokenizeResponse())},
      {"ListModels", models,
       unary(*stub_, &Stub::ListModels, v1::ListModelsRequest(), v1::ListModelsResponse())},
      {"GetModel", models,
       unary(*stub_, &Stub::GetModel, v1::GetModelRequest(), v1::GetModelResponse())},
      {"GetStatus", admin,
       unary(*admin_, &Admin::GetStatus, v1::GetStatusRequest(), v1::GetStatusResponse())},
      {"CancelRequest", admin,
       unary(*admin_, &Admin::CancelRequest, admin_cancel, v1::CancelRequestResponse())},
      {"SetLogLevel", admin, unary(*admin_, &Admin::SetLogLevel, level, v1::SetLogLevelResponse())},
      {"Drain", admin, unary(*admin_, &Admin::Drain, v1::DrainRequest(), v1::DrainResponse())}};
  int num_methods = 0;
  for (const auto* service :
       {v1::InferenceService::service_full_name(), v1::AdminService::service_full_name()}) {
    num_methods += google::protobuf::DescriptorPool::generated_pool()
                       ->FindServiceByName(service)
                       ->method_count();
  }
  EXPECT_EQ(static_cast<size_t>(num_methods), std::size(cases));  // a new method belongs here
  for (const Case& one : cases) {
    for (const std::string& key : {std::string(), *MakeApiKey(), std::string("x")}) {
      const grpc::Status status = one.call(key);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << one.method;
      EXPECT_EQ(ReasonOf(status), "BAD_API_KEY") << one.method;
    }
    for (const std::string& key : {inference, models, admin}) {
      const grpc::Status status = one.call(key);
      if (key == one.key) {
        EXPECT_TRUE(status.ok()) << one.method << ": " << status.error_message();
      } else {
        EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << one.method;
        EXPECT_EQ(ReasonOf(status), "WRONG_SCOPE") << one.method;
      }
    }
  }
  EXPECT_EQ(num_drains_, 1);
  // Whoever looks whether the server lives needs no key.
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckResponse health;
  EXPECT_TRUE(grpc::health::v1::Health::NewStub(channel_)->Check(&context, {}, &health).ok());
}

TEST_F(ServiceSecurityTest, TwoKeysInOneCallAreNone) {
  const std::string alice = AddKey("alice", {Scope::kModels});
  StartServer();
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + alice);
  context.AddMetadata("authorization", "Bearer " + alice);
  v1::ListModelsResponse response;
  EXPECT_EQ(stub_->ListModels(&context, {}, &response).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(ServiceSecurityTest, TheCallerIsTheCacheScope) {
  const std::string alice = AddKey("alice", {Scope::kInference});
  StartServer();
  EXPECT_TRUE(Generate(alice, Hello("", 1)).ok());
  EXPECT_EQ(engine().last_request().cache_scope, "alice");
}

TEST_F(ServiceSecurityTest, CancelEndsOnesOwnByEitherName) {
  const std::string alice = AddKey("alice", {Scope::kInference});
  const std::string bob = AddKey("bob", {Scope::kInference});
  const std::string root = AddKey("root", {Scope::kInference, Scope::kAdmin});
  StartServer();
  const auto first = Start(alice, Hello("mine")), second = Start(alice, Hello());
  const auto bobs = Start(bob, Hello("mine"));  // his own name for his own request
  ASSERT_FALSE(first->id.empty());
  EXPECT_EQ(Cancel(bob, first->id), 0);
  EXPECT_EQ(Cancel(alice, bobs->id), 0);
  EXPECT_EQ(Cancel(alice, "nobody"), 0);
  EXPECT_EQ(Cancel(alice, "mine"), 1);
  EXPECT_EQ(Cancel(alice, second->id), 1);
  for (auto* running : {first.get(), second.get()}) {
    const grpc::Status status = running->End();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
    EXPECT_EQ(ReasonOf(status), "CANCEL_CALLED");
    EXPECT_EQ(Find<google::rpc::RequestInfo>(status)->request_id(), running->id);
  }
  EXPECT_EQ(engine().stats().num_running, 1);
  EXPECT_EQ(Cancel(root, bobs->id), 1);
  EXPECT_EQ(bobs->End().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitUntilIdle());
}

TEST_F(ServiceSecurityTest, ANameIsTakenUntilItsRequestEnds) {
  const std::string alice = AddKey("alice", {Scope::kInference});
  StartServer();
  const auto first = Start(alice, Hello("x"));
  const grpc::Status again = Generate(alice, Hello("x"));
  EXPECT_EQ(again.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ReasonOf(again), "DUPLICATE_REQUEST_ID");
  EXPECT_TRUE(Find<google::rpc::RequestInfo>(again).has_value());
  EXPECT_EQ(Cancel(alice, "x"), 1);
  first->End();
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(Generate(alice, Hello("x", 2)).ok()) << i;
}

// CVE-2024-0095: what a client says breaks out of its log line.
TEST_F(ServiceSecurityTest, Cve20240095NamesAreShortPrintableAscii) {
  StartServer();
  v1::GenerateRequest request = Hello("", 1);
  for (const std::string& name : {std::string(129, 'x'), std::string("a\nb"), std::string("\u00e9"),
                                  std::string("a\0b", 3)}) {
    request.mutable_params()->set_request_id(name);
    const grpc::Status status = Generate("", request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("params.request_id"));
    v1::CancelRequest cancel;
    cancel.set_request_id(name);
    v1::CancelResponse response;
    EXPECT_EQ(Call(*stub_, &Stub::Cancel, "", cancel, response).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  request.mutable_params()->set_request_id("");
  EXPECT_EQ(Generate("", request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.mutable_params()->set_request_id(std::string(128, '~'));
  EXPECT_TRUE(Generate("", request).ok());
}

TEST_F(ServiceSecurityTest, ConcurrencyOfAKey) {
  const std::string alice = AddKey("alice", {Scope::kInference}, /*max_concurrent_requests=*/1);
  const std::string bob = AddKey("bob", {Scope::kInference});
  StartServer();
  const auto first = Start(alice, Hello("x"));
  const grpc::Status refused = Generate(alice, Hello());
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused), "CONCURRENCY_LIMIT");
  EXPECT_EQ(Find<google::rpc::QuotaFailure>(refused)->violations(0).subject(), "key:alice");
  EXPECT_TRUE(Find<google::rpc::RetryInfo>(refused).has_value());
  EXPECT_TRUE(Generate(bob, Hello("", 1)).ok());
  Cancel(alice, "x");
  first->End();
  EXPECT_TRUE(Generate(alice, Hello("", 1)).ok());
}

TEST_F(ServiceSecurityTest, RateOfAKey) {
  const std::string alice = AddKey("alice", {Scope::kInference, Scope::kModels}, 0,
                                   /*max_requests_per_minute=*/2);
  StartServer();
  EXPECT_TRUE(Generate(alice, Hello("", 1)).ok());
  v1::TokenizeResponse tokens;
  EXPECT_TRUE(Call(*stub_, &Stub::Tokenize, alice, v1::TokenizeRequest(), tokens).ok());
  const grpc::Status refused = Generate(alice, Hello("", 1));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused), "RATE_LIMIT");
  const auto retry = Find<google::rpc::RetryInfo>(refused);
  ASSERT_TRUE(retry.has_value());
  EXPECT_GT(retry->retry_delay().seconds(), 1);  // the bucket's time, not the usual second
  EXPECT_LE(retry->retry_delay().seconds(), 30);
  EXPECT_EQ(Find<google::rpc::QuotaFailure>(refused)->violations(0).subject(), "key:alice");
  Cancel(alice, "x");  // asks for no rate
  v1::GetModelResponse info;
  EXPECT_TRUE(Call(*stub_, &Stub::GetModel, alice, v1::GetModelRequest(), info).ok());
}

TEST_F(ServiceSecurityTest, ErrorsNameTheRequestAndTheModel) {
  StartServer();
  v1::GenerateRequest request = Hello();
  request.mutable_params()->set_model("gpt");
  const auto running = Start("", request);
  const grpc::Status status = running->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Find<google::rpc::ResourceInfo>(status)->resource_name(), "gpt");
  EXPECT_EQ(Find<google::rpc::RequestInfo>(status)->request_id(), running->id);
  EXPECT_FALSE(running->id.empty());
}

TEST_F(ServiceSecurityTest, AdminSeesAndActs) {
  const std::string alice = AddKey("alice", {Scope::kInference});
  const std::string root = AddKey("root", {Scope::kAdmin});
  const std::string path = ::testing::TempDir() + "/bitdial_admin_test.sock";
  StartServer({.admin_listen = "unix:" + path});
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0600u);  // its owner's alone

  using Admin = v1::AdminService::Stub;
  const auto running = Start(alice, Hello("mine"));
  v1::GenerateResponse message;
  ASSERT_TRUE(running->reader->Read(&message));
  v1::GetStatusResponse status;
  ASSERT_TRUE(Call(*admin_, &Admin::GetStatus, root, v1::GetStatusRequest(), status).ok());
  EXPECT_EQ(status.state(), v1::SERVER_STATE_SERVING);
  EXPECT_EQ(status.num_active(), 1);
  ASSERT_EQ(status.active_size(), 1);
  EXPECT_EQ(status.active(0).request_id(), running->id);
  EXPECT_EQ(status.active(0).client_request_id(), "mine");
  EXPECT_EQ(status.active(0).key(), "alice");
  EXPECT_EQ(status.active(0).prompt_tokens(), 5);
  EXPECT_GT(status.active(0).completion_tokens(), 0);
  EXPECT_EQ(status.engine().num_running(), 1);
  EXPECT_EQ(status.ShortDebugString().find("hello"), std::string::npos);  // no prompt

  v1::GetStatusRequest none, many;
  none.set_max_requests(0);
  many.set_max_requests(1001);
  ASSERT_TRUE(Call(*admin_, &Admin::GetStatus, root, none, status).ok());
  EXPECT_EQ(status.active_size(), 0);
  EXPECT_EQ(status.num_active(), 1);
  EXPECT_EQ(Call(*admin_, &Admin::GetStatus, root, many, status).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  v1::CancelRequestRequest cancel;
  cancel.set_request_id("mine");
  v1::CancelRequestResponse cancelled;
  ASSERT_TRUE(Call(*admin_, &Admin::CancelRequest, root, cancel, cancelled).ok());
  EXPECT_EQ(cancelled.num_cancelled(), 1);
  EXPECT_EQ(running->End().error_code(), grpc::StatusCode::CANCELLED);

  v1::SetLogLevelRequest level;
  v1::SetLogLevelResponse levelled;
  level.set_level("loud");
  EXPECT_EQ(Call(*admin_, &Admin::SetLogLevel, root, level, levelled).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  level.set_level("warn");
  ASSERT_TRUE(Call(*admin_, &Admin::SetLogLevel, root, level, levelled).ok());
  EXPECT_EQ(levelled.previous_level(), "info");
  level.set_level("info");
  ASSERT_TRUE(Call(*admin_, &Admin::SetLogLevel, root, level, levelled).ok());
  EXPECT_EQ(levelled.previous_level(), "warn");

  // A second server does not take the socket over.
  ServerConfig config;
  config.listen = "127.0.0.1:0";
  config.admin_listen = "unix:" + path;
  EXPECT_THAT(std::string(RpcServer::Start(config).status().message()),
              HasSubstr("Address already in use"));
}

TEST_F(ServiceSecurityTest, TheInferencePortHasNoAdminService) {
  StartServer({.admin_listen = "127.0.0.1:0"});
  grpc::ClientContext context;
  v1::GetStatusResponse status;
  EXPECT_EQ(v1::AdminService::NewStub(channel_)->GetStatus(&context, {}, &status).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

// CVE-2024-0087: a call that sets where the log goes writes over any file.
TEST(AdminProto, Cve20240087NoCallTakesAPath) {
  const auto* const service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
      v1::AdminService::service_full_name());
  for (int m = 0; m < service->method_count(); ++m) {
    const auto* const request = service->method(m)->input_type();
    for (int f = 0; f < request->field_count(); ++f) {
      const std::string name = request->field(f)->name();
      // Strings of a call are ids and words of a list.
      if (request->field(f)->type() == google::protobuf::FieldDescriptor::TYPE_STRING)
        EXPECT_TRUE(name == "request_id" || name == "level") << name;
      EXPECT_NE(request->field(f)->type(), google::protobuf::FieldDescriptor::TYPE_BYTES) << name;
    }
  }
}

// CVE-2025-23322 was a double free when a stream is cancelled before it is worked on.
// Cancel, the client's own cancelling and the end of the answer meet in every order; each request
// ends once and leaves neither its name nor its place behind.
TEST_F(ServiceSecurityTest, Cve202523322CancelStorm) {
  const std::string alice = AddKey("alice", {Scope::kInference}, /*max_concurrent_requests=*/8);
  StartServer({.admin_listen = "127.0.0.1:0"});
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      bool may_linger = false;
      for (int i = 0; i < 50; ++i) {
        const std::string name = "request-" + std::to_string(c);
        const auto running = Start(alice, Hello(name, i % 5 == 0 ? 2 : 2000));
        v1::GenerateResponse message;
        for (int reads = (i + c) % 3; reads > 0 && running->reader->Read(&message); --reads) {
        }
        if (i % 4 == 0) running->context.TryCancel();
        if (i % 2 == 0 || i % 5 != 0) Cancel(alice, i % 3 == 0 ? running->id : name);
        const grpc::StatusCode code = running->End().error_code();
        // A name is taken until the server has seen that its client cancelled.
        const bool is_taken = code == grpc::StatusCode::ALREADY_EXISTS && may_linger;
        EXPECT_TRUE(code == grpc::StatusCode::OK || code == grpc::StatusCode::CANCELLED || is_taken)
            << code;
        if (!is_taken) may_linger = i % 4 == 0;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(WaitUntilIdle());
  EXPECT_TRUE(
      WaitUntil([&] { return Cancel(alice, "request-0") + Cancel(alice, "request-1") == 0; }));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Generate(alice, Hello("request-0", 1)).ok());
}

}  // namespace
}  // namespace bitdial::server
