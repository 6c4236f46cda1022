// The engine with its thread: submit, queue bounds, cancel, drain, destruction, and what Create
// refuses.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <future>
#include <random>
#include <thread>

#include "tests/testing/gguf_builder.h"
#include "tests/testing/loaded_model.h"
#include "tests/testing/recording_sink.h"
#include "tests/testing/temp_dir.h"

namespace bitdial::engine {
namespace {

using testing::GoldenPath;
using testing::RecordingSink;
using testing::TempDir;

// Holds the engine thread at the first token until it is opened.
class Gate {
 public:
  void Wait() {
    reached_.set_value();
    open_.get_future().wait();
  }
  void WaitUntilReached() { reached_.get_future().wait(); }
  void Open() { open_.set_value(); }

 private:
  std::promise<void> reached_, open_;
};

class EngineTest : public ::testing::Test {
 protected:
  static EngineOptions Options() {
    EngineOptions options;
    options.num_threads = 2;
    options.max_running_requests = 4;
    options.max_queued_requests = 3;
    options.max_step_tokens = 32;
    return options;
  }
  absl::StatusOr<std::unique_ptr<Engine>> TryCreate(
      const EngineOptions& options, const std::string& path = GoldenPath("anybcq_release")) {
    checkpoint_ = quant::Checkpoint::Open(path).value();
    return Engine::Create(*checkpoint_,
                          kernels::KernelTable::Create(DetectCpuFeatures(), "").value(), options);
  }
  std::unique_ptr<Engine> Create(const EngineOptions& options = Options()) {
    return TryCreate(options).value();
  }

  static Request MakeRequest(int32_t max_tokens, int bits = 4, int prompt_tokens = 3) {
    Request request;
    request.prompt_ids.assign(static_cast<size_t>(prompt_tokens), 7);
    request.weight_bits = bits;
    request.max_tokens = max_tokens;
    request.ignore_eos = true;
    request.hash_logits = true;
    request.sampling.temperature = 0;
    return request;
  }
  struct Submitted {
    RequestId id;
    std::shared_ptr<RecordingSink> sink;
  };
  static Submitted Submit(Engine& engine, const Request& request) {
    auto sink = std::make_shared<RecordingSink>();
    return {engine.Submit(request, sink).value(), sink};
  }
  // A request that holds the engine thread at its first token, and for a moment at each later one.
  static Submitted SubmitGated(Engine& engine, const Request& request, Gate& gate,
                               std::chrono::milliseconds moment = {}) {
    auto sink = std::make_shared<RecordingSink>();
    sink->before_token = [&gate, moment, first = true]() mutable {
      if (std::exchange(first, false)) {
        gate.Wait();
      } else {
        std::this_thread::sleep_for(moment);
      }
    };
    Submitted submitted{engine.Submit(request, sink).value(), sink};
    gate.WaitUntilReached();
    return submitted;
  }
  static std::string Message(const absl::Status& status) { return std::string(status.message()); }

  std::unique_ptr<quant::Checkpoint> checkpoint_;
};

TEST_F(EngineTest, InfoSaysWhatWasLoaded) {
  const auto engine = Create();
  const ModelInfo& info = engine->model();
  EXPECT_EQ(info.architecture, "LlamaForCausalLM");
  EXPECT_EQ(info.bits, (std::vector<int>{2, 3, 4}));
  EXPECT_EQ(info.default_bits, 4);
  EXPECT_EQ(info.max_context, 128);
  EXPECT_EQ(info.kv_bytes_per_token, 2 * 2 * 2 * 16 * 2);
  EXPECT_FALSE(info.backend.empty());
  EXPECT_TRUE(std::is_sorted(info.kernels.begin(), info.kernels.end()));
  EXPECT_GE(info.kernels.size(), 8u);
}

TEST_F(EngineTest, ManyRequestsFromManyThreadsAllEnd) {
  EngineOptions options = Options();
  options.max_queued_requests = 256;
  const auto engine = Create(options);
  const Submitted reference = Submit(*engine, MakeRequest(10, 3));
  ASSERT_TRUE(reference.sink->WaitFinish());
  std::vector<std::thread> clients;
  for (uint32_t t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 20; ++i) {
        const Submitted watched = Submit(*engine, MakeRequest(10, 3));
        const Submitted other = Submit(*engine, MakeRequest(static_cast<int32_t>(random() % 30),
                                                            2 + static_cast<int>(random() % 3)));
        if (random() % 2 == 0) engine->Cancel(other.id);
        EXPECT_TRUE(other.sink->WaitFinish());
        EXPECT_TRUE(watched.sink->WaitFinish());
        EXPECT_EQ(watched.sink->hashes(), reference.sink->hashes());
        EXPECT_EQ(other.sink->num_finishes(), 1);
        engine->Cancel(other.id);  // ended ids are ignored
        (void)engine->stats();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(engine->Drain(Clock::now() + std::chrono::seconds(30)), 0);
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
  EXPECT_EQ(engine->stats().num_running, 0);
}

TEST_F(EngineTest, AFullQueueRefusesAndSaysItsBounds) {
  const auto engine = Create();
  Gate gate;
  const Submitted first = SubmitGated(*engine, MakeRequest(5), gate);
  std::vector<Submitted> queued;
  for (int i = 0; i < 3; ++i) queued.push_back(Submit(*engine, MakeRequest(1)));
  EXPECT_EQ(engine->stats().num_queued, 3);
  auto refused = std::make_shared<RecordingSink>();
  const absl::Status status = engine->Submit(MakeRequest(1), refused).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Message(status).find("the limit is 3"), std::string::npos) << status;
  gate.Open();
  for (const Submitted& one : queued) EXPECT_TRUE(one.sink->WaitFinish());
  EXPECT_TRUE(first.sink->WaitFinish());
  EXPECT_EQ(refused->num_finishes(), 0);
  ASSERT_TRUE(Submit(*engine, MakeRequest(1)).sink->WaitFinish());  // room again
}

// A burst between two steps: who will find a place in the next one does not count as waiting.
TEST_F(EngineTest, TheQueueBeginsWhereTheFreePlacesEnd) {
  EngineOptions options = Options();
  options.max_step_tokens = 64;
  options.max_queued_requests = 1;
  const auto engine = Create(options);
  Gate gate;
  std::vector<Submitted> taken = {SubmitGated(*engine, MakeRequest(5), gate)};
  for (int i = 0; i < 3; ++i) taken.push_back(Submit(*engine, MakeRequest(1)));
  EXPECT_EQ(engine->stats().num_running, 4);
  EXPECT_EQ(engine->stats().num_queued, 0);
  taken.push_back(Submit(*engine, MakeRequest(1)));
  EXPECT_EQ(engine->stats().num_queued, 1);
  const absl::Status status =
      engine->Submit(MakeRequest(1), std::make_shared<RecordingSink>()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  gate.Open();
  for (const Submitted& one : taken) EXPECT_TRUE(one.sink->WaitFinish());
}

// Places without K/V, or without a token left in the step, are none: the bounds hold in a burst too.
TEST_F(EngineTest, ABurstNeverPassesTheBounds) {
  for (const bool is_kv_short : {true, false}) {
    EngineOptions options = Options();
    options.max_step_tokens = 64;
    options.max_queued_requests = 2;
    if (is_kv_short) options.kv_cache_bytes = 64 * 256;  // 64 tokens: two blocks
    const auto engine = Create(options);
    Gate gate;
    std::vector<Submitted> taken = {SubmitGated(*engine, MakeRequest(5), gate)};  // a block
    int num_refused = 0;
    for (int i = 0; i < 20; ++i) {
      auto sink = std::make_shared<RecordingSink>();
      const auto id = engine->Submit(MakeRequest(3, 4, is_kv_short ? 3 : 60), sink);
      if (id.ok()) taken.push_back({*id, sink});
      num_refused += id.ok() ? 0 : 1;
      EXPECT_LE(engine->stats().num_queued, 2);
    }
    // One more block, or two prompts that a step begins with, and then the queue.
    EXPECT_LE(taken.size(), is_kv_short ? 4u : 5u);
    EXPECT_EQ(num_refused + static_cast<int>(taken.size()), 21);
    gate.Open();
    while (engine->stats().num_running + engine->stats().num_queued > 0) {
      EXPECT_LE(engine->stats().num_queued, 2);
    }
    for (const Submitted& one : taken) EXPECT_TRUE(one.sink->WaitFinish());
  }
}

TEST_F(EngineTest, NoPlaceIsFreeWhenTheKvCacheIsFull) {
  EngineOptions options = Options();
  options.max_step_tokens = 64;
  options.kv_cache_bytes = 64 * 256;  // 64 tokens: two blocks
  const auto engine = Create(options);
  Gate gate;
  const Submitted first =
      SubmitGated(*engine, MakeRequest(50), gate, std::chrono::milliseconds(2));  // reserves both
  const Submitted second = Submit(*engine, MakeRequest(1));
  gate.Open();
  bool waits = false;
  while (first.sink->num_finishes() == 0 && !waits) waits = engine->stats().num_queued == 1;
  EXPECT_TRUE(waits) << "for the K/V of the first, though places are free";
  EXPECT_TRUE(first.sink->WaitFinish());
  EXPECT_TRUE(second.sink->WaitFinish());
}

TEST_F(EngineTest, QueuedTokensAreBoundedToo) {
  EngineOptions options = Options();
  options.max_queued_tokens = 50;
  const auto engine = Create(options);
  Gate gate;
  const Submitted first = SubmitGated(*engine, MakeRequest(5), gate);
  const Submitted second = Submit(*engine, MakeRequest(1, 4, 40));
  const absl::Status status =
      engine->Submit(MakeRequest(1, 4, 20), std::make_shared<RecordingSink>()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Message(status).find("40 prompt tokens wait, 20 more"), std::string::npos) << status;
  gate.Open();
  EXPECT_TRUE(first.sink->WaitFinish());
  EXPECT_TRUE(second.sink->WaitFinish());
}

TEST_F(EngineTest, ARequestOverTheKvCacheIsToldWhatWouldDo) {
  EngineOptions options = Options();
  options.kv_cache_bytes = 64 * 256;  // 64 tokens
  const auto engine = Create(options);
  const auto refuse = [&](int prompt_tokens, int32_t max_tokens, const char* says) {
    const absl::Status status =
        engine->Submit(MakeRequest(max_tokens, 4, prompt_tokens), std::make_shared<RecordingSink>())
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(Message(status).find(says), std::string::npos) << status;
  };
  refuse(10, 60, "max_tokens up to 55 would do");
  refuse(80, 1, "a prompt of up to 64 tokens would do");
  ASSERT_TRUE(Submit(*engine, MakeRequest(55, 4, 10)).sink->WaitFinish());
}

TEST_F(EngineTest, ACancelFromTheSinkEndsTheRequest) {
  const auto engine = Create();
  auto sink = std::make_shared<RecordingSink>();
  std::atomic<RequestId> id{0};
  sink->before_token = [&] {
    if (id != 0) engine->Cancel(id);
  };
  id = engine->Submit(MakeRequest(120), sink).value();
  ASSERT_TRUE(sink->WaitFinish());
  if (sink->finish()->reason !=
      FinishReason::kCancelled) {  // all tokens came before Submit returned
    EXPECT_EQ(sink->ids().size(), 120u);
  }
}

TEST_F(EngineTest, ADeadlineInThePastNeverComputes) {
  const auto engine = Create();
  Request request = MakeRequest(20);
  request.deadline = Clock::now() - std::chrono::seconds(1);
  const Submitted late = Submit(*engine, request);
  ASSERT_TRUE(late.sink->WaitFinish());
  EXPECT_EQ(late.sink->finish()->reason, FinishReason::kDeadline);
  EXPECT_EQ(late.sink->finish()->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(late.sink->ids().empty());
}

TEST_F(EngineTest, DrainRefusesNewWaitsAndThenCancels) {
  const auto engine = Create();
  Gate gate;
  // The drain is visible before it asks to cancel: 2 s of tokens are left for that.
  const Submitted running =
      SubmitGated(*engine, MakeRequest(100), gate, std::chrono::milliseconds(20));
  const Submitted waiting = Submit(*engine, MakeRequest(100));
  auto drained = std::async(std::launch::async, [&] { return engine->Drain(Clock::now()); });
  while (engine->Submit(MakeRequest(1), std::make_shared<RecordingSink>()).status().code() !=
         absl::StatusCode::kUnavailable) {
    std::this_thread::yield();  // a few may slip in before the drain begins
  }
  gate.Open();
  const int64_t num_cancelled = drained.get();
  EXPECT_GE(num_cancelled, 2);
  for (const Submitted& one : {running, waiting}) {
    ASSERT_EQ(one.sink->num_finishes(), 1);
    if (one.sink->finish()->reason == FinishReason::kCancelled) {
      EXPECT_EQ(one.sink->finish()->status.code(), absl::StatusCode::kUnavailable);
    }
  }
  EXPECT_EQ(engine->Drain(Clock::now()), 0);  // twice is fine
}

TEST_F(EngineTest, DrainLetsWorkEnd) {
  const auto engine = Create();
  const Submitted one = Submit(*engine, MakeRequest(50));
  EXPECT_EQ(engine->Drain(Clock::now() + std::chrono::seconds(30)), 0);
  EXPECT_EQ(one.sink->finish()->reason, FinishReason::kLength);
  EXPECT_EQ(one.sink->ids().size(), 50u);
}

TEST_F(EngineTest, DestructionEndsWhatIsLeft) {
  auto engine = Create();
  Gate gate;
  const Submitted running = SubmitGated(*engine, MakeRequest(100), gate);
  const Submitted waiting = Submit(*engine, MakeRequest(100));
  std::thread destroyer([&] { engine.reset(); });
  gate.Open();
  destroyer.join();
  EXPECT_EQ(running.sink->num_finishes(), 1);
  EXPECT_EQ(waiting.sink->num_finishes(), 1);
}

TEST_F(EngineTest, AnIdleEngineTakesNoSteps) {
  const auto engine = Create();
  ASSERT_TRUE(Submit(*engine, MakeRequest(3)).sink->WaitFinish());
  ASSERT_EQ(engine->Drain(Clock::now() + std::chrono::seconds(30)), 0);
  const int64_t num_steps = engine->stats().num_steps;
  EXPECT_EQ(num_steps, 3);
  timespec before{}, after{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  const double cpu_ms = static_cast<double>(after.tv_sec - before.tv_sec) * 1e3 +
                        static_cast<double>(after.tv_nsec - before.tv_nsec) * 1e-6;
  EXPECT_LT(cpu_ms, 50) << "an idle engine spins";
  EXPECT_EQ(engine->stats().num_steps, num_steps);
}

TEST_F(EngineTest, CreateRefusesBadOptions) {
  const auto refuse = [&](const char* names, auto change) {
    EngineOptions options = Options();
    change(options);
    const absl::Status status = TryCreate(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(Message(status).find(names), std::string::npos) << status;
  };
  refuse("max_context", [](EngineOptions& o) { o.max_context = 129; });
  refuse("max_step_tokens", [](EngineOptions& o) { o.max_step_tokens = 0; });
  refuse("max_running_requests", [](EngineOptions& o) { o.max_running_requests = 0; });
  refuse("max_queued_requests", [](EngineOptions& o) { o.max_queued_requests = -1; });
  refuse("num_threads", [](EngineOptions& o) { o.num_threads = -1; });
  refuse("kv_cache_bytes 100 holds no block", [](EngineOptions& o) { o.kv_cache_bytes = 100; });
}

// A folder with the golden's files, to be spoiled.
void CopyModel(const std::string& name, const TempDir& to) {
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors"}) {
    std::filesystem::copy(GoldenPath(name + "/" + file), to / file);
  }
}

// Overwrites four bytes of a tensor's first elements.
void Poke(const std::string& path, const std::string& tensor, uint32_t word) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), 8);
  std::string header(header_bytes, ' ');
  file.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const auto offset = Json::parse(header)[tensor]["data_offsets"][0].get<uint64_t>();
  file.seekp(static_cast<std::streamoff>(8 + header_bytes + offset));
  file.write(reinterpret_cast<const char*>(&word), 4);
}

// Every tensor whose name begins with `from` begins with `to` instead.
void RenameTensors(const std::string& path, const std::string& from, const std::string& to) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  const Json tensors = Json::parse(bytes.substr(8, header_bytes));
  Json renamed = Json::object();
  for (const auto& [name, entry] : tensors.items()) {
    renamed[name.starts_with(from) ? to + name.substr(from.size()) : name] = entry;
  }
  std::string header = renamed.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t size = header.size();
  std::ofstream(path, std::ios::binary) << std::string(reinterpret_cast<const char*>(&size), 8)
                                        << header << bytes.substr(8 + header_bytes);
}

TEST_F(EngineTest, WeightsThatAreNotFiniteAreRefusedByName) {
  struct Case {
    const char* model;
    const char* tensor;
    uint32_t word;
  };
  for (const Case& one :
       {Case{"llama/gqa_bias_f32", "model.layers.1.mlp.up_proj.weight", 0x7fc00000},
        Case{"llama/gqa_bias_f32", "model.layers.0.self_attn.q_proj.bias", 0xff800000},
        Case{"llama/gqa_bias_f32", "model.norm.weight", 0x7f800001},
        Case{"llama/rope_llama3_bf16", "model.embed_tokens.weight", 0x3f807fc0},
        Case{"llama/gqa_tied_f16", "model.layers.2.mlp.down_proj.weight", 0x7c003c00},
        Case{"opt/pre_norm_f16", "model.decoder.embed_positions.weight", 0x7c003c00},
        Case{"opt/pre_norm_f16", "model.decoder.layers.1.final_layer_norm.bias", 0x7e003c00},
        Case{"anybcq_release", "model.layers.1.mlp.gate_proj.alpha_3", 0x7e003c00}}) {
    TempDir folder;
    CopyModel(one.model, folder);
    Poke(folder / "model.safetensors", one.tensor, one.word);
    const absl::Status status = TryCreate(Options(), folder.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_NE(Message(status).find(one.tensor), std::string::npos) << status;
    EXPECT_NE(Message(status).find(folder.path()), std::string::npos) << status;
  }
}

// One layer whose matrices are zeros, hidden size 256; `embedding` [2, 256] is of ggml's type
// number `type`.
std::string GgufModel(uint32_t type, const std::string& embedding) {
  testing::GgufBuilder builder;
  builder.AddString("general.architecture", "llama")
      .AddU32("llama.block_count", 1)
      .AddU32("llama.context_length", 64)
      .AddU32("llama.embedding_length", 256)
      .AddU32("llama.feed_forward_length", 32)
      .AddU32("llama.attention.head_count", 4)
      .AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .AddTensor("token_embd.weight", {256, 2}, type, embedding);
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
    const bool is_norm = dims.size() == 1;  // 0.75, about: norms of zeros are refused
    const uint64_t count = is_norm ? dims[0] : dims[0] * dims[1];
    builder.AddTensor(name + ".weight", dims, /*f32*/ 0,
                      std::string(4 * count, is_norm ? 0x3f : 0));
  };
  add("output_norm", {256});
  add("blk.0.attn_norm", {256});
  add("blk.0.ffn_norm", {256});
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"})
    add(std::string("blk.0.") + name, {256, 256});
  add("blk.0.ffn_gate", {256, 32});
  add("blk.0.ffn_up", {256, 32});
  add("blk.0.ffn_down", {32, 256});
  return builder.Build();
}

TEST_F(EngineTest, GgufBlocksWithAnInfiniteOrNanScaleAreRefusedByName) {
  struct BlockType {
    const char* name;
    uint32_t number;
    size_t row_bytes;               // of 256 values
    std::vector<size_t> scales_at;  // f16 scales of the row's first block
  };
  for (const BlockType& type :
       {BlockType{"Q4_0", 2, 144, {0}}, BlockType{"Q4_1", 3, 160, {0, 2}},
        BlockType{"Q5_0", 6, 176, {0}}, BlockType{"Q5_1", 7, 192, {0, 2}},
        BlockType{"Q8_0", 8, 272, {0}}, BlockType{"Q2_K", 10, 84, {80, 82}},
        BlockType{"Q3_K", 11, 110, {108}}, BlockType{"Q4_K", 12, 144, {0, 2}},
        BlockType{"Q5_K", 13, 176, {0, 2}}, BlockType{"Q6_K", 14, 210, {208}}}) {
    SCOPED_TRACE(type.name);
    const std::string zeros(2 * type.row_bytes, '\0');
    TempDir folder;
    const std::string path = folder.Write("m.gguf", GgufModel(type.number, zeros));
    EXPECT_TRUE(TryCreate(Options(), path).ok()) << TryCreate(Options(), path).status();
    for (const size_t at : type.scales_at) {
      for (const unsigned scale : {0x7c00u, 0xfc00u, 0x7e00u, 0x7c01u}) {  // +inf, -inf, NaNs
        std::string damaged = zeros;
        std::memcpy(damaged.data() + type.row_bytes + at, &scale, 2);  // little-endian
        folder.Write("m.gguf", GgufModel(type.number, damaged));
        const absl::Status status = TryCreate(Options(), path).status();
        EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
        EXPECT_NE(Message(status).find("model.embed_tokens.weight\": element 256 of [2, 256]"),
                  std::string::npos)
            << status;
      }
    }
  }
}

TEST_F(EngineTest, AConfigThatDoesNotFitTheTensorsIsRefused) {
  const char* model = "anybcq_release";
  const auto refuse = [&](const char* key, const Json& value, absl::StatusCode code,
                          const char* says) {
    TempDir folder;
    CopyModel(model, folder);
    Json config = testing::ReadJson(folder / "config.json");
    config[key] = value;
    std::ofstream(folder / "config.json") << config;
    const absl::Status status = TryCreate(Options(), folder.path()).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(Message(status).find(says), std::string::npos) << status;
  };
  refuse("vocab_size", 97, absl::StatusCode::kDataLoss, "model.embed_tokens.weight");
  refuse("intermediate_size", 64, absl::StatusCode::kDataLoss, "model.layers.0.mlp.gate_proj");
  refuse("num_hidden_layers", 3, absl::StatusCode::kNotFound, "model.layers.2.");
  refuse("num_hidden_layers", 1, absl::StatusCode::kDataLoss, "\"model.layers.1.");
  refuse("attention_bias", true, absl::StatusCode::kNotFound, "self_attn.q_proj.bias");
  refuse("architectures", Json::array({"MambaForCausalLM"}), absl::StatusCode::kUnimplemented,
         "MambaForCausalLM");

  model = "opt/post_norm_proj_f32";
  refuse("max_position_embeddings", 73, absl::StatusCode::kDataLoss,
         "73 positions need 75 rows in model.decoder.embed_positions");
  refuse("word_embed_proj_dim", 25, absl::StatusCode::kDataLoss, "embed_tokens.weight");
  refuse("word_embed_proj_dim", 32, absl::StatusCode::kDataLoss, "project_in.weight");
  refuse("enable_bias", false, absl::StatusCode::kDataLoss, "fc1.bias");
  refuse("do_layer_norm_before", true, absl::StatusCode::kNotFound,
         "model.decoder.final_layer_norm.weight");
  refuse("tie_word_embeddings", false, absl::StatusCode::kNotFound, "lm_head.weight");
  refuse("activation_function", "swiglu", absl::StatusCode::kUnimplemented, "swiglu");
}

// Positions are read by row: planes in their place are no table.
TEST_F(EngineTest, PositionsStoredAsBitPlanesAreRefused) {
  TempDir folder;
  CopyModel("opt/planes_f16", folder);
  const std::string file = folder / "model.safetensors",
                    positions = "model.decoder.embed_positions.";
  RenameTensors(file, positions, "lm_head.");  // means nothing beside tied embeddings
  for (const char* kind : {"qweight", "alpha", "beta"})
    RenameTensors(file, std::string("model.decoder.layers.0.fc1.") + kind, positions + kind);
  Json config = testing::ReadJson(folder / "config.json");
  config["max_position_embeddings"] = 62;  // with the two unused rows, as many as fc1 has outputs
  std::ofstream(folder / "config.json") << config;
  const absl::Status status = TryCreate(Options(), folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(Message(status).find("embed_positions\" is stored as bit-planes"), std::string::npos)
      << status;
}

}  // namespace
}  // namespace bitdial::engine
