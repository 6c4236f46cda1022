// A model without a model: byte tokenizer, scripted engine, empty checkpoint.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "quant/container/checkpoint.h"
#include "server/model/served_model.h"
#include "server/tokenizer/tokenizer.h"

namespace bitdial::server::testing {

// Ids 0..255 are bytes; 256 is a special <eos>, 257 a special <bos> (not added), 258 a piece of
// many bytes.
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kEos = 256, kImStart = 257, kLong = 258, kSize = 259;
  explicit ByteTokenizer(std::string chat_template = "", size_t long_piece_bytes = 4096)
      : chat_template_(std::move(chat_template)), long_piece_(long_piece_bytes, 'x') {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override;
  std::string TokenBytes(int32_t id, bool show_special) const override;
  bool HasLeadingSpace(int32_t) const override { return false; }
  const DecodeRules& decode_rules() const override { return decode_rules_; }
  int32_t vocab_size() const override { return kSize; }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::vector<int32_t> eos_ids() const override { return {kEos}; }
  bool IsSpecial(int32_t id) const override { return id == kEos || id == kImStart; }
  std::string kind() const override { return "bytes"; }
  const std::string& chat_template() const override { return chat_template_; }

 private:
  const DecodeRules decode_rules_;
  const std::string chat_template_;
  const std::string long_piece_;
};

class EmptyCheckpoint : public quant::Checkpoint {
 public:
  quant::CheckpointForm form() const override { return quant::CheckpointForm::kHuggingFace; }
  std::string tokenizer_path() const override { return ""; }
  const std::vector<quant::TensorInfo>& tensors() const override { return tensors_; }
  absl::StatusOr<quant::DenseTensor> ReadDense(const std::string& name) const override;

 private:
  const std::vector<quant::TensorInfo> tensors_{};
};

// Emits `script` token by token from a thread of its own, as the real engine does; at its end <eos>
// unless the request ends it before. Honours max_tokens, stop ids, deadlines, cancelling, the
// queue's bound and draining.
class FakeEngine : public engine::Engine {
 public:
  struct Options {
    std::string script = "Hello, world!";
    std::vector<int32_t> script_ids = {};  // instead of `script`
    bool repeats = false;                  // the script has no end
    std::chrono::microseconds token_time{200};
    size_t max_requests = 64;
    absl::Status error = {};  // ends every request after the script
  };
  explicit FakeEngine(Options options);
  ~FakeEngine() override;

  static engine::ModelInfo Info();
  const engine::ModelInfo& model() const override { return info_; }
  absl::StatusOr<engine::RequestId> Submit(engine::Request request,
                                           std::shared_ptr<engine::EventSink> sink) override;
  void Cancel(engine::RequestId id, std::optional<int32_t> choice) override;
  engine::EngineStats stats() const override;
  int64_t Drain(engine::Clock::time_point deadline) override;

  int64_t num_tokens_made() const { return stats().num_tokens_computed; }
  // The last request submitted.
  engine::Request last_request() const;

 private:
  struct Sequence {
    int32_t choice = 0;
    engine::Request request;
    std::shared_ptr<engine::EventSink> sink;
    int32_t num_generated = 0;
    size_t at = 0;
    bool is_cancelled = false;
    bool is_drained = false;
  };
  void Run();
  // One token for one sequence, or its end. Returns the finish event at the end.
  std::optional<engine::FinishEvent> Step(Sequence& sequence,
                                          std::optional<engine::TokenEvent>& token);

  const Options options_;
  const std::vector<int32_t> ids_;
  const engine::ModelInfo info_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<engine::RequestId, int32_t>, std::shared_ptr<Sequence>> sequences_;  // (request, choice)
  engine::Request last_request_;
  engine::RequestId next_id_ = 1;
  int64_t num_tokens_ = 0;
  bool is_draining_ = false;
  bool is_stopping_ = false;
  std::thread thread_;
};

inline constexpr char kChatMlTemplate[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

ServedModel MakeServedModel(FakeEngine::Options options = {}, size_t long_piece_bytes = 4096);

}  // namespace bitdial::server::testing
