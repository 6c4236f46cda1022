// What a running server shows of its requests: the metrics page over HTTP, and its log lines.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "bitdial/v1/inference.grpc.pb.h"
#include "server/config/logging.h"
#include "server/rpc/server.h"
#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using namespace std::chrono_literals;
using testing::FakeEngine;
using ::testing::HasSubstr;

std::string HttpGet(const std::string& address) {
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(connect(socket_fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(send(socket_fd, request.data(), request.size(), MSG_NOSIGNAL), ssize_t(request.size()));
  std::string page;
  char buffer[4096];
  for (ssize_t size; (size = recv(socket_fd, buffer, sizeof buffer, 0)) > 0;)
    page.append(buffer, static_cast<size_t>(size));
  close(socket_fd);
  return page;
}

// Keeps every line; may be read while others write.
class LogLines final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  std::string Text() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return text_;
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    text_.append(line.data(), line.size());
  }
  void flush_() override {}
  std::string text_;
};

class ObservabilityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto logger = std::make_shared<spdlog::logger>("test", log_);
    logger->set_formatter(std::make_unique<LogFormatter>(LogFormat::kJson));
    spdlog::set_default_logger(logger);
  }
  void TearDown() override {
    server_.reset();
    spdlog::set_default_logger(before_);
  }
  void StartServer(FakeEngine::Options options = {}) {
    model_ = testing::MakeServedModel(std::move(options));
    ServerConfig config;
    config.listen = "127.0.0.1:0";
    config.metrics_listen = "127.0.0.1:0";
    auto server = RpcServer::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->Serve(model_);
    stub_ = v1::InferenceService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }
  grpc::StatusCode Generate(v1::GenerateRequest request,
                            const std::vector<std::string>& traceparents = {}) {
    grpc::ClientContext context;
    for (const std::string& value : traceparents) context.AddMetadata("traceparent", value);
    context.set_deadline(std::chrono::system_clock::now() + 20s);
    request.set_text("a prompt of its own");
    auto reader = stub_->Generate(&context, request);
    for (v1::GenerateResponse message; reader->Read(&message);) continue;
    return reader->Finish().error_code();
  }
  // The last line of the log; the server has written it before the client has its status.
  nlohmann::json LastLine() const {
    const std::string text = log_->Text();
    const size_t begin = text.rfind('\n', text.size() - 2);
    return nlohmann::json::parse(text.substr(begin == std::string::npos ? 0 : begin + 1));
  }

  const std::shared_ptr<LogLines> log_ = std::make_shared<LogLines>();
  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  ServedModel model_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

v1::GenerateRequest AtBits(int bits) {
  v1::GenerateRequest request;
  request.mutable_params()->set_weight_bits(bits);
  return request;
}

TEST_F(ObservabilityTest, ThePageCountsWhatClientsSaw) {
  StartServer({.max_requests = 64});
  v1::GenerateRequest stopped = AtBits(2);
  stopped.mutable_params()->mutable_stopping()->add_stop("world");
  v1::GenerateRequest cut = AtBits(3);
  cut.mutable_params()->mutable_stopping()->set_max_tokens(5);
  EXPECT_EQ(Generate(stopped), grpc::StatusCode::OK);
  EXPECT_EQ(Generate(cut), grpc::StatusCode::OK);
  EXPECT_EQ(Generate(AtBits(4)), grpc::StatusCode::OK);
  EXPECT_EQ(Generate(AtBits(7)), grpc::StatusCode::INVALID_ARGUMENT);
  const std::string page = HttpGet(server_->metrics_address());
  for (const char* line :
       {"bitdial_serving 1\n",
        "bitdial_requests_total{weight_bits=\"2\",status=\"OK\",reason=\"stop\"} 1\n",
        "bitdial_requests_total{weight_bits=\"3\",status=\"OK\",reason=\"length\"} 1\n",
        "bitdial_requests_total{weight_bits=\"4\",status=\"OK\",reason=\"eos\"} 1\n",
        "bitdial_requests_rejected_total{reason=\"INVALID_FIELD\"} 1\n",
        "bitdial_generation_tokens_total{weight_bits=\"3\"} 5\n",
        "bitdial_inter_token_latency_seconds_count{weight_bits=\"3\"} 4\n",
        "bitdial_prompt_tokens_total"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
}

TEST_F(ObservabilityTest, RefusalsAndFailuresAreCountedByTheirReasons) {
  StartServer({.max_requests = 0});
  EXPECT_EQ(Generate(AtBits(2)), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(HttpGet(server_->metrics_address()),
              HasSubstr("bitdial_requests_rejected_total{reason=\"QUEUE_FULL\"} 1\n"));
  stub_.reset();
  server_.reset();
  StartServer({.script = "ab", .error = absl::InternalError("not finite")});
  EXPECT_EQ(Generate(AtBits(2)), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(
      HttpGet(server_->metrics_address()),
      HasSubstr(
          "bitdial_requests_total{weight_bits=\"2\",status=\"INTERNAL\",reason=\"error\"} 1\n"));
  server_->Drain(1s);
  EXPECT_EQ(Generate(AtBits(2)), grpc::StatusCode::UNAVAILABLE);
  const std::string page = HttpGet(server_->metrics_address());
  EXPECT_THAT(page, HasSubstr("bitdial_requests_rejected_total{reason=\"DRAINING\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("bitdial_serving 0\n"));
}

size_t CountOf(const std::string& word, const std::string& text) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size()) ++count;
  return count;
}

TEST_F(ObservabilityTest, ARequestOfManyChoicesIsOneRequest) {
  StartServer();
  v1::GenerateRequest request = AtBits(3);
  request.mutable_params()->set_n(3);
  request.mutable_params()->set_request_id("mine\"");
  request.mutable_params()->mutable_stopping()->set_max_tokens(5);
  EXPECT_EQ(Generate(request, {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}),
            grpc::StatusCode::OK);
  std::string page = HttpGet(server_->metrics_address());
  for (const char* line :
       {"bitdial_requests_total{weight_bits=\"3\",status=\"OK\",reason=\"length\"} 1\n",
        "bitdial_generation_tokens_total{weight_bits=\"3\"} 15\n",
        "bitdial_inter_token_latency_seconds_count{weight_bits=\"3\"} 12\n",
        "bitdial_time_to_first_token_seconds_count{weight_bits=\"3\"} 1\n",
        "bitdial_e2e_request_latency_seconds_count{weight_bits=\"3\"} 1\n",
        "bitdial_request_queue_time_seconds_count{weight_bits=\"3\"} 1\n",
        "bitdial_prompt_tokens_total{weight_bits=\"3\"} 19\n"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
  EXPECT_EQ(CountOf("ended: status=OK", log_->Text()), 3u);  // a line a choice
  const nlohmann::json line = LastLine();
  EXPECT_EQ(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
  const auto message = line["message"].get<std::string>();
  EXPECT_THAT(message, HasSubstr("ended: status=OK key=\"\" choice="));
  EXPECT_THAT(message, ::testing::EndsWith(" client_request_id=\"mine\"\""));

  stub_.reset();
  server_.reset();
  StartServer({.script = "ab", .error = absl::InternalError("not finite")});
  EXPECT_EQ(Generate(request), grpc::StatusCode::INTERNAL);
  page = HttpGet(server_->metrics_address());
  EXPECT_THAT(page, HasSubstr("{weight_bits=\"3\",status=\"INTERNAL\",reason=\"error\"} 1\n"));
  EXPECT_EQ(CountOf("reason=\"cancelled\"", page), 0u);  // what became of the other choices
}

TEST_F(ObservabilityTest, LogLinesCarryTheClientsTrace) {
  StartServer();
  const std::string trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const std::string value = "00-" + trace + "-00f067aa0ba902b7-01";
  EXPECT_EQ(Generate(AtBits(2), {value}), grpc::StatusCode::OK);
  nlohmann::json line = LastLine();
  EXPECT_EQ(line["trace_id"], trace);
  EXPECT_THAT(line["message"].get<std::string>(), HasSubstr("ended: status=OK"));
  EXPECT_FALSE(line["request_id"].get<std::string>().empty());
  EXPECT_EQ(Generate(AtBits(7), {value}), grpc::StatusCode::INVALID_ARGUMENT);
  line = LastLine();
  EXPECT_EQ(line["trace_id"], trace);
  EXPECT_THAT(line["message"].get<std::string>(), HasSubstr("refused"));
  const std::vector<std::vector<std::string>> wrong = {
      {}, {value, value}, {"00-" + trace}, {value + " \"x\":1"}, {"00-" + trace + "-\"-01"}};
  for (const std::vector<std::string>& values : wrong) {
    EXPECT_EQ(Generate(AtBits(2), values), grpc::StatusCode::OK);
    EXPECT_FALSE(LastLine().contains("trace_id"));
  }
  EXPECT_EQ(log_->Text().find("prompt of its own"), std::string::npos);
}

}  // namespace
}  // namespace bitdial::server
