// A model from a checkpoint, and one step over hand-made sequences: what model tests drive instead
// of an engine.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/models/decoder_model.h"
#include "kvcache/kv_manager.h"
#include "kvcache/kv_store.h"

namespace bitdial::testing {

inline std::string GoldenPath(const std::string& relative) {
  return std::string(BITDIAL_SOURCE_DIR "/tests/golden/") + relative;
}

inline std::vector<float> ReadFloats(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  EXPECT_TRUE(file.good()) << path;
  std::vector<float> values(static_cast<size_t>(file.tellg()) / sizeof(float));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

inline Json ReadJson(const std::string& path) {
  auto json = ReadJsonFile(path);
  EXPECT_TRUE(json.ok()) << json.status();
  return json.ok() ? *json : Json();
}

struct NullSink : engine::EventSink {
  void OnToken(engine::TokenEvent) override {}
  void OnFinish(engine::FinishEvent) override {}
};

// Aborts the test (through value()) when the checkpoint does not load.
class LoadedModel {
 public:
  explicit LoadedModel(const std::string& path, const engine::ModelOptions& options = {},
                       const std::string& backend = "", int num_threads = 2)
      : pool(num_threads),
        checkpoint(quant::Checkpoint::Open(path).value()),
        table(kernels::KernelTable::Create(DetectCpuFeatures(), backend).value()) {
    engine::WeightLoader loader(*checkpoint, table, pool);
    model = engine::LoadModel(loader, options).value();
  }

  ThreadPool pool;
  std::unique_ptr<quant::Checkpoint> checkpoint;
  kernels::KernelTable table;
  std::unique_ptr<engine::DecoderModel> model;
};

// Runs plans of its own making over one KV cache.
class ModelRunner {
 public:
  static constexpr int32_t kMaxTokens = 512;
  static constexpr int32_t kMaxSeqs = 32;

  explicit ModelRunner(LoadedModel& loaded)
      : model_(*loaded.model),
        stream_(loaded.pool),
        kv_(256, loaded.model->kv_shape().block_tokens),
        store_(kvcache::KvStore::Create(loaded.model->kv_shape(), 256).value()),
        workspace_(engine::Workspace::Create(Device::kCpu,
                                             loaded.model->WorkspaceFloats(kMaxTokens, kMaxTokens))
                       .value()),
        batch_(kMaxTokens, kMaxSeqs,
               static_cast<int32_t>(kv_.BlocksFor(loaded.model->info().max_context))) {}

  std::unique_ptr<engine::Sequence> MakeSequence(std::vector<int32_t> prompt, int bits) const {
    engine::Request request;
    request.prompt_ids = std::move(prompt);
    request.weight_bits = bits;
    request.max_tokens = 256;
    return std::make_unique<engine::Sequence>(next_id_++, std::move(request),
                                              std::make_shared<NullSink>(), engine::Clock::now());
  }

  struct Part {
    engine::Sequence* sequence;
    int32_t num_tokens;
  };
  // Computes the next num_tokens of each sequence in one pass. Returns the logits of every row,
  // [part][row, vocab].
  std::vector<std::vector<float>> Step(const std::vector<Part>& parts,
                                       kernels::WeightTraffic* traffic = nullptr) {
    engine::StepPlan plan;
    for (const Part& part : parts) {
      plan.chunks.push_back({part.sequence, part.sequence->num_computed_tokens, part.num_tokens});
      plan.num_tokens += part.num_tokens;
      EXPECT_TRUE(kv_.Grow(part.sequence->blocks, plan.chunks.back().end()));
    }
    batch_.Build(plan);
    engine::Workspace::Scope scope(workspace_);
    engine::StepContext step{stream_, workspace_, traffic};
    const Matrix<float> hidden = model_.Forward(batch_, store_, step);
    const int64_t vocab_size = model_.info().vocab_size;
    std::vector<std::vector<float>> logits(parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      logits[i].resize(static_cast<size_t>(parts[i].num_tokens * vocab_size));
      parts[i].sequence->num_computed_tokens += parts[i].num_tokens;
    }
    for (int32_t row = 0; row < batch_.num_tokens(); ++row) {
      engine::Workspace::Scope row_scope(workspace_);
      const int32_t chunk = batch_.seq_idx()[row], position = batch_.positions()[row];
      const engine::LogitsRow wanted{row, chunk, position};
      const Matrix<float> one =
          model_.Logits(hidden, {&wanted, 1}, batch_.bits() + row, kernels::Role::kDecode, step);
      const int64_t index = position - plan.chunks[static_cast<size_t>(chunk)].begin;
      std::copy(one.Row(0), one.Row(0) + vocab_size,
                logits[static_cast<size_t>(chunk)].begin() + index * vocab_size);
    }
    return logits;
  }

  // Logits of every position of `tokens` as one prompt, [tokens.size(), vocab_size].
  std::vector<float> PromptLogits(const std::vector<int32_t>& tokens, int bits) {
    auto sequence = MakeSequence(tokens, bits);
    std::vector<float> logits = Step({{sequence.get(), sequence->num_tokens()}})[0];
    kv_.Free(sequence->blocks);
    return logits;
  }

  // The greedy continuation; logits (may be null) gets the row that each token was chosen from.
  std::vector<int32_t> Greedy(const std::vector<int32_t>& prompt, int bits, int num_tokens,
                              std::vector<float>* logits = nullptr) {
    auto sequence = MakeSequence(prompt, bits);
    const int64_t vocab_size = model_.info().vocab_size;
    std::vector<int32_t> output;
    while (static_cast<int>(output.size()) < num_tokens) {
      const int32_t count = sequence->num_tokens() - sequence->num_computed_tokens;
      const std::vector<float> rows = Step({{sequence.get(), count}})[0];
      const auto last = rows.end() - vocab_size;
      output.push_back(static_cast<int32_t>(std::max_element(last, rows.end()) - last));
      if (logits != nullptr) logits->insert(logits->end(), last, rows.end());
      sequence->AppendToken(output.back());
    }
    kv_.Free(sequence->blocks);
    return output;
  }

  void Free(engine::Sequence& sequence) { kv_.Free(sequence.blocks); }

 private:
  const engine::DecoderModel& model_;
  Stream stream_;
  kvcache::KvManager kv_;
  kvcache::KvStore store_;
  engine::Workspace workspace_;
  engine::Batch batch_;
  mutable engine::RequestId next_id_ = 1;
};

}  // namespace bitdial::testing
