// SentencePiece and gRPC in one process: two copies of protobuf would abort it (Debian's
// libsentencepiece does).
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include "tests/server/tokenizer_testing.h"

namespace bitdial::server {
namespace {

TEST(SentencePieceBesideGrpcTest, BothWork) {
  grpc::CallbackGenericService service;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&service);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  EXPECT_GT(port, 0);
  const auto tokenizer = LoadOrFail(GoldenPath("tokenizer/spm_bpe"));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->Decode(Ids(*tokenizer, "The server reads a line.", kPlainText)),
            "The server reads a line.");
  server->Shutdown();
}

}  // namespace
}  // namespace bitdial::server
