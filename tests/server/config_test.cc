#include "server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
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
    sources.environment = environment_;
    sources.flags = std::move(flags);
    return LoadConfig(sources);
  }
  Environment environment_;
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
      {R"({"listen": "nowhere"})", "config_test.json: listen"},
      {R"({"listen": "0.0.0.0:1"})", "--allow-insecure-remote"},
      {R"({"listen": "0.0.0.0:1", "keys_file": "k"})", "there is no TLS"},
      {R"({"listen": "0.0.0.0:1", "tls_cert": "c", "tls_key": "k"})", "there is no authentication"},
      {R"({"tls_cert": "c"})", "tls_cert c needs its key"},
      {R"({"tls_key": "k"})", "no effect without tls_cert"},
      {R"({"tls_client_ca": "a"})", "no effect without tls_cert"},
      {R"({"reflection": "maybe"})", "auto, on, off"},
      {R"({"admin_listen": "unix:here"})", "an absolute path"},
      {R"({"admin_listen": "unix:/a\u0000b"})", "an absolute path"},
      {R"({"admin_listen": "0.0.0.0:1"})", "admin_listen"},
      {R"({"admin_listen": "127.0.0.1:50051"})", "is the address of listen"},
      {R"({"max_active_requests": 319})", "max_running_requests + max_queued_requests, 320"},
      {R"({"max_connection_age_grace_s": 1})", "no effect without max_connection_age_s"}};
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

TEST_F(ConfigTest, AnAddressBeyondThisMachineNeedsTlsAndToKnowWhoAsks) {
  const std::string tls = R"("tls_cert": "c", "tls_key": "k")";
  const auto is_taken = [&](const std::string& keys) { return Load("{" + keys + "}").ok(); };
  const std::string listen = R"("listen": "[::]:1", )", admin = R"("admin_listen": "[::]:1", )";
  EXPECT_TRUE(is_taken(listen + tls + R"(, "keys_file": "k")"));
  EXPECT_TRUE(is_taken(listen + tls + R"(, "tls_client_ca": "a")"));
  EXPECT_TRUE(is_taken(listen + R"("allow_insecure_remote": true)"));
  EXPECT_TRUE(is_taken(admin + tls + R"(, "keys_file": "k")"));
  EXPECT_FALSE(is_taken(admin + tls + R"(, "tls_client_ca": "a")"));  // a certificate has no scopes
  EXPECT_TRUE(is_taken(R"("admin_listen": "unix:/run/x")"));
}

// Who sets a key wants something of it: without effect, the start stops.
TEST_F(ConfigTest, AKeyWithoutEffectOrAgainstAnotherIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"allow_insecure_remote": true})", "allow_insecure_remote has no effect"},
      {R"({"allow_insecure_remote": true, "admin_listen": "unix:/run/x"})", "no effect"},
      {R"({"metrics_listen": "127.0.0.1:9", "allow_remote_metrics": true})", "no effect"},
      {R"({"metrics_listen": "127.0.0.1:9", "listen": "127.0.0.1:9"})", "the address of listen"},
      {R"({"metrics_listen": "127.0.0.1:9", "admin_listen": "127.0.0.1:9"})",
       "the address of admin_listen"},
      {R"({"share_prefixes": true})", "without keys_file"},
      {R"({"share_prefixes": true, "prefix_cache": false})", "without prefix_cache"},
      {R"({"max_step_tokens": 94})", "prompt_chunk = 64 - 1 + 32 = 95"},
      {R"({"max_stop_strings": 0, "max_stop_bytes": 9})", "max_stop_bytes 9 has no effect"},
      {R"({"max_context": 100, "default_max_tokens": 101})", "more than max_context 100"},
      {R"({"listen": "[::]:1", "tls_cert": "c", "tls_key": "k", "keys_file": "k",
           "allow_insecure_remote": true})",
       "or has TLS and authentication"},
      {R"({"max_message_bytes": 16777217, "max_rpc_memory_bytes": 16777216})",
       "more than max_rpc_memory_bytes"},
  };
  for (const auto& [text, message] : cases) {
    const absl::Status status = Load(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << text;
  }
  EXPECT_TRUE(Load(R"({"max_step_tokens": 95})").ok());
  EXPECT_TRUE(Load(R"({"listen": "0.0.0.0:1", "allow_insecure_remote": true})",
                   {{"listen", "127.0.0.1:1"}})
                  .ok())
      << "the file's own address needs it";
  EXPECT_TRUE(Load(R"({"share_prefixes": true, "keys_file": "k"})").ok());
  EXPECT_TRUE(Load(R"({"max_stop_strings": 0, "max_context": 100})").ok());
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
  config.request.max_stop_strings = 0;
  config.max_context = 100;
  const absl::StatusOr<ServerConfig> again = Load(ToJsonText(config));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToJsonText(*again), ToJsonText(config));
  EXPECT_NE(ToJsonText(*again), ToJsonText(ServerConfig()));
}

// gRPC cannot put other bytes into a string field: two methods would fail for everybody.
TEST_F(ConfigTest, AModelNameIsUtf8AndShort) {
  for (const std::string& name : {std::string("\xff\xfe"), std::string(257, 'a')}) {
    environment_["BITDIAL_MODEL_NAME"] = name;
    EXPECT_THAT(std::string(Load().status().message()),
                HasSubstr("BITDIAL_MODEL_NAME: model_name of " + std::to_string(name.size())));
  }
  environment_["BITDIAL_MODEL_NAME"] = "mod\u00e8le";
  EXPECT_TRUE(Load().ok()) << Load().status();
}

TEST_F(ConfigTest, RemembersWhoSetAKey) {
  environment_["BITDIAL_MAX_STEP_TOKENS"] = "99";
  absl::StatusOr<ServerConfig> config =
      Load(R"({"max_context": 100, "threads": 1, "max_step_tokens": 100, "kv_format": null})",
           {{"threads", "2"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->set_by["max_context"], ::testing::EndsWith("config_test.json"));
  EXPECT_EQ(config->set_by["threads"], "--threads");
  EXPECT_EQ(config->set_by["max_step_tokens"], "environment variable BITDIAL_MAX_STEP_TOKENS");
  EXPECT_EQ(config->set_by.count("kv_format"), 0u);

  const auto named = [&](const char* message) {
    return std::string(NameSource(absl::InvalidArgumentError(message), *config).message());
  };
  EXPECT_EQ(named("threads 2 is odd"), "--threads: threads 2 is odd");
  EXPECT_EQ(named("kv_format f16 is odd"), "kv_format f16 is odd");  // a default
  EXPECT_EQ(named("something else"), "something else");
  EXPECT_EQ(named(""), "");
}

TEST_F(ConfigTest, UnknownVariablesAreRefusedWithTheNearest) {
  environment_["BITDIAL_MAX_CONTXT"] = "1";
  EXPECT_THAT(std::string(Load().status().message()),
              ::testing::AllOf(HasSubstr("environment variable BITDIAL_MAX_CONTXT: unknown"),
                               HasSubstr("did you mean \"BITDIAL_MAX_CONTEXT\"")));
  for (const char* name : {"BITDIAL_PORT", "BITDIAL_", "BITDIAL_SERVICE_PORT", "BITDIAL_HOST"}) {
    environment_ = {{name, "50051"}};
    EXPECT_EQ(Load().status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  environment_.clear();
  for (const OtherVariable& variable : OtherVariables()) environment_[variable.name] = "x";
  EXPECT_TRUE(Load().ok()) << Load().status();
}

// What Kubernetes puts into every container beside a Service of this name.
Environment ServiceVariables(const std::string& service) {
  const std::string port = service + "_PORT_50051_TCP";
  return {{service + "_SERVICE_HOST", "10.0.0.11"},
          {service + "_SERVICE_PORT", "50051"},
          {service + "_SERVICE_PORT_GRPC", "50051"},
          {service + "_PORT", "tcp://10.0.0.11:50051"},
          {port, "tcp://10.0.0.11:50051"},
          {port + "_PROTO", "tcp"},
          {port + "_PORT", "50051"},
          {port + "_ADDR", "10.0.0.11"}};
}

TEST_F(ConfigTest, VariablesOfKubernetesPass) {
  for (const char* service : {"BITDIAL", "BITDIAL_SERVER", "BITDIAL_MAX_CONTEXT"}) {
    environment_ = ServiceVariables(service);
    EXPECT_TRUE(Load().ok()) << Load().status();
    environment_["BITDIAL_MAX_CONTXT"] = "1";
    EXPECT_FALSE(Load().ok()) << service;
  }
}

TEST(ReadEnvironment, TakesOurVariablesAlone) {
  setenv("BITDIAL_A", "b=c", 1);
  setenv("BITDIALX", "1", 1);
  const Environment environment = ReadEnvironment();
  unsetenv("BITDIAL_A");
  unsetenv("BITDIALX");
  ASSERT_EQ(environment.count("BITDIAL_A"), 1u);
  EXPECT_EQ(environment.at("BITDIAL_A"), "b=c");
  for (const auto& [name, value] : environment) EXPECT_EQ(name.rfind("BITDIAL_", 0), 0u) << name;
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

// A variable that a source asks for by name and that serve would refuse is a bug.
TEST(OtherVariables, HoldEveryOneThatASourceReads) {
  std::set<std::string> known;
  for (const OtherVariable& variable : OtherVariables()) known.insert(variable.name);
  const std::regex asks("getenv\\(\"(BITDIAL_[A-Z0-9_]*)\"\\)");
  int num_found = 0;
  for (const char* folder : {"kernels", "kvcache", "quant", "engine", "server", "tests"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             std::string(BITDIAL_SOURCE_DIR) + "/" + folder)) {
      if (entry.path().extension() != ".cc" && entry.path().extension() != ".h") continue;
      std::stringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      const std::string source = text.str();
      for (std::sregex_iterator match(source.begin(), source.end(), asks), end; match != end;
           ++match, ++num_found) {
        EXPECT_EQ(known.count((*match)[1]), 1u) << (*match)[1] << " in " << entry.path();
      }
    }
  }
  EXPECT_GE(num_found, 3);
}

TEST(OtherVariables, AreAllDocumented) {
  std::ifstream file(std::string(BITDIAL_SOURCE_DIR) + "/docs/configuration.md");
  std::stringstream text;
  text << file.rdbuf();
  for (const OtherVariable& variable : OtherVariables()) {
    EXPECT_THAT(text.str(),
                HasSubstr(fmt::format("| `{}` | {} |", variable.name, variable.meaning)));
  }
}

// The example configs are what the server takes, each says what it is for, and the page lists it.
// tests/e2e starts them.
TEST(ConfigFiles, ExamplesLoad) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(BITDIAL_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".json") continue;  // the proxy's is tried by proxy_test
    const absl::StatusOr<ServerConfig> config =
        LoadConfig({.file = entry.path().string(), .environment = {}, .flags = {}});
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
