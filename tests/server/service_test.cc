// The server and a client of the generated C++ stub in one process, over a real socket, with a
// scripted engine.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "bitdial/v1/inference.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/server.h"
#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using namespace std::chrono_literals;
using testing::ByteTokenizer;
using testing::FakeEngine;
using ::testing::HasSubstr;

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::ErrorInfo info;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&info)) return info.reason();
  }
  return "";
}

// A served fake model and a client of it.
class ServiceTest : public ::testing::Test {
 protected:
  void StartServer(FakeEngine::Options options = {}, ServerConfig config = {},
                   size_t long_piece_bytes = 4096) {
    model_ = testing::MakeServedModel(std::move(options), long_piece_bytes);
    Listen(config);
    server_->Serve(model_);
  }
  void Listen(ServerConfig config = {}) {
    config.listen = "127.0.0.1:0";
    auto server = RpcServer::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::InferenceService::NewStub(channel_);
  }
  FakeEngine& engine() { return static_cast<FakeEngine&>(*model_.engine); }

  struct Answer {
    std::vector<v1::GenerateResponse> messages;
    std::string text;
    std::vector<int32_t> ids;
    v1::Finish finish;
    grpc::Status status;
  };
  Answer Generate(const v1::GenerateRequest& request, std::chrono::milliseconds timeout = 20s) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    auto reader = stub_->Generate(&context, request);
    Answer answer;
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
      answer.text += message.delta().text();
      const auto& ids = message.delta().token_ids();
      answer.ids.insert(answer.ids.end(), ids.begin(), ids.end());
      if (message.has_finish()) answer.finish = message.finish();
      answer.messages.push_back(message);
    }
    answer.status = reader->Finish();
    return answer;
  }
  bool WaitUntil(const std::function<bool()>& is_true, std::chrono::milliseconds timeout = 10s) {
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (!is_true()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(2ms);
    }
    return true;
  }
  bool WaitUntilIdle() {
    return WaitUntil([this] { return engine().stats().num_running == 0; });
  }
  grpc::health::v1::HealthCheckResponse::ServingStatus Health(const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status =
        grpc::health::v1::Health::NewStub(channel_)->Check(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }

  ServedModel model_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

v1::GenerateRequest Hello() {
  v1::GenerateRequest request;
  request.set_text("hello");
  return request;
}

TEST_F(ServiceTest, StreamsTextIdsAndAFinish) {
  StartServer();
  v1::GenerateRequest request = Hello();
  request.mutable_params()->set_weight_bits(3);
  request.mutable_params()->mutable_sampling()->set_seed(99);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "Hello, world!");
  EXPECT_EQ(answer.ids.size(), 14u);  // and <eos>
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_EOS);
  EXPECT_EQ(answer.finish.usage().prompt_tokens(), 5);
  EXPECT_EQ(answer.finish.usage().completion_tokens(), 14);
  EXPECT_EQ(answer.finish.weight_bits(), 3);
  EXPECT_EQ(answer.finish.seed(), 99u);
  EXPECT_FALSE(answer.messages[0].request_id().empty());
  for (size_t i = 0; i < answer.messages.size(); ++i) {
    EXPECT_EQ(answer.messages[i].has_finish(), i + 1 == answer.messages.size());
    EXPECT_EQ(answer.messages[i].request_id().empty(), i > 0);
  }
  EXPECT_EQ(engine().last_request().weight_bits, 3);
  EXPECT_TRUE(engine().last_request().deadline.has_value());
}

TEST_F(ServiceTest, SeedsAreDrawnAndReportedWhenAbsent) {
  StartServer();
  const uint64_t first = Generate(Hello()).finish.seed();
  EXPECT_NE(Generate(Hello()).finish.seed(), first);
  const uint64_t last = Generate(Hello()).finish.seed();
  EXPECT_EQ(engine().last_request().sampling.seed, last);
}

TEST_F(ServiceTest, StopStringEndsTheAnswerAndTheComputing) {
  StartServer({.script = "one two three ", .repeats = true});
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->add_stop("two");
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "one ");
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finish.stop(), "two");
  EXPECT_EQ(answer.finish.usage().completion_tokens(), 7);
  EXPECT_EQ(answer.ids.size(), 7u);
  EXPECT_TRUE(WaitUntilIdle());
}

// Each choice is a stream of its own inside the call: a stop string ends one, the others go on.
TEST_F(ServiceTest, ChoicesComeInOneStreamAndEndOneByOne) {
  StartServer({.script = "one two three "});
  v1::GenerateRequest request = Hello();
  request.mutable_params()->set_n(3);
  request.mutable_params()->mutable_auto_bits()->set_min_bits(2);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  std::vector<std::string> texts(3);
  std::vector<int> num_finishes(3), num_bits(3), num_ids(3);
  for (const v1::GenerateResponse& message : answer.messages) {
    const auto choice = static_cast<size_t>(message.delta().index());
    texts.at(choice) += message.delta().text();
    num_bits[choice] += message.delta().weight_bits_size();
    num_ids[choice] += message.delta().token_ids_size();
    if (!message.has_finish()) continue;
    ++num_finishes.at(static_cast<size_t>(message.finish().index()));
    EXPECT_EQ(message.finish().index(), message.delta().index());
  }
  EXPECT_EQ(texts, std::vector<std::string>(3, "one two three "));
  EXPECT_EQ(num_finishes, std::vector<int>(3, 1));
  EXPECT_EQ(num_bits, num_ids);
  EXPECT_TRUE(answer.messages.back().has_finish());

  request.mutable_params()->mutable_stopping()->add_stop("two");
  const Answer stopped = Generate(request);
  ASSERT_TRUE(stopped.status.ok()) << stopped.status.error_message();
  texts.assign(3, "");
  for (const v1::GenerateResponse& message : stopped.messages) {
    texts.at(static_cast<size_t>(message.delta().index())) += message.delta().text();
  }
  EXPECT_EQ(texts, std::vector<std::string>(3, "one "));
  EXPECT_TRUE(WaitUntilIdle());
}

TEST_F(ServiceTest, StopTokenIdsAndMaxTokensAreToldApart) {
  StartServer();
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->add_stop_token_ids(',');
  Answer answer = Generate(request);
  EXPECT_EQ(answer.text, "Hello");
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finish.stop_token_id(), ',');
  request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(3);
  answer = Generate(request);
  EXPECT_EQ(answer.text, "Hel");
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(ServiceTest, EchoAndLogprobsCoverThePromptToo) {
  StartServer();
  v1::GenerateRequest request = Hello();
  v1::OutputParams& output = *request.mutable_params()->mutable_output();
  output.set_echo(true);
  output.set_logprobs(true);
  output.set_top_logprobs(2);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "helloHello, world!");
  int num_prompt_logprobs = 0, num_logprobs = 0;
  for (const auto& message : answer.messages) {
    EXPECT_TRUE(message.prompt_logprobs_size() == 0 || num_logprobs == 0);  // before the output
    num_prompt_logprobs += message.prompt_logprobs_size();
    num_logprobs += message.delta().logprobs_size();
    EXPECT_EQ(message.delta().logprobs_size(), message.delta().token_ids_size());
    for (const auto& logprob : message.delta().logprobs()) EXPECT_EQ(logprob.top_size(), 2);
  }
  EXPECT_EQ(num_prompt_logprobs, 4);
  EXPECT_EQ(num_logprobs, 14);
}

TEST_F(ServiceTest, ChatLaysOutTheMessages) {
  StartServer();
  v1::ChatRequest request;
  v1::ChatMessage& message = *request.add_messages();
  message.set_role(v1::ChatMessage::ROLE_USER);
  message.set_content("hi");
  grpc::ClientContext context;
  auto reader = stub_->Chat(&context, request);
  std::string text;
  v1::ChatResponse response;
  while (reader->Read(&response)) text += response.delta().text();
  const grpc::Status status = reader->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(text, "Hello, world!");
  EXPECT_TRUE(response.has_finish());
  std::string prompt;
  for (int32_t id : engine().last_request().prompt_ids)
    prompt += model_.tokenizer->TokenBytes(id, true);
  EXPECT_EQ(prompt, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(ServiceTest, UnaryMethodsAnswer) {
  StartServer();
  {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    request.set_text("aé");
    v1::TokenizeResponse response;
    ASSERT_TRUE(stub_->Tokenize(&context, request, &response).ok());
    EXPECT_THAT(response.token_ids(), ::testing::ElementsAre('a', 0xC3, 0xA9));
    EXPECT_THAT(response.tokens(), ::testing::ElementsAre("a", "\xEF\xBF\xBD", "\xEF\xBF\xBD"));
  }
  {
    grpc::ClientContext context;
    v1::DetokenizeRequest request;
    for (int id : {0x61, 0xC3, 0xA9, 270}) request.add_token_ids(id);
    v1::DetokenizeResponse response;
    ASSERT_TRUE(stub_->Detokenize(&context, request, &response).ok());
    EXPECT_EQ(response.text(), "aé");
  }
  {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    ASSERT_TRUE(stub_->ListModels(&context, {}, &response).ok());
    EXPECT_THAT(response.models(), ::testing::ElementsAre("fake"));
  }
  {
    grpc::ClientContext context;
    v1::GetModelResponse response;
    ASSERT_TRUE(stub_->GetModel(&context, {}, &response).ok());
    EXPECT_THAT(response.weight_bits(), ::testing::ElementsAre(2, 3, 4));
    EXPECT_EQ(response.default_weight_bits(), 4);
    EXPECT_EQ(response.max_context(), 4096);
    EXPECT_EQ(response.chat_template(), "chatml");
    EXPECT_GT(response.resident_bytes(), 1 << 20);
  }
  {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_model("other");
    v1::GetModelResponse response;
    const grpc::Status status = stub_->GetModel(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(ReasonOf(status), "UNKNOWN_MODEL");
  }
}

TEST_F(ServiceTest, ClientCancelStopsTheComputing) {
  StartServer({.script = "abc", .repeats = true});
  grpc::ClientContext context;
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(4000);
  request.mutable_params()->mutable_stopping()->set_ignore_eos(true);
  auto reader = stub_->Generate(&context, request);
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  context.TryCancel();
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(WaitUntilIdle());
  const int64_t num_made = engine().num_tokens_made();
  EXPECT_LT(num_made, 4000);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(engine().num_tokens_made(), num_made);
  EXPECT_EQ(Generate(Hello()).text.substr(0, 3), "abc");  // still serving
}

TEST_F(ServiceTest, DeadlineStopsTheComputing) {
  StartServer({.script = "abc", .repeats = true, .token_time = 5ms});
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(4000);
  const Answer answer = Generate(request, 1s);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_FALSE(answer.text.empty());
  EXPECT_TRUE(WaitUntilIdle());
  EXPECT_LT(engine().num_tokens_made(), 1000);
}

TEST_F(ServiceTest, FullQueueIsResourceExhaustedWithARetry) {
  StartServer({.script = "abc", .repeats = true, .max_requests = 1});
  grpc::ClientContext context;
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(4000);
  auto reader = stub_->Generate(&context, request);
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const Answer refused = Generate(Hello());
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused.status), "QUEUE_FULL");
  context.TryCancel();
  reader->Finish();
}

// Tokens of 64 KiB fill gRPC's windows soon; then tokens wait in the queue until it
// is full.
TEST_F(ServiceTest, SlowReaderIsPausedAndGoesOnWhenItReads) {
  ServerConfig config;
  config.max_unread_tokens = 50;
  StartServer({.script_ids = {ByteTokenizer::kLong}, .repeats = true}, config, 64 << 10);
  grpc::ClientContext context;
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(600);
  auto reader = stub_->Generate(&context, request);
  int64_t num_made = -1;  // it stops growing: paused
  ASSERT_TRUE(WaitUntil([&] {
    const int64_t before = std::exchange(num_made, engine().num_tokens_made());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return num_made > 0 && before == num_made;
  }));
  EXPECT_LT(num_made, 600);
  v1::GenerateRequest quick = Hello();
  quick.mutable_params()->mutable_stopping()->set_max_tokens(2);
  EXPECT_TRUE(Generate(quick).status.ok());
  v1::GenerateResponse message;
  int num_tokens = 0;
  while (reader->Read(&message)) num_tokens += message.delta().token_ids_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(num_tokens, 600);
}

TEST_F(ServiceTest, SlowReaderIsCancelledInTimeAndOthersGoOn) {
  ServerConfig config;
  config.max_unread_tokens = 50;
  config.slow_reader_timeout_s = 0;
  config.max_running_requests = config.max_queued_requests = 1;
  config.max_active_requests = 2;  // as many as the slow readers below
  StartServer({.script_ids = {ByteTokenizer::kLong}, .repeats = true}, config, 64 << 10);
  grpc::ClientContext context;
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(4000);
  auto reader = stub_->Generate(&context, request);
  grpc::ClientContext other_context;
  auto other = stub_->Generate(&other_context, request);
  ASSERT_TRUE(WaitUntil([this] { return engine().num_tokens_made() > 0; }));
  ASSERT_TRUE(
      WaitUntilIdle());  // without one Read: the engine was not held up, the request was ended
  EXPECT_LT(engine().num_tokens_made(), 4000);
  v1::GenerateRequest quick = Hello();
  quick.mutable_params()->mutable_stopping()->set_max_tokens(2);
  EXPECT_TRUE(Generate(quick).status.ok()) << "they keep their places though they never read";
  other_context.TryCancel();
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "SLOW_READER");
}

// gRPC's windows are full, the answer is made, and its end can not be said: the stream ends all the same.
TEST_F(ServiceTest, AFinishedAnswerThatNobodyReadsIsClosedInTime) {
  ServerConfig config;
  config.max_unread_tokens = 4000;  // never paused
  config.slow_reader_timeout_s = 0;
  config.max_running_requests = config.max_queued_requests = 1;
  config.max_active_requests = 2;
  StartServer({.script_ids = {ByteTokenizer::kLong}, .repeats = true}, config, 64 << 10);
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(600);
  grpc::ClientContext contexts[2];
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>> readers;
  for (grpc::ClientContext& context : contexts) {
    readers.push_back(stub_->Generate(&context, request));
    readers.back()->WaitForInitialMetadata();
  }
  ASSERT_TRUE(WaitUntilIdle());
  v1::GenerateRequest quick = Hello();
  quick.mutable_params()->mutable_stopping()->set_max_tokens(2);
  EXPECT_EQ(ReasonOf(Generate(quick).status), "QUEUE_FULL") << "both places are held";
  EXPECT_TRUE(WaitUntil([&] { return Generate(quick).status.ok(); }, 20s)) << "and then free";
  for (auto& reader : readers) {
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
    }
    // With the reason, if it still gets through.
    EXPECT_THAT(reader->Finish().error_code(), ::testing::AnyOf(grpc::StatusCode::CANCELLED,
                                                                grpc::StatusCode::RESOURCE_EXHAUSTED));
  }
}

TEST_F(ServiceTest, AnEngineErrorEndsItsRequestAfterWhatWasMade) {
  StartServer({.script = "half an ans", .error = absl::InternalError("not finite")});
  const Answer answer = Generate(Hello());
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(answer.status.error_message(), "not finite");
  EXPECT_EQ(answer.text, "half an ans");
  EXPECT_FALSE(answer.finish.has_usage());
}

TEST_F(ServiceTest, WrongValuesNameTheirFields) {
  StartServer();
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_sampling()->set_top_p(7);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(answer.status.error_message(),
              HasSubstr("params.sampling.top_p: 7 is outside (0, 1]"));
  EXPECT_EQ(ReasonOf(answer.status), "INVALID_FIELD");
}

// Bytes no client library would send: cut messages and strings that are not UTF-8.
TEST_F(ServiceTest, MalformedRequestsAreInvalidArguments) {
  StartServer();
  const auto send = [&](const std::string& bytes) {
    grpc::ClientContext context;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::CompletionQueue queue;
    grpc::ByteBuffer response;
    grpc::Status status;
    auto call = grpc::GenericStub(channel_).PrepareUnaryCall(
        &context, "/bitdial.v1.InferenceService/Generate", request, &queue);
    call->StartCall();
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok) && ok);
    return status;
  };
  for (const std::string& bytes : {std::string("\x12\x02\xc3\x28", 4), std::string("\x12\x7f", 2),
                                   std::string("\xff\xff\xff")}) {
    const grpc::Status status = send(bytes);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonOf(status), "MALFORMED_REQUEST");
    EXPECT_THAT(status.error_message(), HasSubstr("bitdial.v1.GenerateRequest"));
  }
  EXPECT_EQ(ReasonOf(send("")), "INVALID_FIELD");  // a good message without a prompt
}

TEST_F(ServiceTest, FieldsOfALaterVersionAreIgnored) {
  StartServer();
  v1::GenerateRequest request;
  ASSERT_TRUE(request.ParseFromString(std::string("\x12\x02hi\xfa\x01\x01x", 8)));  // field 31
  EXPECT_TRUE(Generate(request).status.ok());
}

TEST_F(ServiceTest, TooLargeAndCompressedMessagesAreRefused) {
  ServerConfig config;
  config.max_message_bytes = 4096;
  StartServer({}, config);
  v1::GenerateRequest request;
  request.set_text(std::string(5000, 'x'));
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::TokenizeRequest tokenize;
  tokenize.set_text(std::string(4000, 'x'));
  v1::TokenizeResponse response;
  EXPECT_EQ(stub_->Tokenize(&context, tokenize, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Generate(Hello()).status.ok());
}

TEST_F(ServiceTest, HealthFollowsLoadingServingAndDraining) {
  using Response = grpc::health::v1::HealthCheckResponse;
  const std::string service = "bitdial.v1.InferenceService";
  Listen();
  EXPECT_EQ(Health(""), Response::NOT_SERVING);
  EXPECT_EQ(Health(service), Response::NOT_SERVING);
  const Answer loading = Generate(Hello());
  EXPECT_EQ(loading.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(loading.status), "LOADING");
  model_ = testing::MakeServedModel();
  server_->Serve(model_);
  EXPECT_EQ(Health(""), Response::SERVING);
  EXPECT_EQ(Health(service), Response::SERVING);
  server_->Drain(1s);
  EXPECT_EQ(Health(""), Response::NOT_SERVING);
  EXPECT_EQ(Health(service), Response::NOT_SERVING);
  const Answer draining = Generate(Hello());
  EXPECT_EQ(draining.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(draining.status), "DRAINING");
}

TEST_F(ServiceTest, DrainLetsShortRequestsEndAndCancelsLongOnes) {
  StartServer({.script = "abc", .repeats = true, .token_time = 2ms});
  v1::GenerateRequest short_request = Hello(), long_request = Hello();
  short_request.mutable_params()->mutable_stopping()->set_max_tokens(50);
  long_request.mutable_params()->mutable_stopping()->set_max_tokens(4000);
  auto short_answer = std::async(std::launch::async, [&] { return Generate(short_request); });
  auto long_answer = std::async(std::launch::async, [&] { return Generate(long_request); });
  ASSERT_TRUE(WaitUntil([this] { return engine().stats().num_running == 2; }));
  EXPECT_EQ(server_->Drain(1s), 1);
  EXPECT_TRUE(short_answer.get().status.ok());
  const Answer cancelled = long_answer.get();
  EXPECT_EQ(cancelled.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(cancelled.status), "DRAINING");
  EXPECT_FALSE(cancelled.text.empty());
}

TEST_F(ServiceTest, PortInUseIsExplained) {
  StartServer();
  ServerConfig config;
  config.listen = server_->address();
  const absl::Status status = RpcServer::Start(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Address already in use"));
}

// Calls cancelled in every state leave nothing behind; the last answer is whole.
TEST_F(ServiceTest, CancellationStorm) {
  StartServer({.script = "abcdefgh", .repeats = true, .token_time = 50us});
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([this, c] {
      for (int i = 0; i < 60; ++i) {
        grpc::ClientContext context;
        v1::GenerateRequest request = Hello();
        request.mutable_params()->mutable_stopping()->set_max_tokens(i % 7 == 0 ? 1 : 2000);
        if (i % 3 == 0) request.mutable_params()->mutable_stopping()->add_stop("cd");
        auto reader = stub_->Generate(&context, request);
        v1::GenerateResponse message;
        for (int reads = (i * 5 + c) % 4; reads > 0 && reader->Read(&message); --reads) {
        }
        context.TryCancel();
        reader->Finish();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(WaitUntilIdle());
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_stopping()->set_max_tokens(100);
  EXPECT_EQ(Generate(request).ids.size(), 100u);
}

}  // namespace
}  // namespace bitdial::server
