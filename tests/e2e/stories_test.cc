// stories260K against llama2.c, tokenizer and engine together: its greedy text byte for byte, and
// the perplexity of 50 TinyStories, which is what `bitdial eval` adds up.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "engine/engine.h"
#include "server/tokenizer/tokenizer.h"
#include "tests/server/gguf_vocab.h"
#include "tests/testing/gguf_builder.h"
#include "tests/testing/recording_sink.h"
#include "tests/testing/shared_data.h"
#include "tests/testing/temp_dir.h"

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

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight".
std::string GgufName(std::string name) {
  const std::pair<const char*, const char*> parts[] = {{"model.layers.", "blk."},
                                                       {"model.embed_tokens", "token_embd"},
                                                       {"model.norm", "output_norm"},
                                                       {"lm_head", "output"},
                                                       {"self_attn.o_proj", "attn_output"},
                                                       {"self_attn.", "attn_"},
                                                       {"post_attention_layernorm", "ffn_norm"},
                                                       {"input_layernorm", "attn_norm"},
                                                       {"mlp.", "ffn_"},
                                                       {"_proj", ""}};
  for (const auto& [hf, gguf] : parts) {
    const size_t at = name.find(hf);
    if (at != std::string::npos) name.replace(at, std::string(hf).size(), gguf);
  }
  return name;
}

// The bytes of an f32 tensor, innermost dimension last; the rows of q and k in llama.cpp's order,
// in which the two halves of a head alternate.
std::string GgufBytes(const TensorView& view, int64_t num_heads) {
  const auto* bytes = reinterpret_cast<const char*>(view.data);
  if (num_heads == 0) return {bytes, view.NumBytes()};
  const int64_t head_dim = view.shape[0] / num_heads;
  const size_t row_bytes = static_cast<size_t>(view.shape[1]) * sizeof(float);
  std::string permuted;
  for (int64_t row = 0; row < view.shape[0]; ++row) {
    const int64_t within = row % head_dim;
    const int64_t from = row - within + within / 2 + within % 2 * (head_dim / 2);
    permuted.append(bytes + static_cast<size_t>(from) * row_bytes, row_bytes);
  }
  return permuted;
}

// stories260K as llama.cpp's converter would write it: weights, metadata and SentencePiece pieces.
std::string StoriesGguf(const std::string& folder) {
  const auto checkpoint = quant::Checkpoint::Open(folder).value();
  testing::GgufBuilder builder;
  builder.AddString("general.architecture", "llama")
      .AddU32("llama.block_count", 5)
      .AddU32("llama.context_length", 512)
      .AddU32("llama.embedding_length", 64)
      .AddU32("llama.feed_forward_length", 172)
      .AddU32("llama.attention.head_count", 8)
      .AddU32("llama.attention.head_count_kv", 4)
      .AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .AddU32("tokenizer.ggml.bos_token_id", 1)
      .AddU32("tokenizer.ggml.eos_token_id", 2);
  std::string error;
  const auto model =
      server::SentencePieceModel::Parse(ReadAll(folder + "/tokenizer.model"), &error);
  EXPECT_NE(model, nullptr) << error;
  server::AddPieces(model->pieces(), &builder);
  for (const quant::TensorInfo& info : checkpoint->tensors()) {
    const quant::DenseTensor tensor = checkpoint->ReadDense(info.name).value();
    EXPECT_EQ(tensor.view.dtype, DType::kF32) << info.name;
    std::vector<uint64_t> dims;
    for (int axis = info.shape.rank - 1; axis >= 0; --axis)
      dims.push_back(static_cast<uint64_t>(info.shape[axis]));
    const int64_t heads = info.name.find("q_proj") != std::string::npos   ? 8
                          : info.name.find("k_proj") != std::string::npos ? 4
                                                                          : 0;
    builder.AddTensor(GgufName(info.name), dims, /*f32*/ 0, GgufBytes(tensor.view, heads));
  }
  return builder.Build();
}

void ExpectGreedyText(const std::string& path, const std::string& expected) {
  const auto tokenizer = server::Tokenizer::Load(path).value();
  const auto checkpoint = quant::Checkpoint::Open(path).value();
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
  EXPECT_EQ(tokenizer->Decode(sink->ids()), expected);
}

TEST(Stories, GreedyTextIsLlama2cs) {
  const auto path = testing::SharedData("models/stories260K-hf");
  const auto text_path = testing::SharedData("vectors/stories260K/llama2c_expected_stdout.txt");
  if (!path || !text_path) GTEST_SKIP() << "SKIPPED: greedy text needs shared data";
  ExpectGreedyText(*path, ReadAll(*text_path));
}

TEST(Stories, GreedyTextFromGgufIsLlama2cs) {
  const auto path = testing::SharedData("models/stories260K-hf");
  const auto text_path = testing::SharedData("vectors/stories260K/llama2c_expected_stdout.txt");
  if (!path || !text_path) GTEST_SKIP() << "SKIPPED: greedy text from GGUF needs shared data";
  const testing::TempDir folder;
  ExpectGreedyText(folder.Write("stories.gguf", StoriesGguf(*path)), ReadAll(*text_path));
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
