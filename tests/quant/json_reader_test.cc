#include "quant/container/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace bitdial {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::Not;
using testing::StatusIs;
using testing::TempDir;

TEST(ParseJsonTest, BuildsTheValueTheTextSays) {
  const std::string text =
      R"( {"a": [1, -2, 3.5, true, null, "\u00e9\n"], "b": {"c": {}}, "d": [], "e": 18446744073709551615} )";
  const auto json = ParseJson(text, "test");
  ASSERT_THAT(json, IsOk());
  EXPECT_EQ(*json, Json::parse(text));
}

TEST(ParseJsonTest, RefusesMalformedTextNamingSourceAndByte) {
  for (const char* text :
       {"", "{", "[1,]", "{\"a\" 1}", "{'a': 1}", "NaN", "[Infinity]", "[1] 2", "\"\x01\"", "nul",
        "{\"a\": 1,}", "// comment\n1", "[1e999]", "\"\\ud800\"", "01"}) {
    EXPECT_THAT(ParseJson(text, "dir/config.json"),
                StatusIs(StatusCode::kDataLoss, HasSubstr("dir/config.json")))
        << text;
  }
  EXPECT_THAT(ParseJson("[1, x]", "f"), StatusIs(StatusCode::kDataLoss, HasSubstr("byte 5")));
}

TEST(ParseJsonTest, RefusesWhatIsNotUtf8) {
  for (const char* text : {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
                           "\"\xe2\x82\"", "{\"\x80\": 1}"}) {
    EXPECT_THAT(ParseJson(text, "f"), StatusIs(StatusCode::kDataLoss, HasSubstr("malformed JSON")));
  }
}

TEST(ParseJsonTest, RefusesDuplicateKeysInOneObjectOnly) {
  EXPECT_THAT(ParseJson(R"({"a": 1, "b": {"x": 1, "x": 2}})", "f"),
              StatusIs(StatusCode::kDataLoss, HasSubstr("key \"x\" is there twice")));
  EXPECT_THAT(ParseJson(R"({"a": {"x": 1}, "b": {"x": 2}})", "f"), IsOk());
}

TEST(ParseJsonTest, BoundsDepthAndSize) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_THAT(ParseJson(nested(64), "f"), IsOk());
  EXPECT_THAT(ParseJson(nested(65), "f"),
              StatusIs(StatusCode::kDataLoss, HasSubstr("more than 64 deep")));
  // Far deeper than any stack: nothing may recurse.
  EXPECT_THAT(ParseJson(std::string(5'000'000, '['), "f"),
              StatusIs(StatusCode::kDataLoss, HasSubstr("deep")));
  EXPECT_THAT(ParseJson("[1, 2]", "f", {.max_bytes = 5}),
              StatusIs(StatusCode::kDataLoss, AllOf(HasSubstr("6 bytes"), HasSubstr("at most 5"))));
}

TEST(ReadJsonFileTest, ReadsFilesAndRefusesOthers) {
  const TempDir dir;
  EXPECT_THAT(ReadJsonFile(dir.Write("good.json", "{\"a\": 1}")), IsOk());
  EXPECT_THAT(ReadJsonFile(dir / "none.json"),
              StatusIs(StatusCode::kNotFound, HasSubstr("none.json")));
  EXPECT_THAT(ReadJsonFile(dir.Write("empty.json", "")),
              StatusIs(StatusCode::kDataLoss, HasSubstr("empty")));
  EXPECT_THAT(ReadJsonFile(dir.path()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a directory")));
}

class JsonObjectTest : public ::testing::Test {
 protected:
  JsonObject Read(const std::string& text) {
    json_ = ParseJson(text, "f").value();
    return JsonObject::Make(json_, "config.json").value();
  }
  Json json_;
};

TEST_F(JsonObjectTest, ReadsIntegersExactly) {
  JsonObject object =
      Read(R"({"a": 7, "min": -9223372036854775808, "max": 9223372036854775807, "null": null})");
  EXPECT_EQ(object.GetInt("a", 0, 10).value(), 7);
  EXPECT_EQ(object.GetInt("min", INT64_MIN, 0).value(), INT64_MIN);
  EXPECT_EQ(object.GetInt("max", 0, INT64_MAX).value(), INT64_MAX);
  EXPECT_EQ(object.GetIntOr("null", 3, 0, 10).value(), 3);
  EXPECT_EQ(object.GetIntOr("absent", 3, 0, 10).value(), 3);
  EXPECT_THAT(object.GetInt("null", 0, 1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("\"null\" is missing")));
  EXPECT_THAT(object.GetInt("absent", 0, 1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("is missing")));
}

TEST_F(JsonObjectTest, RefusesWhatIsNoIntegerInRange) {
  JsonObject object =
      Read(R"({"float": 1.9, "whole": 2.0, "exp": 1e3, "string": "4", "bool": true, "list": [1],
                               "negative": -1, "u64": 18446744073709551615, "beyond": 123456789012345678901234567890})");
  for (const char* key :
       {"float", "whole", "exp", "string", "bool", "list", "negative", "u64", "beyond"}) {
    EXPECT_THAT(
        object.GetInt(key, 0, INT64_MAX),
        StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("config.json"), HasSubstr(key))))
        << key;
    EXPECT_THAT(object.GetIntOr(key, 0, 0, INT64_MAX), Not(IsOk())) << key;
  }
  EXPECT_THAT(object.GetInt("float", 1, 8),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("got 1.9 (not an integer), expected an integer from 1 to 8")));
}

TEST_F(JsonObjectTest, ReadsNumbersBoolsAndStrings) {
  JsonObject object = Read(R"({"eps": 1e-05, "int": 3, "yes": true, "text": "abc", "null": null})");
  EXPECT_EQ(object.GetNumber("eps", 0, 1).value(), 1e-05);
  EXPECT_EQ(object.GetNumber("int", 0, 5).value(), 3.0);
  EXPECT_EQ(object.GetNumberOr("null", 0.5, 0, 1).value(), 0.5);
  EXPECT_TRUE(object.GetBoolOr("yes", false).value());
  EXPECT_TRUE(object.GetBoolOr("absent", true).value());
  EXPECT_EQ(object.GetString("text").value(), "abc");
  EXPECT_EQ(object.GetStringOr("null", "x").value(), "x");
  EXPECT_THAT(
      object.GetNumber("int", 4, 5),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("got 3, expected a number from 4 to 5")));
  EXPECT_THAT(object.GetNumber("text", 0, 1), Not(IsOk()));
  EXPECT_THAT(object.GetBoolOr("int", false),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("true or false")));
  EXPECT_THAT(object.GetString("yes"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a string")));
  EXPECT_THAT(object.GetString("absent"), Not(IsOk()));
  EXPECT_THAT(object.GetStringOr("int", ""), Not(IsOk()));
}

TEST_F(JsonObjectTest, ReadsListsInBothForms) {
  JsonObject object =
      Read(R"({"one": 2, "two": [2, 5], "empty": [], "bad": [1, "x"], "names": ["a", "b"]})");
  EXPECT_THAT(object.GetIntListOr("one", 0, 10).value(), ElementsAre(2));
  EXPECT_THAT(object.GetIntListOr("two", 0, 10).value(), ElementsAre(2, 5));
  EXPECT_THAT(object.GetIntListOr("empty", 0, 10).value(), IsEmpty());
  EXPECT_THAT(object.GetIntListOr("absent", 0, 10).value(), IsEmpty());
  EXPECT_THAT(object.GetIntListOr("two", 0, 4),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("two[1]")));
  EXPECT_THAT(object.GetIntListOr("bad", 0, 4),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("bad[1]")));
  EXPECT_THAT(object.GetStringListOr("names").value(), ElementsAre("a", "b"));
  EXPECT_THAT(object.GetStringListOr("bad"), Not(IsOk()));
  EXPECT_THAT(object.GetStringListOr("one"), Not(IsOk()));
}

TEST_F(JsonObjectTest, ReadsInnerObjectsUnderTheirName) {
  JsonObject object = Read(R"({"rope": {"factor": "x"}, "list": []})");
  auto rope = object.GetObject("rope");
  ASSERT_THAT(rope, IsOk());
  ASSERT_TRUE(rope->has_value());
  EXPECT_THAT((*rope)->GetNumber("factor", 0, 1),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"rope\""), HasSubstr("\"factor\""))));
  EXPECT_FALSE(object.GetObject("absent").value().has_value());
  EXPECT_THAT(object.GetObject("list"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("an array")));
}

TEST_F(JsonObjectTest, RefusesUnknownKeysAndSuggests) {
  JsonObject object = Read(R"({"max_batch": 1, "lisen": "x"})");
  ASSERT_THAT(object.GetInt("max_batch", 0, 9), IsOk());
  ASSERT_THAT(object.GetStringOr("listen", ""), IsOk());
  EXPECT_THAT(
      object.RefuseUnknownKeys(),
      StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("config.json: unknown key \"lisen\""),
                                                   HasSubstr("did you mean \"listen\"?"))));
  ASSERT_NE(object.Find("lisen"), nullptr);
  EXPECT_THAT(object.RefuseUnknownKeys(), IsOk());
}

TEST(JsonObjectMakeTest, RefusesWhatIsNoObject) {
  EXPECT_THAT(JsonObject::Make(Json::array(), "f"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("an array")));
  EXPECT_THAT(JsonObject::Make(Json(3), "f"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("expected an object")));
}

}  // namespace
}  // namespace bitdial
