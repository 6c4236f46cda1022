#include "server/cli/load/trace.h"

#include <cerrno>
#include <fstream>

#include "quant/container/file_errors.h"
#include "server/cli/load/number_text.h"

namespace bitdial::server {
namespace {

constexpr size_t kMaxTraceBytes = 64 << 20;
constexpr size_t kMaxShownBytes = 40;  // of a wrong cell, in a message
constexpr char kHeader[] = "arrival_s,prompt_tokens,output_tokens";

// What a message shows of the file: cut, and nothing that a terminal would obey.
std::string Shown(std::string_view cell) {
  std::string shown(cell.substr(0, kMaxShownBytes));
  for (char& c : shown) c = c < ' ' || c > '~' ? '?' : c;
  return cell.size() > kMaxShownBytes ? shown + "..." : shown;
}

// Takes the next line off `text`, without its end.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// The cells of a line; more than one too many are not split off.
std::vector<std::string_view> Cells(std::string_view line, size_t expected) {
  std::vector<std::string_view> cells;
  for (size_t comma = 0; comma != std::string_view::npos && cells.size() <= expected;) {
    comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    line.remove_prefix(comma == std::string_view::npos ? line.size() : comma + 1);
  }
  return cells;
}

absl::StatusOr<int32_t> Tokens(const char* column, std::string_view cell) {
  const auto tokens = WholeNumber(cell, 1, kMaxRequestTokens);
  if (tokens) return static_cast<int32_t>(*tokens);
  return InvalidArgument("{} is \"{}\"; expected a whole number in [1, {}]", column, Shown(cell),
                         kMaxRequestTokens);
}

absl::StatusOr<LoadRequest> ParseRow(std::string_view line, bool has_bits, double min_arrival_s) {
  const size_t expected = has_bits ? 4 : 3;
  const std::vector<std::string_view> cells = Cells(line, expected);
  if (cells.size() != expected) {
    return InvalidArgument("{} {} cells; expected {}, as in the header",
                           cells.size() > expected ? "more than" : "got",
                           std::min(cells.size(), expected), expected);
  }
  LoadRequest row;
  const auto arrival_s = FiniteNumber(cells[0], 0, kMaxLoadSeconds);
  if (!arrival_s) {
    return InvalidArgument("arrival_s is \"{}\"; expected seconds in [0, {}]", Shown(cells[0]),
                           kMaxLoadSeconds);
  }
  if (*arrival_s < min_arrival_s) {
    return InvalidArgument(
        "arrival_s is {}, before the line above, {}; sort the trace by arrival_s", *arrival_s,
        min_arrival_s);
  }
  row.arrival_s = *arrival_s;
  BITDIAL_ASSIGN_OR_RETURN(row.prompt_tokens, Tokens("prompt_tokens", cells[1]));
  BITDIAL_ASSIGN_OR_RETURN(row.output_tokens, Tokens("output_tokens", cells[2]));
  if (!has_bits) return row;
  const auto bits = ParseBitsWish(cells[3]);
  if (!bits.ok()) {
    return InvalidArgument("weight_bits is \"{}\"; expected a number, dense, auto or auto:FLOOR",
                           Shown(cells[3]));
  }
  row.bits = *bits;
  return row;
}

}  // namespace

absl::StatusOr<Trace> ParseTrace(std::string_view text, const std::string& what) {
  const std::string_view header = TakeLine(text);
  Trace trace;
  trace.has_bits = header == std::string(kHeader) + ",weight_bits";
  if (!trace.has_bits && header != kHeader) {
    return InvalidArgument("{}: line 1 is \"{}\"; expected the header {}[,weight_bits]", what,
                           Shown(header), kHeader);
  }
  double last_arrival_s = 0;
  for (int64_t number = 2; !text.empty(); ++number) {
    const std::string_view line = TakeLine(text);
    if (trace.rows.size() >= static_cast<size_t>(kMaxLoadRequests)) {
      return InvalidArgument("{}: line {}: a trace has at most {} requests", what, number,
                             kMaxLoadRequests);
    }
    absl::StatusOr<LoadRequest> row = ParseRow(line, trace.has_bits, last_arrival_s);
    if (!row.ok()) return Annotate(row.status(), fmt::format("{}: line {}", what, number));
    row->index = static_cast<int64_t>(trace.rows.size());
    last_arrival_s = row->arrival_s;
    trace.rows.push_back(*row);
  }
  if (trace.rows.empty()) return InvalidArgument("{}: has a header and no requests", what);
  return trace;
}

absl::StatusOr<Trace> ReadTrace(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return quant::FileError(errno, path, "open");
  std::string text(kMaxTraceBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return quant::FileError(errno, path, "read");
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxTraceBytes) {
    return InvalidArgument("{}: is larger than {} MiB, the most a trace may have", path,
                           kMaxTraceBytes >> 20);
  }
  return ParseTrace(text, path);
}

}  // namespace bitdial::server
