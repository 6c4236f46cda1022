#include "server/rpc/validator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/rpc/rpc_status.h"
#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using testing::ByteTokenizer;
using ::testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr uint64_t kSeed = 77;

class ValidatorTest : public ::testing::Test {
 protected:
  absl::StatusOr<ValidRequest> Validate(const v1::GenerateRequest& request) {
    return ValidateGenerate(request, context_, kSeed);
  }
  absl::StatusOr<ValidRequest> Validate(const v1::ChatRequest& request) {
    return ValidateChat(request, context_, kSeed);
  }

  const std::string name_ = "tiny";
  engine::ModelInfo info_ = testing::FakeEngine::Info();
  ByteTokenizer tokenizer_{testing::kChatMlTemplate};
  ChatTemplate chat_template_ = ChatTemplate::Recognise(tokenizer_);
  SamplingDefaults defaults_;
  RequestLimits limits_;
  RequestContext context_{name_, info_, tokenizer_, chat_template_, defaults_, limits_};
};

v1::GenerateRequest Hello() {
  v1::GenerateRequest request;
  request.set_text("hello");
  return request;
}

// The fields that the status's BadRequest names.
std::vector<std::string> Fields(const absl::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(ToGrpcStatus(status).error_details());
  google::rpc::BadRequest bad_request;
  std::vector<std::string> fields;
  for (const auto& any : details.details()) {
    if (!any.UnpackTo(&bad_request)) continue;
    for (const auto& violation : bad_request.field_violations())
      fields.push_back(violation.field());
  }
  return fields;
}

TEST_F(ValidatorTest, AbsentFieldsTakeTheirDefaults) {
  const absl::StatusOr<ValidRequest> valid = Validate(Hello());
  ASSERT_TRUE(valid.ok()) << valid.status();
  const engine::Request& request = valid->request;
  EXPECT_EQ(request.prompt_ids, (std::vector<int32_t>{'h', 'e', 'l', 'l', 'o'}));
  EXPECT_EQ(request.weight_bits, 4);
  EXPECT_EQ(request.max_tokens, 512);
  EXPECT_EQ(request.min_tokens, 0);
  EXPECT_EQ(request.sampling.temperature, 1.0f);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.top_p, 1.0f);
  EXPECT_EQ(request.sampling.seed, kSeed);
  EXPECT_EQ(request.num_top_logprobs, -1);
  EXPECT_FALSE(request.prompt_logprobs_from.has_value());
  EXPECT_FALSE(request.ignore_eos);
  EXPECT_TRUE(valid->text.wants_token_ids);
  EXPECT_TRUE(valid->text.continues_prompt);
  EXPECT_EQ(valid->text.ending_ids, std::vector<int32_t>{ByteTokenizer::kEos});
  EXPECT_TRUE(valid->text.echo.empty());
}

TEST_F(ValidatorTest, EveryFieldReachesTheEngine) {
  v1::GenerateRequest wire;
  for (int id : {1, 2, 3}) wire.mutable_token_ids()->add_ids(id);
  v1::RequestParams& params = *wire.mutable_params();
  params.set_model("tiny");
  params.set_weight_bits(3);
  params.set_n(1);
  v1::SamplingParams& sampling = *params.mutable_sampling();
  sampling.set_temperature(0);
  sampling.set_top_k(5);
  sampling.set_top_p(0.5f);
  sampling.set_min_p(0.1f);
  sampling.set_repetition_penalty(1.5f);
  sampling.set_presence_penalty(-1);
  sampling.set_frequency_penalty(2);
  sampling.set_seed(0);
  (*sampling.mutable_logit_bias())[9] = -3;
  (*sampling.mutable_logit_bias())[4] = 3;
  v1::StoppingParams& stopping = *params.mutable_stopping();
  stopping.set_max_tokens(7);
  stopping.set_min_tokens(7);
  stopping.add_stop("END");
  stopping.add_stop_token_ids(11);
  stopping.set_ignore_eos(true);
  v1::OutputParams& output = *params.mutable_output();
  output.set_logprobs(true);
  output.set_top_logprobs(2);
  output.set_echo(true);
  output.set_token_ids(false);

  const absl::StatusOr<ValidRequest> valid = Validate(wire);
  ASSERT_TRUE(valid.ok()) << valid.status();
  const engine::Request& request = valid->request;
  EXPECT_EQ(request.prompt_ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(request.weight_bits, 3);
  EXPECT_EQ(request.sampling.temperature, 0);
  EXPECT_EQ(request.sampling.top_k, 5);
  EXPECT_EQ(request.sampling.top_p, 0.5f);
  EXPECT_EQ(request.sampling.min_p, 0.1f);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(request.sampling.presence_penalty, -1);
  EXPECT_EQ(request.sampling.frequency_penalty, 2);
  EXPECT_EQ(request.sampling.seed, 0u);  // 0 is a seed, not "none"
  EXPECT_EQ(request.sampling.logit_bias,
            (std::vector<std::pair<int32_t, float>>{{4, 3.0f}, {9, -3.0f}}));
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.min_tokens, 7);
  EXPECT_EQ(request.stop_token_ids, std::vector<int32_t>{11});
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_EQ(request.num_top_logprobs, 2);
  EXPECT_EQ(request.prompt_logprobs_from, 1);
  EXPECT_EQ(valid->text.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(valid->text.ending_ids, std::vector<int32_t>{11});
  EXPECT_EQ(valid->text.echo, std::vector<std::string>{"\x01\x02\x03"});
  EXPECT_FALSE(valid->text.wants_token_ids);
}

struct BadCase {
  const char* field;
  const char* message;  // part of it
  std::function<void(v1::GenerateRequest&)> spoil;
};

v1::SamplingParams& Sampling(v1::GenerateRequest& r) {
  return *r.mutable_params()->mutable_sampling();
}
v1::StoppingParams& Stopping(v1::GenerateRequest& r) {
  return *r.mutable_params()->mutable_stopping();
}
v1::OutputParams& Output(v1::GenerateRequest& r) { return *r.mutable_params()->mutable_output(); }

TEST_F(ValidatorTest, EachWrongValueIsRefusedByName) {
  info_.max_context = 100;
  const std::vector<BadCase> cases = {
      {"params.weight_bits", "7: this model has 2, 3, 4",
       [](auto& r) { r.mutable_params()->set_weight_bits(7); }},
      {"params.weight_bits", "0: this model has",
       [](auto& r) { r.mutable_params()->set_weight_bits(0); }},
      {"params.sampling.temperature", "-1 is outside [0, 100]",
       [](auto& r) { Sampling(r).set_temperature(-1); }},
      {"params.sampling.temperature", "nan", [](auto& r) { Sampling(r).set_temperature(kNaN); }},
      {"params.sampling.temperature", "inf", [](auto& r) { Sampling(r).set_temperature(kInf); }},
      {"params.sampling.top_k", "-1", [](auto& r) { Sampling(r).set_top_k(-1); }},
      {"params.sampling.top_k", "273 is outside [0, 272]",
       [](auto& r) { Sampling(r).set_top_k(273); }},
      {"params.sampling.top_p", "0 is outside (0, 1]", [](auto& r) { Sampling(r).set_top_p(0); }},
      {"params.sampling.top_p", "1.5", [](auto& r) { Sampling(r).set_top_p(1.5f); }},
      {"params.sampling.top_p", "nan", [](auto& r) { Sampling(r).set_top_p(kNaN); }},
      {"params.sampling.min_p", "-0.5", [](auto& r) { Sampling(r).set_min_p(-0.5f); }},
      {"params.sampling.min_p", "nan", [](auto& r) { Sampling(r).set_min_p(kNaN); }},
      {"params.sampling.repetition_penalty", "0 is",
       [](auto& r) { Sampling(r).set_repetition_penalty(0); }},
      {"params.sampling.repetition_penalty", "inf",
       [](auto& r) { Sampling(r).set_repetition_penalty(kInf); }},
      {"params.sampling.presence_penalty", "101",
       [](auto& r) { Sampling(r).set_presence_penalty(101); }},
      {"params.sampling.presence_penalty", "nan",
       [](auto& r) { Sampling(r).set_presence_penalty(kNaN); }},
      {"params.sampling.frequency_penalty", "-101",
       [](auto& r) { Sampling(r).set_frequency_penalty(-101); }},
      {"params.sampling.frequency_penalty", "-inf",
       [](auto& r) { Sampling(r).set_frequency_penalty(-kInf); }},
      {"params.sampling.logit_bias[272]", "[0, 272)",
       [](auto& r) { (*Sampling(r).mutable_logit_bias())[272] = 1; }},
      {"params.sampling.logit_bias[-1]", "[0, 272)",
       [](auto& r) { (*Sampling(r).mutable_logit_bias())[-1] = 1; }},
      {"params.sampling.logit_bias[5]", "nan",
       [](auto& r) { (*Sampling(r).mutable_logit_bias())[5] = kNaN; }},
      {"params.sampling.logit_bias[5]", "1001",
       [](auto& r) { (*Sampling(r).mutable_logit_bias())[5] = 1001; }},
      {"params.sampling.logit_bias", "1025 entries; at most 1024 (max_logit_bias)",
       [](auto& r) {
         for (int i = 0; i < 1025; ++i) (*Sampling(r).mutable_logit_bias())[i] = 1;
       }},
      {"params.stopping.max_tokens", "-1 is negative",
       [](auto& r) { Stopping(r).set_max_tokens(-1); }},
      {"params.stopping.max_tokens",
       "5 prompt tokens and 96 more pass the context of 100; at most 95 fit",
       [](auto& r) { Stopping(r).set_max_tokens(96); }},
      {"params.stopping.min_tokens", "-1 is negative",
       [](auto& r) { Stopping(r).set_min_tokens(-1); }},
      {"params.stopping.min_tokens", "6 is more than max_tokens, which is 5",
       [](auto& r) {
         Stopping(r).set_max_tokens(5);
         Stopping(r).set_min_tokens(6);
       }},
      {"params.stopping.min_tokens", "96 is more than max_tokens, which is 95 by default",
       [](auto& r) { Stopping(r).set_min_tokens(96); }},
      {"params.stopping.stop[1]", "is empty",
       [](auto& r) {
         Stopping(r).add_stop("a");
         Stopping(r).add_stop("");
       }},
      {"params.stopping.stop[0]", "not UTF-8", [](auto& r) { Stopping(r).add_stop("\xff"); }},
      {"params.stopping.stop[0]", "257 bytes; at most 256 (max_stop_bytes)",
       [](auto& r) { Stopping(r).add_stop(std::string(257, 'x')); }},
      {"params.stopping.stop", "17 strings; at most 16",
       [](auto& r) {
         for (int i = 0; i < 17; ++i) Stopping(r).add_stop("x");
       }},
      {"params.stopping.stop_token_ids[0]", "token id 272",
       [](auto& r) { Stopping(r).add_stop_token_ids(272); }},
      {"params.stopping.stop_token_ids", "65 ids",
       [](auto& r) {
         for (int i = 0; i < 65; ++i) Stopping(r).add_stop_token_ids(1);
       }},
      {"params.output.top_logprobs", "-1", [](auto& r) { Output(r).set_top_logprobs(-1); }},
      {"params.output.top_logprobs", "21 is outside [0, 20]",
       [](auto& r) {
         Output(r).set_logprobs(true);
         Output(r).set_top_logprobs(21);
       }},
      {"params.output.top_logprobs", "needs", [](auto& r) { Output(r).set_top_logprobs(2); }},
      {"prompt", "neither text nor token_ids", [](auto& r) { r.clear_prompt(); }},
      {"text", "no token", [](auto& r) { r.set_text(""); }},
      {"text", "not UTF-8", [](auto& r) { r.set_text("\xc3("); }},
      {"text", "the prompt has 101 tokens; the context takes 100",
       [](auto& r) { r.set_text(std::string(101, 'x')); }},
      {"text", "leaves none for output", [](auto& r) { r.set_text(std::string(100, 'x')); }},
      {"token_ids", "no token", [](auto& r) { r.mutable_token_ids(); }},
      {"token_ids.ids[1]", "token id 272 is outside [0, 272)",
       [](auto& r) {
         r.mutable_token_ids()->add_ids(271);
         r.mutable_token_ids()->add_ids(272);
       }},
      {"token_ids.ids[0]", "token id -5", [](auto& r) { r.mutable_token_ids()->add_ids(-5); }},
      {"token_ids", "101 tokens; the context takes 100",
       [](auto& r) {
         for (int i = 0; i < 101; ++i) r.mutable_token_ids()->add_ids(1);
       }},
  };
  for (const BadCase& c : cases) {
    v1::GenerateRequest request = Hello();
    c.spoil(request);
    const absl::Status status = Validate(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.field << ": " << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(c.field) + ": "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_EQ(Fields(status), std::vector<std::string>{c.field});
  }
}

TEST_F(ValidatorTest, WrongFieldsAreReportedTogether) {
  v1::GenerateRequest request = Hello();
  Sampling(request).set_temperature(-1);
  Sampling(request).set_top_p(2);
  Stopping(request).add_stop("");
  EXPECT_EQ(Fields(Validate(request).status()),
            (std::vector<std::string>{"params.sampling.temperature", "params.sampling.top_p",
                                      "params.stopping.stop[0]"}));
}

TEST_F(ValidatorTest, FieldsNotBuiltAreUnimplementedAndNamed) {
  v1::GenerateRequest request = Hello();
  request.mutable_params()->mutable_kv();
  const absl::Status status = Validate(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("params.kv"));
}

// CVE-2026-34756 class: n copies are made only after n was checked.
TEST_F(ValidatorTest, ChoicesPriorityAndAutoBits) {
  v1::GenerateRequest request = Hello();
  v1::RequestParams& params = *request.mutable_params();
  params.set_n(3);
  params.set_priority(-7);
  params.set_prefix_cache(false);
  params.mutable_auto_bits()->set_min_bits(3);
  params.mutable_auto_bits()->set_tpot_ms(50);
  const absl::StatusOr<ValidRequest> valid = Validate(request);
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->request.num_choices, 3);
  EXPECT_EQ(valid->request.priority, -7);
  EXPECT_FALSE(valid->request.uses_prefix_cache);
  EXPECT_EQ(valid->request.auto_bits->min_bits, 3);
  EXPECT_EQ(valid->request.auto_bits->tpot_s, 0.05);
  EXPECT_EQ(valid->request.auto_bits->ttft_s, 0);

  const auto fields = [&](const std::function<void(v1::RequestParams&)>& set) {
    v1::GenerateRequest wrong = Hello();
    set(*wrong.mutable_params());
    return Fields(Validate(wrong).status());
  };
  using Names = std::vector<std::string>;
  for (const int n : {0, -1, 9, INT32_MAX}) {
    EXPECT_EQ(fields([&](auto& p) { p.set_n(n); }), (Names{"params.n"})) << n;
  }
  for (const int priority : {-101, 101, INT32_MIN}) {
    EXPECT_EQ(fields([&](auto& p) { p.set_priority(priority); }), (Names{"params.priority"}));
  }
  EXPECT_EQ(fields([](auto& p) { p.mutable_auto_bits()->set_min_bits(5); }),
            (Names{"params.auto_bits.min_bits"}));
  EXPECT_EQ(fields([](auto& p) { p.mutable_auto_bits()->set_ttft_ms(0); }),
            (Names{"params.auto_bits.ttft_ms"}));
  EXPECT_EQ(fields([](auto& p) {
              p.mutable_auto_bits();
              p.set_weight_bits(3);
            }),
            (Names{"params.auto_bits"}));
  EXPECT_EQ(fields([](auto& p) {
              p.mutable_auto_bits()->set_min_bits(2);
              p.mutable_auto_bits()->add_schedule(300);
            }),
            (Names{"params.auto_bits.schedule", "params.auto_bits.schedule"}));
}

TEST_F(ValidatorTest, UnknownModelIsNotFound) {
  v1::GenerateRequest request = Hello();
  request.mutable_params()->set_model("gpt");
  EXPECT_EQ(Validate(request).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Validate(request).status().message()), HasSubstr("\"tiny\""));
  request.mutable_params()->set_model("");  // present and empty is a name too
  EXPECT_EQ(Validate(request).status().code(), absl::StatusCode::kNotFound);
  request.mutable_params()->set_model("tiny");
  EXPECT_TRUE(Validate(request).ok());
}

TEST_F(ValidatorTest, ScoringAPromptNeedsNoRoom) {
  info_.max_context = 5;
  v1::GenerateRequest request = Hello();
  Stopping(request).set_max_tokens(0);
  EXPECT_EQ(Validate(request)->request.max_tokens, 0);
}

TEST_F(ValidatorTest, EchoOfALongPromptComesInPiecesOfWholeCharacters) {
  info_.max_context = 1 << 20;
  v1::GenerateRequest request;
  std::string text = "x";
  for (int i = 0; i < 50000; ++i) text += "€";
  request.set_text(text);
  Output(request).set_echo(true);
  const absl::StatusOr<ValidRequest> valid = Validate(request);
  ASSERT_TRUE(valid.ok()) << valid.status();
  ASSERT_GT(valid->text.echo.size(), 2u);
  std::string joined;
  for (const std::string& piece : valid->text.echo) {
    EXPECT_LE(piece.size(), size_t{64} << 10);
    EXPECT_NE(static_cast<unsigned char>(piece[0]) & 0xC0u, 0x80u);
    joined += piece;
  }
  EXPECT_EQ(joined, text);
}

TEST_F(ValidatorTest, ChatIsLaidOutByTheTemplate) {
  v1::ChatRequest request;
  EXPECT_EQ(Fields(Validate(request).status()), std::vector<std::string>{"messages"});
  v1::ChatMessage& message = *request.add_messages();
  message.set_content("hi");
  EXPECT_EQ(Fields(Validate(request).status()), std::vector<std::string>{"messages[0].role"});
  message.set_role(static_cast<v1::ChatMessage::Role>(99));
  EXPECT_EQ(Fields(Validate(request).status()), std::vector<std::string>{"messages[0].role"});
  message.set_role(v1::ChatMessage::ROLE_USER);
  request.mutable_params()->mutable_output()->set_echo(true);
  EXPECT_EQ(Fields(Validate(request).status()), std::vector<std::string>{"params.output.echo"});
  request.mutable_params()->mutable_output()->clear_echo();
  for (int i = 0; i < 1024; ++i) *request.add_messages() = message;
  EXPECT_THAT(std::string(Validate(request).status().message()),
              HasSubstr("1025 messages; at most 1024"));
}

TEST_F(ValidatorTest, ChatWithoutATemplateIsAPrecondition) {
  const ByteTokenizer plain("");
  const ChatTemplate none = ChatTemplate::Recognise(plain);
  const RequestContext context{name_, info_, plain, none, defaults_, limits_};
  v1::ChatRequest request;
  v1::ChatMessage& message = *request.add_messages();
  message.set_role(v1::ChatMessage::ROLE_USER);
  message.set_content("hi");
  EXPECT_EQ(ValidateChat(request, context, 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ValidatorTest, DetokenizeChecksIdsAndTheirCount) {
  v1::DetokenizeRequest request;
  request.add_token_ids(271);
  EXPECT_TRUE(ValidateDetokenize(request, context_).ok());
  request.add_token_ids(272);
  EXPECT_EQ(Fields(ValidateDetokenize(request, context_)),
            std::vector<std::string>{"token_ids[1]"});
  limits_.max_detokenize_ids = 1;
  EXPECT_THAT(std::string(ValidateDetokenize(request, context_).message()),
              HasSubstr("2 ids; at most 1"));
}

// What the engine is promised, whatever the request was.
void ExpectWithinContract(const ValidRequest& valid, const engine::ModelInfo& info) {
  const engine::Request& request = valid.request;
  const auto num_prompt = static_cast<int64_t>(request.prompt_ids.size());
  EXPECT_GE(num_prompt, 1);
  EXPECT_GE(request.max_tokens, 0);
  EXPECT_LE(num_prompt + request.max_tokens, info.max_context);
  EXPECT_GE(request.min_tokens, 0);
  EXPECT_LE(request.min_tokens, request.max_tokens);
  for (int32_t id : request.prompt_ids) EXPECT_TRUE(id >= 0 && id < info.vocab_size);
  for (int32_t id : request.stop_token_ids) EXPECT_TRUE(id >= 0 && id < info.vocab_size);
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    EXPECT_TRUE(id >= 0 && id < info.vocab_size && std::isfinite(bias));
  }
  EXPECT_THAT(info.bits, ::testing::Contains(request.weight_bits));
  const engine::SamplingParams& s = request.sampling;
  EXPECT_TRUE(s.temperature >= 0 && s.temperature <= 100 && s.top_p > 0 && s.top_p <= 1 &&
              s.min_p >= 0 && s.min_p <= 1);
  EXPECT_TRUE(s.repetition_penalty > 0 && std::isfinite(s.presence_penalty) &&
              std::isfinite(s.frequency_penalty));
  EXPECT_TRUE(s.top_k >= 0 && s.top_k <= info.vocab_size);
}

// Random requests, half of whose values are fine: what passes keeps the engine's contract, what
// does not names fields.
TEST_F(ValidatorTest, WhateverPassesKeepsTheEnginesContract) {
  info_.max_context = 64;
  int num_valid = 0;
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    std::mt19937 random(seed);
    const auto chance = [&](int one_in) { return random() % one_in == 0; };
    const float floats[] = {0.0f,  0.5f,   1.0f,  1.0f, 1.0f, 2.0f,
                            -1.0f, 100.0f, 1e30f, kNaN, kInf, -kInf};
    const int32_t ints[] = {0, 1, 2, 3, 4, 5, 60, 271, 272, -1, INT32_MIN, INT32_MAX};
    const auto number = [&] { return floats[random() % std::size(floats)]; };
    const auto integer = [&] { return ints[random() % std::size(ints)]; };
    v1::GenerateRequest request;
    if (chance(2)) {
      request.set_text(std::string(random() % 70, 'a'));
    } else {
      for (auto i = random() % 5; i > 0; --i)
        request.mutable_token_ids()->add_ids(chance(8) ? integer() : 7);
    }
    if (chance(4)) request.mutable_params()->set_weight_bits(integer());
    if (chance(4)) Sampling(request).set_temperature(number());
    if (chance(4)) Sampling(request).set_top_k(integer());
    if (chance(4)) Sampling(request).set_top_p(number());
    if (chance(4)) Sampling(request).set_min_p(number());
    if (chance(4)) Sampling(request).set_repetition_penalty(number());
    if (chance(4)) Sampling(request).set_presence_penalty(number());
    if (chance(4)) Sampling(request).set_frequency_penalty(number());
    if (chance(4)) (*Sampling(request).mutable_logit_bias())[integer()] = number();
    if (chance(3)) Stopping(request).set_max_tokens(integer());
    if (chance(3)) Stopping(request).set_min_tokens(integer());
    if (chance(4)) Stopping(request).add_stop(std::string(random() % 3, 'x'));
    if (chance(4)) Stopping(request).add_stop_token_ids(integer());
    if (chance(4)) Output(request).set_logprobs(chance(2));
    if (chance(8)) Output(request).set_top_logprobs(integer());
    const absl::StatusOr<ValidRequest> valid = Validate(request);
    if (valid.ok()) {
      ++num_valid;
      ExpectWithinContract(*valid, info_);
    } else {
      EXPECT_EQ(valid.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_FALSE(Fields(valid.status()).empty());
    }
    ASSERT_FALSE(HasFailure()) << "seed " << seed << "\n" << request.ShortDebugString();
  }
  EXPECT_GT(num_valid, 500);
}

// Bytes that are no request at all, and requests with bytes changed.
TEST_F(ValidatorTest, AnyBytesGiveAVerdict) {
  v1::GenerateRequest seed_request = Hello();
  Sampling(seed_request).set_temperature(0.5f);
  Stopping(seed_request).add_stop("END");
  (*Sampling(seed_request).mutable_logit_bias())[3] = 1;
  const std::string good = seed_request.SerializeAsString();
  int num_parsed = 0;
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    std::mt19937 random(seed);
    std::string bytes = good;
    for (auto i = random() % 4; i > 0; --i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.resize(random() % 4 == 0 ? random() % (bytes.size() + 1) : bytes.size());
    v1::GenerateRequest request;
    if (!request.ParseFromString(bytes)) continue;
    ++num_parsed;
    const absl::StatusOr<ValidRequest> valid = Validate(request);
    if (valid.ok()) ExpectWithinContract(*valid, info_);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(num_parsed, 1000);
}

}  // namespace
}  // namespace bitdial::server
