#include "tests/server/fakes.h"

#include <algorithm>

#include "quant/container/utf8.h"

namespace bitdial::server::testing {

absl::StatusOr<std::vector<int32_t>> ByteTokenizer::Encode(std::string_view text,
                                                           const EncodeOptions& options) const {
  if (!quant::IsUtf8(text)) return InvalidArgument("text is not UTF-8");
  std::vector<int32_t> ids;
  for (size_t at = 0; at < text.size();) {
    int32_t id = static_cast<unsigned char>(text[at]);
    size_t size = 1;
    for (int32_t special : {kEos, kImStart}) {
      const std::string word = TokenBytes(special, /*show_special=*/true);
      if (!options.parse_special_tokens || text.substr(at, word.size()) != word) continue;
      id = special;
      size = word.size();
    }
    ids.push_back(id);
    at += size;
  }
  return ids;
}

std::string ByteTokenizer::TokenBytes(int32_t id, bool show_special) const {
  if (id == kEos) return show_special ? "<|im_end|>" : "";
  if (id == kImStart) return show_special ? "<|im_start|>" : "";
  if (id == kLong) return long_piece_;
  return id >= 0 && id < 256 ? std::string(1, static_cast<char>(id)) : "";
}

absl::StatusOr<quant::DenseTensor> EmptyCheckpoint::ReadDense(const std::string& name) const {
  return NotFound("{}", name);
}

namespace {
std::vector<int32_t> IdsOf(const FakeEngine::Options& options) {
  if (!options.script_ids.empty()) return options.script_ids;
  std::vector<int32_t> ids;
  for (char c : options.script) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}
}  // namespace

FakeEngine::FakeEngine(Options options)
    : options_(std::move(options)),
      ids_(IdsOf(options_)),
      info_(Info()),
      thread_([this] { Run(); }) {}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
    for (auto& [id, sequence] : sequences_) sequence->is_cancelled = true;
  }
  changed_.notify_all();
  thread_.join();
}

engine::ModelInfo FakeEngine::Info() {
  engine::ModelInfo info;
  info.architecture = "FakeForCausalLM";
  info.vocab_size = 272;  // wider than the tokenizer
  info.max_context = 4096;
  info.bits = {2, 3, 4};
  info.default_bits = 4;
  info.eos_ids = {ByteTokenizer::kEos};
  info.backend = "fake";
  info.kernels = {"fake_linear__fake"};
  return info;
}

absl::StatusOr<engine::RequestId> FakeEngine::Submit(engine::Request request,
                                                     std::shared_ptr<engine::EventSink> sink) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_draining_) return Unavailable("draining");
  if (sequences_.size() >= options_.max_requests)
    return ResourceExhausted("{} requests wait", sequences_.size());
  last_request_ = request;
  for (int32_t choice = 0; choice < request.num_choices; ++choice) {
    auto sequence = std::make_shared<Sequence>();
    sequence->choice = choice;
    sequence->request = request;
    sequence->sink = sink;
    sequences_[{next_id_, choice}] = std::move(sequence);
  }
  changed_.notify_all();
  return next_id_++;
}

void FakeEngine::Cancel(engine::RequestId id, std::optional<int32_t> choice) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& [key, sequence] : sequences_) {
    if (key.first == id && key.second == choice.value_or(key.second)) sequence->is_cancelled = true;
  }
  changed_.notify_all();
}

engine::EngineStats FakeEngine::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  engine::EngineStats stats;
  stats.num_running = static_cast<int32_t>(sequences_.size());
  stats.num_tokens_computed = num_tokens_;
  return stats;
}

engine::Request FakeEngine::last_request() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_request_;
}

int64_t FakeEngine::Drain(engine::Clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  is_draining_ = true;
  changed_.wait_until(lock, deadline, [this] { return sequences_.empty(); });
  const auto num_left = static_cast<int64_t>(sequences_.size());
  for (auto& [id, sequence] : sequences_) sequence->is_cancelled = sequence->is_drained = true;
  changed_.wait(lock, [this] { return sequences_.empty(); });
  return num_left;
}

std::optional<engine::FinishEvent> FakeEngine::Step(Sequence& sequence,
                                                    std::optional<engine::TokenEvent>& token) {
  const engine::Request& request = sequence.request;
  engine::FinishEvent finish;
  finish.choice = sequence.choice;
  finish.prompt_bits = finish.min_bits = request.weight_bits;
  finish.num_prompt_tokens = static_cast<int32_t>(request.prompt_ids.size());
  finish.num_generated_tokens = sequence.num_generated;
  const auto end = [&](engine::FinishReason reason, absl::Status status = absl::OkStatus()) {
    finish.reason = reason;
    finish.status = std::move(status);
    finish.num_generated_tokens = sequence.num_generated;
    return finish;
  };
  if (sequence.is_cancelled) {
    return end(engine::FinishReason::kCancelled,
               sequence.is_drained ? Unavailable("the server is shutting down") : absl::OkStatus());
  }
  if (request.deadline.has_value() && engine::Clock::now() >= *request.deadline) {
    return end(engine::FinishReason::kDeadline, absl::DeadlineExceededError("deadline"));
  }
  if (sequence.num_generated >= request.max_tokens) return end(engine::FinishReason::kLength);
  const bool is_at_end = sequence.at == ids_.size() && !options_.repeats;
  if (is_at_end && !options_.error.ok()) return end(engine::FinishReason::kError, options_.error);
  const int32_t id = is_at_end ? ByteTokenizer::kEos : ids_[sequence.at++ % ids_.size()];
  ++sequence.num_generated;
  ++num_tokens_;
  token.emplace();
  token->choice = sequence.choice;
  token->token_id = id;
  token->bits = request.weight_bits;
  token->chosen = {id, -0.5f};
  for (int32_t i = 0; i < request.num_top_logprobs; ++i)
    token->top.push_back({i, -1.0f * static_cast<float>(i)});
  if (id == ByteTokenizer::kEos && !request.ignore_eos) return end(engine::FinishReason::kEos);
  const auto& stops = request.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), id) != stops.end())
    return end(engine::FinishReason::kStopToken);
  return std::nullopt;
}

void FakeEngine::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return is_stopping_ || !sequences_.empty(); });
    if (sequences_.empty()) return;
    const auto batch = sequences_;
    for (const auto& [id, sequence] : batch) {
      lock.unlock();
      const bool is_ready = sequence->sink->IsReady();
      lock.lock();
      if (!is_ready && !sequence->is_cancelled) continue;
      std::optional<engine::TokenEvent> token;
      std::optional<engine::FinishEvent> finish = Step(*sequence, token);
      if (sequence->num_generated == 1 && token.has_value() &&
          sequence->request.prompt_logprobs_from.has_value()) {
        std::vector<engine::PromptLogprob> logprobs;
        for (size_t i = 1; i < sequence->request.prompt_ids.size(); ++i) {
          logprobs.push_back(
              {static_cast<int32_t>(i), {sequence->request.prompt_ids[i], -2.0f}, {}});
        }
        lock.unlock();
        sequence->sink->OnPromptLogprobs(std::move(logprobs));
        lock.lock();
      }
      lock.unlock();
      if (token.has_value()) sequence->sink->OnToken(*std::move(token));
      if (finish.has_value()) sequence->sink->OnFinish(*std::move(finish));
      lock.lock();
      if (finish.has_value()) sequences_.erase(id);
    }
    changed_.notify_all();
    changed_.wait_for(lock, options_.token_time, [this] { return is_stopping_; });
  }
}

ServedModel MakeServedModel(FakeEngine::Options options, size_t long_piece_bytes) {
  ServedModel model;
  model.name = "fake";
  model.checkpoint = std::make_unique<EmptyCheckpoint>();
  model.tokenizer = std::make_unique<ByteTokenizer>(kChatMlTemplate, long_piece_bytes);
  model.chat_template = ChatTemplate::Recognise(*model.tokenizer);
  model.engine = std::make_unique<FakeEngine>(std::move(options));
  return model;
}

}  // namespace bitdial::server::testing
