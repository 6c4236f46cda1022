#include "quant/container/json_reader.h"

#include <cmath>
#include <utility>

#include "kernels/core/nearest.h"
#include "quant/container/mapped_file.h"

namespace bitdial {
namespace {

// Builds the value itself instead of taking nlohmann's, because only here duplicate keys and depth
// can be seen.
class StrictHandler final : public nlohmann::json_sax<Json> {
 public:
  StrictHandler(const std::string& what, int max_depth) : what_(what), max_depth_(max_depth) {}

  absl::Status status() const { return status_; }
  Json TakeRoot() { return std::move(root_); }

  bool null() override { return Add(Json()); }
  bool boolean(bool value) override { return Add(Json(value)); }
  bool number_integer(number_integer_t value) override { return Add(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Add(Json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return Add(Json(value)); }
  bool string(string_t& value) override { return Add(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }  // not in JSON text

  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& key) override {
    const auto [member, is_new] = open_.back()->get_ref<Json::object_t&>().try_emplace(key, Json());
    if (!is_new) return Fail("key \"" + Shorten(key) + "\" is there twice in one object");
    member_ = &member->second;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": the
    // reason is the tail.
    std::string reason = error.what();
    if (const size_t bracket = reason.find("] "); bracket != std::string::npos)
      reason.erase(0, bracket + 2);
    return Fail(fmt::format("byte {}: {}", position, Shorten(reason)));
  }

  static std::string Shorten(const std::string& text) {
    constexpr size_t kMaxQuoted = 200;
    if (text.size() <= kMaxQuoted) return text;
    size_t end = kMaxQuoted;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
      --end;  // whole characters only
    return text.substr(0, end) + "...";
  }

 private:
  bool Fail(const std::string& reason) {
    status_ = DataLoss("{}: malformed JSON: {}", what_, reason);
    return false;
  }

  // Puts a value where the parser stands: the root, a new element, or the member whose key was just
  // read.
  Json* Place(Json value) {
    Json* place = &root_;
    if (!open_.empty()) {
      if (open_.back()->is_array()) {
        auto& array = open_.back()->get_ref<Json::array_t&>();
        array.emplace_back();
        place = &array.back();
      } else {
        place = member_;
      }
    }
    *place = std::move(value);
    return place;
  }

  bool Add(Json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Json container) {
    if (static_cast<int>(open_.size()) >= max_depth_) {
      return Fail(fmt::format("nested more than {} deep", max_depth_));
    }
    open_.push_back(Place(std::move(container)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  const std::string& what_;
  const int max_depth_;
  Json root_;
  // The objects and arrays around the current position, outermost first. An element's address is
  // stable while it is open: its own array grows only after it is closed.
  std::vector<Json*> open_;
  Json* member_ = nullptr;
  absl::Status status_;
};

// A value as a message quotes it: short, with its type.
std::string Describe(const Json& json) {
  if (json.is_object()) return "an object";
  if (json.is_array()) return fmt::format("an array of {}", json.size());
  const std::string text =
      StrictHandler::Shorten(json.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (json.is_number_float()) return text + " (not an integer)";
  if (json.is_boolean()) return text + " (a bool)";
  if (json.is_string()) return text + " (a string)";
  return text;
}

// Exactly an integer in [min, max], nothing that has to be rounded or wrapped.
std::optional<int64_t> ToInt(const Json& json, int64_t min, int64_t max) {
  if (json.is_number_unsigned()) {
    const auto value = json.get<uint64_t>();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  } else if (!json.is_number_integer()) {
    return std::nullopt;
  }
  const auto value = json.get<int64_t>();
  if (value < min || value > max) return std::nullopt;
  return value;
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, const std::string& what,
                               const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return DataLoss("{}: {} bytes of JSON, at most {} are read", what, text.size(),
                    limits.max_bytes);
  }
  StrictHandler handler(what, limits.max_depth);
  try {
    // Strings are checked to be UTF-8 by the lexer; it reports them as syntax errors.
    const bool ok = Json::sax_parse(text.begin(), text.end(), &handler);
    if (!handler.status().ok()) return handler.status();
    if (!ok) return DataLoss("{}: malformed JSON", what);
  } catch (const nlohmann::json::exception& error) {
    return DataLoss("{}: malformed JSON: {}", what, error.what());
  }
  return handler.TakeRoot();
}

absl::StatusOr<Json> ReadJsonFile(const std::string& path, const JsonLimits& limits) {
  BITDIAL_ASSIGN_OR_RETURN(const std::unique_ptr<quant::MappedFile> file,
                           quant::MappedFile::Open(path));
  const auto bytes = file->bytes();
  return ParseJson({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path, limits);
}

absl::StatusOr<JsonObject> JsonObject::Make(const Json& json, std::string what) {
  if (!json.is_object())
    return InvalidArgument("{}: got {}, expected an object", what, Describe(json));
  return JsonObject(&json, std::move(what));
}

bool JsonObject::Has(const std::string& key) const {
  const auto found = json_->find(key);
  return found != json_->end() && !found->is_null();
}

const Json* JsonObject::Find(const std::string& key) {
  asked_.insert(key);
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

namespace {

absl::Status Missing(const std::string& what, const std::string& key) {
  return InvalidArgument("{}: \"{}\" is missing", what, key);
}

absl::Status Wrong(const std::string& what, const std::string& key, const Json& got,
                   const std::string& expected) {
  return InvalidArgument("{}: \"{}\": got {}, expected {}", what, key, Describe(got), expected);
}

absl::StatusOr<int64_t> AsInt(const std::string& what, const std::string& key, const Json& json,
                              int64_t min, int64_t max) {
  const std::optional<int64_t> value = ToInt(json, min, max);
  if (!value.has_value())
    return Wrong(what, key, json, fmt::format("an integer from {} to {}", min, max));
  return *value;
}

absl::StatusOr<double> AsNumber(const std::string& what, const std::string& key, const Json& json,
                                double min, double max) {
  if (!json.is_number() || !(json.get<double>() >= min && json.get<double>() <= max)) {
    return InvalidArgument("{}: \"{}\": got {}, expected a number from {} to {}", what, key,
                           json.is_number() ? json.dump() : Describe(json), min, max);
  }
  return json.get<double>();
}

}  // namespace

absl::StatusOr<int64_t> JsonObject::GetInt(const std::string& key, int64_t min, int64_t max) {
  const Json* json = Find(key);
  if (json == nullptr) return Missing(what_, key);
  return AsInt(what_, key, *json, min, max);
}

absl::StatusOr<int64_t> JsonObject::GetIntOr(const std::string& key, int64_t fallback, int64_t min,
                                             int64_t max) {
  const Json* json = Find(key);
  if (json == nullptr) return fallback;
  return AsInt(what_, key, *json, min, max);
}

absl::StatusOr<double> JsonObject::GetNumber(const std::string& key, double min, double max) {
  const Json* json = Find(key);
  if (json == nullptr) return Missing(what_, key);
  return AsNumber(what_, key, *json, min, max);
}

absl::StatusOr<double> JsonObject::GetNumberOr(const std::string& key, double fallback, double min,
                                               double max) {
  const Json* json = Find(key);
  if (json == nullptr) return fallback;
  return AsNumber(what_, key, *json, min, max);
}

absl::StatusOr<bool> JsonObject::GetBoolOr(const std::string& key, bool fallback) {
  const Json* json = Find(key);
  if (json == nullptr) return fallback;
  if (!json->is_boolean()) return Wrong(what_, key, *json, "true or false");
  return json->get<bool>();
}

absl::StatusOr<std::string> JsonObject::GetString(const std::string& key) {
  const Json* json = Find(key);
  if (json == nullptr) return Missing(what_, key);
  if (!json->is_string()) return Wrong(what_, key, *json, "a string");
  return json->get<std::string>();
}

absl::StatusOr<std::string> JsonObject::GetStringOr(const std::string& key,
                                                    const std::string& fallback) {
  if (Find(key) == nullptr) return fallback;
  return GetString(key);
}

absl::StatusOr<std::vector<int64_t>> JsonObject::GetIntListOr(const std::string& key, int64_t min,
                                                              int64_t max) {
  const Json* json = Find(key);
  std::vector<int64_t> list;
  if (json == nullptr) return list;
  if (!json->is_array()) {
    BITDIAL_ASSIGN_OR_RETURN(const int64_t value, AsInt(what_, key, *json, min, max));
    list.push_back(value);
    return list;
  }
  list.reserve(json->size());
  for (size_t i = 0; i < json->size(); ++i) {
    BITDIAL_ASSIGN_OR_RETURN(const int64_t value,
                             AsInt(what_, fmt::format("{}[{}]", key, i), (*json)[i], min, max));
    list.push_back(value);
  }
  return list;
}

absl::StatusOr<std::vector<std::string>> JsonObject::GetStringListOr(const std::string& key) {
  const Json* json = Find(key);
  std::vector<std::string> list;
  if (json == nullptr) return list;
  if (!json->is_array()) return Wrong(what_, key, *json, "an array of strings");
  list.reserve(json->size());
  for (size_t i = 0; i < json->size(); ++i) {
    const Json& element = (*json)[i];
    if (!element.is_string())
      return Wrong(what_, fmt::format("{}[{}]", key, i), element, "a string");
    list.push_back(element.get<std::string>());
  }
  return list;
}

absl::StatusOr<std::optional<JsonObject>> JsonObject::GetObject(const std::string& key) {
  const Json* json = Find(key);
  if (json == nullptr) return std::optional<JsonObject>();
  if (!json->is_object()) return Wrong(what_, key, *json, "an object");
  return std::optional<JsonObject>(JsonObject(json, fmt::format("{}: \"{}\"", what_, key)));
}

absl::Status JsonObject::RefuseUnknownKeys() const {
  for (const auto& member : json_->items()) {
    if (asked_.count(member.key()) > 0) continue;
    const std::vector<std::string> known(asked_.begin(), asked_.end());
    return InvalidArgument("{}: unknown key \"{}\"{}", what_, StrictHandler::Shorten(member.key()),
                           DidYouMean(member.key(), known));
  }
  return absl::OkStatus();
}

}  // namespace bitdial
