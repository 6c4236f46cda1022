#include "server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace bitdial::server {
namespace {

using ::testing::HasSubstr;

class ConfigTest : public ::testing::Test {
 protected:
  std::string WriteFile(const std::string& text) {
    const std::string path = ::testing::TempDir() + "/config_test.json";
    std::ofstream(path) << text;
    return path;
  }
  absl::StatusOr<ServerConfig> Load(const std::string& file_text = "",
                                    std::map<std::string, std::string> flags = {}) {
    ConfigSources sources;
    if (!file_text.empty()) sources.file = WriteFile(file_text);
    sources.getenv = [this](const std::string& name) -> const char* {
      const auto found = environment_.find(name);
      return found == environment_.end() ? nullptr : found->second.c_str();
    };
    sources.flags = std::move(flags);
    return LoadConfig(sources);
  }
  std::map<std::string, std::string> environment_;
};

TEST_F(ConfigTest, LaterSourcesWin) {
  EXPECT_EQ(Load()->max_context, 0);
  EXPECT_EQ(Load(R"({"max_context": 100})")->max_context, 100);
  environment_["BITDIAL_MAX_CONTEXT"] = "200";
  EXPECT_EQ(Load(R"({"max_context": 100})")->max_context, 200);
  EXPECT_EQ(Load(R"({"max_context": 100})", {{"max_context", "300"}})->max_context, 300);
}

TEST_F(ConfigTest, EveryKindOfValueIsReadFromEverySource) {
  environment_["BITDIAL_LOG_FORMAT"] = "json";
  environment_["BITDIAL_MAX_STOP_STRINGS"] = "3";
  const absl::StatusOr<ServerConfig> config =
      Load(R"({"listen": "0.0.0.0:1", "allow_insecure_remote": true, "max_stop_bytes": 9})",
           {{"model_name", "m"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->listen, "0.0.0.0:1");
  EXPECT_TRUE(config->allow_insecure_remote);
  EXPECT_EQ(config->request.max_stop_bytes, 9);
  EXPECT_EQ(config->request.max_stop_strings, 3);
  EXPECT_EQ(config->log_format, "json");
  EXPECT_EQ(config->model_name, "m");
}

TEST_F(ConfigTest, WrongFilesAreRefusedByKey) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"max_contxt": 1})", "max_contxt"},
      {R"({"max_contxt": 1})", "max_context"},  // the nearest
      {R"({"max_context": "1"})", "max_context"},
      {R"({"max_context": 1.5})", "max_context"},
      {R"({"max_context": -1})", "max_context"},
      {R"({"max_running_requests": 0})", "max_running_requests"},
      {R"({"log_format": "xml"})", "text, json"},
      {R"({"allow_insecure_remote": 1})", "allow_insecure_remote"},
      {R"({"listen": 50051})", "listen"},
      {R"({"listen": "nowhere"})", "ADDR:PORT"},
      {R"({"listen": "0.0.0.0:1"})", "--allow-insecure-remote"}};
  for (const auto& [text, message] : cases) {
    const absl::Status status = Load(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  for (const char* text : {"{", "[]x", R"({"listen": "a:1", "listen": "b:1"})"}) {
    EXPECT_FALSE(Load(text).ok()) << text;
  }
  ConfigSources missing;
  missing.file = "/nowhere/at/all.json";
  EXPECT_EQ(LoadConfig(missing).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ConfigTest, WrongTextNamesItsSource) {
  environment_["BITDIAL_THREADS"] = "many";
  EXPECT_THAT(std::string(Load().status().message()),
              HasSubstr("environment variable BITDIAL_THREADS: got \"many\""));
  environment_.clear();
  for (const char* value : {"", "1x", " 1", "1.0", "-1", "4097", "99999999999999999999"}) {
    EXPECT_THAT(std::string(Load("", {{"threads", value}}).status().message()),
                HasSubstr("--threads: got"))
        << value;
  }
  EXPECT_THAT(std::string(Load("", {{"kv_format", "int3"}}).status().message()),
              HasSubstr("expected one of f16, f32"));
  EXPECT_FALSE(Load("", {{"allow_insecure_remote", "yes"}}).ok());
}

TEST_F(ConfigTest, PrintedConfigReadsBackAsItself) {
  ServerConfig config;
  config.listen = "127.0.0.1:1234";
  config.about = "a \"note\"\n";
  config.request.max_logit_bias = 5;
  config.allow_insecure_remote = true;
  const absl::StatusOr<ServerConfig> again = Load(ToJsonText(config));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToJsonText(*again), ToJsonText(config));
  EXPECT_NE(ToJsonText(*again), ToJsonText(ServerConfig()));
}

TEST(ParseListenAddress, KnowsWhatStaysOnThisMachine) {
  for (const char* text : {"127.0.0.1:50051", "127.9.9.9:1", "localhost:0", "[::1]:80"}) {
    ASSERT_TRUE(ParseListenAddress(text).ok()) << text;
    EXPECT_TRUE(ParseListenAddress(text)->is_loopback) << text;
  }
  for (const char* text : {"0.0.0.0:1", "192.168.1.1:1", "[::]:1", "example.com:1", "128.0.0.1:1",
                           "[::ffff:1.2.3.4]:1"}) {
    ASSERT_TRUE(ParseListenAddress(text).ok()) << text;
    EXPECT_FALSE(ParseListenAddress(text)->is_loopback) << text;
  }
  for (const char* text : {"", ":1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                           "a:1x", "::1:80", "a:b:1"}) {
    EXPECT_FALSE(ParseListenAddress(text).ok()) << text;
  }
  EXPECT_EQ(ParseListenAddress("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseListenAddress("[::1]:80")->port, 80);
}

TEST(ConfigKeys, DefaultsLieInTheirOwnRanges) {
  ServerConfig config;
  EXPECT_TRUE(CheckConfig(config).ok());
  for (const ConfigKey& key : ConfigKeys()) {
    const ConfigSlot slot = key.slot(config);
    if (int64_t* const* number = std::get_if<int64_t*>(&slot)) {
      EXPECT_GE(**number, key.min) << key.name;
      EXPECT_LE(**number, key.max) << key.name;
    }
  }
}

std::string ConfigurationPage() {
  std::ifstream file(BITDIAL_SOURCE_DIR "/docs/configuration.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// docs/configuration.md has one table row per key: | `name` | default | range | meaning |.
TEST(ConfigKeys, AreAllDocumentedWithTheirDefaultsAndRanges) {
  const std::string page = ConfigurationPage();
  ServerConfig config;
  for (const ConfigKey& key : ConfigKeys()) {
    const ConfigSlot slot = key.slot(config);
    std::string value, range;
    if (bool* const* flag = std::get_if<bool*>(&slot)) {
      value = **flag ? "`true`" : "`false`";
      range = "`true`, `false`";
    } else if (int64_t* const* number = std::get_if<int64_t*>(&slot)) {
      value = fmt::format("{}", **number);
      range = fmt::format("{} .. {}{}{}", key.min, key.max, *key.unit == '\0' ? "" : " ", key.unit);
    } else {
      const std::string& word = *std::get<std::string*>(slot);
      value = word.empty() ? "none" : "`" + word + "`";
      for (const std::string& choice : key.choices)
        range += (range.empty() ? "`" : ", `") + choice + "`";
      if (key.choices.empty()) range = "text";
    }
    EXPECT_THAT(page, HasSubstr(fmt::format("| `{}` | {} | {} | {} |", key.name, value, range,
                                            key.meaning)));
  }
}

// The example configs are what the server takes, each says what it is for, and the page lists it.
// tests/e2e starts them.
TEST(ConfigFiles, ExamplesLoad) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(BITDIAL_SOURCE_DIR "/configs")) {
    const absl::StatusOr<ServerConfig> config =
        LoadConfig({.file = entry.path().string(), .getenv = nullptr, .flags = {}});
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_FALSE(config->about.empty()) << entry.path();
    EXPECT_THAT(ConfigurationPage(),
                HasSubstr("](../configs/" + entry.path().filename().string() + ")"));
    ++num_files;
  }
  EXPECT_GE(num_files, 3);
}

}  // namespace
}  // namespace bitdial::server
