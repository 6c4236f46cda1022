#include "server/rpc/token_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using testing::ByteTokenizer;

engine::TokenEvent Token(int32_t id) {
  engine::TokenEvent event;
  event.token_id = id;
  return event;
}

struct Output {
  std::string text;
  std::vector<int32_t> ids;
};

// Feeds the bytes of `text` one token at a time, then flushes.
Output Feed(TokenStream& stream, const std::string& text) {
  Output output;
  const auto take = [&](const v1::OutputDelta& delta) {
    output.text += delta.text();
    output.ids.insert(output.ids.end(), delta.token_ids().begin(), delta.token_ids().end());
  };
  for (char c : text) {
    v1::OutputDelta delta;
    stream.Push(Token(static_cast<unsigned char>(c)), delta);
    take(delta);
  }
  v1::OutputDelta delta;
  stream.Flush(delta);
  take(delta);
  return output;
}

TEST(TokenStream, TextComesInWholeCharacters) {
  const ByteTokenizer tokenizer;
  TokenStream stream(tokenizer, {});
  const std::string euro = "€";
  for (size_t i = 0; i < euro.size(); ++i) {
    v1::OutputDelta delta;
    stream.Push(Token(static_cast<unsigned char>(euro[i])), delta);
    EXPECT_EQ(delta.text(), i + 1 < euro.size() ? "" : euro);
    EXPECT_EQ(delta.token_ids_size(), 1);  // ids do not wait for the text
  }
}

TEST(TokenStream, StopStringsCutTextAcrossTokensAndCharacters) {
  const ByteTokenizer tokenizer;
  TokenStream stream(tokenizer, {.stop = {"€END"}});
  const Output output = Feed(stream, "price: 5€END and more");
  EXPECT_TRUE(stream.stop_matched());
  EXPECT_EQ(stream.stop(), "€END");
  EXPECT_EQ(output.text, "price: 5");
  EXPECT_EQ(stream.num_tokens(), 14);  // bytes up to the D
  EXPECT_EQ(output.ids.size(), 14u);
  EXPECT_EQ(stream.last_token_id(), 'D');
}

TEST(TokenStream, ABeginningOfAStopIsGivenBackAtTheEnd) {
  const ByteTokenizer tokenizer;
  TokenStream stream(tokenizer, {.stop = {"END"}});
  EXPECT_EQ(Feed(stream, "the EN").text, "the EN");
  EXPECT_FALSE(stream.stop_matched());
}

TEST(TokenStream, StopStringsWaitForMinTokens) {
  const ByteTokenizer tokenizer;
  TokenStream stream(tokenizer, {.stop = {"a"}, .min_tokens = 3});
  EXPECT_EQ(Feed(stream, "aabba").text, "aabb");
}

TEST(TokenStream, EndingIdsHaveNoText) {
  const ByteTokenizer tokenizer;
  TokenStream stream(tokenizer, {.ending_ids = {'.'}});
  EXPECT_EQ(Feed(stream, "done.").text, "done");
  EXPECT_EQ(stream.num_tokens(), 5);
}

TEST(TokenStream, BytesThatAreNoCharacterAreReplacedNotLost) {
  const ByteTokenizer tokenizer;
  TokenStream stream(tokenizer, {});
  EXPECT_EQ(Feed(stream, "a\xe2\x82").text, "a\xEF\xBF\xBD");
}

TEST(TokenStream, LogprobsGoWithTheirTokens) {
  const ByteTokenizer tokenizer;
  TokenStream stream(tokenizer, {.wants_token_ids = false, .wants_logprobs = true});
  v1::OutputDelta delta;
  engine::TokenEvent event = Token(0xE2);
  event.chosen = {0xE2, -0.25f};
  event.top = {{'a', -0.5f}, {ByteTokenizer::kEos, -1.0f}};
  stream.Push(event, delta);
  EXPECT_EQ(delta.token_ids_size(), 0);
  ASSERT_EQ(delta.logprobs_size(), 1);
  EXPECT_EQ(delta.logprobs(0).chosen().token_id(), 0xE2);
  EXPECT_EQ(delta.logprobs(0).chosen().token(), "\xEF\xBF\xBD");
  EXPECT_EQ(delta.logprobs(0).chosen().logprob(), -0.25f);
  ASSERT_EQ(delta.logprobs(0).top_size(), 2);
  EXPECT_EQ(delta.logprobs(0).top(0).token(), "a");
  EXPECT_EQ(delta.logprobs(0).top(1).token(), "<|im_end|>");  // special tokens show
}

TEST(TokenText, KeepsWhatIsUtf8) {
  class OneToken : public ByteTokenizer {
   public:
    explicit OneToken(std::string bytes) : bytes_(std::move(bytes)) {}
    std::string TokenBytes(int32_t, bool) const override { return bytes_; }

   private:
    const std::string bytes_;
  };
  const std::pair<const char*, const char*> cases[] = {{"plain", "plain"},
                                                       {"ä€𝄞", "ä€𝄞"},
                                                       {"\x82 x€", "\xEF\xBF\xBD x€"},
                                                       {"€\xe2\x82", "€\xEF\xBF\xBD\xEF\xBF\xBD"},
                                                       {"\xff\xff", "\xEF\xBF\xBD\xEF\xBF\xBD"}};
  for (const auto& [bytes, text] : cases) EXPECT_EQ(TokenText(OneToken(bytes), 0), text);
}

}  // namespace
}  // namespace bitdial::server
