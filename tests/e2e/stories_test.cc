// stories260K against llama2.c, tokenizer and engine together: its greedy text byte for byte, and
// the perplexity of 50 TinyStories, which is what `bitdial eval` adds up.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "engine/engine.h"
#include "server/tokenizer/tokenizer.h"
#include "tests/testing/recording_sink.h"
#include "tests/testing/shared_data.h"

namespace bitdial {
namespace {

std::string Stripped(const std::string& text) {
  const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? ""
                                    : text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// The first `count` documents, as golden.json describes them.
std::vector<std::string> ReadDocuments(const std::string& path, size_t count) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string kEnd = "<|endoftext|>";
  std::vector<std::string> documents;
  for (size_t begin = 0; documents.size() < count && begin < text.size();) {
    const size_t end = std::min(text.find(kEnd, begin), text.size());
    documents.push_back(Stripped(text.substr(begin, end - begin)));
    begin = end + kEnd.size();
  }
  return documents;
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

TEST(Stories, GreedyTextIsLlama2cs) {
  const auto path = testing::SharedData("models/stories260K-hf");
  const auto text_path = testing::SharedData("vectors/stories260K/llama2c_expected_stdout.txt");
  if (!path || !text_path) GTEST_SKIP() << "SKIPPED: greedy text needs shared data";
  const auto tokenizer = server::Tokenizer::Load(*path).value();
  const auto checkpoint = quant::Checkpoint::Open(*path).value();
  const auto table = kernels::KernelTable::CreateFromEnvironment().value();
  engine::EngineOptions options;
  options.kv_format = kernels::KvFormat::kF32;
  const auto engine = engine::Engine::Create(*checkpoint, table, options).value();
  engine::Request request;
  request.prompt_ids = tokenizer->Encode("", {}).value();  // BOS alone
  request.max_tokens = 200;
  request.sampling.temperature = 0;
  auto sink = std::make_shared<testing::RecordingSink>();
  ASSERT_TRUE(engine->Submit(request, sink).ok());
  ASSERT_TRUE(sink->WaitFinish());
  EXPECT_EQ(sink->ids().size(), 200u);
  EXPECT_EQ(tokenizer->Decode(sink->ids()), ReadAll(*text_path));
}

TEST(Stories, PerplexityAgreesWithLlama2c) {
  const auto path = testing::SharedData("models/stories260K-hf");
  const auto golden_path = testing::SharedData("vectors/stories260K/golden.json");
  const auto text_path = testing::SharedData("text/tinystories/tinystories_2MiB.txt");
  if (!path || !golden_path || !text_path) GTEST_SKIP() << "SKIPPED: perplexity needs shared data";
  const Json golden = ReadJsonFile(*golden_path).value()["perplexity"];
  const auto tokenizer = server::Tokenizer::Load(*path).value();
  const auto checkpoint = quant::Checkpoint::Open(*path).value();
  const auto table = kernels::KernelTable::CreateFromEnvironment().value();
  engine::EngineOptions options;
  options.kv_format = kernels::KvFormat::kF32;
  const auto engine = engine::Engine::Create(*checkpoint, table, options).value();

  double nll_sum = 0, worst = 0;
  int64_t num_scored = 0;
  const std::vector<std::string> documents = ReadDocuments(*text_path, golden["docs"].size());
  ASSERT_EQ(documents.size(), golden["docs"].size());
  for (size_t i = 0; i < documents.size(); ++i) {
    engine::Request request;
    request.prompt_ids =
        tokenizer->Encode(documents[i], {.add_special_tokens = true, .parse_special_tokens = false})
            .value();
    request.prompt_ids.resize(std::min<size_t>(request.prompt_ids.size(), 512));
    request.max_tokens = 0;
    request.prompt_logprobs_from = 1;
    auto sink = std::make_shared<testing::RecordingSink>();
    ASSERT_TRUE(engine->Submit(request, sink).ok());
    ASSERT_TRUE(sink->WaitFinish());
    double nll = 0;
    for (const engine::PromptLogprob& scored : sink->prompt_logprobs())
      nll -= double{scored.token.logprob};
    EXPECT_EQ(static_cast<int64_t>(sink->prompt_logprobs().size()),
              golden["docs"][i]["n"].get<int64_t>());
    worst = std::max(worst, std::abs(nll - golden["docs"][i]["nll_sum"].get<double>()));
    nll_sum += nll;
    num_scored += static_cast<int64_t>(sink->prompt_logprobs().size());
  }
  EXPECT_EQ(num_scored, golden["tokens_scored"].get<int64_t>());
  const double perplexity = std::exp(nll_sum / static_cast<double>(num_scored));
  const double want = golden["ppl"].get<double>();
  std::printf(
      "perplexity %.9g, llama2.c %.9g (relative %.2g); worst document differs by %.2g nats\n",
      perplexity, want, perplexity / want - 1, worst);
  EXPECT_NEAR(perplexity, want, 1e-4 * want);
}

}  // namespace
}  // namespace bitdial
