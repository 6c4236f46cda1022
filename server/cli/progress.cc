#include "server/cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace bitdial::server {
namespace {

using std::chrono::steady_clock;

std::string Duration(double seconds) {
  const int64_t whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  return fmt::format("{}m{:02}s", whole / 60, whole % 60);
}

int TerminalColumns() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::string title, bool quiet)
    : title_(std::move(title)),
      is_quiet_(quiet),
      is_terminal_(isatty(STDERR_FILENO) == 1),
      start_(steady_clock::now()),
      last_draw_(start_) {}

Progress::~Progress() { Finish(); }

void Progress::Update(int64_t done, int64_t total, const std::string& detail) {
  if (is_quiet_ || total <= 0) return;
  const auto now = steady_clock::now();
  const double interval_s = is_terminal_ ? 0.1 : 10.0;
  const bool is_due = std::chrono::duration<double>(now - last_draw_).count() >= interval_s;
  if (!is_due && !(is_terminal_ && !is_drawn_)) return;
  last_draw_ = now;
  Draw(static_cast<double>(done) / static_cast<double>(total),
       std::chrono::duration<double>(now - start_).count(), detail);
}

void Progress::Draw(double fraction, double elapsed_s, const std::string& detail) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  const std::string eta = fraction > 0.01 ? Duration(elapsed_s * (1 - fraction) / fraction) : "?";
  std::string line = fmt::format("{} {:3.0f}%  {} elapsed, {} left", title_, 100 * fraction,
                                 Duration(elapsed_s), eta);
  if (!is_terminal_) {
    std::fprintf(stderr, "%s  %s\n", line.c_str(), detail.c_str());
    return;
  }
  constexpr int kBarWidth = 24;
  const int filled = static_cast<int>(fraction * kBarWidth);
  line = fmt::format("{} [{:#<{}}{:.<{}}] {:3.0f}%  {} left  {}", title_, "", filled, "",
                     kBarWidth - filled, 100 * fraction, eta, detail);
  line.resize(std::min(line.size(), static_cast<size_t>(TerminalColumns() - 1)));
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  is_drawn_ = true;
}

void Progress::Finish() {
  if (is_drawn_) std::fprintf(stderr, "\r\033[K");
  is_drawn_ = false;
}

}  // namespace bitdial::server
